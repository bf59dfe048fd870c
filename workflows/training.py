# SPDX-License-Identifier: Apache-2.0
"""Training pairs: the preprocessing of inference, and the labels on the same grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.figures import ContoursFigure
from ..interfaces.images import CheckImage
from ..interfaces.training import (
    LabelAgreement,
    PairSink,
    RegisterT1w,
    ResampleTrainingLabels,
    TrainingClasses,
)
from ..records import Bundle, TrainingCase
from ..settings import Settings, graph_name
from .base import configure_nodes, scan_wf_name, subject_wf_name
from .check import init_check_wf
from .preprocessing import init_preprocessing_wf, registration_window


def init_training_wf(
    *,
    settings: Settings,
    cases: Sequence[TrainingCase],
    origins: Mapping[Path, Mapping],
    base: Bundle,
    name: str = graph_name('training'),
) -> Workflow:
    """Build the graph that prepares training pairs: one workflow per scan, which do not depend on each other.

    Parameters
    ----------
    settings : Settings
        Of the run.
    cases : sequence of TrainingCase
        Scans with labels, those of a subject one after the other.
    origins : mapping
        From the path of a scan to what its pair is made from.
    base : Bundle
        Whose reference, grid and intensity rule are used.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_case
    >>> settings = Settings(Path('data'), Path('out'), Path('work'))
    >>> wf = init_training_wf(settings=settings, cases=[example_case()], origins={}, base=example_bundle())
    >>> wf.list_node_names()[0]
    'sub_01_wf.T1w_wf.agreement'
    """
    workflow = Workflow(name=name, base_dir=str(settings.work_dir))
    for subject, own in groupby(cases, key=lambda case: case.record.subject):
        subject_wf = Workflow(name=subject_wf_name(subject))
        for case in own:
            record = case.record
            case_wf = init_case_wf(
                case=case,
                base=base,
                output_dir=settings.output_dir,
                origin=dict(origins.get(record.path, {})),
                random_seed=settings.random_seed,
                threads=settings.omp_nthreads,
                heavy_gb=settings.mem_gb if settings.low_mem else None,
                name=scan_wf_name(record),
            )
            configure_nodes(case_wf, settings.log_dir(record.subject, record.session))
            subject_wf.add_nodes([case_wf])
        workflow.add_nodes([subject_wf])
    return workflow


def init_case_wf(
    *,
    case: TrainingCase,
    base: Bundle,
    output_dir: Path,
    origin: Mapping,
    random_seed: int = 0,
    threads: int = 1,
    heavy_gb: float | None = None,
    name: str = 'case_wf',
) -> Workflow:
    """Bring one scan and its labels to the network's grid.

    The labels lie on the T1w by its scanner coordinates. Where the scan is another one, a rigid registration
    to the T1w comes first.

    Parameters
    ----------
    case : TrainingCase
        The scan, its labels, and the T1w that they lie on if that is another scan.
    base : Bundle
        Whose reference, grid and intensity rule are used.
    output_dir : Path
        Root of the derivatives.
    origin : mapping
        What the pair is made from.
    random_seed : int
        Of the registration.
    threads : int
        Processor threads of one step.
    heavy_gb : float, optional
        Memory that each heavy step claims, GB.

    Inputs
    ------
    in_file
        The scan.
    labels
        Segmentation of the T1w.
    methods
        What this graph does, in words.

    Outputs
    -------
    info
        JSON beside the pair.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_case
    >>> wf = init_case_wf(case=example_case(), base=example_bundle(), output_dir=Path('out'), origin={})
    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file', 'labels', 'methods']), name='inputnode')
    inputnode.inputs.in_file = str(case.record.path)
    inputnode.inputs.labels = str(case.labels)
    outputnode = pe.Node(niu.IdentityInterface(fields=['info']), name='outputnode')
    workflow.__postdesc__ = (
        'The labels were resampled to the same grid in one step, each voxel receiving the class with the '
        'largest share of it.\n'
    )

    steps = {'bundle': base, 'threads': threads, 'random_seed': random_seed, 'mem_gb': heavy_gb or 2.0}
    check_wf = init_check_wf(record=case.record, mem_gb=heavy_gb or 1.5)
    classes = pe.Node(TrainingClasses(table=case.table), name='classes', mem_gb=heavy_gb or 2.0)
    preprocessing_wf = init_preprocessing_wf(**steps)
    t1w_wfs = [init_t1w_wf(t1w=t1w, **steps) for t1w in (case.t1w,) if t1w is not None]
    grid = {
        'grid_shape': tuple(base.grid_shape),
        'grid_affine': [list(row) for row in base.grid_affine],
    }
    resample_labels = pe.Node(ResampleTrainingLabels(**grid), name='resample_labels', mem_gb=heavy_gb or 2.0)
    agreement = pe.Node(LabelAgreement(), name='agreement', mem_gb=heavy_gb or 1.5)
    figure = pe.Node(ContoursFigure(), name='figure', mem_gb=heavy_gb or 1.5)
    ds_pair = pe.Node(
        PairSink(
            record=case.record, output_dir=str(output_dir), space=base.reference_name, origin=dict(origin)
        ),
        name='ds_pair',
    )
    # fmt: off
    workflow.connect([
        (inputnode, check_wf, [('in_file', 'inputnode.in_file')]),
        (inputnode, classes, [('labels', 'in_file')]),
        (inputnode, ds_pair, [('methods', 'methods')]),
        (check_wf, preprocessing_wf, [('outputnode.out_file', 'inputnode.in_file')]),
        *[(check_wf, t1w_wf, [('outputnode.out_file', 'inputnode.in_file')]) for t1w_wf in t1w_wfs],
        *[(classes, t1w_wf, [('out_file', 'inputnode.classes')]) for t1w_wf in t1w_wfs],
        (classes, resample_labels, [('out_file', 'in_file')]),
        (preprocessing_wf, resample_labels, [('outputnode.registration', 'registration')]),
        *[(t1w_wf, node, [('outputnode.rigid', 'rigid')])
          for t1w_wf in t1w_wfs for node in (resample_labels, ds_pair)],
        (preprocessing_wf, agreement, [('outputnode.preprocessed', 'preprocessed')]),
        (resample_labels, agreement, [('out_file', 'labels')]),
        (preprocessing_wf, figure, [('outputnode.preprocessed', 'in_file')]),
        (resample_labels, figure, [('out_file', 'dseg')]),
        (preprocessing_wf, ds_pair, [('outputnode.preprocessed', 'image'),
                                     ('outputnode.registration', 'registration')]),
        (resample_labels, ds_pair, [('out_file', 'labels')]),
        (agreement, ds_pair, [('agreement', 'agreement')]),
        (figure, ds_pair, [('out_file', 'figure')]),
        (ds_pair, outputnode, [('info', 'info')]),
    ])
    # fmt: on
    inputnode.inputs.methods = workflow.visit_desc()
    return workflow


def init_t1w_wf(
    *,
    t1w: Path,
    bundle: Bundle,
    threads: int = 1,
    random_seed: int = 0,
    mem_gb: float = 2.0,
    name: str = 't1w_wf',
) -> Workflow:
    """Find the rigid transform between a scan and the T1w of the same person, on which the labels lie.

    Parameters
    ----------
    t1w : Path
        The T1w.
    bundle : Bundle
        Its intensity rule gives the window of the scan, where intensities have a unit.
    threads, random_seed : int
        Processor threads; seed of the registration's sampler.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        Checked scan.
    classes
        Class indices in the scanner coordinates of the T1w.

    Outputs
    -------
    rigid
        JSON with the 4x4 RAS matrix from points of the T1w to points of the scan, and its similarity.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle
    >>> wf = init_t1w_wf(t1w=Path('sub-01_T1w.nii.gz'), bundle=example_bundle())
    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file', 'classes']), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['rigid']), name='outputnode')
    workflow.__desc__ = (
        'The T1w image on which the labels lie was registered to the scan by a rigid transform (elastix).\n'
    )

    check_t1w = pe.Node(CheckImage(in_file=str(t1w)), name='check_t1w', mem_gb=mem_gb)
    register_t1w = pe.Node(
        RegisterT1w(num_threads=threads, random_seed=random_seed, **registration_window(bundle.intensity)),
        name='register_t1w',
        n_procs=threads,
        mem_gb=mem_gb,
    )
    # fmt: off
    workflow.connect([
        (inputnode, register_t1w, [('in_file', 'in_file'), ('classes', 'classes')]),
        (check_t1w, register_t1w, [('out_file', 't1w')]),
        (register_t1w, outputnode, [('rigid', 'rigid')]),
    ])
    # fmt: on
    return workflow

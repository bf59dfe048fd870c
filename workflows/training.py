# SPDX-License-Identifier: Apache-2.0
"""Scans and their labels, prepared for training: the preprocessing of inference, and the labels beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from ..interfaces.figures import ContoursFigure
from ..interfaces.images import CheckImage
from ..interfaces.training import (
    FreeSurferClasses,
    LabelAgreement,
    PairSink,
    RegisterT1w,
    ResampleTrainingLabels,
)
from ..settings import Settings
from .base import configure_nodes, scan_wf_name, subject_wf_name
from .preprocessing import init_preprocessing_wf, registration_window
from .scan import check_rules


def init_training_wf(
    *, settings: Settings, cases: Sequence, origins: Mapping, base, name: str = 'training_wf'
) -> pe.Workflow:
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
    workflow = pe.Workflow(name=name, base_dir=str(settings.work_dir))
    for subject, own in groupby(cases, key=lambda case: case.record.subject):
        subject_wf = pe.Workflow(name=subject_wf_name(subject))
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
    case,
    base,
    output_dir: Path,
    origin: Mapping,
    random_seed: int = 0,
    threads: int = 1,
    heavy_gb: float | None = None,
    name: str = 'case_wf',
) -> pe.Workflow:
    """Prepare one scan and its labels.

    The labels lie on the T1w by its scanner coordinates. Where the scan is another one, a rigid registration
    carries them over.

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
        Segmentation of FreeSurfer.

    Outputs
    -------
    info
        JSON beside the pair.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_case
    >>> wf = init_case_wf(case=example_case(), base=example_bundle(), output_dir=Path('out'), origin={})
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file', 'labels']), name='inputnode')
    inputnode.inputs.in_file = str(case.record.path)
    inputnode.inputs.labels = str(case.labels)
    outputnode = pe.Node(niu.IdentityInterface(fields=['info']), name='outputnode')

    check = pe.Node(CheckImage(**check_rules(case.record)), name='check', mem_gb=heavy_gb or 1.5)
    classes = pe.Node(FreeSurferClasses(), name='classes', mem_gb=heavy_gb or 2.0)
    preprocessing_wf = init_preprocessing_wf(
        bundle=base, threads=threads, random_seed=random_seed, mem_gb=heavy_gb or 2.0
    )
    grid = {
        'grid_shape': tuple(base.grid_shape),
        'grid_affine': [list(row) for row in base.grid_affine],
    }
    carry = pe.Node(ResampleTrainingLabels(**grid), name='carry', mem_gb=heavy_gb or 2.0)
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
        (inputnode, check, [('in_file', 'in_file')]),
        (inputnode, classes, [('labels', 'in_file')]),
        (check, preprocessing_wf, [('out_file', 'inputnode.in_file')]),
        (classes, carry, [('out_file', 'in_file')]),
        (preprocessing_wf, carry, [('outputnode.registration', 'registration')]),
        (preprocessing_wf, agreement, [('outputnode.prepared', 'prepared')]),
        (carry, agreement, [('out_file', 'labels')]),
        (preprocessing_wf, figure, [('outputnode.prepared', 'in_file')]),
        (carry, figure, [('out_file', 'dseg')]),
        (preprocessing_wf, ds_pair, [('outputnode.prepared', 'image'),
                                     ('outputnode.registration', 'registration')]),
        (carry, ds_pair, [('out_file', 'labels')]),
        (agreement, ds_pair, [('agreement', 'agreement')]),
        (figure, ds_pair, [('out_file', 'figure')]),
        (ds_pair, outputnode, [('info', 'info')]),
    ])
    # fmt: on
    if case.t1w is not None:
        check_t1w = pe.Node(CheckImage(in_file=str(case.t1w)), name='check_t1w', mem_gb=heavy_gb or 1.5)
        align = pe.Node(
            RegisterT1w(num_threads=threads, random_seed=random_seed, **registration_window(base.intensity)),
            name='align',
            n_procs=threads,
            mem_gb=heavy_gb or 2.0,
        )
        # fmt: off
        workflow.connect([
            (check, align, [('out_file', 'in_file')]),
            (check_t1w, align, [('out_file', 't1w')]),
            (classes, align, [('out_file', 'classes')]),
            (align, carry, [('rigid', 'rigid')]),
            (align, ds_pair, [('rigid', 'rigid')]),
        ])
        # fmt: on
    return workflow

# SPDX-License-Identifier: Apache-2.0
"""One scan, from the dataset to its derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.measures import ComputeMeasures
from ..records import Bundle, ImageRecord, Provenance, ReferenceLabels, Template
from .agreement import init_agreement_wf
from .check import init_check_wf
from .descriptions import measures, program
from .outputs import init_derivatives_wf, init_ds_freesurfer_wf, init_ds_probseg_wf, init_figures_wf
from .preprocessing import init_preprocessing_wf
from .segmentation import init_segmentation_wf
from .steps import branch_edges
from .templates import init_template_wf

#: What the measures are computed from.
MEASURED = ('in_file', 'facts', 'registration', 'posterior', 'samples', 'dseg', 'uncertainty')


def init_scan_wf(
    *,
    record: ImageRecord,
    bundle: Bundle,
    output_dir: Path,
    random_seed: int = 0,
    precision: str = 'float32',
    label_resampling: str = 'posterior',
    save_probseg: bool = False,
    templates: Sequence[Template] = (),
    device: str = 'auto',
    use_gpu: bool = False,
    threads: int = 1,
    heavy_gb: float | None = None,
    labels: ReferenceLabels | None = None,
    corrupt: Mapping | None = None,
    name: str = 'scan_wf',
) -> Workflow:
    """Segment one scan on its own grid, measure it, and write the results.

    Parameters
    ----------
    record, bundle : ImageRecord, Bundle
        The scan; the model, with whatever the user changed of its passes, threshold and window.
    output_dir : Path
        Root of the derivatives.
    random_seed : int
        Of the registration and of the dropout masks.
    precision : str
        Arithmetic of the network, one of :data:`bids_brainseg.records.PRECISIONS`.
    label_resampling : str
        ``'posterior'`` or ``'nearest'``.
    save_probseg : bool
        Also write the probability of each structure.
    templates : sequence of Template
        Also write the segmentation in their spaces.
    device, use_gpu : str, bool
        ``'auto'``, ``'cpu'`` or ``'gpu'``; whether the network waits for a GPU slot, not for threads.
    threads : int
        Processor threads of one step.
    heavy_gb : float, optional
        Memory that each heavy step claims, GB; with all there is, they run one after the other.
    labels : ReferenceLabels, optional
        Compare the segmentation with them.
    corrupt : mapping, optional
        Inputs of :class:`bids_brainseg.interfaces.corrupt.Corrupt`: applied to the checked scan.

    Inputs
    ------
    in_file
        The scan.
    methods
        What this graph does, in words.

    Outputs
    -------
    dseg, morph, qc
        Paths of the labels, the table of volumes, and the JSON with every QC number and the verdict.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_scan_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file', 'methods']), name='inputnode')
    inputnode.inputs.in_file = str(record.path)
    outputnode = pe.Node(niu.IdentityInterface(fields=['dseg', 'morph', 'qc']), name='outputnode')
    workflow.__desc__ = program()
    workflow.__postdesc__ = measures(bundle.mc_samples, bundle.cv_threshold, bool(bundle.volume_errors))

    where = {'record': record, 'output_dir': output_dir}
    steps = {'threads': threads, 'random_seed': random_seed}
    check_wf = init_check_wf(record=record, corrupt=corrupt, mem_gb=heavy_gb or 1.5)
    preprocessing_wf = init_preprocessing_wf(bundle=bundle, mem_gb=heavy_gb or 2.0, **steps)
    segmentation_wf = init_segmentation_wf(
        bundle=bundle,
        precision=precision,
        label_resampling=label_resampling,
        device=device,
        use_gpu=use_gpu,
        heavy_gb=heavy_gb,
        **steps,
    )
    provenance = provenance_of(
        bundle, random_seed=random_seed, precision=precision, label_resampling=label_resampling
    )
    measure = _measure_node(record, bundle, provenance, mem_gb=heavy_gb or 1.5)
    derivatives_wf = init_derivatives_wf(bundle=bundle, **where)
    branches = [
        derivatives_wf,
        init_ds_freesurfer_wf(mem_gb=heavy_gb or 1.5, **where),
        init_figures_wf(bundle=bundle, mem_gb=heavy_gb or 1.5, **where),
    ]
    if save_probseg:
        branches += [init_ds_probseg_wf(bundle=bundle, mem_gb=heavy_gb or 4.0, **where)]
    if labels is not None:
        branches += [init_agreement_wf(labels=labels, mem_gb=heavy_gb or 2.0, **where)]
    resampling = {'bundle': bundle, 'label_resampling': label_resampling, 'mem_gb': heavy_gb or 2.0}
    branches += [
        init_template_wf(template=template, **resampling, **where, **steps) for template in templates
    ]
    # fmt: off
    sources = {
        'in_file': (check_wf, 'outputnode.out_file'),
        'facts': (check_wf, 'outputnode.facts'),
        'methods': (inputnode, 'methods'),
        **{field: (preprocessing_wf, f'outputnode.{field}') for field in ('registration', 'preprocessed')},
        **{field: (segmentation_wf, f'outputnode.{field}')
           for field in ('posterior', 'samples', 'dseg', 'uncertainty', 'dseg_gz', 'uncertainty_gz')},
        **{field: (measure, field) for field in ('morph', 'qc', 'provenance')},
    }
    workflow.connect([
        (inputnode, check_wf, [('in_file', 'inputnode.in_file')]),
        *[edge for step in (preprocessing_wf, segmentation_wf) for edge in branch_edges(step, sources)],
        *[(sources[field][0], measure, [(sources[field][1], field)]) for field in MEASURED],
        *[edge for branch in branches for edge in branch_edges(branch, sources)],
        (derivatives_wf, outputnode, [(f'outputnode.{field}', field) for field in ('dseg', 'morph', 'qc')]),
    ])
    # fmt: on
    inputnode.inputs.methods = workflow.visit_desc()
    return workflow


def _measure_node(record: ImageRecord, bundle: Bundle, provenance: Provenance, *, mem_gb: float) -> pe.Node:
    interface = ComputeMeasures(
        record=record,
        provenance=provenance,
        rules=dict(bundle.qc),
        volume_errors=dict(bundle.volume_errors),
    )
    return pe.Node(interface, name='measure', mem_gb=mem_gb)


def provenance_of(
    bundle: Bundle, *, random_seed: int, label_resampling: str, precision: str = 'float32'
) -> Provenance:
    """Say how the outputs of a scan will be made.

    >>> from bids_brainseg.workflows.examples import example_bundle
    >>> provenance_of(example_bundle(mc_samples=0), random_seed=3, label_resampling='nearest').mirrored
    False
    """
    return Provenance(
        model=bundle.name,
        model_sha256=bundle.weights_sha256,
        reference=bundle.reference_name,
        mc_samples=bundle.mc_samples,
        mirrored=bundle.mirrored_passes and bundle.mc_samples > 1,
        seed=random_seed,
        precision=precision,
        label_resampling=label_resampling,
        cv_threshold=bundle.cv_threshold,
    )

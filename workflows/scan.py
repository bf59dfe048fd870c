# SPDX-License-Identifier: Apache-2.0
"""One scan, from the dataset to its derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from ..interfaces.corrupt import Corrupt
from ..interfaces.images import CheckImage
from ..interfaces.measures import ComputeMeasures
from ..interfaces.segment import Segment
from .agreement import init_agreement_wf
from .outputs import init_derivatives_wf, init_ds_probseg_wf, init_figures_wf
from .preprocessing import init_preprocessing_wf
from .steps import resample_to_scan_node
from .templates import init_template_wf


def init_scan_wf(
    *,
    record,
    bundle,
    output_dir: Path,
    random_seed: int = 0,
    label_resampling: str = 'posterior',
    save_probseg: bool = False,
    templates: Sequence = (),
    device: str = 'auto',
    use_gpu: bool = False,
    threads: int = 1,
    heavy_gb: float | None = None,
    labels=None,
    corrupt: Mapping | None = None,
    name: str = 'scan_wf',
) -> pe.Workflow:
    """Segment one scan on its own grid, measure it, and write what came out.

    Parameters
    ----------
    record, bundle : ImageRecord, Bundle
        The scan; the model, with whatever the user changed of its passes, threshold and window.
    output_dir : Path
        Root of the derivatives.
    random_seed : int
        Of the registration and of the dropout masks.
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

    Outputs
    -------
    dseg, morph, qc
        Paths of the labels, the table of volumes, and the JSON with every QC number and the verdict.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_scan_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file']), name='inputnode')
    inputnode.inputs.in_file = str(record.path)
    outputnode = pe.Node(niu.IdentityInterface(fields=['dseg', 'morph', 'qc']), name='outputnode')

    check = pe.Node(CheckImage(**check_rules(record)), name='check', mem_gb=heavy_gb or 1.5)
    scan = check  # what hands the scan on
    if corrupt is not None:
        scan = pe.Node(Corrupt(**corrupt), name='corrupt', mem_gb=heavy_gb or 2.0)
        workflow.connect(check, 'out_file', scan, 'in_file')
    preprocessing_wf = init_preprocessing_wf(
        bundle=bundle, threads=threads, random_seed=random_seed, mem_gb=heavy_gb or 2.0
    )
    segment = pe.Node(
        Segment(
            bundle=str(bundle.path),
            weights_sha256=bundle.weights_sha256,
            mc_samples=bundle.mc_samples,
            mirrored=bundle.mirrored_passes,
            random_seed=random_seed,
            device=device,
            num_threads=threads,
            use_gpu=use_gpu,
        ),
        name='segment',
        n_procs=1 if use_gpu else threads,  # nipype reads it as GPU slots on a GPU node
        mem_gb=heavy_gb or 5.0,
    )
    back = resample_to_scan_node(
        bundle=bundle, label_resampling=label_resampling, threads=threads, mem_gb=heavy_gb or 2.0
    )
    measure = pe.Node(
        ComputeMeasures(record=record, model=model_facts(bundle), label_resampling=label_resampling),
        name='measure',
    )
    derivatives_wf = init_derivatives_wf(record=record, bundle=bundle, output_dir=output_dir)
    figures_wf = init_figures_wf(record=record, bundle=bundle, output_dir=output_dir, mem_gb=heavy_gb or 1.5)

    # fmt: off
    workflow.connect([
        (inputnode, check, [('in_file', 'in_file')]),
        (scan, preprocessing_wf, [('out_file', 'inputnode.in_file')]),
        (preprocessing_wf, segment, [('outputnode.prepared', 'in_file')]),
        (scan, back, [('out_file', 'in_file')]),
        (preprocessing_wf, back, [('outputnode.registration', 'registration')]),
        (segment, back, [('posterior', 'posterior'), ('uncertainty', 'uncertainty')]),
        (check, measure, [('facts', 'facts')]),
        (scan, measure, [('out_file', 'in_file')]),
        (preprocessing_wf, measure, [('outputnode.registration', 'registration')]),
        (segment, measure, [('posterior', 'posterior'), ('samples', 'samples')]),
        (back, measure, [('dseg', 'dseg'), ('uncertainty', 'uncertainty')]),
        (scan, derivatives_wf, [('out_file', 'inputnode.in_file')]),
        (preprocessing_wf, derivatives_wf, [('outputnode.registration', 'inputnode.registration')]),
        (back, derivatives_wf, [(f'{field}_gz', f'inputnode.{field}') for field in ('dseg', 'uncertainty')]),
        (measure, derivatives_wf, [(field, f'inputnode.{field}') for field in ('morph', 'qc', 'provenance')]),
        (scan, figures_wf, [('out_file', 'inputnode.in_file')]),
        (preprocessing_wf, figures_wf, [(f'outputnode.{field}', f'inputnode.{field}')
                                        for field in ('registration', 'prepared')]),
        (back, figures_wf, [('dseg', 'inputnode.dseg'), ('uncertainty', 'inputnode.uncertainty')]),
        (derivatives_wf, outputnode, [(f'outputnode.{field}', field) for field in ('dseg', 'morph', 'qc')]),
    ])
    # fmt: on
    if save_probseg:
        ds_probseg_wf = init_ds_probseg_wf(
            record=record, bundle=bundle, output_dir=output_dir, mem_gb=heavy_gb or 4.0
        )
        # fmt: off
        workflow.connect([
            (scan, ds_probseg_wf, [('out_file', 'inputnode.in_file')]),
            (preprocessing_wf, ds_probseg_wf, [('outputnode.registration', 'inputnode.registration')]),
            (segment, ds_probseg_wf, [('posterior', 'inputnode.posterior')]),
            (measure, ds_probseg_wf, [('provenance', 'inputnode.provenance')]),
        ])
        # fmt: on
    if labels is not None:
        agreement_wf = init_agreement_wf(
            record=record, labels=labels, output_dir=output_dir, mem_gb=heavy_gb or 2.0
        )
        # fmt: off
        workflow.connect([
            (scan, agreement_wf, [('out_file', 'inputnode.in_file')]),
            (back, agreement_wf, [('dseg', 'inputnode.dseg')]),
            (measure, agreement_wf, [('provenance', 'inputnode.provenance')]),
        ])
        # fmt: on
    for template in templates:
        template_wf = init_template_wf(
            template=template,
            record=record,
            bundle=bundle,
            output_dir=output_dir,
            label_resampling=label_resampling,
            threads=threads,
            random_seed=random_seed,
            mem_gb=heavy_gb or 2.0,
            name=f'template_{template.label.replace("+", "_")}_wf',
        )
        # fmt: off
        workflow.connect([
            (scan, template_wf, [('out_file', 'inputnode.in_file')]),
            (preprocessing_wf, template_wf, [('outputnode.registration', 'inputnode.registration')]),
            (segment, template_wf, [('posterior', 'inputnode.posterior')]),
            (measure, template_wf, [('provenance', 'inputnode.provenance')]),
        ])
        # fmt: on
    return workflow


def check_rules(record) -> dict:
    """Say what a scan has to be, from what the query found.

    >>> from bids_brainseg.workflows.examples import example_record
    >>> check_rules(example_record(modality='ct'))
    {'modality': 'ct'}
    >>> check_rules(example_record(modality='dwi', volumes=(1, 2)))
    {'modality': 'dwi', 'volumes': [1, 2]}
    """
    rules = {'modality': record.modality}
    return rules if record.volumes is None else rules | {'volumes': list(record.volumes)}


def model_facts(bundle) -> dict:
    """Pick what the measures need to know of a bundle."""
    plain = ('name', 'weights_sha256', 'reference_name', 'icv_mm3', 'cv_threshold')
    return {name: getattr(bundle, name) for name in plain} | {'qc': dict(bundle.qc)}

# SPDX-License-Identifier: Apache-2.0
"""The segmentation of a scan in the space of a template."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.images import CheckImage
from ..interfaces.outputs import DerivativeSink
from ..interfaces.templates import PackagedTemplate
from ..records import Bundle, ImageRecord, Template
from .descriptions import RESAMPLING
from .outputs import init_ds_transforms_wf
from .steps import coregister_node, resample_to_scan_node


def init_template_wf(
    *,
    template: Template,
    record: ImageRecord,
    bundle: Bundle,
    output_dir: Path,
    label_resampling: str = 'posterior',
    threads: int = 1,
    random_seed: int = 0,
    mem_gb: float = 2.0,
    name: str | None = None,
) -> Workflow:
    """Align a template to the model's reference and resample a segmentation to its grid.

    The template is aligned just as a scan is, unless its affine is packaged; the posterior, in the space of
    the reference, is resampled to the grid of the template as it is to that of the scan: once.

    Parameters
    ----------
    template : Template
        Name, entities and file of the template, and the model with the reference to align it to, in its own
        contrast.
    record, bundle : ImageRecord, Bundle
        The scan, and the model that segments it.
    output_dir : Path
        Root of the derivatives.
    label_resampling : str
        ``'posterior'`` or ``'nearest'``.
    threads, random_seed : int
        Processor threads of one step; seed of the registration's sampler.
    mem_gb : float
        Memory that one step may take, GB.
    name : str, optional
        By default made from the template's.

    Inputs
    ------
    in_file
        Checked scan.
    registration
        JSON with the 4x4 RAS matrix from points of the reference to points of the scan.
    posterior
        Mean softmax on the network grid.
    provenance
        How they were made.

    Outputs
    -------
    dseg
        Labels on the template's grid.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record, example_template
    >>> scan = {'record': example_record(), 'bundle': example_bundle()}
    >>> wf = init_template_wf(template=example_template(), output_dir=Path('out'), **scan)
    """
    workflow = Workflow(name=name or f'template_{template.label.replace("+", "_")}_wf')
    fields = ['in_file', 'registration', 'posterior', 'provenance']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['dseg']), name='outputnode')
    how = (
        f'The template {template.label} was aligned to the reference in the same way'
        if template.packaged is None
        else f'The affine from the reference to the template {template.label} is part of the program'
    )
    workflow.__desc__ = f'{how}, and {RESAMPLING[label_resampling].format(image="the template")}.\n'

    if template.packaged is None:
        check = pe.Node(CheckImage(in_file=str(template.path)), name='check', mem_gb=mem_gb)
        coregister = coregister_node(
            bundle=template.aligned_to, threads=threads, random_seed=random_seed, mem_gb=mem_gb
        )
        workflow.connect([(check, coregister, [('out_file', 'in_file')])])
        grid, registration = (check, 'out_file'), (coregister, 'registration')
    else:
        packaged = pe.Node(PackagedTemplate(template=template), name='packaged')
        grid, registration = (packaged, 'grid'), (packaged, 'registration')
    resample_to_scan = resample_to_scan_node(
        bundle=bundle, label_resampling=label_resampling, threads=threads, mem_gb=mem_gb
    )
    ds_dseg = pe.Node(
        DerivativeSink(
            record=record,
            output_dir=str(output_dir),
            suffix='dseg',
            entities=dict(template.entities),
            spatial_reference=template.path.name,
        ),
        name='ds_dseg',
    )
    ds_transforms_wf = init_ds_transforms_wf(
        record=record, reference_name=template.label, output_dir=output_dir
    )
    # fmt: off
    workflow.connect([
        (inputnode, resample_to_scan, [('posterior', 'posterior')]),  # no uncertainty: nobody writes it there
        (inputnode, ds_dseg, [('provenance', 'provenance')]),
        (inputnode, ds_transforms_wf, [(field, f'inputnode.{field}')
                                       for field in ('in_file', 'registration', 'provenance')]),
        (grid[0], resample_to_scan, [(grid[1], 'in_file')]),
        (grid[0], ds_transforms_wf, [(grid[1], 'inputnode.reference')]),
        (registration[0], resample_to_scan, [(registration[1], 'registration')]),
        (registration[0], ds_transforms_wf, [(registration[1], 'inputnode.onward')]),
        (resample_to_scan, ds_dseg, [('dseg_gz', 'in_file')]),
        (ds_dseg, outputnode, [('out_file', 'dseg')]),
    ])
    # fmt: on
    return workflow

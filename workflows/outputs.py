# SPDX-License-Identifier: Apache-2.0
"""From results to derivatives."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.figures import AlignmentFigure, ContoursFigure, Thumbnail, UncertaintyFigure, ViewerFigure
from ..interfaces.freesurfer import AsegStats, BrainMask, FreeSurferLabels
from ..interfaces.outputs import FREESURFER_SEG, DerivativeSink, DocumentSink, FigureSink, TransformSink
from ..interfaces.probabilities import ScanProbabilities
from ..interfaces.registration import WriteTransforms
from ..records import Bundle, ImageRecord


def init_derivatives_wf(
    *, record: ImageRecord, bundle: Bundle, output_dir: Path, name: str = 'derivatives_wf'
) -> Workflow:
    """Write images, tables and transforms of one scan under their final names, with their sidecars.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    bundle : Bundle
        Names the reference.
    output_dir : Path
        Root of the derivatives.

    Inputs
    ------
    in_file
        Checked scan.
    dseg_gz, uncertainty_gz
        Labels and normalized entropy on the scan's own grid, compressed.
    morph, qc
        Table of volumes; JSON with every QC number and the verdict.
    methods
        How the scan was processed, in words; becomes part of the JSON.
    registration
        JSON with the 4x4 RAS matrix from points of the reference to points of the scan.
    provenance
        How all of it was made.

    Outputs
    -------
    dseg, uncertainty, morph, qc
        Paths of the derivatives.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_derivatives_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = Workflow(name=name)
    fields = ['in_file', 'dseg_gz', 'uncertainty_gz', 'morph', 'qc', 'methods', 'registration', 'provenance']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(
        niu.IdentityInterface(fields=['dseg', 'uncertainty', 'morph', 'qc']), name='outputnode'
    )
    common = {'record': record, 'output_dir': str(output_dir)}

    ds_dseg = pe.Node(DerivativeSink(suffix='dseg', **common), name='ds_dseg')
    ds_uncertainty = pe.Node(DerivativeSink(suffix='uncertainty', **common), name='ds_uncertainty')
    ds_morph = pe.Node(DerivativeSink(suffix='morph', **common), name='ds_morph')
    ds_qc = pe.Node(DocumentSink(suffix='qc', **common), name='ds_qc')
    ds_transforms_wf = init_ds_transforms_wf(
        record=record,
        reference_name=bundle.reference_name,
        output_dir=output_dir,
    )
    ds_transforms_wf.inputs.inputnode.reference = str(bundle.reference_path)
    described = [ds_dseg, ds_uncertainty, ds_morph]  # the qc file describes itself

    # fmt: off
    workflow.connect([
        *[(inputnode, node, [('provenance', 'provenance')]) for node in described],
        (inputnode, ds_dseg, [('dseg_gz', 'in_file')]),
        (inputnode, ds_uncertainty, [('uncertainty_gz', 'in_file')]),
        (inputnode, ds_morph, [('morph', 'in_file')]),
        (inputnode, ds_qc, [('qc', 'in_file'), ('methods', 'methods')]),
        (inputnode, ds_transforms_wf, [(field, f'inputnode.{field}')
                                       for field in ('in_file', 'registration', 'provenance')]),
        (ds_dseg, outputnode, [('out_file', 'dseg')]),
        (ds_uncertainty, outputnode, [('out_file', 'uncertainty')]),
        (ds_morph, outputnode, [('out_file', 'morph')]),
        (ds_qc, outputnode, [('out_file', 'qc')]),
    ])
    # fmt: on
    return workflow


def init_ds_transforms_wf(
    *,
    record: ImageRecord,
    reference_name: str,
    output_dir: Path,
    name: str = 'ds_transforms_wf',
) -> Workflow:
    """Write the affine between a scan and another image, both ways, as ITK and FreeSurfer read it.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    reference_name : str
        Name of the other image: the reference of the model, or a template.
    output_dir : Path
        Root of the derivatives.

    Inputs
    ------
    in_file
        Checked scan.
    reference
        The other image, whose grid is kept in the LTA.
    registration
        JSON with the 4x4 RAS matrix from points of the model's reference to points of the scan.
    onward
        For a template: the same from the model's reference to the template.
    provenance
        How it was made.

    Outputs
    -------
    scan_to_reference, reference_to_scan, scan_to_reference_lta
        Paths of the derivatives.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_record
    >>> scan = {'record': example_record(), 'output_dir': Path('out')}
    >>> wf = init_ds_transforms_wf(reference_name='A', **scan)
    """
    workflow = Workflow(name=name)
    written = ['scan_to_reference', 'reference_to_scan', 'scan_to_reference_lta']
    fields = ['in_file', 'reference', 'registration', 'onward']
    inputnode = pe.Node(niu.IdentityInterface(fields=[*fields, 'provenance']), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=written), name='outputnode')
    common = {'record': record, 'output_dir': str(output_dir), 'reference': reference_name}

    transforms = pe.Node(WriteTransforms(), name='transforms')
    ds_xfm = pe.Node(TransformSink(**common), name='ds_xfm')
    ds_xfm_inverse = pe.Node(TransformSink(inverse=True, **common), name='ds_xfm_inverse')
    ds_xfm_lta = pe.Node(TransformSink(extension='.lta', **common), name='ds_xfm_lta')
    sinks = dict(zip(written, (ds_xfm, ds_xfm_inverse, ds_xfm_lta), strict=True))
    # fmt: off
    workflow.connect([
        (inputnode, transforms, [(field, field) for field in fields]),
        *[(inputnode, sink, [('provenance', 'provenance')]) for sink in sinks.values()],
        *[(transforms, sink, [(field, 'in_file')]) for field, sink in sinks.items()],
        *[(sink, outputnode, [('out_file', field)]) for field, sink in sinks.items()],
    ])
    # fmt: on
    return workflow


def init_ds_freesurfer_wf(
    *, record: ImageRecord, output_dir: Path, mem_gb: float = 1.5, name: str = 'ds_freesurfer_wf'
) -> Workflow:
    """Write labels with FreeSurfer's numbers, the statistics of FreeSurfer's tables, and a mask of the brain.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    output_dir : Path
        Root of the derivatives.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        Checked scan.
    dseg
        Labels on the scan's own grid.
    morph
        Table of volumes.
    provenance
        How they were made.

    Outputs
    -------
    aseg, mask, stats
        Paths of the derivatives.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_record
    >>> wf = init_ds_freesurfer_wf(record=example_record(), output_dir=Path('out'))
    """
    workflow = Workflow(name=name)
    fields = ['in_file', 'dseg', 'morph', 'provenance']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['aseg', 'mask', 'stats']), name='outputnode')
    workflow.__desc__ = (
        'The mask of the brain is the union of all structures, closed by a ball of 5 mm and filled.\n'
    )
    numbers = pe.Node(FreeSurferLabels(), name='numbers', mem_gb=mem_gb)
    brain_mask = pe.Node(BrainMask(), name='brain_mask', mem_gb=mem_gb)
    statistics = pe.Node(AsegStats(record=record), name='statistics', mem_gb=mem_gb)
    common = {'record': record, 'output_dir': str(output_dir)}
    ds_aseg = pe.Node(
        DerivativeSink(suffix='dseg', entities={'seg': FREESURFER_SEG}, **common), name='ds_aseg'
    )
    ds_mask = pe.Node(DerivativeSink(suffix='mask', **common), name='ds_mask')
    ds_stats = pe.Node(DerivativeSink(suffix='aseg', **common), name='ds_stats')
    # fmt: off
    workflow.connect([
        (inputnode, numbers, [('dseg', 'dseg')]),
        (inputnode, brain_mask, [('dseg', 'dseg')]),
        (inputnode, statistics, [(field, field) for field in fields]),
        (inputnode, ds_aseg, [('provenance', 'provenance')]),
        (inputnode, ds_mask, [('provenance', 'provenance')]),
        (numbers, ds_aseg, [('out_file', 'in_file')]),
        (brain_mask, ds_mask, [('out_file', 'in_file')]),
        (statistics, ds_stats, [('out_file', 'in_file')]),  # which describes itself
        (ds_aseg, outputnode, [('out_file', 'aseg')]),
        (ds_mask, outputnode, [('out_file', 'mask')]),
        (ds_stats, outputnode, [('out_file', 'stats')]),
    ])
    # fmt: on
    return workflow


def init_ds_probseg_wf(
    *, record: ImageRecord, bundle: Bundle, output_dir: Path, mem_gb: float = 4.0, name: str = 'ds_probseg_wf'
) -> Workflow:
    """Write the probability of each structure on the scan's own grid.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    bundle : Bundle
        Names the network's grid.
    output_dir : Path
        Root of the derivatives.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        Checked scan.
    posterior
        Mean softmax on the network grid.
    registration
        JSON with the 4x4 RAS matrix from points of the reference to points of the scan.
    provenance
        How it was made.

    Outputs
    -------
    probseg
        Path of the derivative.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_ds_probseg_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = Workflow(name=name)
    fields = ['in_file', 'posterior', 'registration', 'provenance']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['probseg']), name='outputnode')
    workflow.__desc__ = (
        'The mean probability of each structure was interpolated linearly onto the grid of the scan.\n'
    )
    probabilities = pe.Node(
        ScanProbabilities(grid_affine=[list(row) for row in bundle.grid_affine]),
        name='probabilities',
        mem_gb=mem_gb,
    )
    ds_probseg = pe.Node(
        DerivativeSink(record=record, output_dir=str(output_dir), suffix='probseg'), name='ds_probseg'
    )
    # fmt: off
    workflow.connect([
        (inputnode, probabilities, [(field, field) for field in fields[:3]]),
        (inputnode, ds_probseg, [('provenance', 'provenance')]),
        (probabilities, ds_probseg, [('out_file', 'in_file')]),
        (ds_probseg, outputnode, [('out_file', 'probseg')]),
    ])
    # fmt: on
    return workflow


def init_figures_wf(
    *, record: ImageRecord, bundle: Bundle, output_dir: Path, mem_gb: float = 1.5, name: str = 'figures_wf'
) -> Workflow:
    """Draw the figures of one scan.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    bundle : Bundle
        Names the reference, and says how uncertain its network usually is.
    output_dir : Path
        Root of the derivatives.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        Checked scan.
    dseg, uncertainty
        Labels and normalized entropy on the scan's own grid.
    preprocessed
        Scan on the network grid.
    registration
        JSON with the matrix and its similarity.

    Outputs
    -------
    alignment, contours, viewer, uncertainty, thumbnail
        Paths of the figures.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_figures_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = Workflow(name=name)
    fields = ['in_file', 'dseg', 'uncertainty', 'preprocessed', 'registration']
    kinds = ['alignment', 'contours', 'viewer', 'uncertainty', 'thumbnail']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=kinds), name='outputnode')

    reference = {'reference': str(bundle.reference_path), 'reference_mask': str(bundle.mask_path)}
    alignment = pe.Node(AlignmentFigure(**reference), name='alignment', mem_gb=mem_gb)
    contours = pe.Node(ContoursFigure(), name='contours', mem_gb=mem_gb)
    limits = list(bundle.entropy_limits)
    uncertainty = pe.Node(UncertaintyFigure(limits=limits), name='uncertainty', mem_gb=mem_gb)
    viewer = pe.Node(ViewerFigure(limits=limits), name='viewer', mem_gb=mem_gb)
    thumbnail = pe.Node(Thumbnail(), name='thumbnail', mem_gb=mem_gb)
    common = {'record': record, 'output_dir': str(output_dir)}
    ds_alignment, ds_contours, ds_viewer, ds_uncertainty, ds_thumbnail = (
        pe.Node(FigureSink(kind=kind, **common), name=f'ds_{kind}') for kind in kinds
    )
    # fmt: off
    workflow.connect([
        (inputnode, alignment, [('preprocessed', 'preprocessed'), ('registration', 'registration')]),
        (inputnode, contours, [('in_file', 'in_file'), ('dseg', 'dseg')]),
        (inputnode, viewer, [('in_file', 'in_file'), ('dseg', 'dseg'), ('uncertainty', 'uncertainty')]),
        (inputnode, uncertainty, [('in_file', 'in_file'), ('dseg', 'dseg'), ('uncertainty', 'uncertainty')]),
        (inputnode, thumbnail, [('in_file', 'in_file'), ('dseg', 'dseg')]),
        (alignment, ds_alignment, [('out_file', 'in_file')]),
        (contours, ds_contours, [('out_file', 'in_file')]),
        (viewer, ds_viewer, [('out_file', 'in_file')]),
        (uncertainty, ds_uncertainty, [('out_file', 'in_file')]),
        (thumbnail, ds_thumbnail, [('out_file', 'in_file')]),
        (ds_alignment, outputnode, [('out_file', 'alignment')]),
        (ds_contours, outputnode, [('out_file', 'contours')]),
        (ds_viewer, outputnode, [('out_file', 'viewer')]),
        (ds_uncertainty, outputnode, [('out_file', 'uncertainty')]),
        (ds_thumbnail, outputnode, [('out_file', 'thumbnail')]),
    ])
    # fmt: on
    return workflow

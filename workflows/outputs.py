# SPDX-License-Identifier: Apache-2.0
"""From results to derivatives."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from ..interfaces.figures import AlignmentFigure, ContoursFigure, UncertaintyFigure, ViewerFigure
from ..interfaces.outputs import DerivativeSink, FigureSink, TransformSink
from ..interfaces.probabilities import ScanProbabilities
from ..interfaces.registration import WriteTransforms


def init_derivatives_wf(
    *, record, reference_name: str, output_dir: Path, name: str = 'derivatives_wf'
) -> pe.Workflow:
    """Write images, tables and transforms of one scan under their final names, with their sidecars.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    reference_name : str
        Name of the reference of the model.
    output_dir : Path
        Root of the derivatives.

    Inputs
    ------
    dseg, uncertainty
        Labels and normalised entropy on the scan's own grid.
    morph, qc
        Table of volumes; JSON with every QC number and the verdict.
    registration
        JSON with the 4x4 RAS matrix from points of the reference to points of the scan.
    provenance
        JSON: how all of it was made.

    Outputs
    -------
    dseg, uncertainty, morph, qc, scan_to_reference, reference_to_scan
        Paths of the derivatives.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_record
    >>> wf = init_derivatives_wf(record=example_record(), reference_name='A', output_dir=Path('out'))
    """
    workflow = pe.Workflow(name=name)
    measured = ['dseg', 'uncertainty', 'morph', 'qc']
    inputnode = pe.Node(
        niu.IdentityInterface(fields=[*measured, 'registration', 'provenance']), name='inputnode'
    )
    outputnode = pe.Node(
        niu.IdentityInterface(fields=[*measured, 'scan_to_reference', 'reference_to_scan']), name='outputnode'
    )
    common = {'record': record, 'output_dir': str(output_dir)}

    transforms = pe.Node(WriteTransforms(), name='transforms')
    ds_dseg = pe.Node(DerivativeSink(suffix='dseg', **common), name='ds_dseg')
    ds_uncertainty = pe.Node(DerivativeSink(suffix='uncertainty', **common), name='ds_uncertainty')
    ds_morph = pe.Node(DerivativeSink(suffix='morph', extension='.tsv', **common), name='ds_morph')
    ds_qc = pe.Node(DerivativeSink(suffix='qc', extension='.json', **common), name='ds_qc')
    ds_xfm = pe.Node(TransformSink(reference=reference_name, **common), name='ds_xfm')
    ds_xfm_inverse = pe.Node(
        TransformSink(reference=reference_name, inverse=True, **common), name='ds_xfm_inverse'
    )
    described = [ds_dseg, ds_uncertainty, ds_morph, ds_xfm, ds_xfm_inverse]  # the qc file describes itself

    # fmt: off
    workflow.connect([
        *[(inputnode, node, [('provenance', 'provenance')]) for node in described],
        (inputnode, ds_dseg, [('dseg', 'in_file')]),
        (inputnode, ds_uncertainty, [('uncertainty', 'in_file')]),
        (inputnode, ds_morph, [('morph', 'in_file')]),
        (inputnode, ds_qc, [('qc', 'in_file')]),
        (inputnode, transforms, [('registration', 'registration')]),
        (transforms, ds_xfm, [('scan_to_reference', 'in_file')]),
        (transforms, ds_xfm_inverse, [('reference_to_scan', 'in_file')]),
        (ds_dseg, outputnode, [('out_file', 'dseg')]),
        (ds_uncertainty, outputnode, [('out_file', 'uncertainty')]),
        (ds_morph, outputnode, [('out_file', 'morph')]),
        (ds_qc, outputnode, [('out_file', 'qc')]),
        (ds_xfm, outputnode, [('out_file', 'scan_to_reference')]),
        (ds_xfm_inverse, outputnode, [('out_file', 'reference_to_scan')]),
    ])
    # fmt: on
    return workflow


def init_ds_probseg_wf(*, record, bundle, output_dir: Path, mem_gb: float = 4.0, name: str = 'ds_probseg_wf'):
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
        JSON: how it was made.

    Outputs
    -------
    probseg
        Path of the derivative.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_ds_probseg_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = pe.Workflow(name=name)
    fields = ['in_file', 'posterior', 'registration', 'provenance']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['probseg']), name='outputnode')
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
    *, record, bundle, output_dir: Path, mem_gb: float = 1.5, name: str = 'figures_wf'
) -> pe.Workflow:
    """Draw the figures of one scan.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    bundle : Bundle
        Names the reference.
    output_dir : Path
        Root of the derivatives.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        Checked scan.
    dseg, uncertainty
        Labels and normalised entropy on the scan's own grid.
    prepared
        Scan on the network grid.
    registration
        JSON with the matrix and its similarity.

    Outputs
    -------
    alignment, contours, viewer, uncertainty
        Paths of the figures.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> wf = init_figures_wf(record=example_record(), bundle=example_bundle(), output_dir=Path('out'))
    """
    workflow = pe.Workflow(name=name)
    fields = ['in_file', 'dseg', 'uncertainty', 'prepared', 'registration']
    kinds = ['alignment', 'contours', 'viewer', 'uncertainty']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=kinds), name='outputnode')

    reference = {'reference': str(bundle.reference_path), 'reference_mask': str(bundle.mask_path)}
    alignment = pe.Node(AlignmentFigure(**reference), name='alignment', mem_gb=mem_gb)
    contours = pe.Node(ContoursFigure(), name='contours', mem_gb=mem_gb)
    uncertainty = pe.Node(UncertaintyFigure(), name='uncertainty', mem_gb=mem_gb)
    viewer = pe.Node(ViewerFigure(), name='viewer', mem_gb=mem_gb)
    common = {'record': record, 'output_dir': str(output_dir)}
    ds_alignment, ds_contours, ds_viewer, ds_uncertainty = (
        pe.Node(FigureSink(kind=kind, **common), name=f'ds_{kind}') for kind in kinds
    )
    ds_viewer.inputs.extension = '.json'
    # fmt: off
    workflow.connect([
        (inputnode, alignment, [('prepared', 'prepared'), ('registration', 'registration')]),
        (inputnode, contours, [('in_file', 'in_file'), ('dseg', 'dseg')]),
        (inputnode, viewer, [('in_file', 'in_file'), ('dseg', 'dseg'), ('uncertainty', 'uncertainty')]),
        (inputnode, uncertainty, [('in_file', 'in_file'), ('dseg', 'dseg'), ('uncertainty', 'uncertainty')]),
        (alignment, ds_alignment, [('out_file', 'in_file')]),
        (contours, ds_contours, [('out_file', 'in_file')]),
        (viewer, ds_viewer, [('out_file', 'in_file')]),
        (uncertainty, ds_uncertainty, [('out_file', 'in_file')]),
        (ds_alignment, outputnode, [('out_file', 'alignment')]),
        (ds_contours, outputnode, [('out_file', 'contours')]),
        (ds_viewer, outputnode, [('out_file', 'viewer')]),
        (ds_uncertainty, outputnode, [('out_file', 'uncertainty')]),
    ])
    # fmt: on
    return workflow

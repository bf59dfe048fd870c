# SPDX-License-Identifier: Apache-2.0
"""From a segmented scan and its reference labels to their agreement."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.agreement import CompareSegmentations, ComparisonFigure, ResampleReferenceLabels
from ..interfaces.outputs import DerivativeSink, FigureSink
from ..records import ImageRecord, ReferenceLabels


def init_agreement_wf(
    *,
    record: ImageRecord,
    labels: ReferenceLabels,
    output_dir: Path,
    mem_gb: float = 2.0,
    name: str = 'agreement_wf',
) -> Workflow:
    """Compare a segmentation with reference labels on the scan's own grid, and write the comparison.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    labels : ReferenceLabels
        The labels and what their numbers mean.
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
    provenance
        How they were made.

    Outputs
    -------
    agreement
        Path of the table of the scan.
    comparison
        Path of the figure.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_labels, example_record
    >>> wf = init_agreement_wf(record=example_record(), labels=example_labels(), output_dir=Path('out'))
    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file', 'dseg', 'provenance']), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['agreement', 'comparison']), name='outputnode')
    workflow.__desc__ = (
        'The segmentation was compared with reference labels, resampled to the grid of the scan by nearest '
        'neighbor: overlap (Dice), average symmetric surface distance, and volumes.\n'
    )
    common = {'record': record, 'output_dir': str(output_dir)}

    resample_labels = pe.Node(
        ResampleReferenceLabels(labels=str(labels.path), table=labels.table),
        name='resample_labels',
        mem_gb=mem_gb,
    )
    compare = pe.Node(CompareSegmentations(record=record, source=labels.uri), name='compare', mem_gb=mem_gb)
    figure = pe.Node(ComparisonFigure(), name='figure', mem_gb=mem_gb)
    ds_agreement = pe.Node(DerivativeSink(suffix='agreement', **common), name='ds_agreement')
    ds_document = pe.Node(DerivativeSink(suffix='agreement', extension='.json', **common), name='ds_document')
    ds_figure = pe.Node(FigureSink(kind='comparison', **common), name='ds_figure')
    # fmt: off
    workflow.connect([
        (inputnode, resample_labels, [('in_file', 'in_file')]),
        (inputnode, compare, [('in_file', 'in_file'), ('dseg', 'dseg'), ('provenance', 'provenance')]),
        (resample_labels, compare, [('out_file', 'reference')]),
        (inputnode, figure, [('in_file', 'in_file'), ('dseg', 'dseg')]),
        (resample_labels, figure, [('out_file', 'reference')]),
        (compare, ds_agreement, [('table', 'in_file')]),
        (compare, ds_document, [('document', 'in_file')]),
        (figure, ds_figure, [('out_file', 'in_file')]),
        (ds_agreement, outputnode, [('out_file', 'agreement')]),
        (ds_figure, outputnode, [('out_file', 'comparison')]),
    ])
    # fmt: on
    return workflow

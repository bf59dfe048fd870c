# SPDX-License-Identifier: Apache-2.0
"""What the levels share: select scans, check the dataset, run the graph, assess the outcomes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..bids.query import Selection, select_images
from ..bids.validation import log_findings, validation_findings
from ..files import TEMPORARY_LETTERS, write_json, write_text
from ..pages.methods import bibliography, methods_text
from ..records import Bundle, ImageRecord, Outcome
from ..results.expected import expected_files, result_files
from ..results.outcomes import reason_of
from ..settings import Settings, graph_name
from ..workflows.base import init_brainseg_wf, scan_wf_name, subject_wf_name
from .bundles import choose_bundles
from .claim import claimed
from .execution import configure, run_workflow, write_graph
from .folders import check_writable, tolerated
from .outcome import assess_outcome

#: A GPU is planned with only where one of these exists.
GPU_DEVICES = ('/dev/nvidia0', '/dev/kfd', '/dev/dxg')


def select_scans(settings: Settings) -> Selection:
    """Find the scans that the user selected, and account for the other images.

    Raises
    ------
    BidsError
        Exit code 16: not a BIDS dataset. 18: nothing is selected. 2: the filters make no sense.
    """
    return select_images(
        settings.bids_dir,
        modalities=settings.modalities,
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        bids_filters=settings.bids_filters,
        database_dir=settings.bids_database_dir,
    )


def select_runnable(
    settings: Settings, records: Iterable[ImageRecord]
) -> tuple[list[ImageRecord], list[Outcome], dict[str, Bundle]]:
    """Separate the scans that can be segmented from those that cannot.

    Returns
    -------
    runnable : list of ImageRecord
        Scans that are usable and have a model.
    outcomes : list of Outcome
        The others, with the reason.
    bundles : dict of Bundle
        Modality -> model, for the modalities of the usable scans.
    """
    records = list(records)
    usable = [record for record in records if record.skip is None]
    bundles, missing = choose_bundles(settings, dict.fromkeys(record.modality for record in usable))
    outcomes = [unusable(record) for record in records if record.skip is not None]
    runnable, limit = [], longest_name(settings.output_dir)
    for record in usable:
        if record.modality in missing:
            outcomes.append(Outcome(record, 'failed', missing[record.modality]))
        elif reason := too_long(record, settings, bundles[record.modality], limit):
            outcomes.append(Outcome(record, 'failed', reason))
        else:
            runnable.append(record)
    return runnable, outcomes, bundles


def too_long(record: ImageRecord, settings: Settings, bundle: Bundle, limit: int) -> str | None:
    """Say that an output would have a longer name than the file system takes; None if all fit."""
    names = [
        path.name
        for path in expected_files(
            record, settings.output_dir, reference_name=bundle.reference_name, save_probseg=True
        )
    ]
    longest = max(names, key=len)
    letters = len(os.fsencode(longest)) + TEMPORARY_LETTERS
    if letters <= limit:
        return None
    return (
        f'its labels are too long: {longest} would have {letters} letters while it is written, and the file '
        f'system takes {limit}; rename the scan with labels that are {letters - limit} letters shorter'
    )


def longest_name(folder: Path) -> int:
    """Return how many letters the name of a file may have in a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        return os.pathconf(existing, 'PC_NAME_MAX')
    except (OSError, ValueError):  # not every file system says
        return 255


def unusable(record: ImageRecord) -> Outcome:
    """Return the outcome of a scan that cannot be used: a defect is a failure, a choice is not."""
    return Outcome(record, 'failed' if record.broken else 'skipped', record.skip or '')


def validate_dataset(settings: Settings) -> None:
    """Run the BIDS validator, if it is installed; log its findings and save them for the report."""
    if settings.skip_bids_validation or settings.reports_only:
        return
    findings = validation_findings(settings.bids_dir)
    log_findings(findings)
    if findings is not None:
        with tolerated('the findings of the BIDS validator'):
            write_json(findings, settings.output_dir / 'logs' / 'bids_validation.json')


def resolve_device(settings: Settings) -> Settings:
    """Plan for a GPU only where there is one; the network process has the last word."""
    if settings.device == 'auto' and not any(Path(name).exists() for name in GPU_DEVICES):
        return replace(settings, device='cpu')
    return settings


def run_graph(
    settings: Settings,
    records: Sequence[ImageRecord],
    bundles: Mapping[str, Bundle],
    *,
    templates: Mapping | None = None,
    comparisons: Mapping | None = None,
) -> tuple[list[Outcome], str | None]:
    """Segment scans and assess what became of each.

    Parameters
    ----------
    settings : Settings
        Of the run.
    records : sequence of ImageRecord
        Scans of :func:`select_runnable`.
    bundles : mapping
        Modality -> model.
    templates : mapping, optional
        Modality -> templates in whose spaces the segmentation is written as well.
    comparisons : mapping, optional
        Of an evaluation: (subject, key) of a scan -> its reference labels, and how the scan is corrupted.

    Returns
    -------
    outcomes : list of Outcome
        One for each scan.
    complaint : str or None
        The reason that nipype gave if the run ended early.
    """
    if not records:
        return [], None
    check_writable(settings.work_dir, 'work folder')
    with claimed(settings.work_dir, [f'{record.subject} {record.key}' for record in records]):
        prepare_work(settings, records)
        configure(settings)
        workflow = init_brainseg_wf(
            settings=settings, records=records, bundles=bundles, templates=templates, comparisons=comparisons
        )
        if settings.write_graph:
            print(f'graph: {write_graph(workflow)}')
        complaint = run_workflow(workflow, settings)
    complaint = complaint and reason_of(complaint)
    compared = comparisons is not None
    return [
        assess_outcome(
            record, settings, result_files(record, settings.output_dir, compared=compared), complaint
        )
        for record in records
    ], complaint


def prepare_work(settings: Settings, records: Sequence[ImageRecord]) -> None:
    """Remove old results with ``--clean-workdir``, save the settings with the log."""
    if settings.clean_workdir:
        for subject in {record.subject for record in records}:
            folder = settings.work_dir / graph_name('brainseg') / subject_wf_name(subject)
            shutil.rmtree(folder, ignore_errors=True)
    write_settings(settings, records)


def write_settings(settings: Settings, records: Iterable[ImageRecord]) -> None:
    """Save the settings of the run in the log folder of each subject and session."""
    for folder in {settings.log_dir(record.subject, record.session) for record in records}:
        with tolerated('the settings'):
            write_text(settings.to_toml(), folder / 'settings.toml')


def methods_of(qcs: Iterable[Mapping]) -> tuple[str, str]:
    """Describe how scans were processed, from their QC documents: text, and BibTeX."""
    qcs = list(qcs)
    return methods_text(qcs), bibliography(qcs)


def planned_methods(workflow: Workflow, records: Iterable[ImageRecord]) -> tuple[str, str]:
    """Describe how scans will be processed by a graph: text, and BibTeX."""
    documents = []
    for record in records:
        scan_wf = workflow.get_node(f'{subject_wf_name(record.subject)}.{scan_wf_name(record)}')
        documents.append({'modality': record.modality, 'Methods': scan_wf.visit_desc()})
    return methods_text(documents), bibliography(documents)

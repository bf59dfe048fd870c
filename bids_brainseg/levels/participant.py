# SPDX-License-Identifier: Apache-2.0
"""The participant level: segment scans, write the page of each participant and the methods."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread

from ..bids.participants import read_covariates
from ..bids.query import Selection
from ..bids.visits import participant_facts, scan_date
from ..errors import BrainsegError
from ..files import write_text
from ..pages.participant import alignments, write_participant_page
from ..records import ImageRecord, Outcome, ScanResult
from ..results.logs import keep_methods, read_methods, unread_logs
from ..results.outcomes import read_unused
from ..results.scans import missing_figures, read_scans, subjects_of
from ..settings import Settings
from ..workflows.base import init_brainseg_wf
from .bundles import choose_templates
from .dry_run import format_dry_run
from .folders import copy_model_cards, prepare_output, tolerated
from .outcome import account_for_others, format_summary, previous_outcomes, reproduce, write_outcomes
from .scans import (
    methods_of,
    planned_methods,
    resolve_device,
    run_graph,
    select_runnable,
    select_scans,
    unusable,
    validate_dataset,
)

LOGGER = logging.getLogger('bids_brainseg')


def run(settings: Settings) -> int:
    """Process the participants of a dataset.

    Returns
    -------
    int
        0; 1 if a scan failed, or nothing could be segmented, or a page was not written.

    Raises
    ------
    BidsError
        If the dataset cannot be used, see :func:`bids_brainseg.levels.scans.select_scans`.
    """
    selection = select_scans(settings)
    if settings.dry_run:
        return dry_run(settings, selection)
    if settings.boilerplate_only:
        return write_boilerplate(settings, selection.records)
    if settings.reports_only:
        return report_again(settings, selection)
    prepare_output(settings)
    return segment(settings, selection)


def dry_run(settings: Settings, selection: Selection) -> int:
    """List what would run and what it would write."""
    runnable, outcomes, bundles = select_runnable(settings, selection.records)
    templates = choose_templates(settings, bundles)
    print(format_dry_run(settings, runnable, bundles, templates, outcomes, selection))
    return 0


def write_boilerplate(settings: Settings, records: Sequence[ImageRecord]) -> int:
    """Write the methods text of the graph that would run."""
    runnable, outcomes, bundles = select_runnable(settings, records)
    if not runnable:
        reasons = '; '.join(dict.fromkeys(outcome.reason for outcome in outcomes[:3]))
        raise BrainsegError(f'--boilerplate-only: no scan can be segmented: {reasons}')
    workflow = init_brainseg_wf(
        settings=settings,
        records=runnable,
        bundles=bundles,
        templates=choose_templates(settings, bundles),
    )
    prepare_output(settings)
    print(write_citations(planned_methods(workflow, runnable), settings.output_dir))
    return 0


def report_again(settings: Settings, selection: Selection) -> int:
    """Write the pages of what earlier runs left, and the summary."""
    began = time.monotonic()
    usable = [record for record in selection.records if record.skip is None]
    previous = previous_outcomes(usable, settings.output_dir)
    if all(outcome.status == 'skipped' for outcome in previous):
        raise BrainsegError(
            f'--reports-only: {settings.output_dir} holds no results of the {len(usable)} scans that are '
            'selected; name the OUTPUT_DIR of an earlier run, or leave --reports-only out to segment them'
        )
    prepare_output(settings)
    outcomes = [unusable(record) for record in selection.records if record.skip is not None]
    return report(settings, selection, [*outcomes, *previous], began)


def segment(settings: Settings, selection: Selection) -> int:
    """Segment the scans, then write the pages and the summary."""
    began = time.monotonic()
    # It takes as long as building the graph does. A command that ends early does not wait for it.
    validation = Thread(target=validate_dataset, args=(settings,), daemon=True)
    validation.start()
    settings = resolve_device(settings)
    runnable, outcomes, bundles = select_runnable(settings, selection.records)
    templates = choose_templates(settings, bundles)
    with tolerated('the cards of the models') as unwritten:
        copy_model_cards(bundles.values() if runnable else (), settings.output_dir)
    finished, complaint = run_graph(settings, runnable, bundles, templates=templates)
    validation.join()
    outcomes += finished
    complete = write_outcomes(outcomes, settings, selection.unused) and not unwritten
    code = max(report(settings, selection, outcomes, began), int(not complete))
    failed = any(outcome.status == 'failed' for outcome in outcomes)
    if complaint and not failed:  # older derivatives may hide what was not done this time
        print(f'bids_brainseg: error: the run ended early: {complaint}', file=sys.stderr)
        code = 1
    return 1 if failed or not any(outcome.status == 'done' for outcome in outcomes) else code


def report(settings: Settings, selection: Selection, outcomes: Sequence[Outcome], began: float) -> int:
    """Write the pages of the participants and the methods, print the summary.

    Parameters
    ----------
    settings : Settings
        Of the run.
    selection : Selection
        What the dataset holds.
    outcomes : sequence of Outcome
        Of the scans.
    began : float
        When, by the monotonic clock.

    Returns
    -------
    int
        0, or 1 if a page was not written.
    """
    subjects = dict.fromkeys(record.subject for record in selection.records)
    # only their own outputs: reading those of others would cost every job of an array what all of them wrote
    results = {subject: read_scans(settings.output_dir, subject) for subject in subjects}
    every = [scan for scans in results.values() for scan in scans]
    code = write_reports(settings, results, failures_by_subject(selection.records, outcomes, settings))
    with tolerated('the methods') as unwritten:
        collect_methods(results, settings)
    unread = [f'{scan.name}: {scan.reason}' for scan in every if scan.broken]
    unread += [line for scan in every for line in missing_figures(scan)]
    unread += unread_logs(settings.output_dir, subjects)
    others, seconds = account_for_others(selection), time.monotonic() - began
    print(format_summary(outcomes, settings.output_dir, seconds, others=others, unread=unread))
    return 1 if unwritten else code


def failures_by_subject(
    records: Sequence[ImageRecord], outcomes: Sequence[Outcome], settings: Settings
) -> dict[str, list[dict]]:
    """List for the page of each subject the scans that were not segmented; every subject has a list."""
    subjects: dict[str, list[dict]] = {record.subject: [] for record in records}
    for outcome in outcomes:
        if outcome.status != 'done':
            failure = outcome.as_failure()
            if outcome.status == 'failed':
                failure['command'] = reproduce(outcome.record, settings)
            subjects[outcome.record.subject].append(failure)
    return subjects


def write_reports(
    settings: Settings,
    results: Mapping[str, Sequence[ScanResult]],
    failures: Mapping[str, Sequence[Mapping]],
) -> int:
    """Write the page of each subject; one that fails does not stop the others.

    Parameters
    ----------
    settings : Settings
        Of the run.
    results : mapping
        Subject -> what its outputs hold.
    failures : mapping
        Subject -> its scans that were not segmented, of :func:`failures_by_subject`.

    Returns
    -------
    int
        0, or 1 if a page was not written.
    """
    code, output_dir = 0, settings.output_dir
    peers = alignments(scan for scans in results.values() for scan in scans)
    covariates = read_covariates([settings.bids_dir], results)
    for note in covariates.notes:
        LOGGER.warning('%s', note)
    for subject, scans in results.items():
        try:
            methods, _ = methods_of(scan.qc for scan in scans)
            write_participant_page(
                output_dir,
                subject,
                scans,
                failures=failures[subject],
                methods=methods,
                peers=peers,
                unused=read_unused(output_dir, subject),
                facts=participant_facts(covariates, subject, [scan.session for scan in scans]),
                dates={scan.name: scan_date(settings.bids_dir, scan.source) for scan in scans if scan.source},
            )
        except Exception as error:  # a page is the last thing; whatever went wrong, the derivatives are there
            LOGGER.debug('', exc_info=True)
            reason = f'{type(error).__name__}: {error}'
            print(f'the report of sub-{subject} was not written: {reason}', file=sys.stderr)
            code = 1
    return code


def collect_methods(results: Mapping[str, Sequence[ScanResult]], settings: Settings) -> None:
    """Write the methods text of all results in the output folder, and its references.

    Parameters
    ----------
    results : mapping
        Subject -> its results. What those of other subjects say is kept in ``logs/methods``, one file for
        each text, and removed by a run over all subjects that finds it no longer.
    settings : Settings
        Of the run.
    """
    complete = not settings.participant_label and results.keys() >= subjects_of(settings.output_dir)
    qcs = [scan.qc for scans in results.values() for scan in scans]
    keep_methods(qcs, settings.output_dir, complete=complete)
    write_citations(methods_of(read_methods(settings.output_dir)), settings.output_dir)


def write_citations(texts: tuple[str, str], output_dir: Path) -> Path:
    """Write a methods text and its references, and return where the text is; nothing without a text."""
    path = output_dir / 'logs' / 'CITATION.md'
    methods, references = texts
    if methods:
        write_text(methods + '\n', path)
        write_text(references, path.with_suffix('.bib'))
    return path

# SPDX-License-Identifier: Apache-2.0
"""The participant level: segment scans, write the page of each participant and the methods."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import BrainsegError
from ..files import write_text
from ..pages.participant import alignments, write_participant_page
from ..records import ImageRecord, Outcome
from ..results.scans import read_scans
from ..settings import Settings
from ..workflows.base import init_brainseg_wf
from .bundles import choose_templates
from .dry_run import format_dry_run
from .folders import copy_model_cards, prepare_output
from .outcome import format_summary, previous_outcomes, reproduce, write_outcomes
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
    records = select_scans(settings)
    if settings.dry_run:
        return dry_run(settings, records)
    if settings.boilerplate_only:
        return write_boilerplate(settings, records)
    if settings.reports_only:
        usable = [record for record in records if record.skip is None]
        previous = previous_outcomes(usable, settings.output_dir)
        if all(outcome.status == 'skipped' for outcome in previous):
            raise BrainsegError(
                f'--reports-only: {settings.output_dir} holds no results of the {len(usable)} scans that are '
                'selected; name the OUTPUT_DIR of an earlier run, or leave --reports-only out to segment them'
            )
        prepare_output(settings)
        outcomes = [*map(unusable, (record for record in records if record.skip is not None)), *previous]
        return write_reports(settings, failures_by_subject(records, outcomes, settings))
    prepare_output(settings)
    return segment(settings, records)


def dry_run(settings: Settings, records: Sequence[ImageRecord]) -> int:
    """List what would run and what it would write."""
    runnable, outcomes, bundles = select_runnable(settings, records)
    print(format_dry_run(settings, runnable, bundles, choose_templates(settings, bundles), outcomes))
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


def segment(settings: Settings, records: Sequence[ImageRecord]) -> int:
    """Segment the scans, then write the pages and the summary."""
    began = time.monotonic()
    pool = ThreadPoolExecutor(1)
    validated = pool.submit(validate_dataset, settings)  # takes as long as building the graph does
    pool.shutdown(wait=False)
    settings = resolve_device(settings)
    runnable, outcomes, bundles = select_runnable(settings, records)
    templates = choose_templates(settings, bundles)
    copy_model_cards(bundles.values() if runnable else (), settings.output_dir)
    finished, complaint = run_graph(settings, runnable, bundles, templates=templates)
    validated.result()
    outcomes += finished
    write_outcomes(outcomes, settings)
    code = write_reports(settings, failures_by_subject(records, outcomes, settings))
    print(format_summary(outcomes, settings.output_dir, time.monotonic() - began))
    failed = any(outcome.status == 'failed' for outcome in outcomes)
    if complaint and not failed:  # older derivatives may hide what was not done this time
        print(f'bids_brainseg: error: the run ended early: {complaint}', file=sys.stderr)
        code = 1
    return 1 if failed or not any(outcome.status == 'done' for outcome in outcomes) else code


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


def write_reports(settings: Settings, subjects: Mapping[str, Sequence[Mapping]]) -> int:
    """Write the page of each subject; one that fails does not stop the others.

    Parameters
    ----------
    settings : Settings
        Of the run.
    subjects : mapping
        Subject -> its scans that were not segmented, of :func:`failures_by_subject`.

    Returns
    -------
    int
        0, or 1 if a page was not written.
    """
    code, output_dir = 0, settings.output_dir
    results = read_scans(output_dir)
    peers = alignments(results)
    for subject, failures in subjects.items():
        try:
            scans = [scan for scan in results if scan.subject == subject]
            methods, _ = methods_of(scans)
            write_participant_page(
                output_dir, subject, scans, failures=failures, methods=methods, peers=peers
            )
        except Exception as error:  # a page is the last thing; whatever went wrong, the derivatives are there
            LOGGER.debug('', exc_info=True)
            reason = f'{type(error).__name__}: {error}'
            print(f'the report of sub-{subject} was not written: {reason}', file=sys.stderr)
            code = 1
    write_citations(methods_of(results), output_dir)
    return code


def write_citations(texts: tuple[str, str], output_dir: Path) -> Path:
    """Write a methods text and its references, and return where the text is; nothing without a text."""
    path = output_dir / 'logs' / 'CITATION.md'
    methods, references = texts
    if methods:
        write_text(methods + '\n', path)
        write_text(references, path.with_suffix('.bib'))
    return path

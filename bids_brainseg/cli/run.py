# SPDX-License-Identifier: Apache-2.0
"""Query the dataset, build the graph, run it, write the pages, and say how it went."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

from ..errors import BrainsegError
from ..settings import Settings
from .parser import parse

LOGGER = logging.getLogger('bids_brainseg')


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code (see ``--help``)."""
    try:
        settings = parse(argv)
    except SystemExit as stop:  # argparse: usage, --help, --version, an unknown level
        return stop.code or 0
    logging.basicConfig(level=('WARNING', 'INFO', 'DEBUG')[min(settings.verbosity, 2)], format='%(message)s')
    # Nipype and TemplateFlow would otherwise ask their servers for news.
    os.environ.update(NIPYPE_NO_ET='1', NO_ET='1', TEMPLATEFLOW_AUTOUPDATE='0')
    try:
        return run(settings)
    except BrainsegError as error:
        if settings.verbosity:
            traceback.print_exc()
        print(f'bids_brainseg: error: {error}', file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print('bids_brainseg: interrupted; the same command continues where it stopped', file=sys.stderr)
        return 130


def run(settings: Settings) -> int:
    """Process the participants of a dataset."""
    from ..bids.query import find_images

    records = find_images(
        settings.bids_dir,
        modalities=settings.modalities,
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        bids_filters=settings.bids_filters,
        database_dir=settings.bids_database_dir,
        validate=not (settings.skip_bids_validation or settings.dry_run),
    )
    if settings.dry_run:
        return dry_run(settings, records)
    prepare_output(settings)
    if settings.reports_only:
        return write_reports(settings, {record.subject: [] for record in records})
    return segment(settings, records)


def segment(settings: Settings, records: list) -> int:
    """Segment the scans, then write the pages and the summary."""
    from ..workflows.execution import configure, run_workflow, write_graph
    from .outcome import Outcome, judge, summary

    began = time.monotonic()
    settings = resolve_device(settings)
    todo, outcomes, bundles = sort_out(settings, records)
    complaint = None
    if todo:
        from ..workflows.base import init_brainseg_wf

        prepare_work(settings, todo)
        configure(settings)
        workflow = init_brainseg_wf(settings=settings, records=todo, bundles=bundles)
        if settings.write_graph:
            print(f'graph: {write_graph(workflow)}')
        complaint = run_workflow(workflow, settings)
    for record in todo:
        outcomes.append(judge(record, settings, expected_files(record, settings), complaint))
    subjects = {record.subject: [] for record in records}
    for outcome in outcomes:
        if outcome.status != 'done':
            subjects[outcome.record.subject].append(outcome.as_failure())
    code = write_reports(settings, subjects)
    print(summary(outcomes, settings.output_dir), f'({time.monotonic() - began:.0f} s)')
    failed = any(outcome.status == 'failed' for outcome in outcomes)
    return 1 if failed or not any(outcome.status == 'done' for outcome in outcomes) else code

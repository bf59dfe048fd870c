# SPDX-License-Identifier: Apache-2.0
"""The group level: tables and a page over all participants, from their outputs alone."""

from __future__ import annotations

import logging
import time
from collections import Counter

from ..data import modalities
from ..errors import counted
from ..pages.group import write_group_page
from ..results.group import Group, collect_group
from ..results.group_measures import measure_group
from ..results.group_tables import make_tables, write_tables
from ..settings import Settings
from .folders import check_writable

LOGGER = logging.getLogger('bids_brainseg')
FILES = (
    'volumes', 'volumes_wide', 'aseg_*', 'qc', 'participants', 'agreement', 'ratings', 'rating_agreement'
)  # fmt: skip


def run(settings: Settings) -> int:
    """Collect the outputs of all participants in tables and a page.

    Returns
    -------
    int
        0; 1 if the outputs of a scan or a file of ratings could not be read (they are named, and the others
        are in the tables).

    Raises
    ------
    BidsError
        With exit code 18 if there are no outputs.
    """
    began = time.monotonic()
    group = collect_group(
        settings.output_dir,
        settings.bids_dir,
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        modality=selected_modalities(settings),
    )
    if selection := describe_selection(settings):
        group.notes.insert(0, f'Only a part of the outputs was selected: {selection}.')
    for note in group.notes:
        LOGGER.log(logging.WARNING if note in group.covariates.notes else logging.INFO, '%s', note)
    if settings.dry_run:
        for scan in group.scans:
            print(f'{scan.name}: {scan.status}' + (f': {scan.reason}' if scan.reason else ''))
        return 0
    write_group(group, settings)
    print(format_summary(group, settings, time.monotonic() - began))
    unread = group.ratings.damaged or any(scan.status == 'broken' for scan in group.scans)
    return 1 if unread else 0


def write_group(group: Group, settings: Settings) -> None:
    """Write tables and page."""
    check_writable(settings.output_dir, 'output folder')
    measures = measure_group(group.scans)
    tables = make_tables(group, measures)
    write_tables(tables, settings.output_dir)
    write_group_page(group, measures, tables, settings.output_dir)


def selected_modalities(settings: Settings) -> tuple[str, ...]:
    """Return the modalities that the user selected; none if all."""
    return () if set(settings.modalities) == set(modalities()) else settings.modalities


def describe_selection(settings: Settings) -> str:
    """List what was selected; empty if everything was."""
    parts = {
        'participants': settings.participant_label,
        'sessions': settings.session_label,
        'modalities': selected_modalities(settings),
    }
    return ', '.join(f'{name} {" ".join(labels)}' for name, labels in parts.items() if labels)


def format_summary(group: Group, settings: Settings, seconds: float) -> str:
    """Return a few lines on what was collected and what is missing."""
    usable = [scan for scan in group.scans if scan.usable]
    subjects = {scan.subject for scan in usable}
    lines = [
        f'{counted(len(usable), "scan")} of {len(subjects)} of '
        f'{counted(len(group.participants), "participant")} ({seconds:.0f} s)'
    ]
    counts = Counter(scan.status for scan in group.scans if scan.status != 'done')
    lines += [f'  {status:8} {counted(count, "scan")}' for status, count in sorted(counts.items())]
    lines += [f'  broken   {scan.name}: {scan.reason}' for scan in group.scans if scan.status == 'broken']
    lines += [f'  broken   {damage}' for damage in group.ratings.damaged]
    missing = [f'sub-{label}' for label, reason in group.participants.items() if reason]
    if missing:
        named = f'{" ".join(missing[:10])}{" ..." * (len(missing) > 10)}'
        lines.append(f'  missing  {counted(len(missing), "participant")}: {named}')
    if ratings := group.ratings.ratings:
        raters = len({rating.rater for rating in ratings})
        lines.append(f'  ratings  {len(ratings)} of {counted(raters, "rater")}')
    lines.append(f'  tables   {settings.output_dir}/group_{{{",".join(FILES)}}}.tsv')
    lines.append(f'  page     {settings.output_dir / "group.html"}')
    return '\n'.join(lines)

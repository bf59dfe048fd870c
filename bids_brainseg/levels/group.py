# SPDX-License-Identifier: Apache-2.0
"""The group level: tables and a page over all participants, from their outputs alone."""

from __future__ import annotations

import logging
import time
from collections import Counter

from ..data import modalities
from ..settings import Settings

LOGGER = logging.getLogger('bids_brainseg')
FILES = ('volumes', 'volumes_wide', 'qc', 'participants', 'agreement')


def run_group(settings: Settings) -> int:
    """Put the outputs of all participants together.

    Returns
    -------
    int
        0; 1 if some output could not be read (the others were put together, and it is listed).

    Raises
    ------
    BidsError
        Exit code 18 if there is nothing to put together.
    """
    from ..results.group import collect_group

    began = time.monotonic()
    asked = () if set(settings.modalities) == set(modalities()) else settings.modalities
    group = collect_group(
        settings.output_dir,
        settings.bids_dir,
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        modality=asked,
    )
    if selection := describe_selection(settings):
        group.notes.insert(0, f'Not everything: {selection}.')
    for note in group.notes:
        LOGGER.info('%s', note)
    if settings.dry_run:
        for scan in group.scans:
            print(f'{scan.name}: {scan.status}' + (f': {scan.reason}' if scan.reason else ''))
        return 0
    write_group(group, settings)
    print(summary(group, settings, time.monotonic() - began))
    return 1 if any(scan.status == 'broken' for scan in group.scans) else 0


def write_group(group, settings: Settings) -> None:
    """Write tables and page."""
    from ..pages.group import write_group_page
    from ..results.group_measures import measure_group
    from ..results.group_tables import make_tables, write_tables
    from .scans import check_writable

    check_writable(settings.output_dir, 'output folder')
    measures = measure_group(group.scans)
    tables = make_tables(group, measures)
    write_tables(tables, settings.output_dir)
    write_group_page(group, measures, tables, settings.output_dir)


def describe_selection(settings: Settings) -> str:
    """Say what was asked for, if it is not everything."""
    parts = {
        'participants': settings.participant_label,
        'sessions': settings.session_label,
        'modalities': () if set(settings.modalities) == set(modalities()) else settings.modalities,
    }
    return ', '.join(f'{name} {" ".join(labels)}' for name, labels in parts.items() if labels)


def summary(group, settings: Settings, seconds: float) -> str:
    """Tell in a few lines what was put together and what is not there."""
    usable = [scan for scan in group.scans if scan.usable]
    people = {scan.subject for scan in usable}
    lines = [
        f'{len(usable)} scans of {len(people)} of {len(group.participants)} participants ({seconds:.0f} s)'
    ]
    counts = Counter(scan.status for scan in group.scans if scan.status != 'done')
    lines += [f'  {status:8} {count} scans' for status, count in sorted(counts.items())]
    lines += [f'  broken   {scan.name}: {scan.reason}' for scan in group.scans if scan.status == 'broken']
    missing = [f'sub-{label}' for label, why in group.participants.items() if why]
    if missing:
        lines.append(
            f'  missing  {len(missing)} participants: {" ".join(missing[:10])}{" ..." * (len(missing) > 10)}'
        )
    lines.append(f'  tables   {settings.output_dir}/group_{{{",".join(FILES)}}}.tsv')
    lines.append(f'  page     {settings.output_dir / "group.html"}')
    return '\n'.join(lines)

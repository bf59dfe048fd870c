# SPDX-License-Identifier: Apache-2.0
"""Who was scanned and when: age, sex and handedness, and the date of each scan, as the dataset says."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from ..files import read_rows
from .names import split_name
from .participants import MISSING, Covariates

#: Columns of participants.tsv and sessions.tsv -> their names on a page.
COLUMNS = {'age': 'Age', 'sex': 'Sex', 'handedness': 'Handedness'}
#: What BIDS recommends as values -> the word for each.
WORDS = {
    'sex': {'m': 'male', 'f': 'female', 'o': 'other'},
    'handedness': {'l': 'left', 'r': 'right', 'a': 'both hands'},
}
#: Keys of a sidecar that hold the date of a scan.
DATES = ('AcquisitionDateTime', 'AcquisitionDate')


def participant_facts(
    covariates: Covariates, subject: str, sessions: Iterable[str | None]
) -> list[tuple[str, str]]:
    """Return age, sex and handedness of a participant.

    Parameters
    ----------
    covariates : Covariates
        Of the dataset.
    subject : str
        Label without prefix.
    sessions : iterable of str or None
        Labels of the sessions without prefix; None for a scan without session.

    Returns
    -------
    list of (str, str)
        Name and value of what is known. What differs between sessions is given for each.
    """
    visits = list(dict.fromkeys(sessions)) or [None]
    facts = []
    for column, name in COLUMNS.items():
        by_visit = {visit: _value(covariates, column, covariates.of(subject, visit)) for visit in visits}
        known = {visit: value for visit, value in by_visit.items() if value}
        if len(set(known.values())) == 1:
            facts.append((name, next(iter(known.values()))))
        elif known:
            facts.append((name, ', '.join(f'{value} (ses-{visit})' for visit, value in known.items())))
    return facts


def scan_date(bids_dir: Path, source: str) -> str:
    """Return when a scan was made.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    source : str
        Path of the scan below it.

    Returns
    -------
    str
        ``YYYY-MM-DD``, of ``acq_time`` in scans.tsv, else of the sidecar beside the scan; '' if neither says
        or can be read.
    """
    path = Path(bids_dir) / source
    return _listed_date(path) or _sidecar_date(path)


def _value(covariates: Covariates, column: str, values: Mapping[str, str]) -> str:
    """Write a value in words, as the data dictionary explains it."""
    key = next((name for name in values if name.lower() == column), None)
    text = values[key].strip() if key else ''
    if text in MISSING:
        return ''
    entry = covariates.columns.get(key) or {}
    levels = entry.get('Levels')
    if column == 'age':
        unit = entry.get('Units')
        return f'{text} {unit if isinstance(unit, str) and unit else "years"}'
    if isinstance(levels, Mapping) and isinstance(levels.get(text), str):
        return levels[text]
    return WORDS[column].get(text.lower()[:1], text) if len(text) == 1 else text


def _listed_date(path: Path) -> str:
    """Return the date in the table of scans that lists a file."""
    entities, _, _ = split_name(path.name)
    where = path.parent.parent
    stem = '_'.join(f'{key}-{entities[key]}' for key in ('sub', 'ses') if key in entities)
    name = f'{path.parent.name}/{path.name}'
    try:
        rows = read_rows(where / f'{stem}_scans.tsv')
        return next((_date(row.get('acq_time')) for row in rows if row.get('filename') == name), '')
    except (OSError, ValueError, csv.Error):
        return ''


def _sidecar_date(path: Path) -> str:
    """Return the date in the sidecar beside a scan."""
    sidecar = path.parent / f'{path.name.partition(".")[0]}.json'
    try:
        content = json.loads(sidecar.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError):
        return ''
    found = [_date(content.get(key)) for key in DATES] if isinstance(content, dict) else []
    return next(filter(None, found), '')


def _date(text: object) -> str:
    """Return the date that a text begins with, '' if it does not begin with one.

    >>> _date('2009-06-15T13:45:30'), _date('20090615134530.12'), _date('n/a'), _date('2009-13-41')
    ('2009-06-15', '2009-06-15', '', '')
    """
    match = re.match(r'(\d{4})-?(\d{2})-?(\d{2})', str(text))
    try:
        return date(*map(int, match.groups())).isoformat() if match else ''
    except ValueError:
        return ''

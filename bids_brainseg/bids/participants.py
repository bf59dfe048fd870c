# SPDX-License-Identifier: Apache-2.0
"""What a dataset says about its people: ``participants.tsv`` and ``sub-01_sessions.tsv``, with their JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import read_rows
from .names import strip_prefix

MISSING = ('', 'n/a')


@dataclass
class Covariates:
    """What is known of participants and sessions, as text.

    Attributes
    ----------
    participants : dict
        Label -> column -> value; also who is listed without any.
    sessions : dict
        (Label of the participant, label of the session) -> column -> value.
    columns : dict
        Column, in the order found -> what the data dictionary says of it.
    notes : list of str
        What could not be read.
    """

    participants: dict[str, dict[str, str]] = field(default_factory=dict)
    sessions: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    columns: dict[str, dict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, subject: str, session: str | None) -> dict[str, str]:
        """Return what is known of a participant in a session; what is said of the session goes first."""
        return {**self.participants.get(subject, {}), **self.sessions.get((subject, session or ''), {})}


def read_covariates(folders: Sequence[Path], subjects: Iterable[str]) -> Covariates:
    """Read the tables about people, each from the first folder where it can be read.

    Parameters
    ----------
    folders : sequence of Path
        The dataset, then the derivatives.
    subjects : iterable of str
        Whose sessions to read, labels without prefix.
    """
    found = Covariates()
    for row in _first(folders, 'participants.tsv', 'participant_id', found):
        label = strip_prefix(row.pop('participant_id'), 'sub')
        if label in found.participants:
            found.notes.append(f'participants.tsv lists sub-{label} more than once; the first row was used')
        found.participants.setdefault(label, _known(row))
    for subject in subjects:
        name = f'sub-{subject}/sub-{subject}_sessions.tsv'
        for row in _first(folders, name, 'session_id', found):
            session = strip_prefix(row.pop('session_id'), 'ses')
            found.sessions.setdefault((subject, session), _known(row))
    return found


def _known(row: dict[str, str]) -> dict[str, str]:
    return {column: value.strip() for column, value in row.items() if value.strip() not in MISSING}


def _first(folders: Sequence[Path], name: str, key: str, found: Covariates) -> list[dict[str, str]]:
    for folder in folders:
        path = Path(folder) / name
        if not path.is_file():
            continue
        try:
            rows = read_rows(path)
            if broken := [row for row in rows if None in row or None in row.values()]:
                raise ValueError(f'{len(broken)} of {len(rows)} rows have not as many cells as the header')
            if rows and key not in rows[0]:
                raise ValueError(f'it has no column {key}')
        except (OSError, ValueError, csv.Error) as error:
            found.notes.append(f'{path} cannot be read and was left out: {error}')
            continue
        described = _dictionary(path.with_suffix('.json')) or _dictionary(Path(folder) / 'sessions.json')
        for column in rows[0] if rows else ():
            if column != key:
                found.columns.setdefault(column, described.get(column) or {})
        return rows
    return []


def _dictionary(path: Path) -> dict[str, dict]:
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
        return {str(name): value for name, value in content.items() if isinstance(value, dict)}
    except (OSError, ValueError, AttributeError):
        return {}

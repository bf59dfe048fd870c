# SPDX-License-Identifier: Apache-2.0
"""Read covariates: ``participants.tsv`` and ``sub-01_sessions.tsv``, with their data dictionaries."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..files import read_rows, read_text, unfetched
from .names import strip_prefix

MISSING = ('', 'n/a')


@dataclass
class Covariates:
    """Covariates of participants and sessions, as text.

    Attributes
    ----------
    participants : dict
        Label -> column -> value; empty for a participant that is listed without any.
    sessions : dict
        (Label of the participant, label of the session) -> column -> value.
    columns : dict
        Column, in the order of the tables -> its entry in the data dictionary.
    notes : list of str
        What could not be read.
    """

    participants: dict[str, dict[str, str]] = field(default_factory=dict)
    sessions: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    columns: dict[str, dict] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, subject: str, session: str | None) -> dict[str, str]:
        """Return the covariates of a participant in a session; those of the session win.

        Parameters
        ----------
        subject : str
        session : str, optional
            Labels without prefix.

        Returns
        -------
        dict
            Column to value.
        """
        return {**self.participants.get(subject, {}), **self.sessions.get((subject, session or ''), {})}


def read_covariates(folders: Sequence[Path], subjects: Iterable[str]) -> Covariates:
    """Read the tables of participants and sessions, each from the first folder where it can be read.

    Parameters
    ----------
    folders : sequence of Path
        The dataset, then the derivatives.
    subjects : iterable of str
        Participants whose sessions to read, labels without prefix.

    Returns
    -------
    Covariates
    """
    covariates = Covariates()
    for row in _first_table(folders, 'participants.tsv', 'participant_id', covariates):
        label = strip_prefix(row.pop('participant_id'), 'sub')
        if label in covariates.participants:
            covariates.notes.append(
                f'participants.tsv lists sub-{label} more than once; the first row was used'
            )
        covariates.participants.setdefault(label, _present(row))
    for subject in subjects:
        name = f'sub-{subject}/sub-{subject}_sessions.tsv'
        for row in _first_table(folders, name, 'session_id', covariates):
            session = strip_prefix(row.pop('session_id'), 'ses')
            covariates.sessions.setdefault((subject, session), _present(row))
    return covariates


def _present(row: dict[str, str]) -> dict[str, str]:
    return {column: value.strip() for column, value in row.items() if value.strip() not in MISSING}


def _first_table(
    folders: Sequence[Path], name: str, key: str, covariates: Covariates
) -> list[dict[str, str]]:
    for folder in folders:
        path = Path(folder) / name
        if not path.is_file() and not unfetched(path):
            continue
        try:
            rows = read_rows(path)
            if not (rows or read_text(path).strip()):
                raise ValueError('it is empty')
            if broken := [row for row in rows if None in row or None in row.values()]:
                raise ValueError(
                    f'{len(broken)} of {len(rows)} rows differ from the header in their number of cells'
                )
            if rows and key not in rows[0]:
                raise ValueError(f'it has no column {key}')
        except (OSError, ValueError, csv.Error) as error:
            covariates.notes.append(f'{path} cannot be read and was ignored: {error}')
            continue
        described = _dictionary(path.with_suffix('.json')) or _dictionary(Path(folder) / 'sessions.json')
        for column in rows[0] if rows else ():
            if column != key:
                covariates.columns.setdefault(column, described.get(column) or {})
        return rows
    return []


def _dictionary(path: Path) -> dict[str, dict]:
    try:
        content = json.loads(read_text(path))
        return {str(name): value for name, value in content.items() if isinstance(value, dict)}
    except (OSError, ValueError, AttributeError):
        return {}

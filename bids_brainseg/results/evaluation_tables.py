# SPDX-License-Identifier: Apache-2.0
"""Tables of an evaluation, of each scan and of the whole dataset, with their data dictionaries."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ..bids.sidecars import output_rules
from ..errors import InputError
from ..files import as_float, read_text, write_json, write_tsv
from ..records import ImageRecord
from .scans import INTERVAL, match_results

_SCAN_COLUMNS = {
    'scan': {'Description': 'Name of the scan.'},
    'participant_id': {'Description': 'Participant.'},
    'session_id': {'Description': 'Session; n/a if the dataset has none.'},
    'modality': {'Description': 'Kind of scan.'},
    'corrupted': {'Description': 'Kind of corruption that was applied; n/a for the original scan.'},
    'severity': {'Description': 'Severity of the corruption.', 'Units': 'from 0 (none) to 1'},
}


#: The averages of a study; its table is beside them.
_STUDY = 'evaluation_study.json'
#: Columns of the table of a study; what they share with the other tables is described there.
_STUDY_COLUMNS = {
    'modality': _SCAN_COLUMNS['modality'],
    'participants': {'Description': 'Participants of the training set, the one for validation included.'},
    'training_scans': {'Description': 'Scans and label maps that the network was trained on.'},
    'scan': {'Description': 'Name of the test scan.'},
}
#: What it says of a network, and of one that failed.
_RUN_KEYS = {
    'modality', 'participants', 'training_scans', 'steps', 'D_A', 'D_V', 'ASSD_mm', 'test_scans'
}  # fmt: skip
_FAILED_KEYS = {'modality', 'participants', 'reason'}


class EvaluationTables(NamedTuple):
    """What was measured on the scans of an evaluation.

    Attributes
    ----------
    structures : pandas.DataFrame
        One row for each scan and structure.
    scans : pandas.DataFrame
        One row for each scan, with averages and quality numbers.
    units : dict of str
        Quality number -> unit.
    """

    structures: pd.DataFrame
    scans: pd.DataFrame
    units: dict[str, str]


def collect_evaluation(
    sources: Iterable[tuple[Sequence[ImageRecord], Path]], corruptions: Mapping | None = None
) -> EvaluationTables:
    """Collect what was measured on scans that were compared with reference labels.

    Parameters
    ----------
    sources : iterable of (sequence of ImageRecord, Path)
        Scans, and the root of the derivatives that hold their results.
    corruptions : mapping, optional
        (subject, key) of a corrupted scan -> its ``kind`` and ``severity``.

    Returns
    -------
    EvaluationTables

    Raises
    ------
    InputError
        If the results of a scan cannot be read.
    """
    structures, scans, units = [], [], {}
    for records, output_dir in sources:
        for record, scan in match_results(records, output_dir):
            if scan is None or scan.broken or not scan.agreement:
                reason = (
                    scan.reason if scan is not None and scan.broken else 'it was not compared with labels'
                )
                raise InputError(f'{record.relative_path} cannot be evaluated: {reason}; run it again')
            identity = _identity(record, (corruptions or {}).get((record.subject, record.key), {}))
            rows = [
                {key: None if cell == 'n/a' else cell for key, cell in row.items()} for row in scan.agreement
            ]
            table = pd.DataFrame(rows).astype({'index': int})
            intervals = {row['name']: [row[end] for end in INTERVAL] for row in scan.rows}
            table[list(INTERVAL)] = [intervals[name] for name in table['name']]
            structures.append(table.assign(**identity)[[*identity, *table.columns]])
            numbers = {name: as_float(value) for name, value in scan.qc['numbers'].items()}
            scans.append({**identity, **scan.averages, **numbers})
            units |= scan.qc.get('Units', {})
    return EvaluationTables(pd.concat(structures, ignore_index=True), pd.DataFrame(scans), units)


def _identity(record: ImageRecord, corruption: Mapping) -> dict:
    """Return the cells that identify a scan."""
    return {
        'scan': record.bids_name,
        'participant_id': f'sub-{record.subject}',
        'session_id': f'ses-{record.session}' if record.session is not None else None,
        'modality': record.modality,
        'corrupted': corruption.get('kind'),
        'severity': corruption.get('severity'),
    }


def write_evaluation(tables: EvaluationTables, summary: Mapping, output_dir: Path) -> list[Path]:
    """Write the tables of the dataset with their dictionaries, and the summary.

    Parameters
    ----------
    tables : EvaluationTables
        Of :func:`collect_evaluation`.
    summary : mapping
        For ``evaluation.json``.
    output_dir : Path
        Root of the derivatives.

    Returns
    -------
    list of Path
    """
    output_dir = Path(output_dir)
    units = tables.units.items()
    described = {
        **_SCAN_COLUMNS,
        **output_rules()['agreement_columns'],
        **{end: output_rules()['morph_columns'][end] for end in INTERVAL},
        **output_rules()['agreement_averages'],
        **{name: {'Description': 'As in *_qc.json.', 'Units': unit} for name, unit in units},
    }
    written = []
    for name, table in (('structures', tables.structures), ('scans', tables.scans)):
        path = output_dir / f'evaluation_{name}.tsv'
        columns = {column: described.get(column, {'Description': 'n/a'}) for column in table.columns}
        written += [write_tsv(table, path), write_json(columns, path.with_suffix('.json'))]
    return [*written, write_json(summary, output_dir / 'evaluation.json')]


def write_study_table(
    study: str, runs: Sequence[Mapping], failed: Sequence[Mapping], output_dir: Path
) -> list[Path]:
    """Write what the networks of a study score on each test scan, and over all of them.

    Parameters
    ----------
    study : str
        Its kind.
    runs, failed : sequence of mapping
        Of :func:`bids_brainseg.levels.study.study`.
    output_dir : Path
        Root of the derivatives.

    Returns
    -------
    list of Path
        ``evaluation_study.tsv``, a row for each network and test scan; its JSON holds the averages too.
    """
    measures = ('D_A', 'D_V', 'ASSD_mm')
    rows = [
        {**{name: run[name] for name in ('modality', 'participants', 'training_scans')}, **scan}
        for run in runs
        for scan in run['test_scans']
    ]
    table = pd.DataFrame(rows, columns=[*_STUDY_COLUMNS, *measures])
    about = 'What networks trained on subsets score on the test scans; "runs" holds the averages.'
    content = {
        'Description': about,
        'study': study,
        'runs': list(runs),
        'failed': list(failed),
        **_STUDY_COLUMNS,
        **{name: output_rules()['agreement_averages'][name] for name in measures},
    }
    path = Path(output_dir) / _STUDY
    return [write_tsv(table, path.with_suffix('.tsv')), write_json(content, path)]


def read_study(output_dir: Path) -> tuple[dict | None, str]:
    """Read the averages of the last study.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.

    Returns
    -------
    study : dict or None
        What :func:`write_study_table` wrote; None if there is none.
    reason : str
        Why it cannot be read; '' if it can, or if there is none.
    """
    path = Path(output_dir) / _STUDY
    if not os.path.lexists(path):
        return None, ''
    try:
        study = json.loads(read_text(path))
        if not _is_study(study):
            raise ValueError('it does not describe a study')
    except OSError as error:
        problem = error.strerror
    except ValueError as error:
        problem = str(error)
    else:
        return study, ''
    return None, f'{path.name} cannot be read and is left out: {problem}'


def _is_study(content: object) -> bool:
    try:
        runs = all(_RUN_KEYS <= set(run) for run in content['runs'])
        failed = all(_FAILED_KEYS <= set(run) for run in content['failed'])
        return runs and failed and isinstance(content['study'], str)
    except (LookupError, TypeError):
        return False

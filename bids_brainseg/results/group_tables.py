# SPDX-License-Identifier: Apache-2.0
"""The tables of a group, each with its data dictionary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import __version__
from ..bids.sidecars import meanings, output_rules
from ..core.group import LIMIT, MINIMUM
from ..data import resource
from ..data.quality import qc_numbers
from ..files import write_json, write_tsv
from ..records import ScanResult
from .group import Group
from .group_measures import LABELS, NAMES, Measures, compare_pairs, pairs
from .scanners import scanner_names
from .scans import MEASURES

ALWAYS = ('acq', 'rec', 'run')
SCANNER = {
    'manufacturer': 'Manufacturer',
    'scanner_model': 'ManufacturersModelName',
    'field_strength': 'MagneticFieldStrength',
}
SCANNER_COLUMNS = ('scanner', *SCANNER)
UNKNOWN = {'Description': 'Quality number of the scan, as in its qc.json.', 'Units': 'n/a'}


class Table(NamedTuple):
    """One table and what its columns mean."""

    data: pd.DataFrame
    dictionary: dict


@cache
def rules() -> dict:
    """Return the descriptions of tables and columns (``group.json``)."""
    return json.loads(resource('group.json').read_text(encoding='utf-8'))


def make_tables(group: Group, measures: Measures) -> dict[str, Table]:
    """Make ``'volumes'``, ``'volumes_wide'``, ``'qc'``, ``'participants'`` and ``'agreement'``."""
    data = {
        'volumes': long_volumes(group, measures),
        'volumes_wide': wide_volumes(group, measures),
        'qc': quality(group, measures),
        'participants': participants(group),
        'agreement': pd.DataFrame(
            compare_pairs(measures),
            columns=['modality_a', 'modality_b', 'structure', 'n_pairs', 'difference_mm3',
                     'difference_sd_mm3', 'concordance'],
        ),
    }  # fmt: skip
    return {name: Table(table, _dictionary(name, table, group)) for name, table in data.items()}


def write_tables(tables: Mapping[str, Table], output_dir: Path) -> list[Path]:
    """Write ``group_<name>.tsv`` and ``.json``, each whole or not at all."""
    written = []
    for name, table in tables.items():
        written.append(write_tsv(table.data.replace('', np.nan), Path(output_dir) / f'group_{name}.tsv'))
        write_json(table.dictionary, Path(output_dir) / f'group_{name}.json')
    return written


def identity(scan: ScanResult, entities: list[str]) -> dict:
    """Say which scan a row is of."""
    return {
        'participant_id': f'sub-{scan.subject}',
        'session_id': f'ses-{scan.session}' if scan.session is not None else '',
        **{key: scan.entities.get(key, '') for key in entities},
        'scan': scan.name,
        'modality': scan.modality,
    }


def entity_columns(group: Group) -> list[str]:
    """Return the entities that get a column: the usual ones, and whatever else occurs."""
    present = {key for scan in group.scans for key in scan.entities}
    return [key for key in output_rules()['entity_order'] if key in ALWAYS or key in present - {'sub', 'ses'}]


def covariate_columns(group: Group) -> dict[str, str]:
    """Return the columns of participants.tsv and sessions.tsv -> what they are called here.

    A name that the group tables need for themselves gets ``participants_`` in front.
    """
    numbers = {key for scan in group.scans for key in scan.qc.get('numbers') or {}}
    taken = {*rules()['columns'], *output_rules()['morph_columns'], *entity_columns(group), *numbers}
    return {
        column: f'participants_{column}' if column in taken else column for column in group.covariates.columns
    }


def scanner_of(scan: ScanResult) -> dict:
    """Return which scanner a scan comes from, as its sidecar spells it."""
    told = scan.qc.get('Scanner', {})
    return {column: one_line(str(told.get(key, ''))) for column, key in SCANNER.items()}


def scanners_of(group: Group) -> dict[str, str]:
    """Return scan -> its scanner, under one name for all spellings."""
    names = scanner_names([scanner_of(scan) for scan in group.scans])
    return {scan.name: name for scan, name in zip(group.scans, names, strict=True)}


def _frame(group: Group, scans: list[ScanResult], extra) -> pd.DataFrame:
    """One row per scan: who, then `extra(place, scan)`, then scanner and covariates."""
    entities, names, scanners = entity_columns(group), covariate_columns(group), scanners_of(group)
    rows = []
    for place, scan in enumerate(scans):
        known = group.covariates.of(scan.subject, scan.session)
        about = {name: known.get(column, '') for column, name in names.items()}
        scanner = {'scanner': scanners[scan.name], **scanner_of(scan)}
        rows.append({**identity(scan, entities), **extra(place, scan), **scanner, **about})
    if rows:
        return pd.DataFrame(rows)
    head = ['participant_id', 'session_id', *entities, 'scan', 'modality', *SCANNER_COLUMNS, *names.values()]
    return pd.DataFrame(columns=head)


def long_volumes(group: Group, measures: Measures) -> pd.DataFrame:
    """One row per scan and structure."""
    scans, wide = measures.scans, len(NAMES)
    about = _frame(group, scans, lambda place, scan: {
        'verdict': str(scan.qc.get('verdict') or ''),
        'reference': 'yes' if measures.reference[place] else 'no',
    })  # fmt: skip
    about = about.loc[about.index.repeat(wide)].reset_index(drop=True)
    rows = [row for scan in scans for row in scan.rows]
    own = {
        'structure': NAMES * len(scans),
        'index': [*(str(label.index) for label in LABELS), *[''] * (wide - len(LABELS))] * len(scans),
        'hemisphere': [row['hemisphere'] for row in rows],
        **{key: [row[key] for row in rows] for key in MEASURES},
        'flag': [row['flag'] for row in rows],
        'etiv_percent': measures.percent.ravel(),
        'etiv_residual_mm3': measures.residual.ravel(),
        'asymmetry_percent': measures.asymmetry.ravel(),
        **{f'{kind}_z': scores.ravel() for kind, scores in measures.z.items()},
        'n_reference': measures.count.ravel(),
        'outlier': measures.outlier.ravel(),
    }
    front = [name for name in about if name not in (*SCANNER_COLUMNS, *covariate_columns(group).values())]
    last = [name for name in about if name not in front]
    return pd.concat([about[front], pd.DataFrame(own), about[last]], axis=1)


def wide_volumes(group: Group, measures: Measures) -> pd.DataFrame:
    """One row per scan: volumes, then asymmetries."""

    def extra(place, scan):
        row = {'verdict': str(scan.qc.get('verdict') or '')}
        row |= {f'{name}_mm3': value for name, value in zip(NAMES, measures.volume[place], strict=True)}
        for name, (left, _) in pairs().items():
            row[f'{name}_asymmetry_percent'] = measures.asymmetry[place, left]
        return row

    return _frame(group, measures.scans, extra)


def quality(group: Group, measures: Measures) -> pd.DataFrame:
    """One row per scan, also of those without a result."""
    numbers = list(dict.fromkeys(key for scan in group.scans for key in scan.qc.get('numbers') or {}))
    outlying = (measures.outlier != '').sum(axis=1)
    judged = {
        scan.name: int(outlying[place])
        for place, scan in enumerate(measures.scans)
        if np.isfinite(measures.z['volume'][place]).any()
    }

    def extra(_, scan):
        qc = scan.qc
        model, versions = qc.get('Model', {}), qc.get('Versions', {})
        flags = [row['flag'] for row in scan.rows]
        return {
            'status': scan.status,
            'status_reason': one_line(scan.reason),
            'verdict': str(qc.get('verdict') or ''),
            'reasons': one_line('; '.join(map(str, qc.get('reasons') or ()))),
            'warnings': one_line('; '.join(map(str, qc.get('warnings') or ()))),
            'n_flagged': sum(flag not in ('', 'n/a') for flag in flags) if flags else '',
            'n_outliers': judged.get(scan.name, ''),
            **{key: _number((qc.get('numbers') or {}).get(key)) for key in numbers},
            'model': model.get('Name', ''),
            'model_sha256': model.get('SHA256', ''),
            'mc_samples': qc.get('MonteCarloSamples', ''),
            'label_resampling': qc.get('LabelResampling', ''),
            'version': versions.get('bids_brainseg', ''),
        }

    return _frame(group, group.scans, extra)


def participants(group: Group) -> pd.DataFrame:
    """One row per person: what there is, and why it is not all."""
    own: dict[str, list[ScanResult]] = {}
    for scan in group.scans:
        own.setdefault(scan.subject, []).append(scan)
    rows, names = [], covariate_columns(group)
    for subject, absence in group.participants.items():
        scans = own.get(subject, [])
        done = [scan for scan in scans if scan.usable]
        without = [scan for scan in scans if not scan.usable]
        if not scans:
            status = 'missing'
        else:
            status = 'failed' if not done else 'partial' if without else 'present'
        told = [f'{scan.name} {scan.status}: {scan.reason}' for scan in scans if scan.reason]
        known = group.covariates.participants.get(subject, {})
        rows.append({
            'participant_id': f'sub-{subject}',
            'participant_status': status,
            'participant_reason': one_line(absence or '; '.join(told) or (
                '' if scans else 'none of the scans was asked for')),
            'n_done': len(done),
            'n_without': len(without),
            'modalities': ' '.join(dict.fromkeys(scan.modality for scan in done)),
            **{name: known.get(column, '') for column, name in names.items()},
        })  # fmt: skip
    return pd.DataFrame(rows)


def one_line(text: str) -> str:
    """Make a text fit into a cell.

    >>> one_line('cut\\tshort\\n at 5')
    'cut short at 5'
    """
    return ' '.join(text.split())


def _number(value):
    return value if isinstance(value, (int, float)) else ''


def _number_meanings(group: Group) -> dict[str, dict]:
    """Describe the quality numbers: as the scans' own files do, else as they are packaged."""
    own: dict[str, dict] = {}
    units: dict[str, str] = {}
    for scan in group.scans:
        own = {**scan.qc.get('Meaning', {}), **own}
        units = {**scan.qc.get('Units', {}), **units}
    known = meanings(qc_numbers())
    known |= {key: {**known.get(key, UNKNOWN), 'Units': unit} for key, unit in units.items()}
    return known | {key: meaning for key, meaning in own.items() if isinstance(meaning, dict)}


def _dictionary(name: str, table: pd.DataFrame, group: Group) -> dict:
    known = {**output_rules()['morph_columns'], **rules()['columns']}
    renamed = {new: old for old, new in covariate_columns(group).items()}
    numbers = _number_meanings(group)
    columns = {}
    for column in table:
        structure, _, kind = column.rpartition('_asymmetry_')
        if column in renamed:
            columns[column] = {
                'Description': 'From participants.tsv or sessions.tsv, the latter first.',
                **group.covariates.columns[renamed[column]],
            }
        elif column in known:
            columns[column] = known[column]
        elif kind == 'percent':
            columns[column] = {
                'Description': f'{structure}: 100 (left - right) / mean of both.',
                'Units': '%',
            }
        elif column.removesuffix('_mm3') in NAMES:
            columns[column] = {'Description': f'Volume of {column.removesuffix("_mm3")}.', 'Units': 'mm^3'}
        elif column in output_rules()['entity_order']:
            columns[column] = {'Description': f'{column}, as in the file name.', 'Units': 'n/a'}
        else:
            columns[column] = numbers.get(column, UNKNOWN)
    return {
        'Description': rules()['descriptions'][name],
        **columns,
        'Parameters': {'Minimum': MINIMUM, 'Limit': LIMIT},
        'Notes': list(dict.fromkeys(group.notes)),
        'GeneratedBy': [{'Name': 'bids_brainseg', 'Version': __version__}],
    }

# SPDX-License-Identifier: Apache-2.0
"""The tables of a group, each with its data dictionary (``group.json`` describes the columns)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from .. import __version__
from ..bids.aseg_stats import EXCLUDED, MEASURE_DIGITS, VOLUME_DIGITS
from ..bids.sidecars import meanings, output_rules
from ..core.aseg import global_measures
from ..core.group import LIMIT, MINIMUM
from ..core.quality import LEVELS
from ..data import aseg_measures, resource
from ..data.quality import qc_numbers
from ..files import write_json, write_tsv
from ..records import ScanResult
from .group import Group
from .group_measures import LABELS, NAMES, Measures, compare_pairs, pairs
from .ratings import compare_ratings
from .scanners import scanner_names
from .scans import INTERVAL, MEASURES

#: Entities that have a column even where no scan has them.
_ALWAYS = ('acq', 'rec', 'run')
#: Column -> entry of the sidecar.
_SCANNER = {
    'manufacturer': 'Manufacturer',
    'scanner_model': 'ManufacturersModelName',
    'field_strength': 'MagneticFieldStrength',
}
_SCANNER_COLUMNS = ('scanner', *_SCANNER)
_KAPPAS = tuple(f'{kind}{end}' for kind in ('kappa', 'kappa_linear') for end in ('', '_low', '_high'))
_COUNTS = tuple(f'{a}_{b}' for a in LEVELS for b in LEVELS)
#: First cell of a table of asegstats2table.
_ASEG_HEAD = 'Measure:volume'
_UNKNOWN = {'Description': 'Quality number of the scan, as in its qc.json.', 'Units': 'n/a'}


class Table(NamedTuple):
    """A table and its data dictionary."""

    data: pd.DataFrame
    dictionary: dict


@cache
def _rules() -> dict:
    """Return the descriptions of tables and columns (``group.json``)."""
    return json.loads(resource('group.json').read_text(encoding='utf-8'))


def make_tables(group: Group, measures: Measures) -> dict[str, Table]:
    """Make the tables of a group.

    Parameters
    ----------
    group : Group
        All scans and participants.
    measures : Measures
        Of :func:`bids_brainseg.results.group_measures.measure_group`.

    Returns
    -------
    dict of Table
        ``'volumes'``, ``'volumes_wide'``, ``'qc'``, ``'participants'``, ``'agreement'``, ``'ratings'``,
        ``'rating_agreement'``, and ``'aseg_T1w'`` and its like for each modality.
    """
    data = {
        'volumes': _long_volumes(group, measures),
        'volumes_wide': _wide_volumes(group, measures),
        'qc': _quality(group, measures),
        'participants': _participants(group),
        'agreement': pd.DataFrame(
            compare_pairs(measures),
            columns=['modality_a', 'modality_b', 'structure', 'n_pairs', 'difference_mm3',
                     'difference_sd_mm3', 'concordance'],
        ),
        'ratings': _ratings(group),
        'rating_agreement': pd.DataFrame(
            compare_ratings(group.scans, group.ratings.ratings),
            columns=['rater_a', 'rater_b', 'modality', 'n_scans', 'n_agree', *_KAPPAS, *_COUNTS],
        ),
    }  # fmt: skip
    tables = {name: Table(table, _dictionary(name, table, group)) for name, table in data.items()}
    return tables | {
        f'aseg_{modality}': Table(table, _aseg_dictionary(modality, table, group))
        for modality, table in _aseg_tables(measures).items()
    }


def write_tables(tables: Mapping[str, Table], output_dir: Path) -> list[Path]:
    """Write ``group_<name>.tsv`` and ``.json``; return the paths of the tables.

    Tables of modalities that are no longer there are removed.
    """
    written = []
    for path in Path(output_dir).glob('group_aseg_*.*'):
        if path.stem.removeprefix('group_') not in tables:
            path.unlink()
    for name, table in tables.items():
        written.append(write_tsv(table.data.replace('', np.nan), Path(output_dir) / f'group_{name}.tsv'))
        write_json(table.dictionary, Path(output_dir) / f'group_{name}.json')
    return written


def _identity(scan: ScanResult, entities: list[str]) -> dict:
    """Return the cells that identify a scan."""
    return {
        'participant_id': f'sub-{scan.subject}',
        'session_id': f'ses-{scan.session}' if scan.session is not None else '',
        **{key: scan.entities.get(key, '') for key in entities},
        'scan': scan.name,
        'modality': scan.modality,
    }


def _entity_columns(group: Group) -> list[str]:
    """Return the entities that get a column: the usual ones, and whatever else occurs."""
    present = {key for scan in group.scans for key in scan.entities}
    return [
        key for key in output_rules()['entity_order'] if key in _ALWAYS or key in present - {'sub', 'ses'}
    ]


def covariate_columns(group: Group) -> dict[str, str]:
    """Return the columns of participants.tsv and sessions.tsv -> their names in the group tables.

    A name that the group tables use already gets the prefix ``participants_``.
    """
    numbers = {key for scan in group.scans for key in scan.qc.get('numbers') or {}}
    taken = {*_rules()['columns'], *output_rules()['morph_columns'], *_entity_columns(group), *numbers}
    return {
        column: f'participants_{column}' if column in taken else column for column in group.covariates.columns
    }


def _scanner_of(scan: ScanResult) -> dict:
    """Return the scanner of a scan as its sidecar spells it."""
    described = scan.qc.get('Scanner', {})
    return {column: _one_line(str(described.get(key, ''))) for column, key in _SCANNER.items()}


def scanners_of(group: Group) -> dict[str, str]:
    """Return name of a scan -> its scanner, with one name for all spellings."""
    names = scanner_names([_scanner_of(scan) for scan in group.scans])
    return {scan.name: name for scan, name in zip(group.scans, names, strict=True)}


def _frame(
    group: Group, scans: Sequence[ScanResult], extra: Callable[[int, ScanResult], dict]
) -> pd.DataFrame:
    """Make one row per scan: its identity, `extra(position, scan)`, then scanner and covariates."""
    entities, names, scanners = _entity_columns(group), covariate_columns(group), scanners_of(group)
    rows = []
    for position, scan in enumerate(scans):
        covariates = group.covariates.of(scan.subject, scan.session)
        scanner = {'scanner': scanners[scan.name], **_scanner_of(scan)}
        named = {name: covariates.get(column, '') for column, name in names.items()}
        rows.append({**_identity(scan, entities), **extra(position, scan), **scanner, **named})
    if rows:
        return pd.DataFrame(rows)
    head = ['participant_id', 'session_id', *entities, 'scan', 'modality', *_SCANNER_COLUMNS, *names.values()]
    return pd.DataFrame(columns=head)


def _long_volumes(group: Group, measures: Measures) -> pd.DataFrame:
    """Make one row per scan and structure."""
    scans, n_names = measures.scans, len(NAMES)
    of_scans = _frame(group, scans, lambda position, scan: {
        'verdict': str(scan.qc.get('verdict') or ''),
        'reference': 'yes' if measures.reference[position] else 'no',
    })  # fmt: skip
    of_scans = of_scans.loc[of_scans.index.repeat(n_names)].reset_index(drop=True)
    rows = [row for scan in scans for row in scan.rows]
    of_structures = {
        'structure': NAMES * len(scans),
        'index': [*(str(label.index) for label in LABELS), *[''] * (n_names - len(LABELS))] * len(scans),
        'hemisphere': [row['hemisphere'] for row in rows],
        **{key: [row[key] for row in rows] for key in (MEASURES[0], *INTERVAL, *MEASURES[1:])},
        'flag': [row['flag'] for row in rows],
        'etiv_percent': measures.percent.ravel(),
        'etiv_residual_mm3': measures.residual.ravel(),
        'asymmetry_percent': measures.asymmetry.ravel(),
        **{f'{kind}_z': scores.ravel() for kind, scores in measures.z.items()},
        'n_reference': measures.count.ravel(),
        'outlier': measures.outlier.ravel(),
    }
    last = [name for name in of_scans if name in (*_SCANNER_COLUMNS, *covariate_columns(group).values())]
    first = [name for name in of_scans if name not in last]
    return pd.concat([of_scans[first], pd.DataFrame(of_structures), of_scans[last]], axis=1)


def _wide_volumes(group: Group, measures: Measures) -> pd.DataFrame:
    """Make one row per scan: volumes, then asymmetries."""

    def extra(position: int, scan: ScanResult) -> dict:
        row = {'verdict': str(scan.qc.get('verdict') or '')}
        row |= {f'{name}_mm3': value for name, value in zip(NAMES, measures.volume[position], strict=True)}
        for name, (left, _) in pairs().items():
            row[f'{name}_asymmetry_percent'] = measures.asymmetry[position, left]
        return row

    return _frame(group, measures.scans, extra)


def _aseg_tables(measures: Measures) -> dict[str, pd.DataFrame]:
    """Make the table that asegstats2table makes of the ``aseg.stats`` of a modality, with names for numbers.

    Structures come first, then global measures; each cell is the text that it prints.
    """
    volumes = {label.name: measures.volume[:, column] for column, label in enumerate(LABELS)}
    total = global_measures(volumes, measures.volume[:, NAMES.index('eTIV')])
    kept = sorted((x for x in LABELS if x.freesurfer not in EXCLUDED), key=lambda x: x.freesurfer)
    columns = {
        _ASEG_HEAD: [scan.name.removesuffix(f'_{scan.modality}') for scan in measures.scans],
        **{label.name: _as_read(volumes[label.name], VOLUME_DIGITS) for label in kept},
        **{one.column: _as_read(total[one.field], MEASURE_DIGITS) for one in aseg_measures() if one.column},
    }
    table = pd.DataFrame(columns)
    of_scans = np.array([scan.modality for scan in measures.scans], object)
    return {name: table[of_scans == name] for name in dict.fromkeys(of_scans)}


def _as_read(values: np.ndarray, digits: int) -> list[str | None]:
    """Write numbers as a program does that has read them from a file with so many digits after the point.

    >>> _as_read(np.array([2050.1866, 1.4e6, np.nan]), 1)
    ['2050.2', '1400000.0', None]
    """
    return [str(float(f'{value:.{digits}f}')) if np.isfinite(value) else None for value in values]


def _aseg_dictionary(modality: str, table: pd.DataFrame, group: Group) -> dict:
    """Describe a table of :func:`_aseg_tables`."""
    described = {one.column: one for one in aseg_measures() if one.column}
    columns = {_ASEG_HEAD: {'Description': 'Name of the scan without its modality.', 'Units': 'n/a'}}
    for name in table.columns[1:]:
        of = described.get(name)
        columns[name] = {
            'Description': of.description if of else f'Volume of {name}.',
            'Units': of.unit if of else 'mm^3',
        }
    return {
        'Description': _rules()['descriptions']['aseg'].format(modality=modality),
        **columns,
        **_origin(group),
    }


def _quality(group: Group, measures: Measures) -> pd.DataFrame:
    """Make one row per scan, also for those without a result."""
    numbers = list(dict.fromkeys(key for scan in group.scans for key in scan.qc.get('numbers') or {}))
    counts = (measures.outlier != '').sum(axis=1)
    n_outliers = {
        scan.name: int(counts[position])
        for position, scan in enumerate(measures.scans)
        if np.isfinite(measures.z['volume'][position]).any()
    }

    def extra(_: int, scan: ScanResult) -> dict:
        qc = scan.qc
        model, versions = qc.get('Model', {}), qc.get('Versions', {})
        flags = [row['flag'] for row in scan.rows]
        return {
            'status': scan.status,
            'status_reason': _one_line(scan.reason),
            'verdict': str(qc.get('verdict') or ''),
            'reasons': _one_line('; '.join(map(str, qc.get('reasons') or ()))),
            'warnings': _one_line('; '.join(map(str, qc.get('warnings') or ()))),
            'n_flagged': sum(flag not in ('', 'n/a') for flag in flags) if flags else '',
            'n_outliers': n_outliers.get(scan.name, ''),
            **{key: _number((qc.get('numbers') or {}).get(key)) for key in numbers},
            'model': model.get('Name', ''),
            'model_sha256': model.get('SHA256', ''),
            'mc_samples': qc.get('MonteCarloSamples', ''),
            'precision': qc.get('Precision', ''),
            'label_resampling': qc.get('LabelResampling', ''),
            'version': versions.get('bids_brainseg', ''),
        }

    return _frame(group, group.scans, extra)


def _participants(group: Group) -> pd.DataFrame:
    """Make one row per participant: which results exist, and why not all of them."""
    by_subject: dict[str, list[ScanResult]] = {}
    for scan in group.scans:
        by_subject.setdefault(scan.subject, []).append(scan)
    rows, names = [], covariate_columns(group)
    for subject, absence in group.participants.items():
        scans = by_subject.get(subject, [])
        done = [scan for scan in scans if scan.usable]
        without = [scan for scan in scans if not scan.usable]
        if not scans:
            status = 'missing'
        else:
            status = 'failed' if not done else 'partial' if without else 'present'
        reasons = [f'{scan.name} {scan.status}: {scan.reason}' for scan in scans if scan.reason]
        covariates = group.covariates.participants.get(subject, {})
        rows.append({
            'participant_id': f'sub-{subject}',
            'participant_status': status,
            'participant_reason': _one_line(absence or '; '.join(reasons) or (
                '' if scans else 'none of the scans was selected')),
            'n_done': len(done),
            'n_without': len(without),
            'modalities': ' '.join(dict.fromkeys(scan.modality for scan in done)),
            **{name: covariates.get(column, '') for column, name in names.items()},
        })  # fmt: skip
    return pd.DataFrame(rows)


def _ratings(group: Group) -> pd.DataFrame:
    """Make one row per rating, beside the verdict of the scan."""
    entities, scans = _entity_columns(group), {scan.name: scan for scan in group.scans}
    rows = []
    for rating in group.ratings.ratings:
        scan = scans[rating.scan]
        verdict = str(scan.qc.get('verdict') or '')
        rows.append({
            **_identity(scan, entities),
            'verdict': verdict,
            'rater': rating.rater,
            'rating': rating.verdict,
            'agrees': ('yes' if rating.verdict == verdict else 'no') if verdict else '',
            'rating_note': rating.note,
            'rated_at': rating.rated_at,
            'verdict_when_rated': rating.verdict_seen,
            'version_when_rated': rating.version_seen,
            'rating_file': rating.file,
        })  # fmt: skip
    head = ['participant_id', 'session_id', *entities, 'scan', 'modality', 'verdict', 'rater', 'rating',
            'agrees', 'rating_note', 'rated_at', 'verdict_when_rated', 'version_when_rated',
            'rating_file']  # fmt: skip
    return pd.DataFrame(rows, columns=head)


def _one_line(text: str) -> str:
    """Put a text on one line, for a cell.

    >>> _one_line('cut\\tshort\\n at 5')
    'cut short at 5'
    """
    return ' '.join(text.split())


def _number(value: object) -> object:
    """Return a number as it is, text and n/a as an empty cell."""
    return value if isinstance(value, (int, float)) else ''


def _number_meanings(group: Group) -> dict[str, dict]:
    """Describe the quality numbers as the files of the scans do, else as the packaged table does."""
    of_scans: dict[str, dict] = {}
    units: dict[str, str] = {}
    for scan in group.scans:
        of_scans = {**scan.qc.get('Meaning', {}), **of_scans}
        units = {**scan.qc.get('Units', {}), **units}
    packaged = meanings(qc_numbers())
    packaged |= {key: {**packaged.get(key, _UNKNOWN), 'Units': unit} for key, unit in units.items()}
    return packaged | of_scans


def _dictionary(name: str, table: pd.DataFrame, group: Group) -> dict:
    """Describe a table and each of its columns."""
    described = {**output_rules()['morph_columns'], **_rules()['columns']}
    renamed = {new: old for old, new in covariate_columns(group).items()}
    numbers = _number_meanings(group)
    columns = {}
    for column in table:
        structure, _, kind = column.rpartition('_asymmetry_')
        if column in renamed:
            columns[column] = {
                'Description': 'From sessions.tsv, else from participants.tsv.',
                **group.covariates.columns[renamed[column]],
            }
        elif column in described:
            columns[column] = described[column]
        elif column in _COUNTS:
            first, second = column.split('_')
            columns[column] = {
                'Description': f'Scans that rater_a calls {first} and rater_b {second}.',
                'Units': 'count',
            }
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
            columns[column] = numbers.get(column, _UNKNOWN)
    return {
        'Description': _rules()['descriptions'][name],
        **columns,
        'Parameters': {'Minimum': MINIMUM, 'Limit': LIMIT},
        **_origin(group),
    }


def _origin(group: Group) -> dict:
    """Say what made a table, and what its readers should know."""
    return {
        'Notes': list(dict.fromkeys(group.notes)),
        'GeneratedBy': [{'Name': 'bids_brainseg', 'Version': __version__}],
    }

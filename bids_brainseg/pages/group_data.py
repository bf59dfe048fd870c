# SPDX-License-Identifier: Apache-2.0
"""What the group page draws: lists over the scans for its charts, contact sheet and tables; volumes in ml."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.group import LIMIT
from ..core.quality import BOUNDS, LEVELS
from ..data import modalities
from ..data.quality import qc_numbers
from ..files import unfetched
from ..records import ScanResult
from ..results.group import Group
from ..results.group_measures import NAMES, Measures, scan_pairs
from ..results.group_tables import Table, covariate_columns, scanners_of
from ..results.ratings import Rating
from .formats import bounds

#: Columns of the table of volumes that the page offers, where they exist: in the list, in a sentence.
VOLUMES = {
    'volume_mm3': ('Volume', 'volume'),
    'volume_soft_mm3': ('Volume, soft', 'soft volume'),
    'mc_mean_mm3': ('Volume, mean of the passes', 'mean volume of the passes'),
}
#: Measures computed of the volumes: name, in a sentence, unit, whether the values are volumes.
COMPUTED = {
    'percent': ('Share of eTIV', 'share of eTIV', '%', False),
    'residual': ('Residual after regression on eTIV', 'residual after eTIV', 'ml', True),
    'asymmetry': ('Left-right asymmetry', 'asymmetry', '%', False),
}
#: A column of participants.tsv with more values than this is no legend.
MOST_LEVELS = 12
QUALITY = {'alignment': 'Alignment', 'cv_mean': 'Mean CV, %'}
#: Figures that the contact sheet may show, the best first.
PICTURES = ('thumbnail', 'contours')
#: Order of the contact sheet; what is not named comes after ``pass``.
WORST_FIRST = ('fail', 'failed', 'broken', 'outdated', 'review', 'skipped', 'pass')


def gather_data(group: Group, measures: Measures, tables: Mapping[str, Table], output_dir: Path) -> dict:
    """Gather what the page draws.

    Parameters
    ----------
    group : Group
    measures : Measures
    tables : mapping of Table
        Of :func:`bids_brainseg.results.group_tables.make_tables`.
    output_dir : Path
        Where the page goes; links start there.

    Returns
    -------
    dict
        For JSON. Lists over scans are in the order of ``measures.scans`` where not stated.
    """
    scans = measures.scans
    values = _volumes(scans) | {
        key: _columns(getattr(measures, key), is_volume) for key, (*_, is_volume) in COMPUTED.items()
    }
    described = {key: {'name': VOLUMES[key][0], 'short': VOLUMES[key][1], 'unit': 'ml'} for key in VOLUMES}
    described |= {key: {'name': row[0], 'short': row[1], 'unit': row[2]} for key, row in COMPUTED.items()}
    return {
        'names': [name.replace('-', ' ') for name in NAMES],
        'keys': list(NAMES),
        'measures': {key: described[key] for key in values},
        'values': values,
        'scan': [scan.name for scan in scans],
        'modality': [scan.modality for scan in scans],
        'modalities': [name for name in modalities() if any(scan.modality == name for scan in scans)],
        'page': [_page_of(scan, group) for scan in scans],
        'groups': levels_of(group, scans),
        'axes': _axes(group, measures),
        'outliers': _outliers(measures),
        'pairs': [[*both, places] for both, places in scan_pairs(scans).items()],
        'agreement': _agreement(tables['agreement']),
        'qc': quality_charts(scans),
        'sheet': contact_sheet(group, output_dir),
        'rows': _table_rows(group, measures),
        'disagreeing': _disagreeing(group),
        'missing': [
            [row.participant_id, row.participant_status, row.participant_reason]
            for row in tables['participants'].data.itertuples()
            if row.participant_status == 'missing'
        ],
        'missing_scans': [
            [scan.name, scan.status, scan.reason, _page_of(scan, group)]
            for scan in group.scans
            if scan.reason
        ],
    }


# === Numbers ===


def _volumes(scans: Sequence[ScanResult]) -> dict[str, list]:
    """Return kind of volume -> one list per structure, ml; kinds that no scan has are left out."""
    found = {}
    for column in VOLUMES:
        numbers = [[row.get(column, math.nan) for row in scan.rows] for scan in scans]
        array = np.array(numbers, float).reshape(len(scans), len(NAMES))
        if np.isfinite(array).any() or column == 'volume_mm3':
            found[column] = _columns(array, is_volume=True)
    return found


def _columns(values: np.ndarray, is_volume: bool) -> list:
    """Return one list per structure, five significant digits, None for a structure without any."""
    values = values / 1000 if is_volume else values
    return [[_short(value) for value in column] if np.isfinite(column).any() else None for column in values.T]


def _short(value: float) -> float | int | None:
    """Round to five significant digits.

    >>> _short(123456.7), _short(0.1234567), _short(float('nan'))
    (123460, 0.12346, None)
    """
    if not math.isfinite(value):
        return None
    rounded = float(f'{value:.5g}')
    return int(rounded) if rounded.is_integer() else rounded


def _number_or_none(text: object, digits: int | None = None) -> float | None:
    """Read a number, and round it to so many digits after the point, or to five significant ones.

    >>> _number_or_none('63'), _number_or_none('89+'), _number_or_none('nan'), _number_or_none(1.256, 1)
    (63, None, None, 1.3)
    """
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return _short(number) if digits is None or not math.isfinite(number) else round(number, digits)


def _page_of(scan: ScanResult, group: Group) -> str:
    """Return the participant's page at the scan; empty if there is none."""
    return f'sub-{scan.subject}.html#{scan.name}' if scan.subject in group.pages else ''


def levels_of(group: Group, scans: Sequence[ScanResult]) -> dict[str, dict]:
    """Return what may color the points: name -> its levels, and the level of each scan (-1: unknown)."""
    covariates = [group.covariates.of(scan.subject, scan.session) for scan in scans]
    scanners = scanners_of(group)
    columns = {
        'verdict': [str(scan.qc.get('verdict') or '') for scan in scans],
        'scanner': [scanners[scan.name] for scan in scans],
        'session': [f'ses-{scan.session}' if scan.session is not None else '' for scan in scans],
        **{
            name: [row.get(column, '') for row in covariates]
            for column, name in covariate_columns(group).items()
        },
    }
    groups = {}
    for name, values in columns.items():
        levels = sorted(set(values) - {''})
        if 1 <= len(levels) <= MOST_LEVELS:
            index = {level: number for number, level in enumerate(levels)}
            groups[name] = {'levels': levels, 'of': [index.get(value, -1) for value in values]}
    return groups


def _axes(group: Group, measures: Measures) -> dict[str, list]:
    """Return what volumes may be drawn against: covariates first, then numbers of the scans themselves."""
    covariates = [group.covariates.of(scan.subject, scan.session) for scan in measures.scans]
    axes = {}
    for column, name in covariate_columns(group).items():
        numbers = [_number_or_none(row.get(column)) for row in covariates]
        if len({number for number in numbers if number is not None}) > 2:
            axes[name] = numbers
    axes['eTIV, ml'] = [_short(value / 1000) for value in measures.volume[:, NAMES.index('eTIV')]]
    for key, name in QUALITY.items():
        numbers = [_number_or_none((scan.qc.get('numbers') or {}).get(key)) for scan in measures.scans]
        if name not in axes and any(number is not None for number in numbers):
            axes[name] = numbers
    return axes


def _outliers(measures: Measures) -> list[list]:
    """Return one entry per scan with outliers, the one with most structures first.

    Each holds the scan, then for each structure, the farthest first, its column and the reason for each kind
    of score (empty: none).
    """
    farthest = np.max([np.abs(np.nan_to_num(scores)) for scores in measures.z.values()], axis=0)
    entries = []
    for row in np.flatnonzero((farthest > LIMIT).any(axis=1)).tolist():
        columns = np.flatnonzero(farthest[row] > LIMIT)
        columns = columns[np.argsort(-farthest[row, columns], kind='stable')].tolist()
        reasons = [
            [column, [reasons[row, column] for reasons in measures.reasons.values()]] for column in columns
        ]
        entries.append([row, reasons])
    return sorted(entries, key=lambda entry: (-len(entry[1]), -farthest[entry[0]].max()))


def _agreement(table: Table) -> dict[str, list]:
    """Return pair of modalities -> pairs, difference and its SD in ml, concordance of each structure."""
    agreement: dict[str, list] = {}
    for row in table.data.itertuples():
        numbers = (row.n_pairs, row.difference_mm3 / 1000, row.difference_sd_mm3 / 1000, row.concordance)
        agreement.setdefault(f'{row.modality_a} {row.modality_b}', []).append([_short(n) for n in numbers])
    return agreement


# === QC numbers ===


def quality_charts(scans: Sequence[ScanResult]) -> list[dict]:
    """Return what to draw of each QC number, those with thresholds first.

    Parameters
    ----------
    scans : sequence of ScanResult

    Returns
    -------
    list of dict
        ``title``, ``unit``, ``about``; ``values`` of the scans (None: not measured); ``bounds``, modality to
        ``[level, value]`` of its thresholds, and ``words``, modality to the same as text. Where the scans of
        a modality were judged by different thresholds, those of most of them.
    """
    described, charts = qc_numbers(), []
    keys = dict.fromkeys(key for scan in scans for key in scan.qc.get('numbers') or {})
    for key in keys:
        entry = described.get(key, {'label': key, 'unit': '', 'description': ''})
        volume = entry['unit'] == 'mm3'
        numbers = [_number_or_none((scan.qc.get('numbers') or {}).get(key)) for scan in scans]
        if all(number is None for number in numbers):
            continue
        rules = {name: _in_ml(rule) if volume else rule for name, rule in _rules(scans, key).items()}
        charts.append({
            'key': key,
            'title': entry['label'][:1].upper() + entry['label'][1:],
            'unit': 'ml' if volume else entry['unit'],
            'about': entry['description'],
            'values': [_short(n / 1000) if volume and n is not None else n for n in numbers],
            'bounds': {
                name: [[BOUNDS[kind][0], rule[kind]] for kind in BOUNDS if kind in rule]
                for name, rule in rules.items()
            },
            'words': {name: bounds(rule) for name, rule in rules.items() if bounds(rule)},
        })  # fmt: skip
    return sorted(charts, key=lambda chart: not chart['words'])


def _rules(scans: Sequence[ScanResult], key: str) -> dict[str, dict]:
    """Return modality -> the thresholds of a QC number, of most of its scans."""
    found: dict[str, Counter] = {}
    for scan in scans:
        rule = (scan.qc.get('Rules') or {}).get(key) or {}
        numbers = tuple((kind, rule[kind]) for kind in BOUNDS if isinstance(rule.get(kind), int | float))
        found.setdefault(scan.modality, Counter())[numbers] += 1
    return {modality: dict(rules.most_common(1)[0][0]) for modality, rules in found.items()}


def _in_ml(rule: Mapping[str, float]) -> dict[str, float]:
    return {kind: bound / 1000 for kind, bound in rule.items()}


# === Scans ===


def _verdict(scan: ScanResult) -> str:
    """Return the verdict; for a scan without a usable one what became of it."""
    return str(scan.qc.get('verdict') or '') if scan.usable and scan.qc.get('verdict') else scan.status


def _reasons(scan: ScanResult) -> str:
    """Say why a scan is not a pass, or has no result."""
    reasons = [str(reason) for reason in scan.qc.get('reasons') or ()] if scan.usable else []
    return '; '.join([*([scan.reason] if scan.reason else []), *reasons])


def contact_sheet(group: Group, output_dir: Path) -> list[list]:
    """Return name, modality, verdict, reasons, page and picture of every scan, the worst first.

    Parameters
    ----------
    group : Group
    output_dir : Path
        Where the page goes.

    Returns
    -------
    list of list
        The picture is a path and the kind of figure, or an empty path and why there is none. Scans of one
        verdict are sorted by the number of reasons and then by their alignment, the lowest first.
    """

    def badness(scan: ScanResult) -> tuple:
        verdict, alignment = _verdict(scan), scan.number('alignment')
        worst = WORST_FIRST.index(verdict) if verdict in WORST_FIRST else len(WORST_FIRST)
        return worst, -len(scan.qc.get('reasons') or ()), 1.0 if alignment is None else alignment

    return [
        [
            scan.name,
            scan.modality,
            _verdict(scan),
            _reasons(scan),
            _page_of(scan, group),
            *_picture(scan, output_dir),
        ]
        for scan in sorted(group.scans, key=badness)
    ]


def _picture(scan: ScanResult, output_dir: Path) -> tuple[str, str]:
    """Return path and kind of the figure that stands for a scan; without one '' and the reason."""
    for kind in PICTURES:
        if kind in scan.figures:
            return Path(os.path.relpath(scan.figures[kind], output_dir)).as_posix(), kind
    for kind in PICTURES:
        if kind in scan.unfetched:
            path = Path(os.path.relpath(scan.unfetched[kind], output_dir)).as_posix()
            return '', f'{path}: {unfetched(scan.unfetched[kind]) or "it is cut short or cannot be read"}.'
    if not scan.usable:
        return '', 'No result, so no picture.'
    return '', f'sub-{scan.subject}/figures holds no picture of this scan.'


def _ratings_by_scan(group: Group) -> dict[str, list[Rating]]:
    by_scan: dict[str, list[Rating]] = {}
    for rating in group.ratings.ratings:
        by_scan.setdefault(rating.scan, []).append(rating)
    return by_scan


def _disagreeing(group: Group) -> list[list]:
    """Return name, modality, verdict, ratings and page of the scans that are not judged alike by all.

    A rating is rater, verdict, note, and whether the scan was processed again since and judged differently.
    """
    rows, by_scan = [], _ratings_by_scan(group)
    for scan in group.scans:
        ratings, verdict = by_scan.get(scan.name, ()), str(scan.qc.get('verdict') or '')
        if len({verdict, *(rating.verdict for rating in ratings)} - {''}) > 1:
            said = [
                [rating.rater, rating.verdict, rating.note, rating.verdict_seen in {*LEVELS} - {verdict}]
                for rating in ratings
            ]
            rows.append([scan.name, scan.modality, verdict, said, _page_of(scan, group)])
    return rows


def _table_rows(group: Group, measures: Measures) -> dict:
    """Return titles and rows of the table of all scans, those without a result included."""
    outlying = (measures.outlier != '').sum(axis=1)
    row_of = {scan.name: row for row, scan in enumerate(measures.scans)}
    names, scanners, ratings = covariate_columns(group), scanners_of(group), _ratings_by_scan(group)
    rows = []
    for scan in group.scans:
        row = row_of.get(scan.name)
        numbers = scan.qc.get('numbers') or {}
        volumes = (
            [None] * 3 if row is None else [_number_or_none(v / 1000, 1) for v in measures.volume[row, -3:]]
        )
        judged = row is not None and np.isfinite(measures.z['volume'][row]).any()
        covariates = group.covariates.of(scan.subject, scan.session)
        entities = [f'{k}-{v}' for k, v in scan.entities.items() if k not in ('sub', 'ses')]
        said = '; '.join(f'{rating.rater}: {rating.verdict}' for rating in ratings.get(scan.name, ()))
        rows.append([
            f'sub-{scan.subject}', f'ses-{scan.session}' if scan.session is not None else '',
            ' '.join(entities), scan.modality, _verdict(scan), _reasons(scan), said,
            *volumes, _number_or_none(numbers.get('cv_mean'), 2),
            _number_or_none(numbers.get('alignment'), 2),
            int(outlying[row]) if judged else None,
            *(covariates.get(column, '') for column in names), scanners[scan.name], _page_of(scan, group),
        ])  # fmt: skip
    titles = ['Participant', 'Session', 'Scan', 'Modality', 'Verdict', 'Reasons', 'Ratings', 'Brain, ml',
              'Ventricles, ml', 'eTIV, ml', 'Mean CV, %', 'Alignment', 'Outliers', *names.values(),
              'Scanner']  # fmt: skip
    empty = [
        place
        for place, title in enumerate(titles)
        if title in ('Session', 'Scan', 'Ratings', 'Reasons', 'Scanner')
        and not any(row[place] for row in rows)
    ]
    kept = [place for place in range(len(titles) + 1) if place not in empty]
    return {
        'titles': [titles[place] for place in kept[:-1]],
        'rows': [[row[place] for place in kept] for row in rows],
    }

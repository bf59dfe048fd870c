# SPDX-License-Identifier: Apache-2.0
"""The page of a group: one file with its data, charts by Plotly and tables by DataTables; opens offline.

Both libraries are in the page once, from the packages that ship them (plotly; itables for DataTables).
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import itables
import numpy as np
from plotly.offline import get_plotlyjs

from ..core.group import LIMIT, MINIMUM
from ..data import modalities
from ..files import plain, write_text
from ..records import ScanResult
from ..results.group import Group
from ..results.group_measures import NAMES, Measures, scan_pairs
from ..results.group_tables import Table, covariate_columns, scanners_of
from .render import render

MEASURES = {
    'volume': ('Volume', 'volume', 'mm³'),
    'percent': ('Share of eTIV', 'share of eTIV', '%'),
    'residual': ('Residual after regression on eTIV', 'residual after eTIV', 'mm³'),
    'asymmetry': ('Left-right asymmetry', 'asymmetry', '%'),
}
# A column of participants.tsv with more values than this is no legend.
MOST_LEVELS = 12
QUALITY = {'alignment': 'Alignment', 'cv_mean': 'Mean CV, %', 'etiv_mm3': 'eTIV, mm³'}


def write_group_page(group: Group, measures: Measures, tables: dict[str, Table], output_dir: Path) -> Path:
    """Write ``group.html``, whole or not at all.

    Parameters
    ----------
    group : Group
        What was collected.
    measures : Measures
        What was computed of it.
    tables : dict of Table
        Of :func:`bids_brainseg.results.group_tables.make_tables`.
    output_dir : Path
        Root of the derivatives, where the pages of the participants are.
    """
    bundle = files(itables) / 'html'
    page = render(
        'group.html',
        overview=_overview(group, measures),
        totals=_totals(tables),
        notes=list(dict.fromkeys(group.notes)),
        minimum=MINIMUM,
        limit=LIMIT,
        data=plain(_payload(group, measures, tables)),
        plotly=get_plotlyjs(),
        tables_js=base64.b64encode((bundle / 'dt_bundle.js').read_bytes()).decode(),
        tables_css=(bundle / 'dt_bundle.css').read_text(encoding='utf-8'),
    )
    return write_text(page, Path(output_dir) / 'group.html')


def _overview(group: Group, measures: Measures) -> list[dict]:
    """Count the scans of each modality by verdict and status."""
    rows, outlying = [], (measures.outlier != '').any(axis=1)
    for modality in [*modalities(), *sorted({scan.modality for scan in group.scans} - set(modalities()))]:
        scans = [scan for scan in group.scans if scan.modality == modality]
        if scans:
            verdicts = Counter(str(scan.qc.get('verdict')) for scan in scans if scan.usable)
            judged = [place for place, scan in enumerate(measures.scans) if scan.modality == modality]
            enough = bool(np.isfinite(measures.z['volume'][judged]).any())
            rows.append({
                'modality': modality, 'scans': len(scans),
                'participants': len({scan.subject for scan in scans}),
                **{verdict: verdicts[verdict] for verdict in ('pass', 'review', 'fail')},
                'without': sum(not scan.usable for scan in scans),
                'reference': int(measures.reference[judged].sum()),
                'marked': int(outlying[judged].sum()) if enough else None,
            })  # fmt: skip
    return rows


def _totals(tables: dict[str, Table]) -> dict[str, int]:
    """Count the participants by what there is of them."""
    counts = Counter(tables['participants'].data['participant_status'])
    return {status: counts[status] for status in ('present', 'partial', 'failed', 'missing')}


def _payload(group: Group, measures: Measures, tables: dict[str, Table]) -> dict:
    """Gather what the page draws: lists over the scans with a result, then the tables."""
    scans = measures.scans
    return {
        'names': [name.replace('-', ' ') for name in NAMES],
        'keys': list(NAMES),
        'measures': {
            key: {'name': name, 'short': brief, 'unit': unit} for key, (name, brief, unit) in MEASURES.items()
        },
        'values': {key: _values_of(getattr(measures, key)) for key in MEASURES},
        'scan': [scan.name for scan in scans],
        'modality': [scan.modality for scan in scans],
        'modalities': [name for name in modalities() if any(scan.modality == name for scan in scans)],
        'page': [_page_of(scan, group) for scan in scans],
        'groups': levels_of(group, scans),
        'axes': _axes_of(group, measures),
        'outliers': _outliers_of(measures),
        'pairs': [[*both, places] for both, places in scan_pairs(scans).items()],
        'agreement': _agreement_of(tables['agreement']),
        'rows': _table_rows(group, measures),
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


def _outliers_of(measures: Measures) -> list[list]:
    """Return scan, structure and the reason for each kind of score (empty: none), the farthest first."""
    farthest = np.max([np.abs(np.nan_to_num(scores)) for scores in measures.z.values()], axis=0)
    outliers = np.argwhere(farthest > LIMIT)
    outliers = outliers[np.argsort(-farthest[tuple(outliers.T)], kind='stable')]
    return [
        [row, column, [reasons[row, column] for reasons in measures.reasons.values()]]
        for row, column in outliers.tolist()
    ]


def _values_of(values: np.ndarray) -> list:
    """Return one list per structure, five significant digits, None for a structure without any."""
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
    """Return the participant's page, empty if there is none."""
    return f'sub-{scan.subject}.html' if scan.subject in group.pages else ''


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


def _axes_of(group: Group, measures: Measures) -> dict[str, list]:
    """Return what volumes may be drawn against: covariates first, then numbers of the scans themselves."""
    covariates = [group.covariates.of(scan.subject, scan.session) for scan in measures.scans]
    axes = {}
    for column, name in covariate_columns(group).items():
        numbers = [_number_or_none(row.get(column)) for row in covariates]
        if len({number for number in numbers if number is not None}) > 2:
            axes[name] = numbers
    etiv = [_short(value) for value in measures.volume[:, NAMES.index('eTIV')]]
    axes['eTIV, mm³'] = etiv
    for key, name in QUALITY.items():
        numbers = [_number_or_none((scan.qc.get('numbers') or {}).get(key)) for scan in measures.scans]
        if name not in axes and any(number is not None for number in numbers):
            axes[name] = numbers
    return axes


def _agreement_of(table: Table) -> dict[str, list]:
    """Return pair of modalities -> number of pairs, difference, its SD and concordance of each structure."""
    agreement: dict[str, list] = {}
    for row in table.data.itertuples():
        numbers = (row.n_pairs, row.difference_mm3, row.difference_sd_mm3, row.concordance)
        agreement.setdefault(f'{row.modality_a} {row.modality_b}', []).append([_short(n) for n in numbers])
    return agreement


def _table_rows(group: Group, measures: Measures) -> dict:
    """Return titles and rows of the table of all scans, those without a result included."""
    outlying = (measures.outlier != '').sum(axis=1)
    row_of = {scan.name: row for row, scan in enumerate(measures.scans)}
    names, scanners = covariate_columns(group), scanners_of(group)
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
        rows.append([
            f'sub-{scan.subject}', f'ses-{scan.session}' if scan.session is not None else '',
            ' '.join(entities), scan.modality,
            str(scan.qc.get('verdict') or '') if row is not None else scan.status,
            *volumes, _number_or_none(numbers.get('cv_mean'), 2),
            _number_or_none(numbers.get('alignment'), 2),
            int(outlying[row]) if judged else None,
            *(covariates.get(column, '') for column in names), scanners[scan.name], _page_of(scan, group),
        ])  # fmt: skip
    titles = ['Participant', 'Session', 'Scan', 'Modality', 'Verdict', 'Brain, ml', 'Ventricles, ml',
              'eTIV, ml', 'Mean CV, %', 'Alignment', 'Outliers', *names.values(), 'Scanner']  # fmt: skip
    return {'titles': titles, 'rows': rows}

# SPDX-License-Identifier: Apache-2.0
"""The page of a group: one file with its data, charts by Chart.js and tables by DataTables; opens offline.

Only the small pictures of the contact sheet stay where they are, in the folders of the participants.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ..core.group import LIMIT, MINIMUM
from ..core.quality import LEVELS
from ..data import modalities
from ..files import plain, write_text
from ..results.group import Group
from ..results.group_measures import Measures
from ..results.group_tables import Table
from .group_data import gather_data
from .render import render


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
    output_dir = Path(output_dir)
    page = render(
        'group.html',
        overview=_overview(group, measures),
        totals=_totals(tables),
        notes=list(dict.fromkeys(group.notes)),
        minimum=MINIMUM,
        limit=LIMIT,
        raters=_raters(tables['rating_agreement']),
        ratings=len(group.ratings.ratings),
        tables=[f'group_{name}.tsv' for name in tables],
        data=plain(gather_data(group, measures, tables, output_dir)),
    )
    return write_text(page, output_dir / 'group.html')


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


def _raters(table: Table) -> list[dict]:
    """Return the rows of agreement of raters, with the verdicts on which they differ in words."""
    rows = []
    for row in table.data.to_dict('records'):
        differ = [
            f'{row[f"{a}_{b}"]} {a} against {b}' for a in LEVELS for b in LEVELS if a != b and row[f'{a}_{b}']
        ]
        rows.append({
            'raters': (row['rater_a'], row['rater_b']),
            'modality': row['modality'],
            'n': row['n_scans'],
            'agree': row['n_agree'],
            'percent': 100 * row['n_agree'] / row['n_scans'],
            'differ': ', '.join(differ) or 'none',
            **{
                kind: {'r': row[kind], 'low': row[f'{kind}_low'], 'high': row[f'{kind}_high']}
                for kind in ('kappa', 'kappa_linear')
            },
        })  # fmt: skip
    return rows

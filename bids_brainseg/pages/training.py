# SPDX-License-Identifier: Apache-2.0
"""The page of training cases: labels on their scans, the lowest agreement first, to check before training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..bids.training_cases import CASE_COLUMNS
from ..files import write_text
from ..records import UnusedImage
from .formats import MISSING
from .render import render


def write_training_page(path: Path, rows: Sequence[dict], unused: Sequence[UnusedImage] = ()) -> Path:
    """Write the page.

    Parameters
    ----------
    path : Path
        HTML file; figures are linked, not copied, and load when they come into view.
    rows : sequence of dict
        One for each case, with the names of ``CASE_COLUMNS`` and ``files``, whose ``figure`` may be missing.
    unused : sequence of UnusedImage, optional
        Images of the dataset that are not cases.

    Returns
    -------
    Path
        `path`.
    """
    ordered = sorted(rows, key=lambda row: (row['agreement'] is not None, row['agreement'] or 0))
    figures = [
        {
            'scan': row['scan'],
            'status': row['status'],
            'agreement': _text(row['agreement']),
            'reason': '' if row['reason'] == MISSING else row['reason'],
            'link': Path(os.path.relpath(row['files']['figure'], path.parent)).as_posix(),
        }
        for row in ordered
        if row['files']['figure'].is_file()
    ]
    page = render(
        'training.html',
        columns=CASE_COLUMNS,
        rows=[[_text(row[name]) for name in CASE_COLUMNS] for row in ordered],
        figures=figures,
        unused=unused,
    )
    return write_text(page, path)


def _text(value: object) -> str:
    if value is None:
        return MISSING
    return f'{value:.2f}' if isinstance(value, float) else str(value)

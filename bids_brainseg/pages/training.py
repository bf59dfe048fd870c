# SPDX-License-Identifier: Apache-2.0
"""The page on which carried labels are looked at, worst first, before a network learns them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from ..bids.training_cases import CASE_COLUMNS
from ..data import resource
from ..files import write_text


def write_training_page(path: Path, rows: Sequence[dict]) -> Path:
    """Write the page.

    Parameters
    ----------
    path : Path
        HTML file; figures are linked, not copied.
    rows : sequence of dict
        One for each case, with the names of ``CASE_COLUMNS`` and ``files``, whose ``figure`` may be missing.
    """
    ordered = sorted(rows, key=lambda row: (row['agreement'] is not None, row['agreement'] or 0))
    head = ''.join(f'<th>{name}</th>' for name in CASE_COLUMNS)
    body = ''.join(
        '<tr>' + ''.join(f'<td>{_cell(row[name])}</td>' for name in CASE_COLUMNS) + '</tr>' for row in ordered
    )
    table = f'<table class="overview"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    about = (
        'Labels as the network would learn them, worst first. Do the outlines follow the structures? Whoever '
        'does not pass goes into a table with participant_id, session_id and reason: --exclude FILE.tsv.'
    )
    sections = [_section('cases', 'Cases', [{'components': [(table,)], 'description': about}])]
    figures = [_figure(row, path) for row in ordered if row['files']['figure'].is_file()]
    sections += [_section('figures', 'Labels on the scans', figures)] if figures else []
    environment = Environment(loader=FileSystemLoader(resource('report.html').parent), autoescape=False)
    page = environment.get_template('report.html').render(title='Training cases', sections=sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(page, path)


def _section(name: str, title: str, reportlets: list) -> dict:
    return {'name': name, 'title': title, 'reportlets': reportlets}


def _figure(row: dict, page: Path) -> dict:
    link = Path(os.path.relpath(row['files']['figure'], page.parent)).as_posix()
    image = f'<img loading="lazy" style="width:100%" src="{escape(link)}" alt="labels outlined on the scan">'
    return {
        'subtitle': escape(row['scan']),
        'description': f'{row["status"]}, agreement {_cell(row["agreement"])}'
        + ('' if row['reason'] == 'n/a' else f': {escape(row["reason"])}'),
        'components': [(image,)],
    }


def _cell(value) -> str:
    if value is None:
        return 'n/a'
    return f'{value:.2f}' if isinstance(value, float) else escape(str(value))

# SPDX-License-Identifier: Apache-2.0
"""The tables and sentences of the report: plain numbers in, escaped HTML out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..data import label_table
from .figures import legible

WORDS = {
    'pass': ('Pass', 'Every number is within its range. Look at the outlines all the same.'),
    'look': ('Look', 'Something is unusual; look before using the numbers.'),
    'fail': ('Fail', 'Do not use the numbers of this scan.'),
    'failed': ('Failed', 'This scan could not be processed.'),
    'skipped': ('Skipped', 'This scan was left out.'),
    'unknown': ('No verdict', 'The quality numbers of this scan were not found.'),
}
MISSING = '<span class="none">n/a</span>'
FACTS = {  # what the header says -> how the page says it
    'shape': ('Voxels', ''),
    'orientation': ('Orientation', ''),
    'voxel_size_mm': ('Voxel size', 'mm'),
    'zooms': ('Voxel size', 'mm'),
    'qform_code': ('qform code', ''),
    'sform_code': ('sform code', ''),
    'qform_sform_disagreement_mm': ('qform against sform', 'mm'),
    'obliquity_deg': ('Obliquity', '°'),
    'anisotropy': ('Anisotropy', ''),
    'dtype': ('Stored as', ''),
}
RUN = (  # what the page calls it, and its names in qc.json
    ('Monte-Carlo passes', 'mc_samples'),
    ('CV threshold, %', 'cv_threshold'),
    ('Random seed', 'seed', 'random_seed'),
    ('Label resampling', 'label_resampling'),
    ('Device', 'device'),
    ('Backend', 'backend'),
)


def find(tree: Mapping, *names: str) -> Any:
    """Return the first of `names` in nested mappings, None where none is there.

    >>> find({'quality': {'cv_mean': 1.5}}, 'cv', 'cv_mean')
    1.5
    """
    for name in names:
        if name in tree:
            return tree[name]
    inner = (find(value, *names) for value in tree.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def number(value: Any, digits: int = 0, unit: str = '') -> str:
    """Write a number with thin spaces between thousands, n/a where there is none.

    >>> number(12345.6), number('n/a'), number(1.25, 1, '%')
    ('12\\u2009346', '<span class="none">n/a</span>', '1.2\\u2009%')
    """
    try:
        value = float(value)
    except (TypeError, ValueError):
        return MISSING
    if not math.isfinite(value):
        return MISSING
    text = f'{value:,.{digits}f}'.replace(',', '\N{THIN SPACE}').replace('-', '\N{MINUS SIGN}')
    return f'{text}\N{THIN SPACE}{unit}' if unit else text


def badge(verdict: str) -> str:
    """Return the coloured word of a verdict."""
    kind = verdict if verdict in WORDS else 'unknown'
    return f'<span class="badge {kind}">{WORDS[kind][0]}</span>'


def verdict_html(qc: Mapping) -> str:
    """Say whether the scan can be trusted, and why not.

    Parameters
    ----------
    qc : mapping
        ``verdict`` ('pass', 'look', 'fail', also 'failed' and 'skipped') and ``reasons``, as in ``*_qc.json``.
    """
    verdict = str(qc.get('verdict', 'unknown'))
    kind = verdict if verdict in WORDS else 'unknown'
    reasons = [str(reason) for reason in qc.get('reasons') or ()]
    said = f'<ul>{"".join(f"<li>{escape(reason)}</li>" for reason in reasons)}</ul>' if reasons else ''
    crash = qc.get('crashfile')
    trail = f'<p class="note">Crash file: <code>{escape(str(crash))}</code></p>' if crash else ''
    return (
        f'<div class="verdict {kind}"><strong>{WORDS[kind][0]}</strong>'
        f'<div><p>{WORDS[kind][1]}</p>{said}{trail}</div></div>'
    )


def overview_html(scans: Sequence[Mapping]) -> str:
    """List the scans of the subject; each has ``title``, ``anchor``, ``qc`` and ``totals`` (mm3)."""
    rows = []
    for scan in scans:
        qc, totals = scan['qc'], scan.get('totals') or {}
        rows.append(
            f'<tr><td><a href="#{escape(scan["anchor"])}">{escape(scan["title"])}</a></td>'
            f'<td>{badge(str(qc.get("verdict", "unknown")))}</td>'
            f'<td class="n">{litres(totals.get("brain"))}</td><td class="n">{litres(totals.get("ventricles"))}</td>'
            f'<td class="n">{number(find(qc, "cv_mean"), 2, "%")}</td>'
            f'<td class="n">{number(find(qc, "alignment", "similarity"), 3)}</td></tr>'
        )
    return (
        '<table class="overview"><thead><tr><th>Scan</th><th>Verdict</th><th class="n">Brain</th>'
        '<th class="n">Ventricles</th><th class="n">Mean CV</th><th class="n">Similarity to reference</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table>'
    )


def litres(mm3: Any) -> str:
    """Write mm3 as ml."""
    try:
        return number(float(mm3) / 1000, 1, 'ml')
    except (TypeError, ValueError):
        return MISSING


def volumes_html(rows: Iterable[Mapping], *, cv_threshold: float | None = None) -> str:
    """Tabulate the volumes, left beside right.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of ``*_morph.tsv``; those without a number as ``index`` are totals.
    cv_threshold : float, optional
        Per cent; a spread above it is marked.
    """
    rows = list(rows)
    by_name = {str(row['name']): row for row in rows}
    body, middle = [], []
    for label in label_table()[1:]:
        swatch = f'<i style="background:{legible(label.color)}"></i>'
        name = label.name.removeprefix('Left-').replace('-', ' ')
        if label.hemisphere == 'L':
            right = by_name.get(label.name.replace('Left-', 'Right-'))
            left = by_name.get(label.name)
            body.append(
                f'<tr><th>{swatch}{escape(name)}</th>{_cells(left, cv_threshold)}{_cells(right, cv_threshold)}'
                f'<td class="n">{_asymmetry(left, right)}</td></tr>'
            )
        elif label.hemisphere != 'R':
            middle.append(f'<tr><th>{swatch}{escape(name)}</th>{_cells(by_name.get(label.name), cv_threshold)}</tr>')
    head = '<th class="n">Volume mm³</th><th class="n">MC mean ± SD mm³</th><th class="n">CV %</th>'
    return (
        '<div class="volumes"><table><thead><tr class="side"><th></th><th colspan="3">Left</th><th colspan="3">Right'
        f'</th><th></th></tr><tr><th>Structure</th>{head}{head}<th class="n">R\N{MINUS SIGN}L %</th></tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table><div class="aside">{_totals(rows)}'
        f'<table><thead><tr><th>Midline</th>{head}</tr></thead><tbody>{"".join(middle)}</tbody></table></div></div>'
        f'<p class="note">{_legend(cv_threshold)}</p>'
    )


def totals(rows: Iterable[Mapping]) -> dict[str, float]:
    """Return the totals of a volume table, name in lower case to mm3."""
    found = {}
    for row in rows:
        if not str(row.get('index', '')).isdigit():
            try:
                found[str(row['name']).lower()] = float(row['volume_mm3'])
            except (TypeError, ValueError):
                continue
    return found


def facts_html(qc: Mapping) -> str:
    """List what the header says, and the warnings.

    Parameters
    ----------
    qc : mapping
        ``header`` (as :func:`bids_brainseg.imaging.header_facts`), ``warnings`` and ``notes``.
    """
    header = find(qc, 'header', 'facts') or {}
    items = [
        (FACTS.get(key, (key.replace('_', ' ').capitalize(), '')), value)
        for key, value in header.items()
        if not isinstance(value, Mapping) and value not in (None, '', [])
    ]
    remarks = [str(text) for key in ('warnings', 'notes') for text in (find(qc, key) or ())]
    listed = ''.join(f'<li>{escape(text)}</li>' for text in dict.fromkeys(remarks))
    return pairs_html([(name, f'{_plain(value)} {unit}'.strip()) for (name, unit), value in items]) + (
        f'<ul class="warnings">{listed}</ul>' if listed else ''
    )


def run_html(qc: Mapping) -> str:
    """List with what the scan was processed: model, passes, seed, device, seconds."""
    model = find(qc, 'model')
    named = model if isinstance(model, Mapping) else {'name': model}
    items = [
        ('Model', named.get('name')),
        ('Weights (SHA-256)', (find(qc, 'weights_sha256', 'sha256') or '')[:12]),
        *((name, find(qc, *keys)) for name, *keys in RUN),
    ]
    items += [(f'{str(stage).capitalize()}, s', value) for stage, value in (find(qc, 'seconds') or {}).items()]
    return pairs_html([(name, _plain(value)) for name, value in items if value not in (None, '')])


def software_html(qcs: Iterable[Mapping]) -> str:
    """List the versions behind the results, all that were found."""
    versions: dict[str, set[str]] = {}
    for qc in qcs:
        for name, version in (find(qc, 'versions') or {}).items():
            versions.setdefault(name, set()).add(str(version))
    return pairs_html([(name, ', '.join(sorted(found))) for name, found in sorted(versions.items())])


def pairs_html(items: Iterable[tuple[str, str]]) -> str:
    """Lay names and values out as a list of definitions."""
    inner = ''.join(f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in items)
    return f'<dl class="facts">{inner}</dl>' if inner else ''


def methods_html(text: str) -> str:
    """Turn paragraphs, parted by blank lines, and `#` headings into HTML."""
    parts = []
    for block in text.strip().split('\n\n'):
        block = block.strip()
        if block.startswith('#'):
            heading, _, block = block.partition('\n')
            parts.append(f'<h4>{escape(heading.lstrip("# "))}</h4>')
        if block:
            parts.append(f'<p>{escape(block)}</p>')
    return f'<div class="methods">{"".join(parts)}</div>'


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.3g}'
    if isinstance(value, list | tuple):
        joint = '' if all(isinstance(item, str) and len(item) == 1 for item in value) else ' \N{MULTIPLICATION SIGN} '
        return joint.join(_plain(item) for item in value)
    return str(value)


def _cells(row: Mapping | None, threshold: float | None) -> str:
    if row is None:
        return f'<td class="n">{MISSING}</td>' * 3
    flag = str(row.get('flag', 'n/a'))
    flagged = flag not in ('', 'n/a', 'nan', 'None')
    cv = number(row.get('cv_mc'), 2)
    high = threshold is not None and cv != MISSING and float(row['cv_mc']) > threshold
    spread = f'<span class="flag" title="{escape(flag if flagged else "above the threshold")}">{cv}</span>'
    mean = number(row.get('mc_mean_mm3'))
    passes = mean if mean == MISSING else f'{mean} ± {number(row.get("mc_std_mm3"))}'
    return (
        f'<td class="n v">{number(row.get("volume_mm3"))}</td>'
        f'<td class="n">{passes}</td>'
        f'<td class="n">{spread if flagged or high else cv}</td>'
    )


def _asymmetry(left: Mapping | None, right: Mapping | None) -> str:
    try:
        one, other = float(left['volume_mm3']), float(right['volume_mm3'])
        return number(200 * (other - one) / (one + other), 1)
    except (TypeError, ValueError, ZeroDivisionError):
        return MISSING


def _totals(rows: Sequence[Mapping]) -> str:
    names = {'brain': 'Brain', 'ventricles': 'Ventricles', 'etiv': 'eTIV'}
    cards = ''.join(
        f'<div><b>{litres(value)}</b><span>{escape(names.get(name, name))}</span></div>'
        for name, value in totals(rows).items()
    )
    return f'<div class="cards">{cards}</div>' if cards else ''


def _legend(threshold: float | None) -> str:
    marked = '' if threshold is None else f' Marked where it is above {threshold:g} %.'
    return (
        'Volume: labelled voxels on the grid of the scan. MC mean ± SD: over the Monte-Carlo passes, on the grid of '
        f'the network. CV = SD / mean, the spread within the model, not the measurement error.{marked} '
        'R\N{MINUS SIGN}L: difference over the mean of both sides. eTIV: intracranial volume estimated from the '
        'alignment.'
    )

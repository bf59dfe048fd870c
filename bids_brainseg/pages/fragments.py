# SPDX-License-Identifier: Apache-2.0
"""The tables and sentences of the report: plain numbers in, escaped HTML out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ..core.volumes import asymmetry
from ..data import label_table
from ..figures.slices import legible

WORDS = {
    'pass': ('Pass', 'Every number is within its range. Look at the outlines all the same.'),
    'review': ('Review', 'Something is unusual; look before using the numbers.'),
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
    'voxel_volume_mm3': ('Voxel volume', 'mm³'),
    'qform_code': ('qform code', ''),
    'sform_code': ('sform code', ''),
    'forms_disagreement_mm': ('qform against sform', 'mm'),
    'obliquity_degrees': ('Obliquity', '°'),
    'anisotropy': ('Anisotropy', ''),
    'datatype': ('Stored as', ''),
    'spatial_units': ('Units of space', ''),
    'shear_degrees': ('Shear', '°'),
    'value_range': ('Values', ''),
    'slice_thickness_mm': ('Slice thickness, sidecar', 'mm'),
    'slice_spacing_mm': ('Slice spacing, sidecar', 'mm'),
}
RUN = (
    ('Monte-Carlo passes', 'MonteCarloSamples'),
    ('Random seed', 'RandomSeed'),
    ('Device', 'Device'),
    ('Backend', 'Backend'),
    ('Labels carried back', 'LabelResampling'),
    ('b-value, s/mm²', 'BValue'),
)
STAGES = {
    'registration': 'Registration',
    'network': 'Network, in all',
    'network_load': 'Network, loading',
    'network_first_pass': 'Network, first pass',
    'network_pass': 'Network, each further pass',
}


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
    """Return the colored word of a verdict."""
    kind = verdict if verdict in WORDS else 'unknown'
    return f'<span class="badge {kind}">{WORDS[kind][0]}</span>'


def verdict_html(qc: Mapping) -> str:
    """Say whether the scan can be trusted, and why not.

    Parameters
    ----------
    qc : mapping
        ``verdict`` ('pass', 'review', 'fail', also 'failed' and 'skipped') and ``reasons``.
    """
    verdict = str(qc.get('verdict', 'unknown'))
    kind = verdict if verdict in WORDS else 'unknown'
    reasons = [str(reason) for reason in qc.get('reasons') or ()]
    said = f'<ul>{"".join(f"<li>{escape(reason)}</li>" for reason in reasons)}</ul>' if reasons else ''
    crash = qc.get('crashfile')
    trail = f'<p class="note">Crash file: <code>{escape(str(crash))}</code></p>' if crash else ''
    command = qc.get('command')
    trail += f'<p class="note">To see it happen:</p><pre>{escape(str(command))}</pre>' if command else ''
    return (
        f'<div class="verdict {kind}"><strong>{WORDS[kind][0]}</strong>'
        f'<div><p>{WORDS[kind][1]}</p>{said}{trail}</div></div>'
    )


def overview_html(scans: Iterable[tuple[str, str, Mapping]]) -> str:
    """List the scans of the subject: title, anchor in the page, and qc of each."""
    rows = []
    for title, anchor, qc in scans:
        numbers = qc.get('numbers') or {}
        rows.append(
            f'<tr><td><a href="#{escape(anchor)}">{escape(title)}</a></td>'
            f'<td>{badge(str(qc.get("verdict", "unknown")))}</td>'
            f'<td class="n">{litres(numbers.get("brain_mm3"))}</td>'
            f'<td class="n">{litres(numbers.get("ventricles_mm3"))}</td>'
            f'<td class="n">{number(numbers.get("cv_mean"), 2, "%")}</td>'
            f'<td class="n">{number(numbers.get("alignment"), 2)}</td></tr>'
        )
    return (
        '<div class="wide"><table class="overview"><thead><tr><th>Scan</th><th>Verdict</th>'
        '<th class="n">Brain</th>'
        '<th class="n">Ventricles</th><th class="n">Mean CV</th><th class="n">Alignment</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
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
            left, right = by_name.get(label.name), by_name.get(label.name.replace('Left-', 'Right-'))
            cells = ''.join(_cells(side, cv_threshold) for side in (left, right))
            body.append(
                f'<tr><th>{swatch}{escape(name)}</th>{cells}<td class="n">{_asymmetry(left, right)}</td></tr>'
            )
        elif label.hemisphere != 'R':
            middle.append(
                f'<tr><th>{swatch}{escape(name)}</th>{_cells(by_name.get(label.name), cv_threshold)}</tr>'
            )
    head = '<th class="n">Volume mm³</th><th class="n">MC mean ± SD mm³</th><th class="n">CV %</th>'
    return (
        f'{_cards(rows)}<div class="wide"><table class="volumes"><thead><tr class="side"><th></th>'
        '<th colspan="3">Left</th><th colspan="3">Right</th><th></th></tr>'
        f'<tr><th>Structure</th>{head}{head}<th class="n">L\N{MINUS SIGN}R %</th></tr></thead>'
        f'<tbody>{"".join(body)}</tbody><tbody><tr class="side"><th></th><th colspan="3">Midline</th></tr>'
        f'{"".join(middle)}</tbody></table></div>{_flagged(rows)}<p class="note">{_legend(cv_threshold)}</p>'
    )


def facts_html(qc: Mapping, remarks: Sequence[str] = ()) -> str:
    """List what the header says, and the warnings.

    Parameters
    ----------
    qc : mapping
        ``header`` (of :func:`bids_brainseg.imaging.header_facts`) and ``warnings``, as in ``*_qc.json``.
    remarks : sequence of str
        Further warnings.
    """
    items = []
    for key, value in (qc.get('header') or {}).items():
        name, unit = FACTS.get(key, (key.replace('_', ' ').capitalize(), ''))
        if value not in (None, '', []):
            text = ' to '.join(map(plain, value)) if key == 'value_range' else plain(value)
            items.append((name, f'{text} {unit}'.strip()))
    listed = ''.join(
        f'<li>{escape(str(text))}</li>' for text in dict.fromkeys([*(qc.get('warnings') or ()), *remarks])
    )
    return pairs_html(items) + (f'<ul class="warnings">{listed}</ul>' if listed else '')


def numbers_html(qc: Mapping) -> str:
    """Tabulate every quality number with its unit."""
    units, meaning, rules = (qc.get(key) or {} for key in ('Units', 'Meaning', 'Rules'))
    rows = ''.join(
        f'<tr><td><code>{escape(name)}</code></td><td class="n">{escape(plain(value))}</td>'
        f'<td>{escape(str(units.get(name, "")))}</td><td>{escape(bounds(rules.get(name)))}</td>'
        f'<td>{escape(str((meaning.get(name) or {}).get("Description", "")))}</td></tr>'
        for name, value in (qc.get('numbers') or {}).items()
    )
    head = '<thead><tr><th>Number</th><th></th><th>Unit</th><th>Bounds</th><th>Meaning</th></tr></thead>'
    table = f'<div class="wide"><table class="numbers">{head}<tbody>{rows}</tbody></table></div>'
    return f'<details><summary>Quality numbers</summary>{table}</details>' if rows else ''


def bounds(rules: Mapping | None) -> str:
    """Write the rules of a number in words.

    >>> bounds({'review_below': 0.45, 'fail_below': 0.33, 'label': 'agreement'})
    'review below 0.45, fail below 0.33'
    """
    kinds = ('review_below', 'review_above', 'fail_below', 'fail_above')
    return ', '.join(f'{kind.replace("_", " ")} {rules[kind]:g}' for kind in kinds if kind in (rules or {}))


def run_html(qc: Mapping) -> str:
    """List with what the scan was processed: model, passes, seed, device."""
    model = qc.get('Model') or {}
    items = [
        ('Model', model.get('Name')),
        ('Weights, SHA-256', str(model.get('SHA256') or '')[:16]),
        ('Reference', model.get('Reference')),
        *((name, qc.get(key)) for name, key in RUN),
    ]
    html = pairs_html([(name, plain(value)) for name, value in items if value not in (None, '', 'n/a')])
    seconds = [(STAGES.get(key, key), f'{value:.1f} s') for key, value in (qc.get('Seconds') or {}).items()]
    return html + pairs_html(seconds)


def software_html(qcs: Iterable[Mapping]) -> str:
    """List the versions behind the results, all that were found."""
    versions: dict[str, set[str]] = {}
    for qc in qcs:
        for name, version in (qc.get('Versions') or {}).items():
            versions.setdefault(name, set()).add(str(version))
    return pairs_html([(name, ', '.join(sorted(found))) for name, found in versions.items()])


def pairs_html(items: Iterable[tuple[str, str]]) -> str:
    """Lay names and values out as a list of definitions."""
    inner = ''.join(f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>' for name, value in items)
    return f'<dl class="facts">{inner}</dl>' if inner else ''


def plain(value: Any) -> str:
    """Write a value of a JSON file as text.

    >>> plain(['R', 'A', 'S']), plain(1234567.8), plain(0.66666), plain(True)
    ('RAS', '1234568', '0.667', 'yes')
    """
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'
    if isinstance(value, list | tuple):
        joint = (
            ''
            if all(isinstance(item, str) and len(item) == 1 for item in value)
            else ' \N{MULTIPLICATION SIGN} '
        )
        return joint.join(plain(item) for item in value)
    return str(value)


def _cells(row: Mapping | None, threshold: float | None) -> str:
    if row is None:
        return f'<td class="n">{MISSING}</td>' * 3
    spread, others = _flags(row)
    cv, volume = number(row.get('cv_mc'), 2), number(row.get('volume_mm3'))
    high = threshold is not None and cv != MISSING and float(row['cv_mc']) > threshold
    if spread or high:
        cv = f'<span class="flag" title="above the threshold">{cv}</span>'
    if others:  # said in words below the table
        volume = f'<span class="flag" title="{escape("; ".join(others))}">{volume}</span>'
    mean = number(row.get('mc_mean_mm3'))
    passes = mean if mean == MISSING else f'{mean} ± {number(row.get("mc_std_mm3"))}'
    return f'<td class="n v">{volume}</td><td class="n">{passes}</td><td class="n">{cv}</td>'


def _flags(row: Mapping) -> tuple[list[str], list[str]]:
    """Take the flag of a row apart: what is about the spread over the passes, and what is not."""
    flag = str(row.get('flag', 'n/a'))
    reasons = [] if flag in ('', 'n/a', 'nan', 'None') else flag.split('; ')
    return [x for x in reasons if x.startswith('cv')], [x for x in reasons if not x.startswith('cv')]


def _flagged(rows: Iterable[Mapping]) -> str:
    """List the structures that deserve a look for more than their spread."""
    told = [(str(row['name']).replace('-', ' '), _flags(row)[1]) for row in rows]
    items = ''.join(f'<li>{escape(name)}: {escape("; ".join(why))}</li>' for name, why in told if why)
    return f'<ul class="warnings">{items}</ul>' if items else ''


def _asymmetry(left: Mapping | None, right: Mapping | None) -> str:
    try:
        return number(asymmetry(float(left['volume_mm3']), float(right['volume_mm3'])), 1)
    except (TypeError, ValueError):
        return MISSING


def _cards(rows: Sequence[Mapping]) -> str:
    """Show the totals, rows without an index, above the table."""
    names = {'brain': 'Brain without ventricles', 'ventricles': 'Ventricles', 'etiv': 'eTIV'}
    cards = ''.join(
        f'<div><b>{litres(row["volume_mm3"])}</b>'
        f'<span>{escape(names.get(str(row["name"]).lower(), str(row["name"])))}</span></div>'
        for row in rows
        if not str(row.get('index', '')).isdigit()
    )
    return f'<div class="cards">{cards}</div>' if cards else ''


def _legend(threshold: float | None) -> str:
    marked = '' if threshold is None else f' Marked where it is above {threshold:g} %.'
    return (
        'Volume: labeled voxels on the grid of the scan. MC mean ± SD: over the Monte-Carlo passes, on the '
        'grid of the network. CV = SD / mean: the spread within the model, not the measurement error.'
        f'{marked} L\N{MINUS SIGN}R: (left \N{MINUS SIGN} right) / mean of both. eTIV: intracranial volume '
        'estimated from the alignment.'
    )

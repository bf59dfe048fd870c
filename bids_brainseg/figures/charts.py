# SPDX-License-Identifier: Apache-2.0
"""The chart of a scan's volumes: rows of its table in, SVG out, whose ink is that of the page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..core.volumes import asymmetry
from ..data import label_table
from ..data.quality import population

INK = '#123456'  # replaced by the page's own
LEFT, RIGHT, MIDDLE = '#3b8fd9', '#e07b39', '#8a949e'  # legible on white and on black
BAND, ALERT = '#8a949e', '#d0574d'
SDS = 2.0  # of the population, drawn as a band
STYLE = {
    'svg.fonttype': 'none', 'svg.hashsalt': 'bids_brainseg', 'font.size': 9.5, 'axes.linewidth': 0.6,
    'font.family': 'sans-serif', 'text.color': INK, 'axes.labelcolor': INK, 'axes.edgecolor': INK,
    'xtick.color': INK, 'ytick.color': INK, 'legend.frameon': False,
}  # fmt: skip


class Row(NamedTuple):
    """One line of the chart: a name and the table's rows of its sides, each with class index and color."""

    name: str
    sides: tuple[tuple[int, str, Mapping], ...]


def chart_rows(table: Iterable[Mapping]) -> list[Row]:
    """Pair left and right of what a table of volumes holds, in the order of the classes."""
    by_name = {str(row['name']): row for row in table}
    lines = []
    for label in label_table()[1:]:
        if label.hemisphere == 'R':
            continue
        names = [(label.name, MIDDLE)]
        if label.hemisphere == 'L':
            names = [(label.name, LEFT), (label.name.replace('Left-', 'Right-'), RIGHT)]
        index = {other.name: other.index for other in label_table()}
        sides = tuple((index[name], color, by_name[name]) for name, color in names if name in by_name)
        if sides:
            lines.append(Row(label.name.removeprefix('Left-').replace('-', ' '), sides))
    return lines


def volumes_chart(table: Iterable[Mapping], *, cv_threshold: float | None = None) -> str:
    """Draw share of the eTIV, asymmetry and spread of every structure.

    Parameters
    ----------
    table : iterable of mapping
        Rows of ``*_morph.tsv``.
    cv_threshold : float, optional
        Per cent; drawn as a line.

    Returns
    -------
    str
        An ``<svg>``; '' if the table holds no structure. Its text is text, its black ``currentColor``.
    """
    table = list(table)
    lines = chart_rows(table)
    if not lines:
        return ''
    etiv = next((_float(row['volume_mm3']) for row in table if str(row['name']) == 'eTIV'), math.nan)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 0.3 * len(lines) + 1.1), layout='constrained')
        FigureCanvasSVG(figure)
        share, side, spread = figure.subplots(1, 3, sharey=True, width_ratios=(5, 3, 3))
        _shares(share, lines, etiv)
        _asymmetries(side, lines)
        _spreads(spread, lines, cv_threshold)
        share.set_yticks(range(len(lines)), [line.name for line in lines])
        share.set_ylim(len(lines) - 0.4, -0.6)
        for axes in (share, side, spread):
            axes.spines[['top', 'right', 'left']].set_visible(False)
            axes.tick_params(axis='y', length=0)
            axes.grid(axis='y', color=BAND, alpha=0.18, linewidth=0.6)
            axes.set_axisbelow(True)
        stream = io.StringIO()
        figure.savefig(stream, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    return themed(stream.getvalue())


def themed(drawing: str) -> str:
    """Make matplotlib's document an element of a page: ink of the page, its font, no ids that clash."""
    drawing = drawing[drawing.index('<svg') :]
    drawing = re.sub(r'<metadata>.*?</metadata>', '', drawing, flags=re.DOTALL)
    drawing = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend'
                     r'|LineCollection|PolyCollection|FillBetweenPolyCollection|PathCollection)_?\d*"', '', drawing)  # fmt: skip # noqa: E501
    head, bracket, rest = drawing.partition('>')
    head = re.sub(r' (?:width|height)="[^"]*"', '', head).replace('<svg', '<svg class="chart" role="img"')
    drawing = head + bracket + '<title>Volumes</title>' + rest
    return re.sub(r'font: [\d.]+px [^;"]*', 'font-size: 9.5px', drawing).replace(INK, 'currentColor')


def _shares(axes, lines: list[Row], etiv: float) -> None:
    norm = population()
    for y, line in enumerate(lines):
        index = [i for i, _, _ in line.sides]
        low = min(math.exp(norm.log_mean[i] - SDS * norm.log_sd[i]) for i in index)
        high = max(math.exp(norm.log_mean[i] + SDS * norm.log_sd[i]) for i in index)
        axes.plot([100 * low, 100 * high], [y, y], color=BAND, alpha=0.3, linewidth=9, solid_capstyle='butt')
        for offset, (_, color, row) in zip(_offsets(line), line.sides, strict=True):
            mean, sd = (100 * _float(row[key]) / etiv for key in ('mc_mean_mm3', 'mc_std_mm3'))
            if mean > 0 and sd >= 0:
                ends = [max(mean - 2 * sd, mean / 10), mean + 2 * sd]
                axes.plot(ends, [y + offset] * 2, color=color, linewidth=2.2, alpha=0.6)
            value = 100 * _float(row['volume_mm3']) / etiv
            if value > 0:
                axes.plot(value, y + offset, 'o', color=color, markersize=4.5)
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.set_xlabel('share of eTIV, %')
    axes.set_title(f'volume · passes ± 2 SD · band: {norm.n} training heads ± 2 SD', fontsize=9.5, loc='left')


def _asymmetries(axes, lines: list[Row]) -> None:
    values = [_asymmetry(line) for line in lines]
    for y, value in enumerate(values):
        if math.isfinite(value):
            axes.barh(y, value, height=0.5, color=LEFT if value > 0 else RIGHT, alpha=0.85)
    reach = max([10.0, *(abs(value) for value in values if math.isfinite(value))]) * 1.08
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel('← right larger · asymmetry, % · left larger →')
    axes.set_title('(left − right) / mean of both', fontsize=9.5, loc='left')


def _spreads(axes, lines: list[Row], threshold: float | None) -> None:
    top = 1.0
    for y, line in enumerate(lines):
        for offset, (_, color, row) in zip(_offsets(line), line.sides, strict=True):
            cv = _float(row['cv_mc'])
            if math.isfinite(cv):
                top = max(top, cv)
                axes.plot([0, cv], [y + offset] * 2, color=color, linewidth=1.2, alpha=0.5)
                axes.plot(cv, y + offset, 'o', color=color, markersize=4.5)
    if threshold is not None:
        axes.axvline(threshold, color=ALERT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1.08 * max(top, threshold or 0))
    axes.set_xlabel('CV over the passes, %')
    told = 'spread' if threshold is None else f'spread · dashed: threshold {threshold:g} %'
    axes.set_title(told, fontsize=9.5, loc='left')


def _offsets(line: Row) -> np.ndarray:
    return np.array([0.0]) if len(line.sides) == 1 else np.array([-0.17, 0.17])


def _asymmetry(line: Row) -> float:
    if len(line.sides) < 2:
        return math.nan
    left, right = (_float(row['volume_mm3']) for _, _, row in line.sides)
    return float(asymmetry(left, right))


def _float(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan

# SPDX-License-Identifier: Apache-2.0
"""The chart of a scan's volumes: rows of its table in, SVG out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.volumes import asymmetry
from ..data import label_table
from ..data.quality import population
from ..files import as_float
from .theme import ALERT, FAINT, INK, LEFT, MIDLINE, RIGHT, svg_element, theme

BAND_SDS = 2.0  # of the population, drawn as a band


class _Row(NamedTuple):
    """One line of the chart: a name and the table's rows of its sides, each with class index and color."""

    name: str
    sides: tuple[tuple[int, str, Mapping], ...]


def _chart_rows(table: Iterable[Mapping]) -> list[_Row]:
    """Pair left and right of what a table of volumes holds, in the order of the classes."""
    by_name = {str(row['name']): row for row in table}
    lines = []
    for label in label_table()[1:]:
        if label.hemisphere == 'R':
            continue
        names = [(label.name, MIDLINE)]
        if label.hemisphere == 'L':
            names = [(label.name, LEFT), (label.name.replace('Left-', 'Right-'), RIGHT)]
        index = {other.name: other.index for other in label_table()}
        sides = tuple((index[name], color, by_name[name]) for name, color in names if name in by_name)
        if sides:
            lines.append(_Row(label.name.removeprefix('Left-').replace('-', ' '), sides))
    return lines


def volumes_chart(table: Iterable[Mapping], *, cv_threshold: float | None = None) -> str:
    """Draw volume over eTIV, asymmetry and spread of every structure.

    Parameters
    ----------
    table : iterable of mapping
        Rows of ``*_morph.tsv``.
    cv_threshold : float, optional
        Per cent; drawn as a line.

    Returns
    -------
    str
        An ``<svg>`` element (:func:`bids_brainseg.figures.theme.svg_element`); '' without structures.
    """
    table = list(table)
    lines = _chart_rows(table)
    if not lines:
        return ''
    etiv = next((as_float(row['volume_mm3']) for row in table if str(row['name']) == 'eTIV'), math.nan)
    with theme('volumes'):
        figure = Figure(figsize=(13, 0.3 * len(lines) + 1.1), layout='constrained')
        volume, side, spread = figure.subplots(1, 3, sharey=True, width_ratios=(5, 3, 3))
        _volumes(volume, lines, etiv)
        _asymmetries(side, lines)
        _spreads(spread, lines, cv_threshold)
        volume.set_yticks(range(len(lines)), [line.name for line in lines])
        volume.set_ylim(len(lines) - 0.4, -0.6)
        for axes in (volume, side, spread):
            axes.spines['left'].set_visible(False)
            axes.tick_params(axis='y', length=0)
            axes.grid(axis='x', visible=False)
        return svg_element(figure, 'Volumes')


def _volumes(axes: Axes, lines: list[_Row], etiv: float) -> None:
    norm = population()
    for y, line in enumerate(lines):
        index = [i for i, _, _ in line.sides]
        low = min(math.exp(norm.log_mean[i] - BAND_SDS * norm.log_sd[i]) for i in index)
        high = max(math.exp(norm.log_mean[i] + BAND_SDS * norm.log_sd[i]) for i in index)
        axes.plot([100 * low, 100 * high], [y, y], color=FAINT, alpha=0.3, linewidth=9, solid_capstyle='butt')
        for offset, (_, color, row) in zip(_offsets(line), line.sides, strict=True):
            ends = [100 * as_float(row.get(key)) / etiv for key in ('volume_low_mm3', 'volume_high_mm3')]
            if all(end > 0 for end in ends):
                axes.plot(ends, [y + offset] * 2, color=color, linewidth=2.2, alpha=0.6)
            value = 100 * as_float(row['volume_mm3']) / etiv
            if value > 0:
                axes.plot(value, y + offset, 'o', color=color, markersize=4.5)
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.set_xlabel('volume / eTIV, %')
    axes.set_title(f'volume · 90 % interval · bands: {norm.n} training heads ± 2 SD', loc='left')


def _asymmetries(axes: Axes, lines: list[_Row]) -> None:
    values = [_asymmetry(line) for line in lines]
    for y, value in enumerate(values):
        if math.isfinite(value):
            axes.barh(y, value, height=0.5, color=LEFT if value > 0 else RIGHT, alpha=0.85)
    reach = max([10.0, *(abs(value) for value in values if math.isfinite(value))]) * 1.08
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel('← right larger · asymmetry, % · left larger →')
    axes.set_title('(left − right) / mean of both', loc='left')


def _spreads(axes: Axes, lines: list[_Row], threshold: float | None) -> None:
    top = 1.0
    for y, line in enumerate(lines):
        for offset, (_, color, row) in zip(_offsets(line), line.sides, strict=True):
            cv = as_float(row['cv_mc'])
            if math.isfinite(cv):
                top = max(top, cv)
                axes.plot([0, cv], [y + offset] * 2, color=color, linewidth=1.2, alpha=0.5)
                axes.plot(cv, y + offset, 'o', color=color, markersize=4.5)
    if threshold is not None:
        axes.axvline(threshold, color=ALERT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1.08 * max(top, threshold or 0))
    axes.set_xlabel('CV over the passes, %')
    title = 'spread' + ('' if threshold is None else f' · dashed: threshold {threshold:g} %')
    axes.set_title(title, loc='left')


def _offsets(line: _Row) -> np.ndarray:
    return np.array([0.0]) if len(line.sides) == 1 else np.array([-0.17, 0.17])


def _asymmetry(line: _Row) -> float:
    if len(line.sides) < 2:
        return math.nan
    left, right = (as_float(row['volume_mm3']) for _, _, row in line.sides)
    return float(asymmetry(left, right))

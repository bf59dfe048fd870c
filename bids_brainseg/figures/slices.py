# SPDX-License-Identifier: Apache-2.0
"""The figures of the report: arrays in, one SVG file out, which appears whole or not at all.

Every figure shows axial, coronal and sagittal slices turned to the nearest RAS orientation, left on the
left, at one scale in mm, so that a slice of 5 mm thickness looks as thick as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from ..data import Label, label_table
from ..files import write_text
from . import panels, svg

ENTROPY_MAX = 0.4  # of log(28); fixed, so that two scans can be compared by eye
ENTROPY_SHOWN = 0.08  # below this the scan shines through
ENTROPY_MAP, ENTROPY_FROM = 'inferno', 0.3
MASK_INK, EDGE_INK = '#ffd24a', '#4fd1ff'
STROKE = '.bb-figure path{fill:none;stroke-width:.9px;stroke-linejoin:round;vector-effect:non-scaling-stroke}'
HALO = f'stroke="{svg.BACKGROUND}" stroke-width="2.5" stroke-linejoin="round" paint-order="stroke"'
EDGES = '.bb-figure .bb-edges path{stroke-width:.8px}'
FLIP = '.bb-reference{opacity:0}.bb-alignment:active .bb-reference{opacity:1}'


def alignment_figure(
    scan: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
    *,
    quality: float | None = None,
) -> Path:
    """Draw the scan on the reference grid under the reference's brain outline and edges.

    Parameters
    ----------
    scan, reference : (I, J, K) float array
        Coregistered scan and reference, any units, on the same grid.
    mask : (I, J, K) array
        The reference's brain, not zero inside.
    affine : (4, 4) float array
        Voxel indices of that grid to RAS mm.
    out_file : path
        SVG to write; it holds the reference too, shown while the mouse button is down on the figure.
    quality : float, optional
        Similarity as the registration reports it.

    Returns
    -------
    Path
        `out_file`.

    Raises
    ------
    ValueError
        If the three arrays differ in shape.
    """
    grid, (scan, reference, mask) = panels.oriented(
        affine, scan=scan, reference=reference, mask=np.asarray(mask) > 0
    )
    layout = panels.lay_out(mask, grid, margin=16)
    window = panels.display_window(reference, mask)
    edges, outlines = [], []
    for panel in layout.panels:
        inside = panels.crop(mask, panel)
        lines = svg.edges(panels.crop(reference, panel).astype(float), inside, window)
        edges.append(svg.on_panel(f'<path d="{lines}"/>', panel))
        outlines.append(svg.on_panel(f'<path d="{svg.outline(inside)}"/>', panel))
    layers = [
        group(pictures(scan, layout, panels.display_window(scan, mask)), 'bb-scan'),
        group(pictures(reference, layout, window), 'bb-reference'),
        group(edges, 'bb-lines bb-edges', f'stroke="{EDGE_INK}" stroke-opacity=".85"'),
        group(outlines, 'bb-lines', f'stroke="{MASK_INK}"'),
    ]
    keys = [('brain of the reference', MASK_INK), ('edges of the reference', EDGE_INK)]
    legend, height = _legend(keys, layout.height)
    if quality is not None and np.isfinite(quality):
        legend += svg.text(panels.WIDTH - 8, height - 9, f'alignment {quality:.2f}', anchor='end')
    return draw(
        layers,
        layout,
        (legend, height),
        out_file,
        title='Alignment to the reference',
        kind='alignment',
        style=STROKE + EDGES + FLIP,
    )


def contours_figure(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
    *,
    table: Sequence[Label] | None = None,
) -> Path:
    """Outline every structure over the scan, on the scan's own grid.

    Parameters
    ----------
    image : (I, J, K) float array
        The scan; black and white are chosen from the labeled voxels.
    labels : (I, J, K) integer array
        Class indices of `table`, 0 is background.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    out_file : path
        SVG to write.
    table : sequence of Label, optional
        Names and colors; :func:`bids_brainseg.data.label_table` by default.

    Returns
    -------
    Path
        `out_file`.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """
    table = label_table() if table is None else table
    grid, (image, labels) = panels.oriented(affine, image=image, labels=labels)
    layout = panels.lay_out(labels, grid)
    layers = [
        group(pictures(image, layout, panels.display_window(image, labels > 0)), 'bb-scan'),
        group(structures(labels, layout, table), 'bb-lines'),
    ]
    legend = _legend(_names(table), layout.height)
    return draw(
        layers, layout, legend, out_file, title='Outlines of the structures', kind='contours', style=STROKE
    )


def uncertainty_figure(
    image: np.ndarray,
    entropy: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
) -> Path:
    """Lay the uncertainty over the scan, in the slices of :func:`contours_figure`.

    Parameters
    ----------
    image, entropy, labels : (I, J, K) array
        The scan, the entropy of the mean softmax over log(28), in [0, 1], and the class indices.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        `out_file`.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """
    grid, (image, entropy, labels) = panels.oriented(affine, image=image, entropy=entropy, labels=labels)
    layout = panels.lay_out(labels, grid)
    window = panels.display_window(image, labels > 0)
    rasters = [
        svg.raster(
            blend(gray(image, panel, window), panels.crop(entropy, panel)), panel, density=1.3, quality=78
        )
        for panel in layout.panels
    ]
    layers, legend = [group(rasters, 'bb-scan')], _color_bar(layout.height)
    return draw(layers, layout, legend, out_file, title='Uncertainty', kind='uncertainty')


def gray(image: np.ndarray, panel: panels.Panel, window: tuple[float, float]) -> np.ndarray:
    """Return the gray pixels of a panel, (across, up) uint8; black outside the volume."""
    return panels.gray(panels.crop(image, panel, window[0]), window)


def pictures(image: np.ndarray, layout: panels.Layout, window: tuple[float, float]) -> list[str]:
    """Draw the slices of a canonical volume, one to a panel."""
    return [svg.raster(gray(image, panel, window), panel) for panel in layout.panels]


def structures(
    labels: np.ndarray, layout: panels.Layout, table: Sequence[Label], ink: str | None = None
) -> list[str]:
    """Outline every structure of a canonical label volume in every panel, in its own color or in one."""
    outlines = []
    for panel in layout.panels:
        plane = panels.crop(labels, panel)
        present = np.flatnonzero(np.bincount(plane.ravel(), minlength=len(table)))
        paths = [
            f'<path class="bb-{label.index}" stroke="{ink or legible(label.color)}" '
            f'd="{svg.outline(plane == label.index)}"/>'
            for label in table
            if label.index > 0 and label.index in present
        ]
        outlines.append(svg.on_panel(''.join(paths), panel))
    return outlines


def draw(
    layers: list[str],
    layout: panels.Layout,
    legend: tuple[str, float],
    out_file: str | os.PathLike,
    *,
    title: str,
    kind: str,
    style: str = '',
) -> Path:
    """Write a figure: its layers, what marks the panels, and the legend with the height it ends at."""
    marks = group([svg.marks(panel) for panel in layout.panels], 'bb-marks', HALO)
    document = svg.document([*layers, marks, legend[0]], legend[1], title=title, kind=kind, style=style)
    return write_text(document, out_file)


def group(parts: list[str], kind: str, attributes: str = '') -> str:
    """Put the parts of a layer into one element with a class."""
    return f'<g class="{kind}" {attributes}>' + '\n'.join(parts) + '</g>'


def blend(base: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """Color gray pixels (A, B) uint8 by entropy (A, B); returns (A, B, 3) uint8."""
    weight = 0.9 * np.clip(np.nan_to_num(entropy) / ENTROPY_SHOWN - 0.25, 0, 1)[..., None]
    return (base[..., None] * (1 - weight) + 255 * colors(entropy) * weight).astype(np.uint8)


def legible(color: str) -> str:
    """Lighten a dark '#RRGGBB' until a thin line of it shows on a gray image; the hue stays."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], float)
    luminance = rgb @ (0.2126, 0.7152, 0.0722)
    if luminance < 105:
        rgb += (255 - rgb) * (105 - luminance) / (255 - luminance)
    return '#' + ''.join(f'{round(value):02X}' for value in rgb)


def colors(entropy: np.ndarray) -> np.ndarray:
    """Color entropies: RGB from 0 to 1 in a last axis of three."""
    share = np.clip(np.nan_to_num(entropy) / ENTROPY_MAX, 0, 1)
    return colormaps[ENTROPY_MAP](ENTROPY_FROM + (1 - ENTROPY_FROM) * share)[..., :3]


def _names(table: Sequence[Label]) -> list[tuple[str, str]]:
    """Name and color once for each pair of sides."""
    keys = {}
    for label in table:
        if label.index:
            name = label.name.removeprefix('Left-').removeprefix('Right-').replace('-', ' ')
            keys.setdefault((name, legible(label.color)))
    return list(keys)


def _legend(keys: list[tuple[str, str]], top: float) -> tuple[str, float]:
    """Lay swatches and names out in columns below the panels; returns the SVG and the new height."""
    parts = []
    for position, (name, color) in enumerate(keys):
        row, column = divmod(position, 8)
        x, y = 8 + column * (panels.WIDTH - 8) / 8, top + 22 + 18 * row
        parts.append(
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{color}"/>'
            + svg.text(x + 15, y, name)
        )
    return group(parts, 'bb-legend'), y + 12.0


def _color_bar(top: float) -> tuple[str, float]:
    x, y, width, n = 8.0, top + 14, 260.0, 52
    bar = (255 * colors((np.arange(n) + 0.5) / n * ENTROPY_MAX)).astype(int)
    parts = [
        f'<rect x="{x + i * width / n:.2f}" y="{y:.1f}" width="{width / n + 0.3:.2f}" height="10" '
        f'fill="#{r:02x}{g:02x}{b:02x}" shape-rendering="crispEdges"/>'
        for i, (r, g, b) in enumerate(bar)
    ]
    for tick in np.linspace(0, ENTROPY_MAX, 5):
        text = f'{tick:.1f}' if tick < ENTROPY_MAX else f'\N{GREATER-THAN OR EQUAL TO} {tick:.1f}'
        anchor = 'start' if tick == 0 else 'middle'
        parts.append(svg.text(x + tick / ENTROPY_MAX * width, y + 23, text, anchor=anchor))
    meaning = '0: certain. 0.21: two structures equally likely. 0.33: three. Uncolored: below 0.02.'
    parts.append(svg.text(x + width + 34, y + 9, 'entropy of the mean softmax / log 28'))
    parts.append(svg.text(x + width + 34, y + 23, meaning, fill=svg.FAINT))
    return group(parts, 'bb-bar'), y + 34

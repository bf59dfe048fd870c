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
from . import svg

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
    svg.same_shape(scan=scan, reference=reference, mask=mask)
    grid = svg.canonical(affine, np.shape(scan))
    scan, reference, mask = (
        grid.view(np.asarray(array)) for array in (scan, reference, np.asarray(mask) > 0)
    )
    layout = svg.plan(mask, grid, margin=16)
    images = {'scan': scan, 'reference': reference}
    windows = {name: svg.display_window(image, mask) for name, image in images.items()}
    layers: dict[str, list[str]] = {'scan': [], 'reference': [], 'edges': [], 'mask': [], 'marks': []}
    for panel in layout.panels:
        for name, image in images.items():
            window = windows[name]
            layers[name].append(svg.raster(svg.gray(svg.crop(image, panel, window[0]), window), panel))
        inside = svg.crop(mask, panel)
        edges = svg.edges(svg.crop(reference, panel).astype(float), inside, windows['reference'])
        layers['edges'].append(svg.placed(f'<path d="{edges}"/>', panel))
        layers['mask'].append(svg.placed(f'<path d="{svg.outline(inside)}"/>', panel))
        layers['marks'].append(svg.marks(panel))
    body = [
        _group(layers['scan'], 'bb-scan'),
        _group(layers['reference'], 'bb-reference'),
        _group(layers['edges'], 'bb-lines bb-edges', f'stroke="{EDGE_INK}" stroke-opacity=".85"'),
        _group(layers['mask'], 'bb-lines', f'stroke="{MASK_INK}"'),
        _group(layers['marks'], 'bb-marks', HALO),
    ]
    keys = [('brain of the reference', MASK_INK), ('edges of the reference', EDGE_INK)]
    legend, height = _legend(keys, layout.height)
    if quality is not None and np.isfinite(quality):
        legend += svg.text(svg.WIDTH - 8, height - 9, f'alignment {quality:.2f}', anchor='end')
    document = svg.document(
        [*body, legend],
        height,
        title='Alignment to the reference',
        kind='alignment',
        style=STROKE + EDGES + FLIP,
    )
    return svg.write_whole(document, out_file)


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
        The scan; black and white are chosen from the labelled voxels.
    labels : (I, J, K) integer array
        Class indices of `table`, 0 is background.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    out_file : path
        SVG to write.
    table : sequence of Label, optional
        Names and colours; :func:`bids_brainseg.data.label_table` by default.

    Returns
    -------
    Path
        `out_file`.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """
    svg.same_shape(image=image, labels=labels)
    table = label_table() if table is None else table
    grid = svg.canonical(affine, np.shape(image))
    image, labels = grid.view(np.asarray(image)), grid.view(np.asarray(labels))
    layout = svg.plan(labels, grid)
    window = svg.display_window(image, labels > 0)
    pictures, outlines = [], []
    for panel in layout.panels:
        pictures.append(svg.raster(svg.gray(svg.crop(image, panel, window[0]), window), panel))
        plane = svg.crop(labels, panel)
        present = np.flatnonzero(np.bincount(plane.ravel(), minlength=len(table)))
        shown = [label for label in table if label.index in present and label.index > 0]
        traced = [(label, svg.outline(plane == label.index)) for label in shown]
        paths = [
            f'<path class="bb-{label.index}" stroke="{legible(label.color)}" d="{path}"/>'
            for label, path in traced
        ]
        outlines.append(svg.placed(''.join(paths), panel))
    legend, height = _legend(_structures(table), layout.height)
    body = [
        _group(pictures, 'bb-scan'),
        _group(outlines, 'bb-lines'),
        _group([svg.marks(panel) for panel in layout.panels], 'bb-marks', HALO),
        legend,
    ]
    return svg.write_whole(
        svg.document(body, height, title='Outlines of the structures', kind='contours', style=STROKE),
        out_file,
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
    svg.same_shape(image=image, entropy=entropy, labels=labels)
    grid = svg.canonical(affine, np.shape(image))
    image, entropy, labels = (grid.view(np.asarray(array)) for array in (image, entropy, labels))
    layout = svg.plan(labels, grid)
    window = svg.display_window(image, labels > 0)
    pictures = []
    for panel in layout.panels:
        base = svg.gray(svg.crop(image, panel, window[0]), window)
        pixels = blend(base, svg.crop(entropy, panel))
        pictures.append(svg.raster(pixels, panel, density=1.3, quality=78))
    legend, height = _colour_bar(layout.height)
    body = [
        _group(pictures, 'bb-scan'),
        _group([svg.marks(panel) for panel in layout.panels], 'bb-marks', HALO),
        legend,
    ]
    return svg.write_whole(svg.document(body, height, title='Uncertainty', kind='uncertainty'), out_file)


def blend(base: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """Colour gray pixels (A, B) uint8 by entropy (A, B); returns (A, B, 3) uint8."""
    weight = 0.9 * np.clip(np.nan_to_num(entropy) / ENTROPY_SHOWN - 0.25, 0, 1)[..., None]
    return (base[..., None] * (1 - weight) + 255 * colours(entropy) * weight).astype(np.uint8)


def legible(color: str) -> str:
    """Lighten a dark '#RRGGBB' until a thin line of it shows on a gray image; the hue stays."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], float)
    luminance = rgb @ (0.2126, 0.7152, 0.0722)
    if luminance < 105:
        rgb += (255 - rgb) * (105 - luminance) / (255 - luminance)
    return '#' + ''.join(f'{round(value):02X}' for value in rgb)


def colours(entropy: np.ndarray) -> np.ndarray:
    """Colour entropies: RGB from 0 to 1 in a last axis of three."""
    share = np.clip(np.nan_to_num(entropy) / ENTROPY_MAX, 0, 1)
    return colormaps[ENTROPY_MAP](ENTROPY_FROM + (1 - ENTROPY_FROM) * share)[..., :3]


def _group(parts: list[str], kind: str, attributes: str = '') -> str:
    return f'<g class="{kind}" {attributes}>' + '\n'.join(parts) + '</g>'


def _structures(table: Sequence[Label]) -> list[tuple[str, str]]:
    """Name and colour once for each pair of sides."""
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
        x, y = 8 + column * (svg.WIDTH - 8) / 8, top + 22 + 18 * row
        parts.append(
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{color}"/>'
            + svg.text(x + 15, y, name)
        )
    return _group(parts, 'bb-legend'), y + 12.0


def _colour_bar(top: float) -> tuple[str, float]:
    x, y, width, n = 8.0, top + 14, 260.0, 52
    bar = (255 * colours((np.arange(n) + 0.5) / n * ENTROPY_MAX)).astype(int)
    parts = [
        f'<rect x="{x + i * width / n:.2f}" y="{y:.1f}" width="{width / n + 0.3:.2f}" height="10" '
        f'fill="#{r:02x}{g:02x}{b:02x}" shape-rendering="crispEdges"/>'
        for i, (r, g, b) in enumerate(bar)
    ]
    for tick in np.linspace(0, ENTROPY_MAX, 5):
        text = f'{tick:.1f}' if tick < ENTROPY_MAX else f'\N{GREATER-THAN OR EQUAL TO} {tick:.1f}'
        anchor = 'start' if tick == 0 else 'middle'
        parts.append(svg.text(x + tick / ENTROPY_MAX * width, y + 23, text, anchor=anchor))
    meaning = '0: certain. 0.21: two structures equally likely. 0.33: three. Uncoloured: below 0.02.'
    parts.append(svg.text(x + width + 34, y + 9, 'entropy of the mean softmax / log 28'))
    parts.append(svg.text(x + width + 34, y + 23, meaning, fill=svg.FAINT))
    return _group(parts, 'bb-bar'), y + 34

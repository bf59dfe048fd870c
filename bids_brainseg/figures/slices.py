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

from ..core.geometry import bounding_box
from ..core.uncertainty import relative_uncertainty
from ..data import Label, label_table
from ..files import write_text
from . import panels, svg

RAMP, RAMP_FROM, RAMP_END = 'inferno', 0.45, 2.0  # colors from the usual uncertainty to this many times it
SHOWN_MM = 12.0  # around what is labeled: more than a figure shows and the average reaches
FADE = 0.1  # relative uncertainties around 1 over which the color comes in
MASK_INK, EDGE_INK = '#ffd24a', '#4fd1ff'
STROKE = (
    '.bb-figure path{fill:none;stroke-width:1.1px;stroke-linejoin:round;vector-effect:non-scaling-stroke}'
)
OUTLINES = {'Cerebral-White-Matter': '#58C4FF'}  # white in the table
SIDES = 'Solid lines: left and midline. Dashed lines: right.'
USUAL = (
    'In color: less certain than 19 of 20 places of the same structure in good scans of this contrast.',
    'Gray: as certain as usual. A good scan has a few small colored spots.',
)
UNKNOWN = (
    'In color: around here, two structures are as likely as each other, or more than two are.',
    'What is usual for this model was never measured, so good scans have color at every border.',
)
HALO = f'stroke="{svg.BACKGROUND}" stroke-width="2.5" stroke-linejoin="round" paint-order="stroke"'
COLUMNS = 7  # of a legend; the longest name fits in the widest font
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
    legend, height = _legend(_names(table), layout.height)
    legend += svg.text(8, height + 8, SIDES, fill=svg.FAINT)
    return draw(
        layers,
        layout,
        (legend, height + 18),
        out_file,
        title='Outlines of the structures',
        kind='contours',
        style=STROKE + dashed_right(table),
    )


def uncertainty_figure(
    image: np.ndarray,
    entropy: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
    *,
    limits: Sequence[float] | None = None,
) -> Path:
    """Color the scan where the network is less certain than usual, in the slices of :func:`contours_figure`.

    Parameters
    ----------
    image, entropy, labels : (I, J, K) array
        The scan, the entropy of the mean softmax over log(28), in [0, 1], and the class indices.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    out_file : path
        SVG to write.
    limits : sequence of float, optional
        What is usual for each class, as :func:`bids_brainseg.core.uncertainty.relative_uncertainty` takes it.

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
    shown = tuple(
        slice(max(side.start - margin, 0), side.stop + margin)
        for side, margin in zip(
            bounding_box(labels), np.ceil(SHOWN_MM / grid.spacing).astype(int), strict=True
        )
    )
    relative = np.zeros(labels.shape, np.float32)
    relative[shown] = relative_uncertainty(entropy[shown], labels[shown], grid.spacing, limits)
    rasters = []
    for panel in layout.panels:
        colored = blend(gray_panel(image, panel, window), panels.crop(relative, panel))
        rasters.append(svg.raster(colored, panel, density=1.3, quality=78))
    layers, legend = [group(rasters, 'bb-scan')], _color_bar(layout.height, usual_known=limits is not None)
    return draw(layers, layout, legend, out_file, title='Uncertainty', kind='uncertainty')


def gray_panel(image: np.ndarray, panel: panels.Panel, window: tuple[float, float]) -> np.ndarray:
    """Return the gray pixels of a panel, (across, up) uint8; black outside the volume."""
    return panels.gray(panels.crop(image, panel, window[0]), window)


def pictures(image: np.ndarray, layout: panels.Layout, window: tuple[float, float]) -> list[str]:
    """Draw the slices of a canonical volume, one to a panel."""
    return [svg.raster(gray_panel(image, panel, window), panel) for panel in layout.panels]


def structures(
    labels: np.ndarray, layout: panels.Layout, table: Sequence[Label], ink: str | None = None
) -> list[str]:
    """Outline every structure of a canonical label volume in every panel, in its own color or in one."""
    outlines = []
    for panel in layout.panels:
        plane = panels.crop(labels, panel)
        present = np.flatnonzero(np.bincount(plane.ravel(), minlength=len(table)))
        paths = [
            f'<path class="bb-{label.index}" stroke="{ink or outline_color(label)}" '
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


def blend(base: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Color gray pixels (A, B) uint8 by relative uncertainty (A, B); returns (A, B, 3) uint8."""
    weight = 0.85 * np.clip((np.nan_to_num(relative) - 1) / FADE + 0.5, 0, 1)[..., None]
    return (base[..., None] * (1 - weight) + 255 * colors(relative) * weight).astype(np.uint8)


def dashed_right(table: Sequence[Label]) -> str:
    """Return the style that dashes outlines of the right."""
    right = [f'.bb-contours .bb-{label.index}' for label in table if label.hemisphere == 'R']
    return f'{",".join(right)}{{stroke-dasharray:3 2}}'


def outline_color(label: Label) -> str:
    """Choose the color of an outline: that of the table, unless it is lost on white matter."""
    return OUTLINES.get(label.name.split('-', 1)[-1], legible(label.color))


def legible(color: str) -> str:
    """Lighten a dark '#RRGGBB' until a thin line of it shows on a gray image; the hue stays."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], float)
    luminance = rgb @ (0.2126, 0.7152, 0.0722)
    if luminance < 105:
        rgb += (255 - rgb) * (105 - luminance) / (255 - luminance)
    return '#' + ''.join(f'{round(value):02X}' for value in rgb)


def colors(relative: np.ndarray) -> np.ndarray:
    """Color relative uncertainties: RGB from 0 to 1 in a last axis of three."""
    share = np.clip((np.nan_to_num(relative) - 1) / (RAMP_END - 1), 0, 1)
    return colormaps[RAMP](RAMP_FROM + (1 - RAMP_FROM) * share)[..., :3]


def _names(table: Sequence[Label]) -> list[tuple[str, str]]:
    """Name and color once for each pair of sides."""
    keys = {}
    for label in table:
        if label.index:
            name = label.name.removeprefix('Left-').removeprefix('Right-').replace('-', ' ')
            keys.setdefault((name, outline_color(label)))
    return list(keys)


def _legend(keys: list[tuple[str, str]], top: float) -> tuple[str, float]:
    """Lay swatches and names out in columns below the panels; returns the SVG and the new height."""
    parts = []
    for position, (name, color) in enumerate(keys):
        row, column = divmod(position, COLUMNS)
        x, y = 8 + column * (panels.WIDTH - 8) / COLUMNS, top + 22 + 18 * row
        parts.append(
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{color}"/>'
            + svg.text(x + 15, y, name)
        )
    return group(parts, 'bb-legend'), y + 12.0


def _color_bar(top: float, *, usual_known: bool) -> tuple[str, float]:
    x, y, width, n = 8.0, top + 14, 260.0, 52
    bar = (255 * colors(1 + (np.arange(n) + 0.5) / n * (RAMP_END - 1))).astype(int)
    parts = [
        f'<rect x="{x + i * width / n:.2f}" y="{y:.1f}" width="{width / n + 0.3:.2f}" height="10" '
        f'fill="#{r:02x}{g:02x}{b:02x}" shape-rendering="crispEdges"/>'
        for i, (r, g, b) in enumerate(bar)
    ]
    parts += [
        svg.text(x, y + 23, 'usual'),
        svg.text(x + width, y + 23, f'{RAMP_END:g} times that, or more', anchor='end'),
    ]
    words = USUAL if usual_known else UNKNOWN
    parts += [svg.text(x + width + 34, y + 9 + 14 * row, line) for row, line in enumerate(words)]
    return group(parts, 'bb-bar'), y + 34

# SPDX-License-Identifier: Apache-2.0
"""The figure of an evaluated scan: what was found beside the reference labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..data import label_table
from . import svg
from .figures import HALO, STROKE, legible

#: Slices across x, y and z: few and large, since two outlines are to be told apart.
PANELS = (3, 4, 4)
REFERENCE_INK = '#ffffff'
WIDE = '.bb-figure .bb-under path{stroke-width:2.4px}'


def comparison_figure(
    image: np.ndarray,
    found: np.ndarray,
    reference: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
) -> Path:
    """Outline the segmentation in colour and the reference labels in white on top of it.

    Parameters
    ----------
    image : (I, J, K) float array
        The scan.
    found, reference : (I, J, K) integer array
        Class indices, 0 is background.
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
    svg.same_shape(image=image, found=found, reference=reference)
    grid = svg.canonical(affine, np.shape(image))
    image, found, reference = (grid.view(np.asarray(array)) for array in (image, found, reference))
    layout = svg.plan(np.where(reference > 0, reference, found), grid, counts=PANELS)
    window = svg.display_window(image, reference > 0)
    pictures, under, over = [], [], []
    for panel in layout.panels:
        pictures.append(svg.raster(svg.gray(svg.crop(image, panel, window[0]), window), panel))
        under.append(svg.placed(_outlines(svg.crop(found, panel)), panel))
        over.append(svg.placed(_outlines(svg.crop(reference, panel), REFERENCE_INK), panel))
    keys = svg.text(
        8,
        layout.height + 16,
        'White: reference labels. Coloured, below them: found, one colour per structure.',
    )
    body = [
        f'<g class="bb-scan">{"".join(pictures)}</g>',
        f'<g class="bb-lines bb-under">{"".join(under)}</g>',
        f'<g class="bb-lines">{"".join(over)}</g>',
        f'<g class="bb-marks" {HALO}>{"".join(svg.marks(panel) for panel in layout.panels)}</g>',
        keys,
    ]
    document = svg.document(
        body, layout.height + 28, title='Found against reference', kind='comparison', style=STROKE + WIDE
    )
    return svg.write_whole(document, out_file)


def _outlines(plane: np.ndarray, color: str | None = None) -> str:
    """Trace every structure of a slice, in its own colour or in one."""
    present = np.flatnonzero(np.bincount(plane.ravel(), minlength=len(label_table())))
    return ''.join(
        f'<path class="bb-{label.index}" stroke="{color or legible(label.color)}" '
        f'd="{svg.outline(plane == label.index)}"/>'
        for label in label_table()[1:]
        if label.index in present
    )

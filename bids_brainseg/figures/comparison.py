# SPDX-License-Identifier: Apache-2.0
"""The figure of an evaluated scan: the segmentation and the reference labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..data import label_table
from . import panels, svg
from .slices import STROKE, draw, group, pictures, structures

#: Slices across x, y and z: few and large, so that two outlines can be told apart.
SLICES = (3, 4, 4)
REFERENCE_INK = '#ffffff'
KEY = 'White: reference labels. Colors: segmentation, one color for each structure.'
WIDE = '.bb-figure .bb-under path{stroke-width:2.4px}'


def comparison_figure(
    image: np.ndarray,
    segmentation: np.ndarray,
    reference: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
) -> Path:
    """Outline the segmentation in color and the reference labels in white on top of it.

    Parameters
    ----------
    image : (I, J, K) float array
        The scan.
    segmentation, reference : (I, J, K) integer array
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
    grid, (image, segmentation, reference) = panels.oriented(
        affine, image=image, segmentation=segmentation, reference=reference
    )
    layout = panels.lay_out(np.where(reference > 0, reference, segmentation), grid, counts=SLICES)
    table = label_table()
    layers = [
        group(pictures(image, layout, panels.display_window(image, reference > 0)), 'bb-scan'),
        group(structures(segmentation, layout, table), 'bb-lines bb-under'),
        group(structures(reference, layout, table, ink=REFERENCE_INK), 'bb-lines'),
    ]
    legend = svg.text(8, layout.height + 16, KEY), layout.height + 28
    return draw(
        layers,
        layout,
        legend,
        out_file,
        title='Segmentation and reference labels',
        kind='comparison',
        style=STROKE + WIDE,
    )

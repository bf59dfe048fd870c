# SPDX-License-Identifier: Apache-2.0
"""A small picture of a scan and its structures, for a page that shows thousands of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.geometry import bounding_box
from ..data import Label, label_table
from ..files import write_whole
from . import panels
from .slices import legible

HEIGHT = 168  # pixels
MARGIN = 6.0  # mm around the structures
GAP = 4  # pixels
SLICES = (
    (2, 1, 0),
    (1, 1, 0),
    (0, 2, 0),
)  # axis, slices that are chosen, which of them: away from the midline
OPACITY = 0.42  # of a structure's color
BACKGROUND = (14, 16, 19)
QUALITY = 80


def thumbnail(
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
    *,
    table: Sequence[Label] | None = None,
) -> Path:
    """Draw an axial, a coronal and a sagittal slice side by side, the structures in color.

    Parameters
    ----------
    image : (I, J, K) float array
        The scan; black and white are chosen from the labeled voxels.
    labels : (I, J, K) integer array
        Class indices of `table`, 0 is background.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    out_file : path
        JPEG to write, some 20 KB.
    table : sequence of Label, optional
        Colors; :func:`bids_brainseg.data.label_table` by default.

    Returns
    -------
    Path
        `out_file`. All slices have one scale; left is on the left, anterior on the right.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """
    table = label_table() if table is None else table
    grid, (image, labels) = panels.oriented(affine, image=image, labels=labels)
    window = panels.display_window(image, labels > 0)
    box = bounding_box(labels)
    grown = [
        (side.start - round(MARGIN / step), side.stop + round(MARGIN / step))
        for side, step in zip(box, grid.spacing, strict=True)
    ]
    extent = [(stop - start) * step for (start, stop), step in zip(grown, grid.spacing, strict=True)]
    scale = HEIGHT / max(extent[panels.AXES[axis][1]] for axis, _, _ in SLICES)  # pixels per mm
    tiles = []
    for axis, n, which in SLICES:
        across, up, _, _ = panels.AXES[axis]
        index = panels.choose_slices(labels, axis, box, n)[which]
        panel = panels.Panel(axis, index, grown[across], grown[up], 0, 0, 0, 0, '')
        size = (max(1, round(extent[across] * scale)), max(1, round(extent[up] * scale)))
        gray = panels.gray(panels.crop(image, panel, window[0]), window)
        tiles.append(
            _colored(_scaled(gray, size, Image.BICUBIC), _scaled(panels.crop(labels, panel), size), table)
        )
    picture = Image.new(
        'RGB', (sum(tile.width for tile in tiles) + GAP * (len(tiles) - 1), HEIGHT), BACKGROUND
    )
    left = 0
    for tile in tiles:
        picture.paste(tile, (left, (HEIGHT - tile.height) // 2))
        left += tile.width + GAP
    with write_whole(out_file) as temporary:
        picture.save(temporary, 'JPEG', quality=QUALITY, optimize=True)
    return Path(out_file)


def _scaled(plane: np.ndarray, size: tuple[int, int], how: int = Image.NEAREST) -> np.ndarray:
    """Resize a plane (across, up) of uint8 to rows of pixels from the top."""
    rows = np.ascontiguousarray(np.swapaxes(plane, 0, 1)[::-1], np.uint8)
    return np.asarray(Image.fromarray(rows).resize(size, how))


def _colored(gray: np.ndarray, labels: np.ndarray, table: Sequence[Label]) -> Image.Image:
    colors = np.zeros((256, 3))
    for label in table:
        colors[label.index] = [int(legible(label.color)[i : i + 2], 16) for i in (1, 3, 5)]
    weight = np.where(labels > 0, OPACITY, 0)[..., None]
    return Image.fromarray((gray[..., None] * (1 - weight) + colors[labels] * weight).astype(np.uint8))

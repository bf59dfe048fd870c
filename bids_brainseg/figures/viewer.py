# SPDX-License-Identifier: Apache-2.0
"""The interactive slice viewer: a scan, its labels and their uncertainty as three mosaics of sagittal slices.

brainsprite draws the slices on a page. It needs no more than a 2D canvas, so it works from a file, offline
and without a graphics card; ``pages/assets/viewer.js`` adds names, layers and opacity. To keep pages light,
the volume is cut to the head and resampled to isotropic voxels, some 2.5 million at most.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.geometry import bounding_box
from ..core.resampling import resample, resample_labels_nearest
from ..data import Label, label_table
from ..files import write_text
from . import panels
from .slices import colors, legible

VOXELS = 2_500_000  # of the viewer, about
FINEST = 1.0  # mm


def viewer_figure(
    image: np.ndarray,
    labels: np.ndarray,
    entropy: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
) -> Path:
    """Write what the viewer shows of one scan.

    Parameters
    ----------
    image, labels, entropy : (I, J, K) array
        The scan, class indices, and the entropy of the mean softmax over log(28), in [0, 1].
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    out_file : path
        JSON to write: ``shape`` and ``spacing_mm`` of the viewer's volume, its ``affine``, how many
        ``columns`` of slices a mosaic has, and as data URIs the mosaics ``scan``, ``labels`` and
        ``uncertainty``.

    Returns
    -------
    Path
        `out_file`.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """
    grid, (image, labels, entropy) = panels.oriented(affine, image=image, labels=labels, entropy=entropy)
    window = panels.display_window(image, labels > 0)
    shape, target = viewer_grid(grid, head_box(image, labels, window))
    sampling = (grid.affine, shape, target, np.eye(4))
    columns = int(np.ceil(np.sqrt(shape[0] * shape[2] / shape[1])))
    shown = panels.gray(resample(image, *sampling, order=1, cval=window[0]), window)
    classes = resample_labels_nearest(labels, *sampling)
    smooth = resample(entropy, *sampling, order=1, antialias=False)  # comes from the coarser network grid
    doubt = np.rint(255 * np.clip(smooth, 0, 1)).astype(np.uint8)
    content = {
        'shape': list(shape),
        'spacing_mm': round(float(np.linalg.norm(target[:3, 0])), 4),
        'affine': target.round(5).tolist(),
        'columns': columns,
        'scan': data_uri(mosaic(shown, columns), 'JPEG', quality=80, optimize=True),
        'labels': data_uri(mosaic(classes, columns), 'PNG', compress_level=7),
        'uncertainty': data_uri(mosaic(doubt, columns), 'JPEG', quality=60, optimize=True),
    }
    return write_text(json.dumps(content) + '\n', out_file)


def head_box(image: np.ndarray, labels: np.ndarray, window: tuple[float, float]) -> tuple:
    """Find the part of a volume that is worth showing: [start, stop) per axis.

    Slices count where one in a hundred voxels is brighter than a tenth of the window, and wherever there are
    labels.
    """
    bright = image > window[0] + 0.1 * (window[1] - window[0])
    box = []
    for axis, side in enumerate(bounding_box(labels)):
        share = bright.mean(axis=tuple(i for i in range(3) if i != axis))
        hit = np.flatnonzero(share > 0.01)
        start, stop = (side.start, side.stop) if not hit.size else (*hit[:1], *(hit[-1:] + 1))
        box.append((min(side.start, start), max(side.stop, stop)))
    return tuple(box)


def viewer_grid(grid: panels.Canonical, box: Sequence) -> tuple[tuple[int, int, int], np.ndarray]:
    """Lay an isotropic grid along the axes of the scan over a box; returns its shape and affine."""
    size = np.array([(stop - start) * step for (start, stop), step in zip(box, grid.spacing, strict=True)])
    spacing = max(FINEST, float(grid.spacing.min()), float(np.cbrt(size.prod() / VOXELS)))
    shape = tuple(int(n) for n in np.maximum(1, np.ceil(size / spacing)))
    affine = np.array(grid.affine)
    affine[:3, :3] *= spacing / grid.spacing
    # the outer faces of the first voxels coincide
    first = np.array([start for start, _ in box]) - 0.5 + spacing / grid.spacing / 2
    affine[:3, 3] = (grid.affine @ [*first, 1])[:3]
    return shape, affine


def mosaic(volume: np.ndarray, columns: int) -> np.ndarray:
    """Lay the sagittal slices of (I, J, K) out, front right and top up: (rows * K, columns * J)."""
    count, width, height = volume.shape
    rows = -(-count // columns)
    tiles = np.zeros((rows * columns, height, width), volume.dtype)
    tiles[:count] = np.swapaxes(volume, 1, 2)[:, ::-1]
    return tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def data_uri(pixels: np.ndarray, kind: str, **options) -> str:
    """Encode (height, width) uint8 pixels as an image within a URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)
    return f'data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def tables(table: Sequence[Label] | None = None) -> dict:
    """Return names and colors of the classes and the colors of the uncertainty, for ``viewer.js``."""
    table = label_table() if table is None else table
    ramp = (255 * colors(np.arange(256) / 255)).round().astype(int)
    return {
        'names': [label.name.replace('-', ' ') if label.index else '' for label in table],
        'colors': [legible(label.color) if label.index else '' for label in table],
        'ramp': [f'#{r:02x}{g:02x}{b:02x}' for r, g, b in ramp],
    }

# SPDX-License-Identifier: Apache-2.0
"""The interactive slice viewer: a scan, its labels and their uncertainty as three mosaics of sagittal slices.

``pages/assets/viewer.js`` draws them on a 2D canvas, so it works from a file, offline and without a graphics
card. To keep pages light, the volume is cut to the head and resampled to isotropic voxels, some 2.5 million
at most.
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
from ..core.uncertainty import relative_uncertainty
from ..data import Label, label_table
from ..files import write_text
from . import panels
from .slices import FADE, colors, legible

VOXELS = 2_500_000  # of the viewer, about
FINEST = 1.0  # mm
#: Bytes that stand for the darkest and the brightest value of the window at first; the rest is for what is
#: beyond it, so that a CT can also be looked at in the window of the bone.
WINDOW_BYTES = (32, 208)
#: Byte of a relative uncertainty of 1.
UNIT = 64


def viewer_figure(
    image: np.ndarray,
    labels: np.ndarray,
    entropy: np.ndarray,
    affine: np.ndarray,
    out_file: str | os.PathLike,
    *,
    limits: Sequence[float] | None = None,
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
        ``columns`` of slices a mosaic has, the ``intensities`` that bytes stand for as pairs of byte and
        value, between which it is linear, the ``window`` to begin with (lowest and highest value), the
        ``unit``, which is the byte of the usual uncertainty, and as data URIs the mosaics ``scan``,
        ``labels`` and ``uncertainty``.
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
    grid, (image, labels, entropy) = panels.oriented(affine, image=image, labels=labels, entropy=entropy)
    window = panels.display_window(image, labels > 0)
    shape, target = viewer_grid(grid, head_box(image, labels, window))
    spacing = float(np.linalg.norm(target[:3, 0]))
    sampling = (grid.affine, shape, target, np.eye(4))
    columns = int(np.ceil(np.sqrt(shape[0] * shape[2] / shape[1])))
    values = resample(image, *sampling, order=1, cval=float(image.min()))
    knots = intensity_knots(values, window)
    classes = resample_labels_nearest(labels, *sampling)
    smooth = resample(entropy, *sampling, order=1, antialias=False)  # comes from the coarser network grid
    relative = relative_uncertainty(smooth, classes, (spacing,) * 3, limits)
    content = {
        'shape': list(shape),
        'spacing_mm': round(spacing, 4),
        'affine': target.round(5).tolist(),
        'columns': columns,
        'intensities': [[byte, _short(value)] for byte, value in knots],
        'window': [_short(value) for value in window],
        'unit': UNIT,
        'scan': data_uri(mosaic(as_bytes(values, knots), columns), 'JPEG', quality=80, optimize=True),
        'labels': data_uri(mosaic(classes, columns), 'PNG', compress_level=7),
        'uncertainty': data_uri(
            mosaic(np.rint(np.clip(UNIT * relative, 0, 255)).astype(np.uint8), columns),
            'JPEG', quality=60, optimize=True,
        ),
    }  # fmt: skip
    return write_text(json.dumps(content) + '\n', out_file)


def intensity_knots(values: np.ndarray, window: tuple[float, float]) -> list[tuple[int, float]]:
    """Choose which values bytes stand for: most of them for the window, the others for what is beyond it.

    Parameters
    ----------
    values : (I, J, K) float array
        The scan.
    window : pair of float
        Values that are black and white at first.

    Returns
    -------
    list of (byte, value)
        Both increase.

    Examples
    --------
    >>> intensity_knots(np.array([-1000.0, 20, 3000]), (0.0, 80.0))
    [(0, -1000.0), (32, 0.0), (208, 80.0), (255, 3000.0)]
    >>> intensity_knots(np.array([0.0, 50]), (0.0, 80.0))
    [(32, 0.0), (208, 80.0)]
    """
    knots = list(zip(WINDOW_BYTES, map(float, window), strict=True))
    low, high = float(values.min()), float(values.max())
    return [(0, low)] * (low < window[0]) + knots + [(255, high)] * (high > window[1])


def as_bytes(values: np.ndarray, knots: Sequence[tuple[int, float]]) -> np.ndarray:
    """Write values as the bytes that stand for them, uint8."""
    codes, marks = zip(*knots, strict=True)
    return np.rint(np.interp(values, marks, codes)).astype(np.uint8)


def _short(value: float) -> float:
    """Round to six significant digits."""
    return float(f'{value:.6g}')


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
    relative = np.arange(256) / UNIT
    ramp = (255 * colors(relative)).round().astype(int)
    return {
        'names': [label.name.replace('-', ' ') if label.index else '' for label in table],
        'colors': [legible(label.color) if label.index else '' for label in table],
        'ramp': [f'#{r:02x}{g:02x}{b:02x}' for r, g, b in ramp],
        'weights': np.clip((relative - 1) / FADE + 0.5, 0, 1).round(3).tolist(),
    }

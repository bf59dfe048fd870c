# SPDX-License-Identifier: Apache-2.0
"""Small images for the search and for elastix: averaged down, scaled, and resampled onto grids."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ..core import geometry
from ..data import resource
from ..errors import RegistrationError


class Volume(NamedTuple):
    """Voxels and their affine to RAS millimeters."""

    data: np.ndarray
    affine: np.ndarray


@cache
def parameters() -> dict:
    """Return the packaged registration settings (grid, search, elastix, plausible, quality)."""
    return json.loads(resource('elastix_affine.json').read_text())


def prepare(image, affine, grid, window, name) -> Volume:
    """Average down to about the working spacing and scale the robust range to [0, 1]."""
    small = shrink(np.asarray(image), np.asarray(affine, float), grid['spacing_mm'])
    low, high = window if window is not None else _robust_range(small.data, grid['percentiles'])
    if not high > low:
        raise RegistrationError(f'the {name} has no contrast (all values about {low:g}); check the image')
    scaled = (np.clip(small.data, low, high) - low) / (high - low)
    return _pad_with_air(Volume(scaled.astype(np.float32), small.affine), grid)


def _pad_with_air(volume, grid):
    """Add empty space beyond each face of the image that shows (almost) only air.

    A skull-stripped scan is often cropped to the brain: without the emptiness around it an affine can stretch
    it beyond its field of view at no cost. Where a face cuts through the head, nothing is known beyond it.
    """
    head = foreground(shrink(volume.data, volume.affine, 2 * grid['spacing_mm']).data)
    pads = []
    for axis, size in enumerate(geometry.voxel_sizes(volume.affine)):
        depth = int(np.ceil(grid['air_mm'] / size))
        cut = [np.take(head, face, axis).mean() > grid['air_face_share'] for face in (0, -1)]
        pads.append(tuple(0 if c else depth for c in cut))
    shift = np.eye(4)
    shift[:3, 3] = [-before for before, _ in pads]
    return Volume(np.pad(volume.data, pads), volume.affine @ shift)


def shrink(image, affine, spacing) -> Volume:
    """Average blocks of voxels so that no axis is finer than ``spacing`` by a factor of two or more.

    Whole blocks only: a remainder of less than a block at the far end is dropped.
    """
    sizes = geometry.voxel_sizes(affine)
    factors = np.clip(np.round(spacing / sizes), 1, np.array(image.shape)).astype(int)
    kept = [n // f * f for n, f in zip(image.shape, factors, strict=True)]
    data = image[tuple(slice(k) for k in kept)]
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = data.shape
            split = (*shape[:axis], shape[axis] // factor, factor, *shape[axis + 1 :])
            data = data.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    data = np.nan_to_num(data.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
    to_old = np.diag([*factors.astype(float), 1.0])
    to_old[:3, 3] = (factors - 1) / 2
    return Volume(data, affine @ to_old)


def _robust_range(data, percentiles):
    """Return the value of air and a high percentile of the foreground."""
    low = float(np.percentile(data, percentiles[0]))
    above = data[data > max(float(data.mean()), low)]
    return low, (float(np.percentile(above, percentiles[1])) if above.size else low)


def foreground(data):
    """Return the largest connected part that is brighter than air, holes filled."""
    bright = data[data > data.mean()]
    mask = ndimage.binary_opening(data > 0.3 * (np.median(bright) if bright.size else 1.0))
    parts, n = ndimage.label(mask)
    if not n:
        return data > data.mean()
    sizes = np.bincount(parts.ravel())[1:]
    return ndimage.binary_fill_holes(parts == 1 + int(sizes.argmax()))


def mask_like(mask, affine, volume) -> np.ndarray:
    """Bring a mask onto the grid of a volume."""
    share = shrink(np.asarray(mask, np.float32), np.asarray(affine, float), _spacing(volume))
    return regrid(share, volume.data.shape, volume.affine, np.eye(4)) > 0.5


def _spacing(volume) -> float:
    return float(geometry.voxel_sizes(volume.affine).min())


def dilate(mask, millimeters, affine):
    """Grow a mask by a distance."""
    sizes = geometry.voxel_sizes(affine)
    reach = np.ceil(millimeters / sizes).astype(int)
    box = tuple(
        slice(max(piece.start - margin, 0), piece.stop + margin)
        for piece, margin in zip(geometry.bounding_box(mask), reach, strict=True)
    )
    grown = np.zeros_like(mask)
    grown[box] = ndimage.distance_transform_edt(~mask[box], sampling=sizes) <= millimeters
    return grown


def smooth(volume, fwhm):
    """Blur a volume by a Gaussian of so many millimeters."""
    sigma = fwhm / 2.355 / geometry.voxel_sizes(volume.affine)
    return Volume(ndimage.gaussian_filter(volume.data, sigma), volume.affine)


def working_grid(fixed, mask, grid):
    """Return shape and affine of an RAS grid around the reference's brain."""
    corners = np.array(list(product(*[(ax.min(), ax.max()) for ax in np.nonzero(mask)])), float)
    points = corners @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    low, high = points.min(axis=0) - grid['margin_mm'], points.max(axis=0) + grid['margin_mm']
    affine = np.diag([*[grid['spacing_mm']] * 3, 1.0])
    affine[:3, 3] = low
    return tuple(np.ceil((high - low) / grid['spacing_mm']).astype(int) + 1), affine


def regrid(volume, shape, affine, matrix, cval=0.0):
    """Sample a volume linearly on a grid; ``matrix`` maps the grid's RAS points to the volume's."""
    to_voxel = geometry.invert(volume.affine) @ matrix @ affine
    return ndimage.affine_transform(
        volume.data,
        to_voxel[:3, :3],
        to_voxel[:3, 3],
        output_shape=shape,
        order=1,
        mode='constant',
        cval=cval,
    )


def regrid_mask(mask, mask_affine, shape, affine):
    """Sample a mask on a grid in the same space."""
    return regrid(Volume(mask.astype(np.float32), mask_affine), shape, affine, np.eye(4)) > 0.5


def regrid_with_field(volume, shape, affine, matrix):
    """Return the resampled volume, and where it has data (to half a voxel beyond the centers)."""
    to_voxel = geometry.invert(volume.affine) @ matrix @ affine
    sampled = ndimage.affine_transform(
        volume.data, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1, mode='nearest'
    )
    inside = np.ones(shape, bool)
    for axis, size in enumerate(volume.data.shape):
        i, j, k = (
            (to_voxel[axis, n] * np.arange(shape[n])).reshape([-1 if m == n else 1 for m in range(3)])
            for n in range(3)
        )
        index = i + j + k + to_voxel[axis, 3]
        inside &= (index >= -0.5) & (index <= size - 0.5)
    return np.where(inside, sampled, 0).astype(np.float32), inside

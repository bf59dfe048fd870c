# SPDX-License-Identifier: Apache-2.0
"""Small images for the search and for elastix: averaged down, scaled, and sampled on grids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..core import geometry
from ..data import resource
from ..errors import RegistrationError


class Volume(NamedTuple):
    """Voxels, (I, J, K), and their affine to RAS mm, (4, 4)."""

    data: NDArray
    affine: NDArray[np.float64]


@cache
def parameters() -> dict:
    """Return the packaged registration settings (grid, search, elastix, rigid, plausible, quality)."""
    return json.loads(resource('elastix_affine.json').read_text())


def preprocess(
    image: ArrayLike, affine: ArrayLike, grid: Mapping, window: tuple[float, float] | None, name: str
) -> Volume:
    """Average down to about the working spacing and scale the robust range to [0, 1].

    Parameters
    ----------
    image : (I, J, K) array_like
        Arbitrary units or HU.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    grid : mapping
        ``grid`` of :func:`parameters`.
    window : (float, float), optional
        Range instead of the robust one.
    name : str
        Of the image, for the error.

    Returns
    -------
    Volume
        float32, with a margin of air where the image ends in air.

    Raises
    ------
    RegistrationError
        If the image has no contrast.
    """
    small = downsample(np.asarray(image), np.asarray(affine, float), grid['spacing_mm'])
    low, high = window if window is not None else _robust_range(small.data, grid['percentiles'])
    if not high > low:
        raise RegistrationError(f'the {name} has no contrast (all values about {low:g}); check the image')
    scaled = (np.clip(small.data, low, high) - low) / (high - low)
    return _pad_with_air(Volume(scaled.astype(np.float32), small.affine), grid)


def _pad_with_air(volume: Volume, grid: Mapping) -> Volume:
    """Add air beyond each face of the image that shows (almost) only air.

    A skull-stripped scan is often cropped to the brain: without air around it an affine can stretch it beyond
    its field of view at no cost. Where a face cuts through the head, what lies beyond is unknown.
    """
    head = foreground(downsample(volume.data, volume.affine, 2 * grid['spacing_mm']).data)
    pads = []
    for axis, size in enumerate(geometry.voxel_sizes(volume.affine)):
        depth = int(np.ceil(grid['air_mm'] / size))
        cut = [np.take(head, face, axis).mean() > grid['air_face_fraction'] for face in (0, -1)]
        pads.append(tuple(0 if c else depth for c in cut))
    shift = np.eye(4)
    shift[:3, 3] = [-before for before, _ in pads]
    return Volume(np.pad(volume.data, pads), volume.affine @ shift)


def downsample(image: NDArray, affine: NDArray, spacing: float) -> Volume:
    """Average blocks of voxels so that no axis is finer than `spacing` by a factor of two or more.

    Parameters
    ----------
    image : (I, J, K) array
    affine : (4, 4) array
        Voxel indices to RAS mm.
    spacing : float, mm

    Returns
    -------
    Volume
        float32; what was not finite is 0. Whole blocks only: a remainder of less than a block at the far end
        is dropped.

    Examples
    --------
    >>> small = downsample(np.arange(4.0).reshape(1, 1, 4), np.eye(4), 2.0)
    >>> small.data.ravel().tolist(), small.affine[2].tolist()
    ([0.5, 2.5], [0.0, 0.0, 2.0, 0.5])
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
    to_original = np.diag([*factors.astype(float), 1.0])
    to_original[:3, 3] = (factors - 1) / 2
    return Volume(data, affine @ to_original)


def _robust_range(data: NDArray, percentiles: Sequence[float]) -> tuple[float, float]:
    """Return the value of air and a high percentile of the foreground."""
    low = float(np.percentile(data, percentiles[0]))
    above = data[data > max(float(data.mean()), low)]
    return low, (float(np.percentile(above, percentiles[1])) if above.size else low)


def foreground(data: NDArray) -> NDArray[np.bool_]:
    """Find the largest connected component that is brighter than air, and fill its holes.

    Parameters
    ----------
    data : (I, J, K) array

    Returns
    -------
    (I, J, K) bool array
    """
    bright = data[data > data.mean()]
    mask = ndimage.binary_opening(data > 0.3 * (np.median(bright) if bright.size else 1.0))
    components, count = ndimage.label(mask)
    if not count:
        return data > data.mean()
    sizes = np.bincount(components.ravel())[1:]
    return ndimage.binary_fill_holes(components == 1 + int(sizes.argmax()))


def mask_like(mask: ArrayLike, affine: ArrayLike, volume: Volume) -> NDArray[np.bool_]:
    """Bring a mask onto the grid of a volume.

    Parameters
    ----------
    mask : (L, M, N) array_like of bool
    affine : (4, 4) array_like
        Its voxel indices to RAS mm.
    volume : Volume

    Returns
    -------
    bool array of the shape of the volume
    """
    fraction = downsample(np.asarray(mask, np.float32), np.asarray(affine, float), _spacing(volume))
    return sample_on_grid(fraction, volume.data.shape, volume.affine, np.eye(4)) > 0.5


def _spacing(volume: Volume) -> float:
    return float(geometry.voxel_sizes(volume.affine).min())


def dilate(mask: NDArray[np.bool_], millimeters: float, affine: ArrayLike) -> NDArray[np.bool_]:
    """Grow a mask by a distance.

    Parameters
    ----------
    mask : (I, J, K) bool array
    millimeters : float
    affine : (4, 4) array_like
        Voxel indices to RAS mm.

    Returns
    -------
    (I, J, K) bool array
    """
    sizes = geometry.voxel_sizes(affine)
    reach = np.ceil(millimeters / sizes).astype(int)
    box = tuple(
        slice(max(piece.start - margin, 0), piece.stop + margin)
        for piece, margin in zip(geometry.bounding_box(mask), reach, strict=True)
    )
    grown = np.zeros_like(mask)
    grown[box] = ndimage.distance_transform_edt(~mask[box], sampling=sizes) <= millimeters
    return grown


def smooth(volume: Volume, fwhm: float) -> Volume:
    """Blur a volume by a Gaussian.

    Parameters
    ----------
    volume : Volume
    fwhm : float, mm
        Full width at half maximum.

    Returns
    -------
    Volume
    """
    sigma = fwhm / 2.355 / geometry.voxel_sizes(volume.affine)
    return Volume(ndimage.gaussian_filter(volume.data, sigma), volume.affine)


def working_grid(
    fixed: Volume, mask: NDArray[np.bool_], grid: Mapping
) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Return shape and affine of an RAS grid around the reference's brain.

    Parameters
    ----------
    fixed : Volume
        The reference.
    mask : bool array
        Its brain, on its grid.
    grid : mapping
        ``spacing_mm`` and ``margin_mm``.

    Returns
    -------
    shape : tuple of int
    affine : (4, 4) float64 array
        Voxel indices to RAS mm.
    """
    corners = np.array(list(product(*[(ax.min(), ax.max()) for ax in np.nonzero(mask)])), float)
    points = corners @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    low, high = points.min(axis=0) - grid['margin_mm'], points.max(axis=0) + grid['margin_mm']
    affine = np.diag([*[grid['spacing_mm']] * 3, 1.0])
    affine[:3, 3] = low
    return tuple(np.ceil((high - low) / grid['spacing_mm']).astype(int) + 1), affine


def sample_on_grid(
    volume: Volume, shape: Sequence[int], affine: NDArray, matrix: NDArray, *, mode: str = 'constant'
) -> NDArray:
    """Sample a volume linearly on a grid.

    Unlike in :func:`bids_brainseg.core.resampling.resample`, the field of view ends at the outermost voxel
    centers, beyond which all is 0.

    Parameters
    ----------
    volume : Volume
    shape : (3,) sequence of int
    affine : (4, 4) array
        Of the grid, voxel indices to RAS mm.
    matrix : (4, 4) array
        Maps RAS points of the grid to RAS points of the volume.
    mode : str
        As in :func:`scipy.ndimage.affine_transform`.

    Returns
    -------
    `shape` array of the volume's dtype
    """
    to_voxel = geometry.invert(volume.affine) @ matrix @ affine
    return ndimage.affine_transform(
        volume.data, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1, mode=mode
    )


def sample_mask(
    mask: NDArray[np.bool_], mask_affine: NDArray, shape: Sequence[int], affine: NDArray
) -> NDArray[np.bool_]:
    """Sample a mask linearly on a grid in the same space.

    Parameters
    ----------
    mask : (I, J, K) bool array
    mask_affine : (4, 4) array
        Its voxel indices to RAS mm.
    shape : (3,) sequence of int
    affine : (4, 4) array
        Of the grid.

    Returns
    -------
    `shape` bool array
        True where more than half is inside.
    """
    return sample_on_grid(Volume(mask.astype(np.float32), mask_affine), shape, affine, np.eye(4)) > 0.5


def sample_with_field(
    volume: Volume, shape: Sequence[int], affine: NDArray, matrix: NDArray
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sample a volume on a grid up to half a voxel beyond its outermost voxel centers.

    Parameters
    ----------
    volume, shape, affine, matrix
        As in :func:`sample_on_grid`.

    Returns
    -------
    values : `shape` float32 array
        0 outside the field of view.
    field : `shape` bool array
        The field of view.
    """
    sampled = sample_on_grid(volume, shape, affine, matrix, mode='nearest')
    to_voxel = geometry.invert(volume.affine) @ matrix @ affine
    inside = np.ones(shape, bool)
    for axis, size in enumerate(volume.data.shape):
        i, j, k = (
            (to_voxel[axis, n] * np.arange(shape[n])).reshape([-1 if m == n else 1 for m in range(3)])
            for n in range(3)
        )
        index = i + j + k + to_voxel[axis, 3]
        inside &= (index >= -0.5) & (index <= size - 0.5)
    return np.where(inside, sampled, 0).astype(np.float32), inside

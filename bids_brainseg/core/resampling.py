# SPDX-License-Identifier: Apache-2.0
"""Resample a volume or a label map onto another grid through an affine.

The matrix given to a function maps RAS points of the TARGET to RAS points of the SOURCE, which is the
direction that looking up values for a grid needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from . import geometry
from .threads import map_threads

#: Full width at half maximum of a Gaussian over its standard deviation, 2 sqrt(2 ln 2), about 2.3548.
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def resample(
    image: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
    *,
    order: int = 1,
    antialias: bool = True,
    cval: float = 0.0,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Resample a volume onto another grid through an affine.

    Parameters
    ----------
    image : (I, J, K) array
        Any units.
    affine : (4, 4) array_like
        Voxel indices of `image` to RAS mm.
    target_shape : (3,) ints
    target_affine : (4, 4) array_like
        Voxel indices of the target to RAS mm.
    matrix : (4, 4) array_like
        Maps RAS points of the target to RAS points of the image.
    order : int
        Degree of the spline: 0 nearest, 1 linear, 3 cubic.
    antialias : bool
        Blur first along each axis of the image that the target samples more coarsely, so that voxels between
        two samples count as well.
    cval : float
        Value outside the field of view (0 for MR, -1024 for CT).
    threads : int
        Processor threads; the result does not depend on it.

    Returns
    -------
    (X, Y, Z) float32 array, C order
        In the units of `image`.

    Raises
    ------
    ValueError
        If `image` is not three-dimensional or an affine is not usable.

    Notes
    -----
    The Gaussian has a full width at half maximum of sqrt(r**2 - 1) source voxels, r being the target's
    spacing in source voxels along that axis. The field of view ends half a voxel outside the outermost voxel
    centers: with slices of 5 mm it matters that the outer half of the first slice is still image.

    Examples
    --------
    >>> image = np.arange(27.0).reshape(3, 3, 3)
    >>> moved = resample(image, np.eye(4), (3, 3, 3), np.eye(4), np.eye(4))
    >>> bool((moved == image).all())
    True
    """
    if np.ndim(image) != 3:
        raise ValueError(f'Expected a volume of three dimensions, got shape {np.shape(image)}')
    shape = tuple(int(n) for n in target_shape)
    mapping = geometry.voxel_to_voxel(affine, target_affine, matrix)
    out = np.full(shape, cval, dtype=np.float32)
    last = np.array(image.shape) - 1
    # The part of the target that can see the image at all, and the part of the image it sees.
    box = geometry.covering_box(geometry.invert(mapping), [-0.5] * 3, last + 0.5, shape)
    if box[0].stop == 0:
        return out
    sigmas = antialias_sigmas(mapping) if antialias else np.zeros(3)
    crop = _visible_part(mapping, box, image.shape, margin=np.ceil(3 * sigmas) + (8 if order > 1 else 1))
    source = _c_order(image[crop], threads)
    blur = {'mode': 'nearest', 'truncate': 3}
    for axis in np.flatnonzero(sigmas):
        _along(ndimage.gaussian_filter1d, source, axis, threads, sigma=sigmas[axis], **blur)
    for axis in range(3 if order > 1 else 0):
        _along(ndimage.spline_filter1d, source, axis, threads, order=order, mode='mirror')
    local = mapping.copy()
    local[:3, 3] -= [piece.start for piece in crop]
    mode = 'mirror' if order > 1 else 'nearest'
    values = sample_box(source, local, box, order=order, mode=mode, out=out[box], threads=threads)
    _blank_outside(values, mapping, box, last, cval)
    return out


def resample_labels_majority(
    labels: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
) -> NDArray[np.uint8]:
    """Resample a label map so that each voxel gets the class that fills most of it.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices, 0 is the background.
    affine : (4, 4) array_like
        Voxel indices of the labels to RAS mm.
    target_shape : (3,) ints
    target_affine : (4, 4) array_like
        Voxel indices of the target to RAS mm.
    matrix : (4, 4) array_like
        Maps RAS points of the target to RAS points of the labels.

    Returns
    -------
    (X, Y, Z) uint8 array
        Background outside the field of view. Of equal fractions the lower index wins.

    Notes
    -----
    The fraction of a class is its mask, blurred to the target's spacing and interpolated linearly
    (:func:`resample`): unlike with the nearest neighbor, thin structures do not
    break up when the target is coarser. One class at a time is held in memory, within its own box.
    """
    shape = tuple(int(n) for n in target_shape)
    best, total = np.zeros((2, *shape), np.float32)
    winner = np.zeros(shape, np.uint8)
    sigmas = antialias_sigmas(geometry.voxel_to_voxel(affine, target_affine, matrix))
    margin = np.ceil(3 * sigmas).astype(int) + 2
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = np.pad((labels[box] == index).astype(np.float32), [(m, m) for m in margin])
        origin = np.eye(4)
        origin[:3, 3] = [piece.start - m for piece, m in zip(box, margin, strict=True)]
        fraction = resample(mask, np.asarray(affine, float) @ origin, shape, target_affine, matrix, order=1)
        total += fraction
        better = fraction > best
        winner[better] = index
        np.maximum(best, fraction, out=best)
    winner[1 - total >= best] = 0
    return winner


def resample_labels_nearest(
    labels: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
) -> NDArray[np.uint8]:
    """Resample a label map by nearest neighbor, as the method was published.

    Parameters
    ----------
    labels : (I, J, K) integer array
        0 is background.
    affine, target_shape, target_affine, matrix
        As in :func:`resample`.

    Returns
    -------
    (X, Y, Z) uint8 array
        0 outside the grid of `labels`.

    Raises
    ------
    ValueError
        If `labels` is not three-dimensional or an affine is not usable.
    """
    if np.ndim(labels) != 3:
        raise ValueError(f'Expected a label map of three dimensions, got shape {np.shape(labels)}')
    out = np.zeros([int(n) for n in target_shape], dtype=np.uint8)
    mapping = geometry.voxel_to_voxel(affine, target_affine, matrix)
    occupied = geometry.bounding_box(labels)
    source, local = np.asarray(labels)[occupied], mapping.copy()
    local[:3, 3] -= [piece.start for piece in occupied]
    box = geometry.covering_box(geometry.invert(local), [-0.5] * 3, np.array(source.shape) - 0.5, out.shape)
    if box[0].stop:
        out[box] = sample_box(source.astype(np.uint8), local, box, order=0, mode='grid-constant')
    return out


def sample_box(
    image: NDArray,
    mapping: NDArray,
    box: Sequence[slice],
    *,
    order: int,
    mode: str,
    cval: float = 0.0,
    out: NDArray | None = None,
    threads: int = 1,
) -> NDArray:
    """Evaluate an image on a box of the target grid only.

    Parameters
    ----------
    image : (I, J, K) array
        For `order` above 1, spline coefficients.
    mapping : (4, 4) float64 array
        Target indices to indices of `image`.
    box : three slices
        Of the target grid.
    order, mode, cval
        As in :func:`scipy.ndimage.affine_transform`.
    out : array of the box's shape, optional
        Written into and returned, instead of a new array.
    threads : int
        Processor threads; the result does not depend on it.

    Returns
    -------
    array of the box's shape and the image's dtype
    """
    start = np.array([piece.start for piece in box], dtype=np.float64)
    offset = mapping[:3, :3] @ start + mapping[:3, 3]
    if out is None:
        out = np.empty([piece.stop - piece.start for piece in box], dtype=image.dtype)

    def fill(index: int) -> None:
        ndimage.affine_transform(
            image,
            mapping[:3, :3],
            offset + mapping[:3, 0] * index,
            output=out[index : index + 1],
            order=order,
            mode=mode,
            cval=cval,
            prefilter=False,
        )

    map_threads(fill, range(len(out)), threads)
    return out


def antialias_sigmas(mapping: NDArray) -> NDArray:
    """Give the blur in source voxels per source axis (0 where the target is as fine as the source).

    Parameters
    ----------
    mapping : (4, 4) float64 array
        Target voxel indices to source voxel indices.

    Returns
    -------
    (3,) float64 array, source voxels
        Standard deviations of the Gaussian.
    """
    spacing = 1.0 / np.linalg.norm(np.linalg.inv(mapping[:3, :3]), axis=0)
    # Below five per cent there is nothing to gain, and a filter over the whole volume to pay.
    excess = np.where(spacing > 1.05, spacing**2 - 1.0, 0.0)
    return np.sqrt(excess) / FWHM_PER_SIGMA


def _c_order(image: NDArray, threads: int) -> NDArray[np.float32]:
    """Copy a volume plane by plane, which for one in Fortran order takes a quarter of the time."""
    copy = np.empty(image.shape, np.float32)
    map_threads(lambda row: np.copyto(copy[:, row], image[:, row], 'unsafe'), range(image.shape[1]), threads)
    return copy


def _along(filter1d: Callable, volume: NDArray, axis: int, threads: int, **options) -> None:
    """Filter the lines of a volume along one axis, in place, a slab of lines to a thread."""
    slabs = np.array_split(volume, threads, axis=1 if axis == 0 else 0)
    map_threads(lambda slab: filter1d(slab, axis=axis, output=slab, **options), slabs, threads)


def _visible_part(mapping: NDArray, box: Sequence[slice], shape: Sequence[int], margin: NDArray) -> tuple:
    """Find the box of the source that a box of the target reads, with room for the filters."""
    seen = geometry.covering_box(mapping, [p.start for p in box], [p.stop - 1 for p in box], shape)
    return tuple(
        slice(max(p.start - int(m), 0), min(p.stop + int(m), n))
        for p, m, n in zip(seen, margin, shape, strict=True)
    )


def _blank_outside(
    values: NDArray, mapping: NDArray, box: Sequence[slice], last: NDArray, cval: float
) -> None:
    """Write `cval` where a voxel of the box lies more than half a voxel outside the source, in place."""
    corners = (
        np.array(list(product(*((p.start, p.stop - 1) for p in box)))) @ mapping[:3, :3].T + mapping[:3, 3]
    )
    axes = [i for i in range(3) if corners[:, i].min() < -0.5 or corners[:, i].max() > last[i] + 0.5]
    if not axes:
        return
    y, z = (np.arange(p.start, p.stop, dtype=np.float32) for p in box[1:])
    for row, x in enumerate(range(box[0].start, box[0].stop)):
        for i in axes:
            a, b, c, d = mapping[i]
            coordinate = np.float32(a * x + d) + np.add.outer(np.float32(b) * y, np.float32(c) * z)
            values[row][(coordinate < -0.501) | (coordinate > last[i] + 0.501)] = cval

# SPDX-License-Identifier: Apache-2.0
"""Resample the network's answer onto the scan's own grid: labels from probabilities, and maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import geometry
from .threads import map_threads

#: Edge, in voxels of the target, of the cubes that are computed together: what they read stays in the cache.
CHUNK = 32
#: One bit per class.
MAX_CLASSES = 64
#: Stands for a label where several classes can win.
SEVERAL = 255


def resample_posterior(
    posterior: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
    *,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Interpolate every class linearly onto a grid and keep the most probable one.

    Parameters
    ----------
    posterior : (S, I, J, K) float array
        Probabilities of S classes, at most 64; class 0 is the background.
    affine : (4, 4) array_like
        Voxel indices of the posterior to RAS mm of the reference.
    target_shape : (3,) ints
        Of the scan's grid.
    target_affine : (4, 4) array_like
        Voxel indices of the scan to RAS mm of the scan.
    matrix : (4, 4) array_like
        Maps RAS points of the scan (target) to RAS points of the reference (posterior).
    threads : int
        Processor threads; the result does not depend on it.

    Returns
    -------
    (X, Y, Z) uint8 array, Fortran order
        Labels. Outside the posterior's grid everything is background (fading over one voxel of the
        posterior). Of equally probable classes the lower index wins.

    Raises
    ------
    ValueError
        If the posterior is not four-dimensional, is negative or not finite, has more than 64 classes, or an
        affine is not usable.

    Notes
    -----
    Between eight voxels, linear interpolation stays between the least and the greatest of them. A class can
    win there only if its greatest value reaches the greatest, over the classes, of the least values. Only
    voxels with several such classes are interpolated, and only in these: the labels are those of evaluating
    all classes everywhere, at a small part of the cost, and no volume of probabilities is held on the scan's
    grid.
    """
    if np.ndim(posterior) != 4 or not 1 < len(posterior) <= MAX_CLASSES:
        raise ValueError(f'Expected a posterior of shape (classes, I, J, K), got {np.shape(posterior)}')
    mapping = geometry.voxel_to_voxel(affine, target_affine, matrix)
    labels = np.zeros([int(n) for n in target_shape], dtype=np.uint8, order='F')
    candidates = _candidates(posterior)
    sole = np.where(candidates & (candidates - np.uint64(1)), SEVERAL, np.log2(candidates)).astype(np.uint8)
    # Laid out as the padded volumes are.
    sole_flat = np.pad(sole, [(0, 2)] * 3).ravel()
    candidates = np.pad(candidates, [(0, 2)] * 3, constant_values=1).ravel()
    volumes = [_padded(volume, index == 0) for index, volume in enumerate(posterior)]
    shape = posterior.shape[1:]

    def fill(chunk: tuple[tuple[slice, ...], tuple[slice, ...]]) -> None:
        box, cells = chunk
        label = sole[cells].flat[0]
        if label != SEVERAL and (sole[cells] == label).all():
            labels[box] = label
            return
        corner, parts = _corners(mapping, box, shape)
        winner = sole_flat[corner]
        undecided = winner == SEVERAL
        corner, parts = corner[undecided], [part[undecided] for part in parts]
        winner[undecided] = _decide(volumes, candidates[corner], corner, parts, shape)
        labels[box] = winner

    map_threads(fill, _chunks(mapping, labels.shape, shape), threads)
    return labels


def resample_map(
    values: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
    *,
    negligible: float = 0.0,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Interpolate one map that vanishes outside the head (the entropy, say) linearly onto the scan's grid.

    Parameters
    ----------
    values : (I, J, K) float array, not negative
    affine, target_shape, target_affine, matrix
        As in :func:`resample_posterior`.
    negligible : float
        Where no value of the neighborhood is above it, the result is 0; most of a scan is air.
    threads : int
        Processor threads; the result does not depend on it.

    Returns
    -------
    (X, Y, Z) float32 array
        0 outside the grid of `values` (fading over one voxel).

    Raises
    ------
    ValueError
        If `values` is not three-dimensional or an affine is not usable.
    """
    if np.ndim(values) != 3:
        raise ValueError(f'Expected a map of three dimensions, got shape {np.shape(values)}')
    mapping = geometry.voxel_to_voxel(affine, target_affine, matrix)
    out = np.zeros([int(n) for n in target_shape], dtype=np.float32, order='F')
    relevant = _over_corners(np.maximum, values, 0) > negligible
    shape, padded = values.shape, _padded(values, 0)

    def fill(chunk: tuple[tuple[slice, ...], tuple[slice, ...]]) -> None:
        box, cells = chunk
        if relevant[cells].any():
            out[box] = _interpolate(padded, *_corners(mapping, box, shape), shape)

    map_threads(fill, _chunks(mapping, out.shape, shape), threads)
    return out


def _candidates(posterior: NDArray) -> NDArray[np.uint64]:
    """Mark the classes that can win in each cell between eight voxels, one bit per class.

    The cells reach one voxel beyond the grid, where all is background: cell 0 lies between voxels -1 and 0.
    """
    # Floats that are not negative sort like the integers of the same bits, which are compared much faster.
    kind = np.dtype(f'u{posterior.dtype.itemsize}')
    numbers = np.ascontiguousarray(posterior).view(kind)
    one, infinity = np.array([1, np.inf], posterior.dtype).view(kind)
    if numbers.max() >= infinity:
        raise ValueError('Posterior holds values that are negative or not finite')
    # Nowhere is the most probable class below the average; one per cent is room for rounding.
    top = _over_corners(np.minimum, numbers.max(axis=0), one).view(posterior.dtype)
    bound = (top * (0.99 / len(posterior))).astype(posterior.dtype).view(kind)
    # A structure can win only where it is not below that: in a small part of the grid.
    least = bound.min()
    parts = []
    for index, volume in enumerate(numbers):
        likely = volume >= least
        if index == 0 or likely.any():
            box = geometry.bounding_box(likely) if index else (slice(None),) * 3
            cells = tuple(slice(piece.start, piece.stop and piece.stop + 1) for piece in box)
            parts.append((index, volume[box], cells, one if index == 0 else 0))
    for _, volume, cells, outside in parts:
        np.maximum(bound[cells], _over_corners(np.minimum, volume, outside), out=bound[cells])
    bits = np.zeros(bound.shape, dtype=np.uint64)
    for index, volume, cells, outside in parts:
        bits[cells][_over_corners(np.maximum, volume, outside) >= bound[cells]] |= np.uint64(1 << index)
    return bits


def _over_corners(reduce: np.ufunc, volume: NDArray, outside: float) -> NDArray:
    """Take the least or greatest value of the eight corners of each cell; `outside` surrounds the volume."""
    values = np.pad(volume, 1, constant_values=outside)
    values = reduce(values[:-1], values[1:])
    values = reduce(values[:, :-1], values[:, 1:])
    return reduce(values[:, :, :-1], values[:, :, 1:])


def _chunks(
    mapping: NDArray, shape: Sequence[int], source_shape: Sequence[int]
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Cut the target into cubes and pair each with the cells it reads; skip those outside the source."""
    limit = np.array(source_shape)
    for start in product(*(range(0, n, CHUNK) for n in shape)):
        stop = np.minimum(np.add(start, CHUNK), shape)
        edges = mapping[:3, :3] * (stop - 1 - start)
        origin = mapping[:3, :3] @ start + mapping[:3, 3]
        lower = np.floor(origin + np.minimum(edges, 0).sum(axis=1)).astype(int) + 1
        upper = np.floor(origin + np.maximum(edges, 0).sum(axis=1)).astype(int) + 1
        lower, upper = np.maximum(lower, 0), np.minimum(upper, limit)
        if (lower <= upper).all():
            yield (
                tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True)),
                tuple(slice(int(a), int(b) + 1) for a, b in zip(lower, upper, strict=True)),
            )


def _padded(volume: NDArray, outside: float) -> NDArray:
    """Flatten a volume with a margin of one voxel before and two behind, for :func:`_corners`."""
    return np.pad(volume, [(1, 2)] * 3, constant_values=outside).ravel()


def _corners(mapping: NDArray, box: Sequence[slice], shape: Sequence[int]) -> tuple[NDArray, list[NDArray]]:
    """Find the cell of the source that each voxel of a box of the target lies in.

    Returns the index of the cell's lowest corner in a volume of :func:`_padded`, and, per axis, the voxel's
    position between this corner (0) and the next (1), float32; both have the shape of the box.
    """
    axes = [np.arange(piece.start, piece.stop, dtype=np.float64) for piece in box]
    corner, parts = np.intp(0), []
    for (a, b, c, d), size in zip(mapping[:3], shape, strict=True):
        position = (a * axes[0] + d)[:, None, None] + ((b * axes[1])[:, None] + c * axes[2])
        np.clip(position, -1, size, out=position)
        lower = np.floor(position)
        parts.append((position - lower).astype(np.float32))  # in this order: positions need 64 bits
        corner = corner * (size + 3) + (lower.astype(np.intp) + 1)
    return corner, parts


def _interpolate(volume: NDArray, corner: NDArray, parts: Sequence[NDArray], shape: Sequence[int]) -> NDArray:
    """Interpolate a volume of :func:`_padded` linearly between the eight corners of cells, in float32.

    SciPy's general affine transform takes three times as long.
    """
    x, y, z = parts
    row = shape[2] + 3
    plane = row * (shape[1] + 3)

    def between(first: NDArray, second: NDArray, part: NDArray) -> NDArray:
        second = second - first
        second *= part
        second += first
        return second

    def edge(offset: int) -> NDArray:
        first = volume.take(corner + offset).astype(np.float32, copy=False)
        return between(first, volume.take(corner + (offset + 1)).astype(np.float32, copy=False), z)

    return between(between(edge(0), edge(row), y), between(edge(plane), edge(plane + row), y), x)


def _decide(
    volumes: Sequence[NDArray], bits: NDArray, corner: NDArray, parts: Sequence[NDArray], shape: Sequence[int]
) -> NDArray[np.uint8]:
    """Evaluate at each voxel the classes marked there, and keep the most probable."""
    winner, best = np.zeros(len(bits), np.uint8), np.full(len(bits), -np.inf, np.float32)
    for index in range(int(np.bitwise_or.reduce(bits, initial=0)).bit_length()):
        rows = np.flatnonzero(bits & np.uint64(1 << index))
        if not len(rows):
            continue
        values = _interpolate(volumes[index], corner[rows], [part[rows] for part in parts], shape)
        better = values > best[rows]
        rows = rows[better]
        winner[rows] = index
        best[rows] = values[better]
    return winner

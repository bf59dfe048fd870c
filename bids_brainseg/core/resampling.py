# SPDX-License-Identifier: Apache-2.0
"""Bring the network's answer back to the scan's own grid."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from bids_brainseg.core import geometry

#: Edge, in voxels of the target, of the cubes that are decided together.
CHUNK = 16
#: One bit per class.
MAX_CLASSES = 64


class ResampledLabels(NamedTuple):
    """Labels on the scan's grid, (X, Y, Z) uint8, and the probability of each, float32, or None."""

    labels: NDArray[np.uint8]
    max_probability: NDArray[np.float32] | None


def resample_posterior(
    posterior: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
    *,
    return_probability: bool = False,
    threads: int = 1,
) -> ResampledLabels:
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
    return_probability : bool
        Give the winner's probability as well (one more float32 volume on the scan's grid).
    threads : int
        Processor threads; the result does not depend on it.

    Returns
    -------
    ResampledLabels
        Labels, and the winning probability or None. Outside the posterior's grid everything is background
        (fading over one voxel of the posterior). Of equally probable classes the lower index wins.

    Raises
    ------
    ValueError
        If the posterior is not four-dimensional or not finite, has more than 64 classes, or an affine is
        not usable.

    Notes
    -----
    Between eight voxels, linear interpolation stays between the least and the greatest of them. A class can
    win there only if its greatest value reaches the greatest, over the classes, of the least values. Only
    the classes that pass are evaluated, cube by cube: the labels are those of evaluating all classes
    everywhere, at a small part of the cost, and no volume of probabilities is held on the scan's grid.
    """
    if np.ndim(posterior) != 4 or not 1 < len(posterior) <= MAX_CLASSES:
        raise ValueError(f'Expected a posterior of shape (classes, I, J, K), got {np.shape(posterior)}')
    mapping = geometry.voxel_map(affine, target_affine, matrix)
    labels = np.zeros([int(n) for n in target_shape], dtype=np.uint8)
    probability = np.ones(labels.shape, dtype=np.float32) if return_probability else None
    candidates = _candidates(posterior)

    def fill(chunk):
        box, cells = chunk
        bits = int(np.bitwise_or.reduce(candidates[cells], axis=None))
        if probability is None and bits & (bits - 1) == 0:
            labels[box] = bits.bit_length() - 1
            return
        winner, best = _decide(posterior, bits, cells, mapping, box)
        labels[box] = winner
        if probability is not None:
            probability[box] = best

    _each(fill, _chunks(mapping, labels.shape, posterior.shape[1:]), threads)
    return ResampledLabels(labels, probability)


def resample_labels_majority(
    labels: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
) -> NDArray[np.uint8]:
    """Resample a label map so that each voxel gets the class with the largest share of it.

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
        Background outside the field of view. Of equal shares the lower index wins.

    Notes
    -----
    The share of a class is its mask, blurred to the target's spacing and interpolated linearly
    (:func:`bids_brainseg.core.geometry.resample`): unlike with the nearest neighbour, thin structures do not
    break up when the target is coarser. One class at a time is held in memory, within its own box.
    """
    shape = tuple(int(n) for n in target_shape)
    best, total = np.zeros((2, *shape), np.float32)
    found = np.zeros(shape, np.uint8)
    sigmas = geometry.antialias_sigmas(geometry.voxel_map(affine, target_affine, matrix))
    margin = np.ceil(3 * sigmas).astype(int) + 2
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = np.pad((labels[box] == index).astype(np.float32), [(m, m) for m in margin])
        origin = np.eye(4)
        origin[:3, 3] = [piece.start - m for piece, m in zip(box, margin, strict=True)]
        share = geometry.resample(
            mask, np.asarray(affine, float) @ origin, shape, target_affine, matrix, order=1
        )
        total += share
        better = share > best
        found[better] = index
        np.maximum(best, share, out=best)
    found[1 - total >= best] = 0
    return found


def resample_labels_nearest(
    labels: NDArray,
    affine: ArrayLike,
    target_shape: Sequence[int],
    target_affine: ArrayLike,
    matrix: ArrayLike,
) -> NDArray[np.uint8]:
    """Carry a label map onto a grid by nearest neighbour, as the method was published.

    Parameters
    ----------
    labels : (I, J, K) integer array
        0 is background.
    affine, target_shape, target_affine, matrix
        As in :func:`resample_posterior`.

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
    mapping = geometry.voxel_map(affine, target_affine, matrix)
    found = ndimage.find_objects((labels != 0).view(np.uint8))
    if not found:
        return out
    source, local = labels[found[0]], mapping.copy()
    local[:3, 3] -= [piece.start for piece in found[0]]
    box = geometry.covering_box(geometry.invert(local), [-0.5] * 3, np.array(source.shape) - 0.5, out.shape)
    if box[0].stop:
        out[box] = geometry.sample_box(source.astype(np.uint8), local, box, order=0, mode='grid-constant')
    return out


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
        Where no value of the neighbourhood is above it, the result is 0; most of a scan is air.
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
    mapping = geometry.voxel_map(affine, target_affine, matrix)
    values = np.ascontiguousarray(values, dtype=np.float32)
    out = np.zeros([int(n) for n in target_shape], dtype=np.float32)
    relevant = _over_corners(np.maximum, values, 0) > negligible

    def fill(chunk):
        box, cells = chunk
        if relevant[cells].any():
            geometry.sample_box(values, mapping, box, order=1, mode='grid-constant', out=out[box])

    _each(fill, _chunks(mapping, out.shape, values.shape), threads)
    return out


def _each(work: Callable, items: Iterable, threads: int) -> None:
    """Do the work for every item in some threads; the first error ends it."""
    if threads < 2:
        deque(map(work, items), maxlen=0)
        return
    with ThreadPoolExecutor(threads) as pool:
        deque(pool.map(work, items), maxlen=0)


def _candidates(posterior: NDArray) -> NDArray[np.uint64]:
    """Mark the classes that can win in each cell between eight voxels, one bit per class.

    The cells reach one voxel beyond the grid, where all is background: cell 0 lies between voxels -1 and 0.
    """
    # Nowhere is the most probable class below the average; one per cent is room for rounding.
    total = posterior.sum(axis=0, dtype=np.float32)
    bound = _over_corners(np.minimum, total, 1) * np.float32(0.99 / len(posterior))
    if not np.isfinite(bound).all():
        raise ValueError('Posterior holds values that are not finite')
    # A structure can win only where it is not below that: in a small part of the grid.
    least = np.nextafter(posterior.dtype.type(bound.min()), posterior.dtype.type(0))
    bits = np.zeros(bound.shape, dtype=np.uint64)
    parts = []
    for index in range(len(posterior)):
        found = (
            ndimage.find_objects((posterior[index] >= least).view(np.uint8))
            if index
            else [(slice(None),) * 3]
        )
        for box in found:
            cells = tuple(slice(piece.start, piece.stop and piece.stop + 1) for piece in box)
            parts.append((index, box, cells))
    for index, box, cells in parts:
        lowest = _over_corners(np.minimum, posterior[index][box], index == 0)
        np.maximum(bound[cells], lowest, out=bound[cells])
    for index, box, cells in parts:
        highest = _over_corners(np.maximum, posterior[index][box], index == 0)
        bits[cells][highest >= bound[cells]] |= np.uint64(1 << index)
    return bits


def _over_corners(reduce: np.ufunc, volume: NDArray, outside: float) -> NDArray[np.float32]:
    """Take the least or greatest value of the eight corners of each cell; `outside` surrounds the volume."""
    values = np.pad(volume.astype(np.float32), 1, constant_values=outside)
    for axis in range(3):
        values = np.moveaxis(values, axis, 0)
        values = np.moveaxis(reduce(values[:-1], values[1:]), 0, axis)
    return values


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


def _decide(
    posterior: NDArray, bits: int, cells: Sequence[slice], mapping: NDArray, box: Sequence[slice]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Evaluate the marked classes on one cube and keep the most probable."""
    # Cells a..b lie between voxels a - 1 and b.
    crop = tuple(
        slice(max(c.start - 1, 0), min(c.stop, n)) for c, n in zip(cells, posterior.shape[1:], strict=True)
    )
    local = mapping.copy()
    local[:3, 3] -= [piece.start for piece in crop]
    shape = [piece.stop - piece.start for piece in box]
    winner, best = np.zeros(shape, dtype=np.uint8), np.full(shape, -np.inf, dtype=np.float32)
    for index in range(bits.bit_length()):
        if bits >> index & 1:
            source = posterior[index][crop].astype(np.float32)
            values = geometry.sample_box(
                source, local, box, order=1, mode='grid-constant', cval=float(index == 0)
            )
            better = values > best
            winner[better] = index
            np.copyto(best, values, where=better)
    return winner, best

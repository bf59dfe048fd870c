# SPDX-License-Identifier: Apache-2.0
"""Compare two segmentations of one scan: Dice, its two averages, and surface distance.

One convention throughout: a structure absent from both is not measurable (nan), a structure absent from one
has Dice 0 and an infinite distance. Averages leave nan out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from . import geometry
from .inspection import structure_centers
from .volumes import N_CLASSES, label_volumes


class Agreement(NamedTuple):
    """Two segmentations of one scan: arrays by class, (n,) float64, and their averages.

    `volume` and `reference_volume` are in mm3, `assd` in mm; `missed` counts the structures that only one of
    the two has.
    """

    dice: NDArray[np.float64]
    assd: NDArray[np.float64]
    volume: NDArray[np.float64]
    reference_volume: NDArray[np.float64]
    dice_average: float
    dice_volume_weighted: float
    assd_average: float
    missed: int


def compare(segmentation: NDArray, reference: NDArray, affine: ArrayLike, n: int = N_CLASSES) -> Agreement:
    """Measure how well a segmentation agrees with the reference labels on the same grid.

    Parameters
    ----------
    segmentation, reference : (I, J, K) integer arrays
        Class indices, 0 to n - 1.
    affine : (4, 4) array_like
        Voxel indices to RAS mm, which gives the size of the voxels.
    n : int
        Number of classes.

    Returns
    -------
    Agreement
        In `dice_volume_weighted` a structure counts by its volume in the reference.

    Raises
    ------
    ValueError
        If the shapes differ or a label is not in 0 to n - 1.
    """
    overlap = dice(segmentation, reference, n)
    distance = assd(segmentation, reference, geometry.voxel_sizes(affine), n)
    voxel = geometry.voxel_volume(affine)
    volume, truth = label_volumes(segmentation, voxel, n), label_volumes(reference, voxel, n)
    return Agreement(
        dice=overlap,
        assd=distance,
        volume=volume,
        reference_volume=truth,
        dice_average=dice_average(overlap),
        dice_volume_weighted=dice_volume_weighted(overlap, truth),
        assd_average=assd_average(distance),
        missed=int(np.isinf(distance).sum()),
    )


def dice(a: NDArray, b: NDArray, n: int = N_CLASSES) -> NDArray[np.float64]:
    """Measure the overlap of each class.

    Parameters
    ----------
    a, b : (I, J, K) integer arrays
        Class indices, 0 to n - 1.
    n : int
        Number of classes.

    Returns
    -------
    (n,) float64 array, 0 to 1
        Twice the common voxels over the sum of both; nan where a class is in neither. Item 0 is background.

    Raises
    ------
    ValueError
        If the shapes differ or a label is not in 0 to n - 1.

    Examples
    --------
    >>> dice(np.array([[[0, 1, 1]]]), np.array([[[0, 0, 1]]]), n=3).round(3).tolist()
    [0.667, 0.667, nan]
    """
    size_a, size_b, both = _counts(a, b, n)
    out = np.full(n, np.nan)
    np.divide(2.0 * both, size_a + size_b, out=out, where=size_a + size_b > 0)
    return out


def dice_average(scores: ArrayLike) -> float:
    """Average Dice over the structures (D_A): every structure counts the same, the background not at all.

    Parameters
    ----------
    scores : (n,) array_like
        As :func:`dice` gives them.

    Returns
    -------
    float
        nan if no structure is measurable.
    """
    scores = np.asarray(scores, dtype=np.float64)[1:]
    scores = scores[~np.isnan(scores)]
    return float(scores.mean()) if scores.size else float('nan')


def dice_volume_weighted(scores: ArrayLike, volumes: ArrayLike) -> float:
    """Average Dice over the structures by volume (D_V), the background left out.

    Parameters
    ----------
    scores : (n,) array_like
        As :func:`dice` gives them.
    volumes : (n,) array_like
        Of each class in the reference; any unit.

    Returns
    -------
    float
        nan if no structure with a volume is measurable.
    """
    scores, weights = np.asarray(scores, dtype=np.float64)[1:], np.asarray(volumes, dtype=np.float64)[1:]
    weights = np.where(np.isnan(scores), 0.0, weights)
    if not weights.sum() > 0:
        return float('nan')
    return float(np.nansum(scores * weights) / weights.sum())


def assd(a: NDArray, b: NDArray, voxel_sizes: ArrayLike, n: int = N_CLASSES) -> NDArray[np.float64]:
    """Measure the average symmetric surface distance of each structure.

    Parameters
    ----------
    a, b : (I, J, K) integer arrays
        Class indices, 0 to n - 1.
    voxel_sizes : (3,) array_like, mm
        Along each array axis.
    n : int
        Number of classes.

    Returns
    -------
    (n,) float64 array, mm
        nan for the background and for a class in neither, inf for a class in only one.

    Raises
    ------
    ValueError
        If the shapes differ, or `voxel_sizes` are not three positive numbers.

    Notes
    -----
    The surface of a structure is its voxels with a face towards anything else, or towards the edge of the
    image. The mean is taken over the voxels of both surfaces of their distances to the nearest voxel of the
    other surface.

    Examples
    --------
    >>> a, b = np.zeros((1, 1, 9), int), np.zeros((1, 1, 9), int)
    >>> a[..., 2], b[..., 5] = 1, 1
    >>> assd(a, b, (1, 1, 2), n=3).tolist()
    [nan, 6.0, nan]
    """
    a, b = np.asarray(a), np.asarray(b)
    sizes = np.asarray(voxel_sizes, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f'Expected two label maps of one shape, got {a.shape} and {b.shape}')
    if sizes.shape != (a.ndim,) or not (sizes > 0).all():
        raise ValueError(f'Expected {a.ndim} positive voxel sizes, got {sizes.tolist()}')
    boxes_a, boxes_b = ndimage.find_objects(a, n - 1), ndimage.find_objects(b, n - 1)
    out = np.full(n, np.nan)
    for index, (box_a, box_b) in enumerate(zip(boxes_a, boxes_b, strict=True), start=1):
        if box_a is None and box_b is None:
            continue
        if box_a is None or box_b is None:
            out[index] = np.inf
            continue
        box = tuple(
            slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(box_a, box_b, strict=True)
        )
        out[index] = _surface_distance(a[box] == index, b[box] == index, sizes)
    return out


def assd_average(distances: ArrayLike) -> float:
    """Average the surface distance over the structures that both segmentations have.

    Parameters
    ----------
    distances : (n,) array_like, mm
        As :func:`assd` gives them.

    Returns
    -------
    float, mm
        nan if there is no such structure. A structure in only one of the two, whose distance is infinite, is
        left out here; report their number beside it.
    """
    distances = np.asarray(distances, dtype=np.float64)
    distances = distances[np.isfinite(distances)]
    return float(distances.mean()) if distances.size else float('nan')


def center_distance(segmentation: NDArray, reference: NDArray, affine: ArrayLike) -> float:
    """Measure how far apart the same structures of two segmentations lie.

    Parameters
    ----------
    segmentation, reference : (I, J, K) integer arrays
        Class indices, 0 is background.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.

    Returns
    -------
    float, mm
        Median, over the structures that both have, of the distance between their centers of mass; nan if
        there is no such structure. Neither size nor outline of a structure plays a part.

    Examples
    --------
    >>> labels = np.zeros((9, 9, 9), int)
    >>> labels[2:4, 2:4, 2:4], labels[6:8, 6:8, 6:8] = 1, 2
    >>> center_distance(labels, np.roll(labels, 1, 1), np.diag([1.0, 3.0, 1.0, 1.0]))
    3.0
    """
    centers, others = (structure_centers(labels, affine) for labels in (segmentation, reference))
    distances = np.linalg.norm(centers - others, axis=1)
    distances = distances[np.isfinite(distances)]
    return float(np.median(distances)) if distances.size else float('nan')


def _surface_distance(a: NDArray[np.bool_], b: NDArray[np.bool_], sizes: NDArray) -> float:
    """Average the distances between the surfaces of two masks, neither of them empty."""
    surface_a, surface_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a, b))
    to_b = ndimage.distance_transform_edt(~surface_b, sampling=sizes)[surface_a]
    to_a = ndimage.distance_transform_edt(~surface_a, sampling=sizes)[surface_b]
    return float((to_b.sum() + to_a.sum()) / (to_b.size + to_a.size))


def _counts(a: NDArray, b: NDArray, n: int) -> tuple[NDArray, NDArray, NDArray]:
    """Count the voxels of each class in a, in b, and in both."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f'Expected two label maps of one shape, got {a.shape} and {b.shape}')
    sizes = [np.bincount(x.ravel(), minlength=n) for x in (a, b, a[a == b])]
    if any(len(size) > n for size in sizes):
        raise ValueError(f'Expected labels from 0 to {n - 1}, found {max(a.max(), b.max())}')
    return tuple(sizes)

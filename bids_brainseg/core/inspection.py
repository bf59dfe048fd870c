# SPDX-License-Identifier: Apache-2.0
"""Inspect a scan and its segmentation: components, truncation, contrast, saturation, implausible volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .geometry import bounding_box
from .volumes import N_CLASSES, asymmetry

ANY_NEIGHBOR = np.ones((3, 3, 3), bool)
#: Of an asymmetry, per cent: structures that are always alike on both sides are not measured that well.
SMALLEST_SD = 4.0
#: An interpolated magnitude image falls below 0 by less than this fraction of its 99.5th percentile.
ZERO_SHIFT = 0.02


class TissueSignal(NamedTuple):
    """Contrast, contrast-to-noise and signal-to-noise of white and gray matter; nan where one is absent."""

    contrast: float
    cnr: float
    snr_white: float


def largest_component_fractions(labels: ArrayLike, n: int = N_CLASSES) -> NDArray[np.float64]:
    """Measure the fraction of each structure in its largest connected component.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices, 0 is background.
    n : int
        Number of classes.

    Returns
    -------
    (n,) float64 array, [0, 1]
        Voxels of the largest component over all voxels of the class; voxels that touch at a corner are
        connected. nan for the background and for classes that do not occur.

    Examples
    --------
    >>> labels = np.array([[[1, 1, 1, 0, 1, 0, 2]]])
    >>> largest_component_fractions(labels, n=3).tolist()
    [nan, 0.75, 1.0]
    """
    labels = np.asarray(labels)
    labels = labels[bounding_box(labels)]
    if labels.strides[0] < labels.strides[-1]:
        labels = labels.T  # SciPy walks along the last axis
    fractions = np.full(n, np.nan)
    for index, box in enumerate(ndimage.find_objects(labels, n - 1), 1):
        if box is not None:
            mask = labels[box] == index
            components, count = ndimage.label(mask, ANY_NEIGHBOR)
            sizes = np.bincount(components[mask]) if count > 1 else np.ones(1)
            fractions[index] = sizes.max() / sizes.sum()
    return fractions


def fov_truncation(mask: ArrayLike) -> float:
    """Measure how strongly the border of the field of view cuts something.

    Parameters
    ----------
    mask : (I, J, K) array_like
        Above zero inside, zero elsewhere.

    Returns
    -------
    float, [0, 1]
        Voxels inside on a face of the volume over the most in any slice parallel to it, the largest of the
        six faces: 0 where nothing touches the border, 1 where the field of view ends
        in the middle. nan for an empty mask.

    Examples
    --------
    >>> mask = np.zeros((4, 4, 4))
    >>> mask[1:3, 1:3, 1:3] = 1
    >>> fov_truncation(mask), fov_truncation(mask[:, :, 1:])
    (0.0, 1.0)
    """
    mask = np.asarray(mask)
    box = bounding_box(mask)
    inside, fractions = mask[box] != 0, [0.0]
    if not inside.any():
        return float('nan')
    for axis, piece in enumerate(box):
        areas = np.count_nonzero(inside, axis=tuple(i for i in range(mask.ndim) if i != axis))
        fractions += [areas[0] / areas.max()] * (piece.start == 0)
        fractions += [areas[-1] / areas.max()] * (piece.stop == mask.shape[axis])
    return float(max(fractions))


def structure_truncation(labels: ArrayLike, n: int = N_CLASSES) -> NDArray[np.float64]:
    """Measure how strongly the border of the field of view cuts each structure.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices, 0 is background.
    n : int
        Number of classes.

    Returns
    -------
    (n,) float64 array, [0, 1]
        As :func:`fov_truncation` of each structure; 0 for one that does not occur, nan for the background.

    Examples
    --------
    >>> structure_truncation(np.array([[[0, 1, 1, 0, 2, 2]]]).repeat(3, 0).repeat(3, 1), n=4).tolist()
    [nan, 1.0, 1.0, 0.0]
    """
    labels, fractions = np.asarray(labels), np.zeros(n)
    fractions[0] = np.nan
    faces = [labels.take(place, axis) for axis in range(labels.ndim) for place in (0, -1)]
    for index in set(np.concatenate([np.unique(face) for face in faces]).tolist()) - {0}:
        fractions[index] = fov_truncation(labels == index)
    return fractions


def tissue_signal(
    image: ArrayLike,
    labels: ArrayLike,
    *,
    white: Sequence[int],
    gray: Sequence[int],
    magnitude: bool = True,
) -> TissueSignal:
    """Compare the brightness of white and gray matter.

    Parameters
    ----------
    image : (I, J, K) array_like
        The scan, any unit.
    labels : (I, J, K) integer array
        Class indices on its grid.
    white, gray : sequence of int
        Classes of either tissue.
    magnitude : bool
        Whether 0 should mean no signal. If it does not, since a good part of the image is negative,
        `contrast` and `snr_white` have no meaning and are nan.

    Returns
    -------
    TissueSignal
        `contrast`: (white - gray) / half the sum of their absolute medians, per cent, negative where gray
        matter is the brighter one. `cnr`: |white - gray| over the root of the sum of both variances.
        `snr_white`: white over its standard deviation.

    Notes
    -----
    Brightness is the median over a tissue; its spread, half the distance between the 16th and the 84th
    percentile (the standard deviation, if it were normal), holds noise and, near its border, the other
    tissue. The ratio is that of Magnotta and Friedman, J. Digit. Imaging 2006,
    doi:10.1007/s10278-006-0264-x, without the noise of air, which CT and skull-stripped scans do not have.
    """
    image, labels = np.asarray(image), np.asarray(labels)
    low, high = np.percentile(image.ravel('K')[:: max(1, image.size // 500_000)], (0.5, 99.5))
    proportional = not magnitude or low >= -ZERO_SHIFT * high
    box = bounding_box(labels)
    image, labels = image[box], labels[box]
    (bright, spread), (other, other_spread) = (
        # three times as fast as numpy's isin
        _center_and_spread(image[np.logical_or.reduce([labels == index for index in classes])])
        for classes in (white, gray)
    )
    scale, noise = (abs(bright) + abs(other)) / 2, np.hypot(spread, other_spread)
    return TissueSignal(
        contrast=100 * (bright - other) / scale if scale > 0 and proportional else float('nan'),
        cnr=float(abs(bright - other) / noise) if noise > 0 else float('nan'),
        snr_white=bright / spread if spread > 0 and proportional else float('nan'),
    )


def _center_and_spread(values: NDArray) -> tuple[float, float]:
    if not values.size:
        return float('nan'), float('nan')
    low, center, high = (float(value) for value in np.percentile(values, (16, 50, 84)))
    return center, (high - low) / 2


def saturation_fraction(image: ArrayLike, inside: ArrayLike) -> float:
    """Measure the fraction of the brain that is as bright as the brightest voxel of the scan.

    Parameters
    ----------
    image : (I, J, K) array_like
    inside : (I, J, K) array_like
        Where to look: above zero inside, zero elsewhere.

    Returns
    -------
    float, [0, 1]
        About one voxel's worth in a scan whose range was kept, more where intensities were clipped; nan if
        nothing is inside.
    """
    image, inside = np.asarray(image), np.asarray(inside)
    box = bounding_box(inside)
    values = image[box][inside[box] != 0]
    return float(np.mean(values >= image.max())) if values.size else float('nan')


def structure_centers(labels: ArrayLike, affine: ArrayLike, n: int = N_CLASSES) -> NDArray[np.float64]:
    """Find the center of mass of each structure.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices, 0 is background.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    n : int
        Number of classes.

    Returns
    -------
    (n, 3) float64 array, RAS mm
        nan for the background and for classes that do not occur.

    Examples
    --------
    >>> structure_centers(np.array([[[0, 1, 1, 0, 3]]]), np.diag([1, 1, 2, 1]), n=4)[:, 2].tolist()
    [nan, 3.0, nan, 8.0]
    """
    where = np.nonzero(labels)
    values, affine = np.asarray(labels)[where], np.asarray(affine, np.float64)
    sizes = np.bincount(values, minlength=n)[:, None]
    sums = np.stack([np.bincount(values, axis, n) for axis in where], axis=1)
    centers = np.full((n, 3), np.nan)
    np.divide(sums, sizes, out=centers, where=sizes > 0)
    return centers @ affine[:3, :3].T + affine[:3, 3]


def structure_offset(centers: ArrayLike, expected: ArrayLike, matrix: ArrayLike) -> float:
    """Measure how far the structures of a scan lie from where the reference has them.

    Parameters
    ----------
    centers : (S, 3) array_like
        RAS mm of the scan; nan where a structure is absent.
    expected : (S, 3) array_like
        RAS mm of the reference; nan where it has no place for a structure.
    matrix : (4, 4) array_like
        RAS points of the scan to RAS points of the reference.

    Returns
    -------
    float, mm
        Median distance over the structures; nan if fewer than three can be compared.

    Examples
    --------
    >>> places = [[0, 0, 0], [10, 0, 0], [0, 20, 0]]
    >>> shift = np.eye(4)
    >>> shift[0, 3] = 7
    >>> structure_offset(places, places, shift)
    7.0
    """
    matrix = np.asarray(matrix, np.float64)
    apart = np.asarray(centers, np.float64) @ matrix[:3, :3].T + matrix[:3, 3] - np.asarray(expected)
    distances = np.linalg.norm(apart, axis=1)
    distances = distances[np.isfinite(distances)]
    return float(np.median(distances)) if distances.size >= 3 else float('nan')


def structure_rotation(centers: ArrayLike, expected: ArrayLike, matrix: ArrayLike) -> float:
    """Measure how far the structures of a scan, as a whole, are turned from where the reference has them.

    The rotation and shift that fit best are found by least squares (Kabsch 1976, doi
    10.1107/S0567739476001873), each structure weighing less the farther it lies off (five rounds, weights of
    one over the distance in mm), so that a few that are displaced or missed decide nothing.

    Parameters
    ----------
    centers, expected, matrix
        As :func:`structure_offset` takes them.

    Returns
    -------
    float, degrees
        From 0 to 180; nan if fewer than three structures can be compared.

    Examples
    --------
    >>> places = np.array([[0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 30]])
    >>> quarter = np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    >>> round(structure_rotation(places, places, quarter), 6)
    90.0
    """
    matrix, expected = np.asarray(matrix, np.float64), np.asarray(expected, np.float64)
    found = np.asarray(centers, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    known = np.isfinite(found).all(1) & np.isfinite(expected).all(1)
    found, expected = found[known], expected[known]
    if len(found) < 3:
        return float('nan')
    weights, turn = np.ones(len(found)), np.eye(3)
    for _ in range(5):
        here = found - np.average(found, axis=0, weights=weights)
        there = expected - np.average(expected, axis=0, weights=weights)
        left, _, right = np.linalg.svd((here * weights[:, None]).T @ there)
        # a mirror image is no rotation
        turn = (left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right).T
        weights = 1 / np.maximum(np.linalg.norm(here @ turn.T - there, axis=1), 1)
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))


def asymmetry_scores(
    volumes: ArrayLike, pairs: Sequence[tuple[int, int]], mean: ArrayLike, sd: ArrayLike
) -> NDArray[np.float64]:
    """Compare the asymmetry of pairs of structures with that in a population.

    Parameters
    ----------
    volumes : (S,) array_like, mm3
    pairs : sequence of (int, int)
        Left and right structure of each pair.
    mean, sd : (S,) array_like, per cent
        Of the asymmetry in the population; read at the left structure.

    Returns
    -------
    (S,) float64 array
        Distance from the mean in standard deviations, not negative, for both structures of a pair; nan for a
        structure without pair, and where both are absent. A standard deviation below 4 % counts as 4 %, about
        the error of a segmentation.

    Examples
    --------
    >>> asymmetry_scores([0, 100, 50.0], [(1, 2)], [0, 6.0, 6.0], [0, 10.0, 10.0]).round(2).tolist()
    [nan, 6.07, 6.07]
    """
    volumes, scores = np.asarray(volumes, np.float64), np.full(len(volumes), np.nan)
    for left, right in pairs:
        found = float(asymmetry(volumes[left], volumes[right]))
        deviation = abs(found - mean[left]) / max(sd[left], SMALLEST_SD)
        scores[[left, right]] = deviation
    return scores


def population_scores(
    volumes: ArrayLike, etiv: float, log_mean: ArrayLike, log_sd: ArrayLike
) -> NDArray[np.float64]:
    """Compare volumes with those of a population, relative to head size.

    Parameters
    ----------
    volumes : (S,) array_like, mm3
    etiv : float, mm3
        Intracranial volume of this head; nan if it is not known.
    log_mean, log_sd : (S,) array_like
        Mean and standard deviation over the population of the natural logarithm of each volume over the
        intracranial volume.

    Returns
    -------
    (S,) float64 array
        Standard deviations above the mean; -inf for an absent structure, nan where there is no deviation to
        compare with, or for a present one if the intracranial volume is not known.

    Notes
    -----
    Logarithms, since volumes cannot be negative and those of ventricles are skewed.

    Examples
    --------
    >>> population_scores([1000.0, 0.0], 1e6, [np.log(2e-3)] * 2, [np.log(2)] * 2).round(6).tolist()
    [-1.0, -inf]
    """
    volumes, log_sd = np.asarray(volumes, np.float64), np.asarray(log_sd, np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):
        scores = (np.log(volumes / etiv) - log_mean) / log_sd
    return np.where(log_sd > 0, np.where(volumes > 0, scores, -np.inf), np.nan)

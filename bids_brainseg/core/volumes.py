# SPDX-License-Identifier: Apache-2.0
"""Volumes of labels and probabilities in mm3, their spread over samples, totals and asymmetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import geometry

N_CLASSES = 28
#: Voxels that are counted at a time.
PIECE = 1 << 20
#: Intracranial volume over the spread of the cerebrum: its geometric mean in the label maps 01 to 15, with
#: an SD of 3.8 % (``benchmarks/population.py``).
ICV_OVER_SPREAD = 52.33


class MCStatistics(NamedTuple):
    """Per class over the Monte-Carlo samples: mean and standard deviation in mm3, their ratio in per cent."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    cv: NDArray[np.float64]


class BrainTotals(NamedTuple):
    """Total volumes in mm3."""

    brain: float
    ventricles: float


def label_volumes(labels: NDArray, voxel_mm3: float, n: int = N_CLASSES) -> NDArray[np.float64]:
    """Measure the volume of each class of a label map.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices, 0 to n - 1.
    voxel_mm3 : float
        Volume of one voxel, mm3.
    n : int
        Number of classes.

    Returns
    -------
    (n,) float64 array, mm3
        0 for a class that does not occur.

    Raises
    ------
    ValueError
        If a label is not in 0 to n - 1.

    Examples
    --------
    >>> label_volumes(np.array([[[0, 1, 1, 2]]]), 2.0, n=4).tolist()
    [2.0, 4.0, 2.0, 0.0]
    """
    inside = np.asarray(labels)[geometry.bounding_box(labels)]
    flat = np.ravel(inside, order='K')
    counts = np.zeros(n, dtype=np.int64)
    counts[0] = np.size(labels) - flat.size
    # Piece by piece: bincount converts to 64-bit integers, eight times the size of the scan.
    for start in range(0, flat.size, PIECE):
        piece = np.bincount(flat[start : start + PIECE], minlength=n)
        if len(piece) > n:
            raise ValueError(f'Expected labels from 0 to {n - 1}, found {len(piece) - 1}')
        counts += piece
    return counts * float(voxel_mm3)


def soft_volumes(posterior: NDArray, voxel_mm3: float) -> NDArray[np.float64]:
    """Measure the expected volume of each class: the sum of its probabilities.

    Parameters
    ----------
    posterior : (S, I, J, K) float array
        Probabilities.
    voxel_mm3 : float
        Volume of one voxel in the space where volumes are wanted, mm3. For a posterior on the network's grid
        and volumes of the scan, that is the grid's voxel volume times the determinant of reference-to-scan.

    Returns
    -------
    (S,) float64 array, mm3

    Raises
    ------
    ValueError
        If `posterior` is not four-dimensional.
    """
    if np.ndim(posterior) != 4:
        raise ValueError(f'Expected a posterior of shape (classes, I, J, K), got {np.shape(posterior)}')
    return np.array([_total(channel) for channel in posterior]) * float(voxel_mm3)


def _total(values: NDArray) -> float:
    """Sum in double precision; half precision cannot even count to 2,049."""
    if values.dtype != np.float16:
        return float(values.sum(dtype=np.float64))
    # There are few different numbers, and counting them takes a quarter of the time of converting all.
    counts = np.bincount(values.ravel().view(np.uint16))
    present = np.flatnonzero(counts)
    return float(counts[present] @ present.astype(np.uint16).view(np.float16).astype(np.float64))


def mc_statistics(samples_mm3: ArrayLike) -> MCStatistics:
    """Summarize the volumes over Monte-Carlo samples.

    Parameters
    ----------
    samples_mm3 : (N, S) array_like
        One row per sample, one column per class, mm3.

    Returns
    -------
    MCStatistics
        Mean, population standard deviation, and coefficient of variation in per cent, (S,) each. The CV is
        nan for a class absent from every sample. With a single sample standard deviation and CV are nan.

    Raises
    ------
    ValueError
        If `samples_mm3` is not two-dimensional or empty.

    Notes
    -----
    CV = sigma / mu over the samples (doi:10.3389/fneur.2021.653375). It is the spread within the model, not
    the error of a measurement.

    Examples
    --------
    >>> mc_statistics([[90.0, 0.0], [110.0, 0.0]]).cv.tolist()
    [10.0, nan]
    """
    samples = np.asarray(samples_mm3, dtype=np.float64)
    if samples.ndim != 2 or not len(samples):
        raise ValueError(f'Expected samples of shape (samples, classes), got {samples.shape}')
    mean = samples.mean(axis=0)
    std = samples.std(axis=0) if len(samples) > 1 else np.full_like(mean, np.nan)
    cv = np.full_like(mean, np.nan)
    np.divide(100.0 * std, mean, out=cv, where=mean > 0)
    return MCStatistics(mean, std, cv)


def mean_cv(cv: ArrayLike) -> float:
    """Average the CV over the structures, without background and without absent structures.

    Parameters
    ----------
    cv : (S,) array_like, per cent
        Class 0 is the background.

    Returns
    -------
    float, per cent
        nan if no structure has a CV.
    """
    values = np.asarray(cv, dtype=np.float64)[1:]
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')


def brain_totals(volumes: ArrayLike, ventricles: Sequence[int]) -> BrainTotals:
    """Add up the brain (all structures but the ventricles) and the ventricles.

    Parameters
    ----------
    volumes : (S,) array_like, mm3
        Class 0 is the background.
    ventricles : sequence of int
        Class indices of the ventricles.

    Returns
    -------
    BrainTotals, mm3
    """
    volumes = np.asarray(volumes, dtype=np.float64)
    fluid = float(volumes[list(ventricles)].sum())
    return BrainTotals(brain=float(volumes[1:].sum()) - fluid, ventricles=fluid)


def asymmetry(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Compare the volume of a structure on the left with that on the right.

    Parameters
    ----------
    left, right : array_like, mm3
        Volumes of the same structures on either side; any shape, or single numbers.

    Returns
    -------
    float64 array of that shape, per cent
        100 (left - right) / mean of both: positive where the left is larger, 200 or -200 where one side is
        absent, nan where both are or where a volume is nan.

    Examples
    --------
    >>> asymmetry([110, 0, 0], [90, 50, 0]).tolist()
    [20.0, -200.0, nan]
    """
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    both = left + right
    out = np.full(both.shape, np.nan)
    np.divide(200.0 * (left - right), both, out=out, where=both > 0)
    return out


def spread(labels: ArrayLike, affine: ArrayLike, classes: Sequence[int]) -> float:
    """Return the root of the determinant of the covariance of all positions in some structures.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    classes : sequence of int
        Those of the structures.

    Returns
    -------
    float, mm3
        nan if there is none of them. An affine of the head changes it as it changes a volume.

    Examples
    --------
    >>> found = spread(np.full((3, 4, 5), 2), np.diag([2, 2, 2, 1]), (2,))
    >>> bool(np.isclose(found, np.sqrt(36 * 64 * 100 / 12**3)))
    True
    """
    box = geometry.bounding_box(labels)
    indices = np.argwhere(np.isin(np.asarray(labels)[box], classes))
    if not len(indices):
        return float('nan')
    # voxels have an extent of their own
    covariance = np.cov(indices.T, bias=True) + np.eye(3) / 12
    return geometry.voxel_volume(affine) * float(np.sqrt(np.linalg.det(covariance)))


def etiv(labels: ArrayLike, affine: ArrayLike, cerebrum: Sequence[int]) -> float:
    """Estimate the intracranial volume from how far the cerebrum spreads.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    cerebrum : sequence of int
        Classes of cerebral cortex and white matter.

    Returns
    -------
    float, mm3
        nan if there is none. Too small where the field of view cuts the cerebrum.

    Notes
    -----
    The spread takes the place of the determinant of the affine to an atlas (Buckner et al., NeuroImage 2004,
    doi:10.1016/j.neuroimage.2004.06.018), since it does not depend on how bright scalp and skull are. The
    ratio of intracranial volume and spread has a standard deviation of 3.8 % in 15 label maps of adults.
    """
    return ICV_OVER_SPREAD * spread(labels, affine, cerebrum)

# SPDX-License-Identifier: Apache-2.0
"""Compare the uncertainty of a scan with what is usual for the network."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .volumes import N_CLASSES

#: Entropy where two structures are equally likely, as a fraction of the largest.
TWO_EQUAL = math.log(2) / math.log(N_CLASSES)
#: Standard deviation of the Gaussian that entropies are averaged with, mm.
SMOOTHING_MM = 2.0
#: Distance of the samples from which the average is taken, mm, about that of the network's own grid.
SAMPLING_MM = 1.4
#: Share of the voxels of good scans whose entropy is usual.
USUAL_SHARE = 0.95
#: Voxels without a structure count from this entropy on: most of the air is certain.
DOUBTED_BACKGROUND = 0.02


def local_entropy(
    entropy: NDArray, spacing: ArrayLike, *, smoothing_mm: float = SMOOTHING_MM
) -> NDArray[np.float32]:
    """Average an entropy over the neighborhood of each voxel.

    Every border has voxels that are uncertain, however good the scan; their average tells a doubtful place
    from a border.

    Parameters
    ----------
    entropy : (I, J, K) float array, [0, 1]
        Normalized entropy; nan counts as 0.
    spacing : (3,) array_like
        Distance of the voxels along each axis, mm.
    smoothing_mm : float
        Standard deviation of the Gaussian, mm.

    Returns
    -------
    (I, J, K) float32 array, [0, 1]
        Beyond the edge, the last voxels go on. Of voxels that are finer than the grid of the network, which
        the entropy comes from, only every second, third ... is looked at.

    Examples
    --------
    >>> peak = np.zeros((1, 1, 9))
    >>> peak[..., 4] = 1
    >>> [f'{value:.2f}' for value in local_entropy(peak, (1, 1, 4))[0, 0, 3:6]]
    ['0.11', '0.79', '0.11']
    """
    spacing = np.asarray(spacing, float)
    steps = np.maximum(SAMPLING_MM // spacing, 1).astype(int)
    coarse = np.nan_to_num(entropy[tuple(slice(None, None, step) for step in steps)]).astype(np.float32)
    local = ndimage.gaussian_filter(coarse, smoothing_mm / (spacing * steps), mode='nearest', truncate=3)
    for axis, step in enumerate(steps):
        local = local.repeat(step, axis) if step > 1 else local
    return local[tuple(slice(size) for size in np.shape(entropy))]


def usual_limits(local: NDArray, labels: NDArray, *, share: float = USUAL_SHARE) -> NDArray[np.float64]:
    """Find the local entropy that most voxels of each class do not exceed.

    Parameters
    ----------
    local : (I, J, K) float array, [0, 1]
        Of :func:`local_entropy`.
    labels : (I, J, K) integer array
        Class indices.
    share : float
        Of the voxels.

    Returns
    -------
    (28,) float64 array
        nan for an absent class. Of the background, only voxels of some uncertainty count.
    """
    limits = np.full(N_CLASSES, np.nan)
    for index in range(N_CLASSES):
        values = local[labels == index]
        if not index:
            values = values[values > DOUBTED_BACKGROUND]
        if values.size:
            limits[index] = np.quantile(values, share)
    return limits


def mean_entropies(entropy: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Average the entropy over the voxels of each class.

    Parameters
    ----------
    entropy : (I, J, K) float array, [0, 1]
        Normalized entropy.
    labels : (I, J, K) integer array
        Class indices.

    Returns
    -------
    (28,) float64 array
        nan for the background and for an absent class.

    Examples
    --------
    >>> mean_entropies(np.array([[[0.25, 0.75, 0.5]]]), np.array([[[1, 1, 2]]]))[:4].tolist()
    [nan, 0.5, 0.5, nan]
    """
    inside = labels > 0
    classes = labels[inside]
    counts = np.bincount(classes, minlength=N_CLASSES)
    sums = np.bincount(classes, weights=entropy[inside], minlength=N_CLASSES)
    return np.divide(sums, counts, out=np.full(N_CLASSES, np.nan), where=counts > 0)


def relative_uncertainty(
    entropy: NDArray, labels: NDArray, spacing: ArrayLike, limits: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Divide the local entropy by what is usual for the structure.

    Parameters
    ----------
    entropy : (I, J, K) float array, [0, 1]
        Normalized entropy.
    labels : (I, J, K) integer array
        Class indices.
    spacing : (3,) array_like
        Distance of the voxels along each axis, mm.
    limits : (28,) array_like, optional
        Local entropy of each class that is still usual, of :func:`usual_limits` for good scans; without it,
        :data:`TWO_EQUAL` for all classes.

    Returns
    -------
    (I, J, K) float32 array
        Above 1 where the network is less certain than usual.
    """
    usual = np.full(N_CLASSES, TWO_EQUAL) if limits is None else np.asarray(limits, float)
    return local_entropy(entropy, spacing) * (1 / usual).astype(np.float32)[labels]

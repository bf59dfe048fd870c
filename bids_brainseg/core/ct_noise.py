# SPDX-License-Identifier: Apache-2.0
"""Measure the noise of a CT in soft tissue, and smooth one that was reconstructed for bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .geometry import voxel_sizes, voxel_volume

#: Noise beyond that of any reconstruction for soft tissue, and the noise that remains after smoothing, HU.
NOISY, REMAINING = 20.0, 5.0
#: Window whose mean tells soft tissue, mm; its means, HU; the least of it that noise is measured in, mm3.
WINDOW_MM, SOFT_MEANS, LEAST_SOFT = 5.0, (0.0, 80.0), 1000.0
#: Values that are smoothed, HU; what lies beyond, as bone and air, is added afterwards as it was.
SMOOTHED = (-150.0, 250.0)
#: Standard deviations of the Gaussian to choose from, mm.
SIGMAS = np.arange(0.25, 2.51, 0.25)
#: From standard deviation to full width at half maximum.
FWHM = 2 * np.sqrt(2 * np.log(2))


def soft_tissue_noise(image: NDArray[np.float32], affine: ArrayLike) -> float:
    """Measure the noise of a CT of a head.

    Parameters
    ----------
    image : (I, J, K) float32 array
        HU.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.

    Returns
    -------
    float, HU
        Standard deviation of what differs between neighboring voxels of soft tissue, in the middle half of
        the field of view along each axis; 0 where there is too little soft tissue to measure it.

    Notes
    -----
    From the median absolute difference of neighbors, which borders between tissues hardly change; the median
    over the three axes. Noise that a smooth kernel has spread over neighbors counts less, as it should.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> image = rng.normal(35, 10, (40, 40, 40)).astype(np.float32)
    >>> round(soft_tissue_noise(image, np.eye(4)))
    10
    """
    image = image[tuple(slice(size // 4, size - size // 4) for size in image.shape)]
    window = np.maximum(np.round(WINDOW_MM / voxel_sizes(affine)).astype(int) // 2 * 2 + 1, 1)
    means = ndimage.uniform_filter(np.clip(image, *SMOOTHED), window)
    soft = (means > SOFT_MEANS[0]) & (means < SOFT_MEANS[1])
    if np.count_nonzero(soft) * voxel_volume(affine) < LEAST_SOFT:
        return 0.0
    along = []
    for axis in range(3):
        both = np.delete(soft, 0, axis) & np.delete(soft, -1, axis)
        differences = np.abs(np.diff(image, axis=axis)[both])
        along.append(np.median(differences) if differences.size else 0.0)
    return float(1.4826 / np.sqrt(2) * np.median(along))


def smooth_soft_tissue(
    image: NDArray[np.float32], affine: ArrayLike, noise: float
) -> tuple[NDArray[np.float32], float]:
    """Smooth soft tissue as far as its noise needs it, and leave bone and air as they are.

    Parameters
    ----------
    image : (I, J, K) float32 array
        HU.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    noise : float, HU
        Of :func:`soft_tissue_noise`.

    Returns
    -------
    image : (I, J, K) float32 array
        HU.
    fwhm : float, mm
        Full width at half maximum of the Gaussian: the smallest of ten that lowers white noise to
        :data:`REMAINING`, at most 5.9 mm.

    Notes
    -----
    A Gaussian of s voxels lowers the standard deviation of white noise by the root of 2 s times the root of
    pi along each axis.
    """
    lowered = np.maximum(2 * np.sqrt(np.pi) * SIGMAS[:, None] / voxel_sizes(affine), 1).prod(axis=1) ** 0.5
    enough = np.flatnonzero(noise / lowered <= REMAINING)
    sigma = SIGMAS[enough[0] if enough.size else -1]
    soft = np.clip(image, *SMOOTHED)
    smooth = ndimage.gaussian_filter(soft, sigma / voxel_sizes(affine))
    return smooth + (image - soft), float(FWHM * sigma)

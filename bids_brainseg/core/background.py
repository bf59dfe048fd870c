# SPDX-License-Identifier: Apache-2.0
"""Find a background that is brighter than air should be, constant or of noise, and darken it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .geometry import faces, voxel_sizes, voxel_volume

#: A value that so many voxels of the six faces have is a constant background.
CONSTANT_FACES = 0.5
#: Such a background is too bright if so many voxels are darker, by so much of the range.
DARKER_VOXELS, DARKER_BY = 0.01, 0.05
#: Noise of a background, and its mean, as fractions of the range, beyond that of air in a magnitude image.
NOISE_SD, NOISE_MEAN = 0.1, 0.2
#: Window in which noise is measured, mm; a head is so much smoother than its background, and so large (mm3).
WINDOW_MM, SMOOTHER, SMALLEST_HEAD = 5.0, 0.5, 3e5
#: The whole of a head is at least so much less noisy than its background; otherwise all of the scan is noise.
NOISE_RATIO = 3.0


def settle_background(
    image: NDArray[np.float32], affine: ArrayLike
) -> tuple[NDArray[np.float32], str | None]:
    """Darken the background of an MR scan where it is brighter than dark tissue.

    Parameters
    ----------
    image : (I, J, K) float32 array
        Arbitrary units, finite.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.

    Returns
    -------
    image : (I, J, K) float32 array
        The very same array for an ordinary scan, whose background is dark.
    note : str or None
        What was done.

    Notes
    -----
    The background of a uniform image of MP2RAGE is noise over the whole range, as the ratio of two images
    without signal; O'Brien et al. (doi:10.1371/journal.pone.0099676) suppress it with both images, which a
    dataset rarely holds. Here the head is what is smooth: the noise that is left when each voxel is compared
    with its neighbors is measured in a small window, and the largest connected region with less than half the
    noise of the faces is kept. Bone is noise as well in such an image, so mostly the brain remains.
    A constant background lies in the middle of the range if a skull-stripped scan was standardized to mean 0.
    """
    outer = faces(image)
    low, high = (
        float(x) for x in np.percentile(image.ravel('K')[:: max(1, image.size // 500_000)], (0.5, 99.5))
    )
    if (value := _bright_constant(image, outer, high - low)) is not None:
        rest = image[image != value]
        dark = np.float32(np.percentile(rest, 0.1))
        share = 100 * np.mean(rest < value)
        return np.where(image == value, dark, image), (
            f'The background has one value ({value:g}), brighter than {share:.0f} % of the head; it was set '
            f'to {dark:.4g}.'
        )
    if not _is_noise(outer, high - low, low):
        return image, None
    head = _smooth_region(image, affine, outer)
    if head is None:
        return image, None
    dark = np.float32(np.percentile(image[head], 0.5))
    return np.where(head, image, dark), (
        'The background is noise as bright as the head, as in a uniform image of MP2RAGE; it was set to '
        f'{dark:.4g} before registration and scaling.'
    )


def _bright_constant(image: NDArray, outer: list[NDArray], scale: float) -> float | None:
    """Return the value of a constant background that is not the darkest of the scan."""
    values, counts = np.unique(np.concatenate([face.ravel() for face in outer]), return_counts=True)
    value, lowest = values[counts.argmax()], image.min()
    if counts.max() < CONSTANT_FACES * counts.sum() or value <= lowest:
        return None
    darker = np.count_nonzero(image < value - DARKER_BY * scale)
    return float(value) if darker > DARKER_VOXELS * image.size else None


def _is_noise(outer: list[NDArray], scale: float, low: float) -> bool:
    """Tell whether most faces of the image hold noise as bright as tissue."""
    if scale <= 0:
        return False
    noise = [_noise(face) for face in outer if min(face.shape) > 2]
    means = [(face.mean() - low) / scale for face in outer if min(face.shape) > 2]
    return bool(noise) and np.median(noise) > NOISE_SD * scale and np.median(means) > NOISE_MEAN


def _noise(face: NDArray) -> float:
    """Estimate the standard deviation of white noise by the differences of neighbors."""
    return float(np.std(np.diff(face, axis=0)) / np.sqrt(2))


def _smooth_region(image: NDArray, affine: ArrayLike, outer: list[NDArray]) -> NDArray[np.bool_] | None:
    """Find the head in a background of noise; None if it is not much smoother than the background."""
    window = np.maximum(np.round(WINDOW_MM / voxel_sizes(affine)).astype(int) // 2 * 2 + 1, 3)
    residual = image - ndimage.uniform_filter(image, 3)
    energy = np.sqrt(np.maximum(ndimage.uniform_filter(residual * residual, window), 0))
    background = float(np.median([_noise(face) for face in outer]))
    smooth = ndimage.binary_opening(energy < SMOOTHER * background)
    components, count = ndimage.label(smooth)
    if not count:
        return None
    sizes = np.bincount(components.ravel())[1:]
    head = components == 1 + int(sizes.argmax())
    typical = float(np.median(energy[head]))
    if sizes.max() * voxel_volume(affine) < SMALLEST_HEAD or typical * NOISE_RATIO > background:
        return None
    # windows at the border hold noise of the background, so that the head is too small by a quarter of one
    head = ndimage.binary_dilation(head, iterations=max(1, int(window.min()) // 4))
    return ndimage.binary_fill_holes(head)

# SPDX-License-Identifier: Apache-2.0
"""Find a background that is not as dark as air, constant or of noise, and give it the brightness of air."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .geometry import faces, voxel_sizes, voxel_volume

#: A value that so many voxels of the six faces have is a constant background.
CONSTANT_FACES = 0.5
#: Such a background is too bright if so many voxels are darker, by so much of the range.
DARKER_VOXELS, DARKER_BY = 0.01, 0.05
#: A negative one is too dark if it lies so far below the darkest voxels, by so much of the range of the rest.
TOO_DARK_BY = 0.25
#: Window in which noise is measured, mm, and the least volume of a head, mm3.
WINDOW_MM, SMALLEST_HEAD = 5.0, 3e5
_NO_HEAD = (
    'The background is noisier than the head, but not so much that it could be told from it and darkened. '
    'Look at the outlines, or set what lies outside the head to 0.'
)
#: Voxels by which the head is too small, since windows at its border hold noise. More leaves a rim of noise,
#: which takes the place of the skull; less takes cortex away.
BORDER = 2
#: Noise of the background over that of the middle of the scan, which in a magnitude image is below 1.
ODD_RATIO = 1.2


class _Limits(NamedTuple):
    """Of a background of noise: standard deviation and mean, as fractions of the range, beyond those of air.

    Of the head in it: the noise in each window, as a fraction of the background, and how many times the
    noise of the whole head that of the background is.
    """

    sd: float
    mean: float
    window: float
    ratio: float


#: The second is for noise that is fainter, or a head that is noisy itself; it keeps more of the background.
KINDS = (_Limits(0.1, 0.2, 0.5, 3.0), _Limits(0.06, 0.12, 0.75, 2.0))


class Background(NamedTuple):
    """The image, what was done to its background, and a doubt that asks for review; None where none is."""

    image: NDArray[np.float32]
    note: str | None = None
    doubt: str | None = None


def settle_background(image: NDArray[np.float32], affine: ArrayLike) -> Background:
    """Make the background of an MR scan dark where it is brighter than dark tissue, or far below all of it.

    Parameters
    ----------
    image : (I, J, K) float32 array
        Arbitrary units, finite.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.

    Returns
    -------
    Background
        With the very same array for an ordinary scan, whose background is dark.

    Notes
    -----
    The background of a uniform image of MP2RAGE is noise over the whole range, as the ratio of two images
    without signal; O'Brien et al. (doi:10.1371/journal.pone.0099676) suppress it with both images, which a
    dataset rarely holds. Here the head is what is smooth: the noise that is left when each voxel is compared
    with its neighbors is measured in a small window, and the largest connected region with less than half the
    noise of the faces is kept, or three quarters of it if the head is noisy itself. Bone is noise as well in
    such an image, so mostly the brain remains.
    A constant background lies in the middle of the range if a skull-stripped scan was standardized to mean 0,
    and far below it if a tool marked it by a number such as -1000: all of the head would then be bright.
    """
    outer = faces(image)
    low, high = (
        float(x) for x in np.percentile(image.ravel('K')[:: max(1, image.size // 500_000)], (0.5, 99.5))
    )
    settled = _settle_constant(image, outer, high - low)
    if settled is not None:
        return settled
    kinds = [limits for limits in KINDS if _is_noise(outer, high - low, low, limits)]
    if not kinds:
        return Background(image)
    background = float(np.median([_noise(face) for face in outer]))
    energy = _local_noise(image, affine)
    regions = (_smooth_region(energy, affine, background, limits) for limits in kinds)
    head = next((region for region in regions if region is not None), None)
    if head is None:
        middle = energy[tuple(slice(size // 4, size - size // 4) for size in image.shape)]
        odd = np.median(middle) * ODD_RATIO < background
        return Background(image, doubt=_NO_HEAD if odd else None)
    # skull-stripped, a head may hold nothing as dark as the mean of the noise
    dark = np.float32(min(np.percentile(image[head], 0.5), *(face.mean() for face in outer)))
    return Background(
        np.where(head, image, dark),
        'The background is noise as bright as the head, as in a uniform image of MP2RAGE; it was set to '
        f'{dark:.4g} before registration and scaling.',
    )


def _settle_constant(image: NDArray[np.float32], outer: list[NDArray], scale: float) -> Background | None:
    """Darken, or brighten, a background of one value; None if there is none, or it is as it should be."""
    values, counts = np.unique(np.concatenate([face.ravel() for face in outer]), return_counts=True)
    value = float(values[counts.argmax()])
    if counts.max() < CONSTANT_FACES * counts.sum() or 0 <= value <= image.min():
        return None
    rest = image[image != value]
    if not rest.size:
        return None
    dark, bright = (float(x) for x in np.percentile(rest, (0.1, 99.5)))
    if np.count_nonzero(rest < value - DARKER_BY * scale) > DARKER_VOXELS * image.size:
        place = f'brighter than {100 * np.mean(rest < value):.0f} % of the head'
    elif value < min(0.0, dark - TOO_DARK_BY * (bright - dark)):
        place = 'far below the head'
    else:
        return None
    return Background(
        np.where(image == value, np.float32(dark), image),
        f'The background has one value ({value:g}), {place}; it was set to {dark:.4g}.',
    )


def _is_noise(outer: list[NDArray], scale: float, low: float, limits: _Limits) -> bool:
    """Tell whether most faces of the image hold noise as bright as tissue."""
    if scale <= 0:
        return False
    noise = [_noise(face) for face in outer if min(face.shape) > 2]
    means = [(face.mean() - low) / scale for face in outer if min(face.shape) > 2]
    return bool(noise) and np.median(noise) > limits.sd * scale and np.median(means) > limits.mean


def _noise(face: NDArray) -> float:
    """Estimate the standard deviation of white noise by the differences of neighbors."""
    return float(np.std(np.diff(face, axis=0)) / np.sqrt(2))


def _local_noise(image: NDArray[np.float32], affine: ArrayLike) -> NDArray[np.float32]:
    """Measure in the window around each voxel how much voxels differ from their neighbors."""
    window = np.maximum(np.round(WINDOW_MM / voxel_sizes(affine)).astype(int) // 2 * 2 + 1, 3)
    residual = image - ndimage.uniform_filter(image, 3)
    return np.sqrt(np.maximum(ndimage.uniform_filter(residual * residual, window), 0))


def _smooth_region(
    energy: NDArray[np.float32], affine: ArrayLike, background: float, limits: _Limits
) -> NDArray[np.bool_] | None:
    """Find the head in a background of noise; None if it is not much smoother than the background."""
    smooth = ndimage.binary_opening(energy < limits.window * background)
    components, count = ndimage.label(smooth)
    if not count:
        return None
    sizes = np.bincount(components.ravel())[1:]
    head = components == 1 + int(sizes.argmax())
    typical = float(np.median(energy[head]))
    if sizes.max() * voxel_volume(affine) < SMALLEST_HEAD or typical * limits.ratio > background:
        return None
    head = ndimage.binary_dilation(head, iterations=BORDER)
    return ndimage.binary_fill_holes(head)

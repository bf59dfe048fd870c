# SPDX-License-Identifier: Apache-2.0
"""Spoil a scan in a known way, to see what an evaluation or a quality check makes of it.

Nothing here is used when a scan is segmented. Images are (I, J, K) arrays in any unit, the result is float32,
and strength 0 (or angle 0) always gives the image back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from . import geometry


def add_noise(
    image: ArrayLike, sigma: float, rng: np.random.Generator, *, magnitude: bool = False
) -> NDArray[np.float32]:
    """Add Gaussian noise.

    Parameters
    ----------
    image : (I, J, K) array_like
    sigma : float
        Standard deviation of the noise, in the unit of the image.
    rng : numpy.random.Generator
    magnitude : bool
        Add it to the real and the imaginary part of an MR signal whose magnitude is seen, which makes it
        Rician: air is then brighter than 0. For images that are not negative.

    Returns
    -------
    (I, J, K) float32 array

    Raises
    ------
    ValueError
        If `sigma` is negative.

    Notes
    -----
    Gudbjartsson and Patz, Magn. Reson. Med. 1995, doi:10.1002/mrm.1910340618.

    Examples
    --------
    >>> noisy = add_noise(np.zeros((50, 50, 50)), 2.0, np.random.default_rng(0))
    >>> round(float(noisy.std()), 1)
    2.0
    """
    if sigma < 0:
        raise ValueError(f'`sigma` must not be negative, got {sigma}')
    image = np.asarray(image, np.float32)
    noisy = image + np.float32(sigma) * rng.standard_normal(image.shape, np.float32)
    if magnitude:
        noisy = np.hypot(noisy, np.float32(sigma) * rng.standard_normal(image.shape, np.float32))
    return noisy


def add_ghosts(
    image: ArrayLike, strength: float, shift_fraction: float = 0.5, axis: int = 1
) -> NDArray[np.float32]:
    """Lay shifted copies of the head over it, as periodic motion or unequal echoes do.

    Parameters
    ----------
    image : (I, J, K) array_like
    strength : float
        Share of the signal that goes into the ghosts, [0, 1].
    shift_fraction : float
        Distance between head and ghost, as a fraction of the field of view. What leaves it on one side
        enters on the other; at 0.5 the ghosts of both sides fall on one another.
    axis : int
        Array axis of the phase encoding.

    Returns
    -------
    (I, J, K) float32 array
        ``(1 - strength) * image + strength / 2 * (image shifted up + image shifted down)``; the sum over the
        image stays the same.

    Raises
    ------
    ValueError
        If `strength` is outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f'`strength` must lie in [0, 1], got {strength}')
    image = np.asarray(image, np.float32)
    shift = round(shift_fraction * image.shape[axis])
    ghosts = np.roll(image, shift, axis) + np.roll(image, -shift, axis)
    return np.float32(1 - strength) * image + np.float32(strength / 2) * ghosts


def blank_slices(
    image: ArrayLike, slices: Sequence[int], axis: int = 2, *, value: float = 0.0
) -> NDArray[np.float32]:
    """Lose slices.

    Parameters
    ----------
    image : (I, J, K) array_like
    slices : sequence of int
        Indices along `axis`.
    axis : int
        Array axis across the slices.
    value : float
        What they hold instead (0 for MR, about -1000 for CT).

    Returns
    -------
    (I, J, K) float32 array

    Raises
    ------
    IndexError
        If there is no such slice.
    """
    result = np.array(image, np.float32)
    np.moveaxis(result, axis, 0)[list(slices)] = value
    return result


def crop_field_of_view(
    image: ArrayLike, affine: ArrayLike, keep: Sequence[tuple[float, float]]
) -> tuple[NDArray, NDArray[np.float64]]:
    """Keep a box of the field of view.

    Parameters
    ----------
    image : (I, J, K) array_like
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    keep : three pairs of float
        First and last position along each array axis, as fractions of the field of view: ``(0, 1)`` keeps the
        axis, ``(0.5, 1)`` its upper half.

    Returns
    -------
    image : array of the dtype of `image`
        A copy of the box.
    affine : (4, 4) float64 array
        Of the box: every voxel stays where it was.

    Raises
    ------
    ValueError
        If nothing would be left.

    Examples
    --------
    >>> half, affine = crop_field_of_view(np.zeros((4, 4, 8)), np.eye(4), [(0, 1), (0, 1), (0.5, 1)])
    >>> half.shape, affine[:3, 3].tolist()
    ((4, 4, 4), [0.0, 0.0, 4.0])
    """
    image, affine = np.asarray(image), geometry.as_affine(affine)
    bounds = [(round(a * n), round(b * n)) for (a, b), n in zip(keep, image.shape, strict=True)]
    if any(not 0 <= start < stop <= n for (start, stop), n in zip(bounds, image.shape, strict=True)):
        raise ValueError(f'nothing is left of {image.shape} voxels, or it lies outside: {list(keep)}')
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [start for start, _ in bounds]
    return image[tuple(slice(*bound) for bound in bounds)].copy(), moved


def add_bias(image: ArrayLike, strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Multiply by a smooth field, as an uneven coil does.

    Parameters
    ----------
    image : (I, J, K) array_like
        For CT it makes no sense.
    strength : float
        Largest absolute logarithm of the field: 0.5 makes the brightest place 1.65 times brighter or the
        darkest one 1.65 times darker.
    rng : numpy.random.Generator

    Returns
    -------
    (I, J, K) float32 array

    Notes
    -----
    The logarithm of the field is a cubic spline through 4 x 4 x 4 random numbers spread over the image.
    """
    image = np.asarray(image, np.float32)
    control = rng.standard_normal((4, 4, 4))
    axes = [np.linspace(0, 3, n) for n in image.shape]
    field = ndimage.map_coordinates(control, np.meshgrid(*axes, indexing='ij'), order=3, mode='nearest')
    field *= strength / np.abs(field).max()
    return image * np.exp(field).astype(np.float32)


def rotate_motion(
    image: ArrayLike,
    affine: ArrayLike,
    degrees: Sequence[float],
    *,
    rotation_axis: int = 0,
    phase_axis: int = 1,
) -> NDArray[np.float32]:
    """Let the head turn while the scan is acquired.

    Parameters
    ----------
    image : (I, J, K) array_like
        MR magnitude.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    degrees : sequence of float
        Pose during each of as many equal, successive parts of the acquisition: angle about the center of the
        field of view.
    rotation_axis : int
        Anatomical axis to turn about: 0 is left-right (nodding), 1 back-front, 2 up (shaking the head).
    phase_axis : int
        Array axis of the phase encoding, whose lines are acquired one after the other.

    Returns
    -------
    (I, J, K) float32 array

    Raises
    ------
    ValueError
        If there is no pose, or more poses than lines.

    Notes
    -----
    Each part of k-space comes from the head in its own pose, and the magnitude of the whole is seen (Shaw
    et al., arXiv 2019, doi:10.48550/arXiv.1906.04693). The middle of k-space, and so the place of the head,
    comes from the pose in the middle.
    """
    image = np.asarray(image, np.float32)
    lines = image.shape[phase_axis]
    if not 0 < len(degrees) <= lines:
        raise ValueError(f'expected 1 to {lines} poses, got {len(degrees)}')
    edges = np.rint(np.linspace(0, lines, len(degrees) + 1)).astype(int)
    spectrum = np.empty(image.shape, np.complex64)
    for angle in dict.fromkeys(degrees):
        moved = image if angle == 0 else _turned(image, affine, angle, rotation_axis)
        pose = np.fft.fftshift(np.fft.fft(moved, axis=phase_axis), phase_axis)
        for part, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            if degrees[part] == angle:
                where = [slice(None)] * 3
                where[phase_axis] = slice(start, stop)
                spectrum[tuple(where)] = pose[tuple(where)]
    return np.abs(np.fft.ifft(np.fft.ifftshift(spectrum, phase_axis), axis=phase_axis)).astype(np.float32)


def _turned(image: NDArray, affine: ArrayLike, degrees: float, axis: int) -> NDArray[np.float32]:
    """Turn a volume about the center of its field of view."""
    affine = geometry.as_affine(affine)
    center = affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + affine[:3, 3]
    i, j = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pull = np.eye(4)
    pull[[i, j], [i, j]] = cosine
    pull[i, j], pull[j, i] = sine, -sine  # from where the point is to where it came from
    pull[:3, 3] = center - pull[:3, :3] @ center
    return geometry.resample(image, affine, image.shape, affine, pull, order=1, antialias=False)

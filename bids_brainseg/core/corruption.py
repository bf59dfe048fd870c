# SPDX-License-Identifier: Apache-2.0
"""Corrupt a scan in a known way and degree, to see what an evaluation or a quality check makes of it.

:func:`corrupt` maps one severity to the parameters of any kind; the functions below it do the work. Nothing
here is used when a scan is segmented. Images are (I, J, K) arrays in any unit, the result is float32, and
severity, strength or angle 0 gives the image back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from . import geometry
from .resampling import resample

Corrupted = tuple[NDArray[np.float32], NDArray[np.float64]]
#: Severities of corrupted copies lie between these; below the first a scan is hardly corrupted at all.
MILDEST, WORST = 0.1, 1.0


def corrupt(
    image: ArrayLike, affine: ArrayLike, kind: str, severity: float, seed: int, **parameters: float
) -> Corrupted:
    """Corrupt a scan.

    Parameters
    ----------
    image : (I, J, K) array_like
        MR magnitude in any unit, or Hounsfield units.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    kind : str
        One of :data:`KINDS`.
    severity : float
        From 0, nothing happens, to 1, about the worst that is still recognized as a head. At 1: Rician noise
        of 40 % of the range of the signal; 60 % of the signal in ghosts; poses up to 15 degrees apart; a bias
        field of 4.5 times at its extreme; 40 % of the slices lost; half of the field of view lost on one
        side; the contrast inverted, as in a scan of another modality.
    seed : int
        Of what is random: the noise, the field, which slices, which side.
    **parameters : float
        Of the kind. `noise`: `sigma`, the standard deviation of Gaussian noise at severity 1 in the unit of
        the image, for images that are no magnitudes. `slices`: `value` of a lost voxel, 0 by default.

    Returns
    -------
    image : float32 array
        Of another shape than before only where the field of view was cropped.
    affine : (4, 4) float64 array

    Raises
    ------
    ValueError
        If the kind is unknown, or the severity is outside [0, 1].
    TypeError
        If the kind has no such parameter.
    """
    if kind not in KINDS:
        raise ValueError(f'unknown kind of corruption {kind!r}; known: {", ".join(KINDS)}')
    if not 0 <= severity <= 1:
        raise ValueError(f'`severity` must lie in [0, 1], got {severity}')
    image, affine = np.asarray(image, np.float32), geometry.as_affine(affine)
    image, affine = KINDS[kind](image, affine, severity, np.random.default_rng(seed), **parameters)
    return image.astype(np.float32, copy=False), affine


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
        Add it to the real and the imaginary part of an MR signal and take the magnitude: the noise is then
        Rician, and air brighter than 0. For images that are not negative.

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
        Fraction of the signal that goes into the ghosts, [0, 1].
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
    """Blank slices.

    Parameters
    ----------
    image : (I, J, K) array_like
    slices : sequence of int
        Indices along `axis`.
    axis : int
        Array axis across the slices.
    value : float
        What they hold then (0 for MR, about -1000 for CT).

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
        MR magnitude.
    strength : float
        Largest absolute logarithm of the field: 0.5 makes the brightest voxel 1.65 times brighter or the
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
    """Rotate the head while the scan is acquired.

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
    Each part of k-space comes from the head in its own pose, and the image is the magnitude of the whole
    (Shaw et al., arXiv 2019, doi:10.48550/arXiv.1906.04693). The middle of k-space, and so the position of
    the head, comes from the pose in the middle.
    """
    image = np.asarray(image, np.float32)
    lines = image.shape[phase_axis]
    if not 0 < len(degrees) <= lines:
        raise ValueError(f'expected 1 to {lines} poses, got {len(degrees)}')
    edges = np.rint(np.linspace(0, lines, len(degrees) + 1)).astype(int)
    spectrum = np.empty(image.shape, np.complex64)
    for angle in dict.fromkeys(degrees):
        moved = image if angle == 0 else _rotated(image, affine, angle, rotation_axis)
        pose = np.fft.fftshift(np.fft.fft(moved, axis=phase_axis), phase_axis)
        for part, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
            if degrees[part] == angle:
                where = [slice(None)] * 3
                where[phase_axis] = slice(start, stop)
                spectrum[tuple(where)] = pose[tuple(where)]
    return np.abs(np.fft.ifft(np.fft.ifftshift(spectrum, phase_axis), axis=phase_axis)).astype(np.float32)


def _rotated(image: NDArray, affine: ArrayLike, degrees: float, axis: int) -> NDArray[np.float32]:
    """Rotate a volume about the center of its field of view."""
    affine = geometry.as_affine(affine)
    center = affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + affine[:3, 3]
    i, j = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pull = np.eye(4)
    pull[[i, j], [i, j]] = cosine
    pull[i, j], pull[j, i] = sine, -sine  # from where the point is to where it came from
    pull[:3, 3] = center - pull[:3, :3] @ center
    return resample(image, affine, image.shape, affine, pull, order=1, antialias=False)


def invert_contrast(image: ArrayLike, fraction: float) -> NDArray[np.float32]:
    """Turn bright into dark inside the head, as from T1 to T2 weighting; air stays dark.

    Parameters
    ----------
    image : (I, J, K) array_like
        MR magnitude.
    fraction : float
        How much of the inverted image is mixed in, [0, 1].

    Returns
    -------
    (I, J, K) float32 array
    """
    image = np.asarray(image, np.float32)
    low, high = np.percentile(image, (1, 99))
    head = np.clip((image - low) / max(0.1 * (high - low), 1e-12), 0, 1)
    inverted = head * (1.1 * high - np.minimum(image, high))
    return ((1 - fraction) * image + fraction * inverted).astype(np.float32)


def _noise(
    image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator, sigma: float | None = None
) -> Corrupted:
    if sigma is not None:
        return add_noise(image, sigma * severity, rng), affine
    low, high = np.percentile(image, (1, 99))
    strength = 0.4 * severity * float(high - low)
    return add_noise(np.maximum(image, 0), strength, rng, magnitude=True), affine


def _motion(image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator) -> Corrupted:
    swing = 15.0 * severity * rng.choice((-1.0, 1.0))
    poses = [0.5 * swing, 0.0, 0.0, 0.0, -0.3 * swing, -0.5 * swing]
    return rotate_motion(image, affine, poses, rotation_axis=int(rng.choice((0, 2)))), affine


def _ghosts(image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator) -> Corrupted:
    return add_ghosts(image, 0.6 * severity, axis=int(rng.integers(3))), affine


def _bias(image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator) -> Corrupted:
    return add_bias(image, 1.5 * severity, rng), affine


def _slices(
    image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator, value: float = 0.0
) -> Corrupted:
    axis = int(np.argmax(geometry.voxel_sizes(affine)))
    count = image.shape[axis]
    lost = rng.choice(count, size=round(0.4 * severity * count), replace=False)
    return blank_slices(image, [int(index) for index in lost], axis, value=value), affine


def _crop(image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator) -> Corrupted:
    keep = [(0.0, 1.0)] * 3
    lost = 0.5 * severity
    keep[int(rng.integers(3))] = (lost, 1.0) if rng.random() < 0.5 else (0.0, 1 - lost)
    return crop_field_of_view(image, affine, keep)


def _contrast(image: NDArray, affine: NDArray, severity: float, rng: np.random.Generator) -> Corrupted:
    return invert_contrast(image, severity), affine


#: Kinds of corruption; those that make sense for a modality, with their parameters, are in its data.
KINDS: dict[str, Callable[..., Corrupted]] = {
    'noise': _noise,
    'motion': _motion,
    'ghosts': _ghosts,
    'bias': _bias,
    'slices': _slices,
    'crop': _crop,
    'contrast': _contrast,
}

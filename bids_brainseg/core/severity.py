# SPDX-License-Identifier: Apache-2.0
"""One severity for every way to corrupt a scan: what calibration draws bad scans with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import geometry
from .corruption import add_bias, add_ghosts, add_noise, blank_slices, crop_field_of_view, rotate_motion

#: Hounsfield units of noise at severity 1, and of air.
NOISE_HU, AIR_HU = 60.0, -1000.0


def corrupt(
    image: ArrayLike, affine: ArrayLike, kind: str, severity: float, seed: int, *, hounsfield: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Spoil a scan.

    Parameters
    ----------
    image : (I, J, K) array_like
        MR magnitude, or Hounsfield units.
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    kind : str
        One of :func:`kinds`.
    severity : float
        From 0, nothing happens, to 1, about the worst that is still recognized as a head. At 1: noise of
        40 % of the range of the signal (60 HU); 60 % of the signal in ghosts; poses up to 15 degrees apart; a
        field of 4.5 times at its extreme; 40 % of the slices lost; half of the field of view lost on one
        side; the contrast turned over, as in a scan of another modality.
    seed : int
        Of what is random: the noise, the field, which slices, which side.
    hounsfield : bool
        The intensities are Hounsfield units.

    Returns
    -------
    image : float32 array
        Of another shape than before only where the field of view was cut.
    affine : (4, 4) float64 array

    Raises
    ------
    ValueError
        If the kind is unknown or makes no sense for Hounsfield units, or the severity is outside [0, 1].
    """
    if kind not in kinds(hounsfield):
        raise ValueError(f'unknown kind {kind!r}; known: {", ".join(kinds(hounsfield))}')
    if not 0 <= severity <= 1:
        raise ValueError(f'`severity` must lie in [0, 1], got {severity}')
    image, affine = np.asarray(image, np.float32), geometry.as_affine(affine)
    rng = np.random.default_rng(seed)
    if kind == 'crop':
        return crop_field_of_view(image, affine, _kept(rng, severity))
    return KINDS[kind](image, affine, severity, rng, hounsfield).astype(np.float32), affine


def kinds(hounsfield: bool = False) -> tuple[str, ...]:
    """Name the ways to corrupt magnitudes, or Hounsfield units."""
    return HOUNSFIELD_KINDS if hounsfield else (*KINDS, 'crop')


def _noise(image, affine, severity, rng, hounsfield):
    if hounsfield:
        return add_noise(image, NOISE_HU * severity, rng)
    low, high = np.percentile(image, (1, 99))
    return add_noise(np.maximum(image, 0), 0.4 * severity * float(high - low), rng, magnitude=True)


def _ghosts(image, affine, severity, rng, hounsfield):
    return add_ghosts(image, 0.6 * severity, axis=int(rng.integers(3)))


def _motion(image, affine, severity, rng, hounsfield):
    swing = 15.0 * severity * rng.choice((-1.0, 1.0))
    poses = [0.5 * swing, 0.0, 0.0, 0.0, -0.3 * swing, -0.5 * swing]
    return rotate_motion(image, affine, poses, rotation_axis=int(rng.choice((0, 2))))


def _bias(image, affine, severity, rng, hounsfield):
    return add_bias(image, 1.5 * severity, rng)


def _slices(image, affine, severity, rng, hounsfield):
    axis = int(np.argmax(geometry.voxel_sizes(affine)))
    count = image.shape[axis]
    lost = rng.choice(count, size=round(0.4 * severity * count), replace=False)
    return blank_slices(image, [int(index) for index in lost], axis, value=AIR_HU if hounsfield else 0.0)


def _contrast(image, affine, severity, rng, hounsfield):
    """Turn bright into dark inside the head, as from T1 to T2 weighting; air stays dark."""
    low, high = np.percentile(image, (1, 99))
    head = np.clip((image - low) / max(0.1 * (high - low), 1e-12), 0, 1)
    turned = head * (1.1 * high - np.minimum(image, high))
    return (1 - severity) * image + severity * turned


def _kept(rng, severity) -> list[tuple[float, float]]:
    keep = [(0.0, 1.0)] * 3
    lost = 0.5 * severity
    keep[int(rng.integers(3))] = (lost, 1.0) if rng.random() < 0.5 else (0.0, 1 - lost)
    return keep


KINDS: dict[str, Callable] = {
    'noise': _noise,
    'motion': _motion,
    'ghosts': _ghosts,
    'bias': _bias,
    'slices': _slices,
    'contrast': _contrast,
}
#: Kinds that make sense for Hounsfield units; the file of a modality says which are used.
HOUNSFIELD_KINDS = ('noise', 'slices', 'crop')

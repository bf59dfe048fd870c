# SPDX-License-Identifier: Apache-2.0
"""Noise of a CT: measured in soft tissue, and smoothed where a kernel for bone left too much of it."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.ct_noise import smooth_soft_tissue, soft_tissue_noise

SHAPE, AFFINE = (96, 112, 20), np.diag([2.0, 2.0, 8.0, 1.0])
POINTS = (np.indices(SHAPE).T * np.array([2, 2, 8.0]) - np.array(SHAPE) * [1, 1, 4]).T


def ellipsoid(*radii: float) -> np.ndarray:
    return np.linalg.norm(POINTS / np.array(radii)[:, None, None, None], axis=0)


RADIUS = ellipsoid(80, 96, 70)
HEAD = np.select([ellipsoid(24, 30, 24) < 1, RADIUS < 0.9, RADIUS < 1], [8.0, 34.0, 1100.0], -1000.0).astype(
    np.float32
)


def noisy(sd: float) -> np.ndarray:
    return HEAD + np.random.default_rng(0).normal(0, sd, SHAPE).astype(np.float32)


@pytest.mark.parametrize('sd', [2, 8, 25, 60, 120])
def test_noise_is_measured_beside_bone_fluid_and_air(sd):
    assert soft_tissue_noise(noisy(sd), AFFINE) == pytest.approx(sd, rel=0.08)


@pytest.mark.parametrize('value', [-1000, 500])
def test_without_soft_tissue_there_is_nothing_to_measure(value):
    image = value + np.random.default_rng(0).normal(0, 60, SHAPE).astype(np.float32)
    assert soft_tissue_noise(image, AFFINE) == 0


@pytest.mark.parametrize(('sd', 'remaining'), [(22, 5.5), (60, 14)])
def test_smoothing_leaves_little_noise_and_the_means_of_the_tissues(sd, remaining):
    """The Gaussian is never so wide that structures would vanish, however much noise there is."""
    smooth, fwhm = smooth_soft_tissue(noisy(sd), AFFINE, sd)
    brain = (RADIUS < 0.7) & (ellipsoid(36, 42, 40) > 1)
    assert np.subtract(*np.percentile(smooth[brain], (84, 16))) / 2 < remaining
    assert np.median(smooth[brain]) == pytest.approx(34, abs=1)
    assert np.median(smooth[ellipsoid(14, 18, 16) < 1]) == pytest.approx(8, abs=3)
    assert 2 < fwhm < 6


def test_the_noisier_the_smoother():
    widths = [smooth_soft_tissue(noisy(sd), AFFINE, sd)[1] for sd in (21, 40, 80, 1000)]
    assert widths == sorted(widths) and widths[-1] == pytest.approx(5.9, abs=0.05)


def test_bone_and_air_stay_sharp():
    smooth, _ = smooth_soft_tissue(HEAD, AFFINE, 60)
    assert np.abs(smooth - HEAD)[RADIUS > 1.2].max() < 1
    assert smooth[np.isclose(HEAD, 1100)].min() > 700

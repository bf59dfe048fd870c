# SPDX-License-Identifier: Apache-2.0
"""Backgrounds that are not dark: noise over the whole range, or one value in its middle."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.background import settle_background

RNG = np.random.default_rng(0)
SHAPE, AFFINE = (72, 80, 64), np.diag([2.5, 2.5, 2.5, 1.0])
POINTS = (np.indices(SHAPE).T * 2.5 - np.array(SHAPE) * 1.25).T
BRAIN = np.linalg.norm(POINTS / np.array([65, 80, 60])[:, None, None, None], axis=0) < 1
WHITE = np.linalg.norm(POINTS / np.array([45, 60, 40])[:, None, None, None], axis=0) < 1
HEAD = np.where(WHITE, 900.0, 600.0) + RNG.normal(0, 20, SHAPE)


def test_a_background_of_noise_becomes_dark_and_the_head_stays():
    image = np.where(BRAIN, HEAD, RNG.uniform(0, 1200, SHAPE)).astype(np.float32)
    found, note = settle_background(image, AFFINE)
    assert 'MP2RAGE' in note
    inside = found == image
    assert (inside & BRAIN).sum() > 0.97 * BRAIN.sum()
    assert (inside & ~BRAIN).sum() < 0.1 * BRAIN.sum()
    assert found[~inside].max() <= np.percentile(image[BRAIN], 1)


def test_a_constant_background_in_the_middle_of_the_range():
    """A skull-stripped scan standardized to mean 0."""
    image = np.where(BRAIN, (HEAD - HEAD[BRAIN].mean()) / HEAD[BRAIN].std(), 0).astype(np.float32)
    found, note = settle_background(image, AFFINE)
    np.testing.assert_array_equal(found[BRAIN], image[BRAIN])
    assert found[~BRAIN].max() <= np.percentile(image[BRAIN], 1)
    assert 'one value (0), brighter than' in note


@pytest.mark.parametrize('noise', [0, 30, 200, 700])
@pytest.mark.parametrize('background', [0, 5])
def test_an_ordinary_scan_is_left_alone(noise, background):
    real = np.where(BRAIN, HEAD, background) + RNG.normal(0, noise, SHAPE)
    image = np.hypot(real, RNG.normal(0, noise, SHAPE)).astype(np.float32)
    found, note = settle_background(image, AFFINE)
    assert found is image and note is None


def test_noise_alone_is_left_alone():
    image = RNG.uniform(0, 1000, SHAPE).astype(np.float32)
    assert settle_background(image, AFFINE)[0] is image

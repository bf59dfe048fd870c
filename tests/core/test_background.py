# SPDX-License-Identifier: Apache-2.0
"""Backgrounds that are not dark: noise over the whole range, or one value in its middle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_brainseg.core.background import settle_background

RNG = np.random.default_rng(0)
SHAPE, AFFINE = (72, 80, 64), np.diag([2.5, 2.5, 2.5, 1.0])
POINTS = (np.indices(SHAPE).T * 2.5 - np.array(SHAPE) * 1.25).T
BRAIN = np.linalg.norm(POINTS / np.array([65, 80, 60])[:, None, None, None], axis=0) < 1
NEAR = ndimage.binary_dilation(BRAIN, iterations=3)
WHITE = np.linalg.norm(POINTS / np.array([45, 60, 40])[:, None, None, None], axis=0) < 1
HEAD = np.where(WHITE, 900.0, 600.0) + RNG.normal(0, 20, SHAPE)


def test_a_background_of_noise_becomes_dark_and_the_head_stays():
    image = np.where(BRAIN, HEAD, RNG.uniform(0, 1200, SHAPE)).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    assert 'MP2RAGE' in note
    inside = found == image
    assert (inside & BRAIN).sum() > 0.97 * BRAIN.sum()
    assert (inside & ~NEAR).sum() < 0.01 * BRAIN.sum()
    assert found[~inside].max() <= np.percentile(image[BRAIN], 1)


def test_a_constant_background_in_the_middle_of_the_range():
    """A skull-stripped scan standardized to mean 0."""
    image = np.where(BRAIN, (HEAD - HEAD[BRAIN].mean()) / HEAD[BRAIN].std(), 0).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    np.testing.assert_array_equal(found[BRAIN], image[BRAIN])
    assert found[~BRAIN].max() <= np.percentile(image[BRAIN], 1)
    assert 'one value (0), brighter than' in note


@pytest.mark.parametrize('noise', [0, 30, 200, 700])
@pytest.mark.parametrize('background', [0, 5])
def test_an_ordinary_scan_is_left_alone(noise, background):
    real = np.where(BRAIN, HEAD, background) + RNG.normal(0, noise, SHAPE)
    image = np.hypot(real, RNG.normal(0, noise, SHAPE)).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    assert found is image and note is None and doubt is None


def test_a_background_that_cannot_be_told_from_the_head_asks_for_review():
    head = HEAD + RNG.normal(0, 120, SHAPE)
    image = np.where(BRAIN, head, RNG.uniform(0, 650, SHAPE)).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    assert found is image and note is None and 'noisier than the head' in doubt


def test_noise_alone_is_left_alone():
    image = RNG.uniform(0, 1000, SHAPE).astype(np.float32)
    assert settle_background(image, AFFINE)[0] is image


@pytest.mark.parametrize('value', [-1e4, -1000, -500])
def test_a_constant_background_far_below_the_head(value):
    image = np.where(BRAIN, HEAD, value).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    np.testing.assert_array_equal(found[BRAIN], image[BRAIN])
    assert found[~BRAIN].max() <= np.percentile(image[BRAIN], 1)
    assert 'far below the head' in note


@pytest.mark.parametrize('shift', [0, -500, -1000])
def test_a_constant_background_just_below_the_head_is_left_alone(shift):
    """Also where all values are negative."""
    image = (np.where(BRAIN, HEAD - HEAD[BRAIN].min() + 50, 0) + shift).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    assert found is image and note is None and doubt is None


def uniform_image(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Ratio of the two inversions of MP2RAGE, from 0 to 4095."""
    return ((first * second / (first**2 + second**2) + 0.5) * 4095).astype(np.float32)


@pytest.mark.parametrize('noise', [20, 60, 100])
def test_the_ratio_of_two_images_keeps_its_head(noise):
    heads = ((HEAD - 650) * 0.8, 1000.0)
    first, second = (np.where(BRAIN, head, 0) + RNG.normal(0, noise, SHAPE) for head in heads)
    image = uniform_image(first, second)
    found, note, doubt = settle_background(image, AFFINE)
    assert 'MP2RAGE' in note
    inside = found == image
    assert (inside & BRAIN).sum() > 0.97 * BRAIN.sum()
    assert (inside & ~NEAR).sum() < 0.01 * BRAIN.sum()


@pytest.mark.parametrize(('own', 'level'), [(60, 0.75), (80, 1), (120, 1.5)])
def test_a_head_with_noise_of_its_own_is_told_from_a_noisier_background(own, level):
    """The background is three to four times as noisy."""
    head = HEAD + RNG.normal(0, own, SHAPE)
    image = np.where(BRAIN, head, RNG.uniform(0, level * 1000, SHAPE)).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    assert 'MP2RAGE' in note
    assert (found == image)[BRAIN].mean() > 0.97
    assert ((found == image) & ~NEAR).sum() < 0.01 * BRAIN.sum()


@pytest.mark.parametrize('level', [0.05, 0.2, 0.4, 0.75, 1, 2, 4])
@pytest.mark.parametrize('lowest', [0, -1])
def test_noise_of_any_level_leaves_the_head_and_becomes_no_brighter(level, lowest):
    image = np.where(BRAIN, HEAD, RNG.uniform(lowest * level * 1000, level * 1000, SHAPE)).astype(np.float32)
    found, note, doubt = settle_background(image, AFFINE)
    assert (found == image)[BRAIN].mean() > 0.97
    assert (note is not None) == (level * (1 - lowest) > 0.3)
    assert found[~BRAIN].mean() <= min(image[~BRAIN].mean() + 1, np.percentile(image[BRAIN], 1))

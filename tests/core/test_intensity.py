# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.arrays import Intensities
from bids_brainseg.core.intensity import head_threshold, normalize, percentile_limits

PERCENTILE = {'type': 'percentile', 'low': 0, 'high': 100}


@pytest.fixture
def head():
    image = np.zeros((20, 20, 20), np.float32)
    image[5:15, 5:15, 5:15] = np.linspace(300, 800, 1000).reshape(10, 10, 10)
    return image


def test_window():
    image = np.array([-1000, 0, 20, 80, 3000], np.float32)
    assert normalize(image, {'type': 'window', 'low': 0, 'high': 80}).tolist() == [0, 0, 25, 100, 100]


def test_the_head_spans_the_range(head):
    out = normalize(head, PERCENTILE)
    assert out[0, 0, 0] == 0
    assert out[5:15, 5:15, 5:15].min() == 0 and out.max() == 100
    np.testing.assert_allclose(out[5:15, 5:15, 5:15].ravel(), np.linspace(0, 100, 1000), atol=0.01)


def test_scale_of_the_scanner_does_not_matter(head):
    np.testing.assert_allclose(normalize(head * 7.3, PERCENTILE), normalize(head, PERCENTILE), atol=0.05)


def test_a_few_hot_voxels_do_not_matter(head):
    hot = head.copy()
    hot[6, 6, 6] = 1e6
    rule = {'type': 'percentile', 'low': 0.5, 'high': 99.5}
    assert np.abs(normalize(hot, rule) - normalize(head, rule)).max() < 100
    assert (
        np.median(np.abs(normalize(hot, rule)[5:15, 5:15, 5:15] - normalize(head, rule)[5:15, 5:15, 5:15]))
        < 1
    )


def test_fat_outside_the_cavity_does_not_matter(head):
    rule = PERCENTILE | {'region': 'cavity'}
    cavity = np.zeros(head.shape, bool)
    cavity[6:14, 6:14, 6:14] = True
    bright, bare = head.copy(), np.where(cavity, head, 0)
    bright[5], bright[:, 14] = bright[5] * 3, bright[:, 14] * 3
    for image in (bright, bare):
        out = normalize(image, rule, cavity)
        np.testing.assert_allclose(out[cavity], normalize(head, rule, cavity)[cavity], atol=0.01)
        assert out[cavity].max() == pytest.approx(100) and out[0, 0, 0] == 0
    assert normalize(bright, PERCENTILE)[cavity].max() < 50


def test_a_region_without_signal_and_a_missing_region_are_refused(head):
    rule = PERCENTILE | {'region': 'cavity'}
    with pytest.raises(ValueError, match='alignment must be wrong'):
        normalize(head, rule, head < 0)
    with pytest.raises(ValueError, match='none is given'):
        normalize(head, rule)
    with pytest.raises(ValueError, match="must be 'cavity'"):
        normalize(head, PERCENTILE | {'region': 'skull'}, head > 0)


def test_nonfinite_voxels_become_zero(head):
    head[0, 0, 0], head[7, 7, 7], head[8, 8, 8] = np.nan, np.inf, -np.inf
    out = normalize(head, PERCENTILE)
    assert np.isfinite(out).all()
    assert out[0, 0, 0] == out[7, 7, 7] == out[8, 8, 8] == 0


def test_a_region_without_signal_can_be_ignored(head):
    nothing = np.zeros(head.shape, bool)
    assert percentile_limits(head, 1, 99, nothing, strict=False) == percentile_limits(head, 1, 99)


def test_the_threshold_separates_the_head_from_air(head):
    noisy = head + np.abs(np.random.default_rng(0).normal(0, 10, head.shape)).astype(np.float32)
    np.testing.assert_array_equal(noisy > head_threshold(Intensities.of(noisy)), head > 0)


@pytest.mark.parametrize('image', [np.zeros((4, 4, 4)), np.full((4, 4, 4), np.nan), np.ones((4, 4, 4))])
def test_a_constant_image_is_refused(image):
    with pytest.raises(ValueError, match='constant or empty'):
        normalize(image, PERCENTILE)


def test_rules_are_checked(head):
    with pytest.raises(ValueError, match='Received instead'):
        normalize(head, {'type': 'zscore'})
    with pytest.raises(ValueError, match='is empty: from 80 to 80'):
        normalize(head, {'type': 'window', 'low': 80, 'high': 80})

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.calibration import area, calibrate, conservative_threshold, roc, youden_threshold

CV = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
BAD = [False, False, True, False, True, True]


def test_points_of_a_small_curve():
    curve = roc(CV, BAD)
    assert curve.thresholds.tolist() == [np.inf, 5.5, 4.5, 3.5, 2.5, 1.5, -np.inf]
    np.testing.assert_allclose(curve.sensitivity, np.array([0, 1, 2, 2, 3, 3, 3]) / 3)
    np.testing.assert_allclose(curve.specificity, np.array([3, 3, 3, 2, 2, 1, 0]) / 3)


def test_the_area_is_the_probability_of_the_right_order():
    pairs = [(b > g) + 0.5 * (b == g) for b in (3, 5, 6) for g in (1, 2, 4)]
    assert area(roc(CV, BAD)) == pytest.approx(np.mean(pairs))
    assert area(roc([1, 1, 2, 2], [False, True, False, True])) == pytest.approx(0.5)
    assert area(roc([1, 2, 3, 4], [False, False, True, True])) == 1


def test_area_counts_ties_half():
    rng = np.random.default_rng(2)
    numbers, bad = rng.integers(0, 6, 60), rng.random(60) < 0.4
    good, poor = numbers[~bad], numbers[bad][:, None]
    assert area(roc(numbers, bad)) == pytest.approx(((poor > good) + 0.5 * (poor == good)).mean())


def test_low_numbers_may_be_the_bad_ones():
    up, down = roc(CV, BAD), roc([-x for x in CV], BAD, above=False)
    np.testing.assert_array_equal(down.thresholds, -up.thresholds)
    np.testing.assert_array_equal(down.sensitivity, up.sensitivity)
    assert youden_threshold(down).value == -youden_threshold(up).value


def test_thresholds():
    curve = roc(CV, BAD)
    # 4.5 and 2.5 both separate by two thirds; the strictest flags the fewest scans
    assert youden_threshold(curve) == (4.5, pytest.approx(2 / 3), 1)
    assert conservative_threshold(curve) == (2.5, 1, pytest.approx(2 / 3))
    assert conservative_threshold(curve, sensitivity=0.5).value == 4.5


def test_a_number_is_judged_against_dice():
    dice = [0.9, 0.9, 0.5, 0.8, 0.4, np.nan, 0.3]
    found = calibrate([*CV[:4], 5.0, 9.0, 6.0], dice, 0.7)
    assert (found.bad, found.n) == (3, 6)
    assert found.correlation.n == 6
    assert found.correlation.r < 0
    assert found.auc == pytest.approx(8 / 9)
    assert found.youden.value == 4.5


@pytest.mark.parametrize('acceptable', [0.1, 0.99])
def test_without_both_kinds_of_scan_there_is_no_threshold(acceptable):
    found = calibrate([1, 2, 3, 4], [0.8, 0.7, 0.6, 0.5], acceptable)
    assert found.correlation.r == pytest.approx(-1)
    assert np.isnan(found.auc)
    assert found.youden is None and found.conservative is None and found.curve is None


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match='good and bad scans, got 2 bad ones of 2'):
        roc([1, 2], [True, True])
    with pytest.raises(ValueError, match='finite'):
        roc([1, np.nan], [True, False])
    with pytest.raises(ValueError, match='one flag for each number'):
        roc([1, 2, 3], [True, False])

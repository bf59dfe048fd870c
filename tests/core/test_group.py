# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.group import MAD_TO_SD, agreement, fraction_of, residuals, robust_scores


def test_scores_are_distances_in_robust_standard_deviations():
    values = np.array([[1.0, 10], [2, 20], [3, 30], [4, 40], [5, 50]])
    found = robust_scores(values, np.ones(5, bool), minimum=5)
    assert found.median.tolist() == [3, 30]
    assert found.spread == pytest.approx([MAD_TO_SD, 10 * MAD_TO_SD])
    assert found.scores == pytest.approx(np.array([[-2, -1, 0, 1, 2]] * 2).T / MAD_TO_SD)
    assert found.count.tolist() == [5, 5]


def test_the_factor_is_that_of_normal_values():
    normal = np.random.default_rng(0).normal(0, 2, (200_000, 1))
    assert robust_scores(normal, np.ones(len(normal), bool)).spread == pytest.approx([2], abs=0.02)


def test_one_extreme_value_does_not_change_the_scores_of_others():
    values = np.array([[1.0], [2], [3], [4], [5]])
    with_monster = np.vstack([values[:4], [[1e9]]])
    plain, other = (robust_scores(v, np.ones(5, bool), minimum=5) for v in (values, with_monster))
    assert (plain.median, plain.spread) == (other.median, other.spread)
    assert other.scores[4, 0] > 1e8


def test_rows_outside_the_reference_are_scored_but_do_not_count():
    values = np.array([[1.0], [2], [3], [4], [5], [1000]])
    found = robust_scores(values, [True] * 5 + [False], minimum=5)
    assert found.median.tolist() == [3]
    assert found.scores[5, 0] == pytest.approx(997 / MAD_TO_SD)
    assert np.isnan(robust_scores(values, [True] * 5 + [False], minimum=6).scores).all()


def test_missing_values_and_columns_without_spread_have_no_score():
    values = np.array([[1.0, 7, np.nan], [2, 7, np.nan], [3, 7, 1], [np.nan, 9, 2]])
    found = robust_scores(values, np.ones(4, bool), minimum=3)
    assert np.isnan(found.scores[3, 0])
    assert np.isnan(found.scores[:, 1]).all()
    assert np.isnan(found.scores[:, 2]).all()
    assert found.count.tolist() == [3, 4, 2]


def test_a_straight_line_leaves_nothing_and_a_deviation_is_kept_whole():
    size = np.arange(6.0)
    values = np.stack([2 * size + 1, -size], axis=1)
    values[5] += (10, 20)
    found = residuals(values, size, [True] * 5 + [False], minimum=5)
    assert found.slope == pytest.approx([2, -1])
    assert found.intercept == pytest.approx([1, 0])
    assert found.residuals[:5] == pytest.approx(np.zeros((5, 2)))
    assert found.residuals[5] == pytest.approx([10, 20])


def test_residuals_of_the_reference_are_free_of_the_covariate():
    rng = np.random.default_rng(1)
    size, values = rng.normal(1.5e6, 1e5, 50), rng.normal(0, 1, (50, 3))
    found = residuals(values + size[:, None] * 1e-5, size, np.ones(50, bool)).residuals
    assert found.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert (size - size.mean()) @ found == pytest.approx([0, 0, 0], abs=1e-3)


def test_no_residuals_from_too_few_or_from_heads_of_one_size():
    values = np.arange(4.0)[:, None]
    assert np.isnan(residuals(values, np.arange(4.0), np.ones(4, bool), minimum=5).residuals).all()
    assert np.isnan(residuals(values, np.ones(4), np.ones(4, bool), minimum=2).residuals).all()
    unknown = residuals(values, [0, 1, 2, np.nan], np.ones(4, bool), minimum=3)
    assert unknown.count.tolist() == [3]
    assert np.isnan(unknown.residuals[3, 0])


def test_fractions_of_a_whole():
    assert fraction_of([[1.0, 2.0]], [8.0]).tolist() == [[0.125, 0.25]]
    assert np.isnan(fraction_of([[1.0], [1.0]], [0.0, np.nan])).all()


def test_agreement_of_equal_shifted_and_reversed_measurements():
    same = agreement([1.0, 2, 3], [1.0, 2, 3])
    assert same == (3, 0, 0, 1)
    # Lin: 2 cov / (var + var + shift^2) with variances 2/3 and a shift of 1
    assert agreement([1.0, 2, 3], [2.0, 3, 4]).concordance == pytest.approx((4 / 3) / (4 / 3 + 1))
    assert agreement([1.0, 2, 3], [3.0, 2, 1]).concordance == pytest.approx(-1)
    assert agreement([1.0, 2, 3], [3.0, 2, 1]).spread == 2
    assert agreement([1.0, np.nan, 3, 5], [1.0, 2, 3, np.nan]).count == 2
    assert np.isnan(agreement([1.0, 2], [1.0, 2]).difference)
    assert np.isnan(agreement([1.0] * 3, [1.0] * 3).concordance)


@pytest.mark.parametrize(
    'call',
    [
        lambda: robust_scores([1.0, 2.0], [True, True]),
        lambda: robust_scores([[1.0], [2.0]], [True]),
        lambda: residuals([[1.0], [2.0]], [1.0], [True, True]),
        lambda: agreement([1.0, 2.0], [1.0]),
    ],
)
def test_shapes_that_do_not_fit_are_named(call):
    with pytest.raises(ValueError, match=r'\(.*\)'):
        call()

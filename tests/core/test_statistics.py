# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.statistics import cohen_kappa, linear_weights, pearson, summarize


def test_quartiles_of_known_values():
    found = summarize([5, 1, 3, 2, 4])
    assert found == (5, 3, pytest.approx(np.sqrt(2.5)), 1, 2, 3, 4, 5)


def test_what_cannot_be_measured_is_left_out():
    found = summarize([np.nan, np.inf, 0.5])
    assert found.n == 1
    assert found.median == 0.5
    assert np.isnan(found.sd)
    assert summarize([]).n == 0
    assert np.isnan(summarize([np.nan]).mean)


def test_the_interval_is_fishers():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    y = np.array([2.0, 1.0, 4.0, 3.0, 6.0, 7.0, 5.0])
    found = pearson(x, y)
    r = ((x - 4) * (y - 4)).sum() / 28
    assert found.r == pytest.approx(r)
    half = 1.959964 / np.sqrt(7 - 3)
    assert found.low == pytest.approx(np.tanh(np.arctanh(r) - half))
    assert found.high == pytest.approx(np.tanh(np.arctanh(r) + half))


def test_too_few_scans_have_no_interval():
    found = pearson([1, 2, 3, np.nan], [3, 2, 1, 5])
    assert found[0] == pytest.approx(-1)
    assert np.isnan(found.low) and np.isnan(found.high)
    assert found.n == 3
    assert np.isnan(pearson([1, 2], [3, 4]).r)
    assert np.isnan(pearson([1, 1, 1, 1], [1, 2, 3, 4]).r)


def test_measurements_of_other_scans_are_refused():
    with pytest.raises(ValueError, match='got 2 and 3'):
        pearson([1, 2], [1, 2, 3])


def delta_method_se(counts: np.ndarray, weights: np.ndarray) -> float:
    """Standard error of kappa from its numerical gradient and the covariance of a multinomial sample."""
    n = counts.sum()
    share = counts.ravel() / n

    def kappa(p):
        p = p.reshape(counts.shape)
        by_chance = p.sum(axis=1) @ weights @ p.sum(axis=0)
        return ((weights * p).sum() - by_chance) / (1 - by_chance)

    steps = 1e-6 * np.eye(len(share))
    gradient = np.array([(kappa(share + step) - kappa(share - step)) / 2e-6 for step in steps])
    covariance = (np.diag(share) - np.outer(share, share)) / n
    return float(np.sqrt(gradient @ covariance @ gradient))


@pytest.mark.parametrize('weights', [np.eye(3), linear_weights(3)], ids=['exact', 'linear'])
def test_interval_of_kappa_is_that_of_the_delta_method(weights):
    counts = np.array([[44, 5, 1], [7, 20, 3], [9, 5, 6]])
    result = cohen_kappa(counts, weights=weights, confidence=0.9)
    assert (result.high - result.low) / 2 == pytest.approx(1.6448536 * delta_method_se(counts, weights))
    assert (result.high + result.low) / 2 == pytest.approx(result.kappa)
    assert result.n == 100


def test_kappa_of_neighbors_counts_in_part():
    counts = [[8, 2, 0], [2, 8, 0], [0, 0, 10]]
    assert cohen_kappa(counts, weights=linear_weights(3)).kappa > cohen_kappa(counts).kappa


@pytest.mark.parametrize(
    ('counts', 'kappa'),
    [
        ([[5, 0], [0, 5]], 1.0),  # perfect: an interval without width would be wrong
        ([[0, 5], [5, 0]], -1.0),
        ([[9, 0], [0, 0]], np.nan),  # one category only: chance explains all
        ([[0, 0], [0, 0]], np.nan),
        ([[0, 1], [0, 0]], np.nan),  # of one scan
        ([[0, 2], [0, 0]], 0.0),
    ],
)
def test_kappa_at_its_limits(counts, kappa):
    result = cohen_kappa(counts)
    assert result.kappa == pytest.approx(kappa, nan_ok=True)
    assert np.isnan(result.low)


def test_kappa_needs_a_square_table():
    with pytest.raises(ValueError, match='square'):
        cohen_kappa([[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match='weights'):
        cohen_kappa([[1, 2], [3, 4]], weights=np.eye(3))

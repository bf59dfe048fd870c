# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.statistics import pearson, summarize


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

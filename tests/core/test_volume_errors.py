# SPDX-License-Identifier: Apache-2.0
"""Intervals of volumes: known errors come back, and new scans fall into them as often as promised."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.volume_errors import (
    VolumeErrors,
    conformal_quantile,
    fit_volume_errors,
    left_out_coverage,
    left_out_scores,
    log_errors,
    relative_spread,
    scores,
    volume_intervals,
)

GROUPS = [0, 0, 2]
BIAS, SCALE, SLOPE = np.array([0.1, 0.1, -0.2]), np.array([0.05, 0.05, 0.1]), 2.0


def simulated(n, seed=0, heavy=False):
    """Errors about BIAS whose size grows with the spread of the passes, as the model says."""
    rng = np.random.default_rng(seed)
    spread = rng.gamma(2, 0.02, (n, 3))
    noise = rng.standard_t(3, (n, 3)) if heavy else rng.normal(0, 1, (n, 3))
    return BIAS + noise * (SCALE + SLOPE * spread), spread


def test_bias_scale_and_slope_are_found():
    model = fit_volume_errors(*simulated(4000), GROUPS)
    assert model.bias == pytest.approx(BIAS, abs=0.01)
    absolute = np.sqrt(2 / np.pi)  # mean of |x| of a normal x
    assert model.scale == pytest.approx(absolute * SCALE, rel=0.15)
    assert model.slope == pytest.approx(absolute * SLOPE, rel=0.1)
    assert model.bias[0] == model.bias[1] and model.scale[0] == model.scale[1]  # left and right


@pytest.mark.parametrize('heavy', [False, True])
def test_new_scans_fall_into_the_intervals_as_often_as_promised(heavy):
    errors, spread = simulated(60, heavy=heavy)
    participants = [str(number // 2) for number in range(60)]
    held_out = left_out_scores(errors, spread, GROUPS, participants)
    model = fit_volume_errors(errors, spread, GROUPS, factor=conformal_quantile(held_out))
    new_errors, new_spread = simulated(5000, seed=1, heavy=heavy)
    labeled = np.array([1000.0, 2000.0, 500.0])
    measured = labeled * np.exp(new_errors)
    ends = [volume_intervals(one, own, model) for one, own in zip(measured, new_spread, strict=True)]
    held = np.mean([(low <= labeled) & (labeled <= high) for low, high in ends])
    assert 0.85 < held < 0.95
    assert 0.85 < left_out_coverage(held_out, participants).mean() < 0.95


def test_a_wider_spread_makes_a_wider_interval_around_the_corrected_volume():
    model = VolumeErrors(np.array([0.1]), np.array([0.05]), 2.0, np.array([0.03]), 2.0)
    (low, high), (lower, higher) = (volume_intervals([1000.0], [spread], model) for spread in (0.0, 0.1))
    assert lower < low < high < higher
    assert np.sqrt(low * high) == pytest.approx(1000 * np.exp(-0.1))
    usual, unknown = (volume_intervals([1000.0], [spread], model) for spread in (0.03, np.nan))
    assert usual == unknown
    assert np.isnan(volume_intervals([0.0], [0.1], model)).all()  # absent


def test_spread_and_errors_of_what_is_absent():
    assert np.isnan(relative_spread([3.0], 1)).all()
    assert relative_spread([3.0], 10**6) == pytest.approx(0.03)
    assert np.isnan(log_errors([0, 1], [1, 0])).all()
    errors, spread = simulated(9)
    errors[0, 1] = spread[1, 2] = np.nan
    model = fit_volume_errors(errors, spread, GROUPS)
    assert np.isfinite(model.scale).all()
    assert np.isnan(scores(errors, spread, model)).sum() == 1  # a spread that is not known is the usual one


def test_too_little_is_refused():
    errors, spread = simulated(4)
    with pytest.raises(ValueError, match='two participants'):
        left_out_scores(errors, spread, GROUPS, ['1'] * 4)
    errors[:, 2] = np.nan
    with pytest.raises(ValueError, match=r'groups \[2\]'):
        fit_volume_errors(errors, spread, GROUPS)
    with pytest.raises(ValueError, match='no score'):
        conformal_quantile([np.nan])


def test_the_file_holds_what_the_model_is():
    model = fit_volume_errors(*simulated(40), GROUPS, factor=2.5)
    names = ['Left-A', 'Right-A', 'B']
    back = VolumeErrors.from_mapping(model.to_mapping(names), ['Background', *names])
    assert np.isnan(back.bias[0]) and back.factor == 2.5
    for name in ('bias', 'scale', 'usual_spread'):
        assert getattr(back, name)[1:] == pytest.approx(getattr(model, name), abs=1e-4)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.uncertainty import (
    TWO_EQUAL,
    local_entropy,
    mean_entropies,
    relative_uncertainty,
    usual_limits,
)


def test_a_constant_stays_and_a_thin_border_fades():
    flat = np.full((20, 20, 20), 0.3)
    np.testing.assert_allclose(local_entropy(flat, (1, 1, 1)), 0.3, rtol=1e-5)
    border = np.zeros((20, 20, 20))
    border[10] = 0.5
    area = np.zeros((20, 20, 20))
    area[5:15] = 0.5
    assert local_entropy(border, (1, 1, 1)).max() < 0.12
    assert local_entropy(area, (1, 1, 1)).max() > 0.49
    assert local_entropy(np.full((3, 3, 3), np.nan), (1, 1, 1)).max() == 0


@pytest.mark.parametrize('spacing', [(1, 1, 1), (0.5, 0.7, 4), (0.3, 0.3, 0.3)])
def test_the_average_is_over_millimeters(spacing):
    shape = tuple(int(60 / step) for step in spacing)
    far = np.indices(shape)[0] * spacing[0] > 30
    local = local_entropy(np.where(far, 1.0, 0.0), spacing)
    assert local.shape == shape
    line = local[:, shape[1] // 2, shape[2] // 2]
    rise = (np.searchsorted(line, 0.84) - np.searchsorted(line, 0.16)) * spacing[0]
    assert rise == pytest.approx(4, abs=1.5)  # two standard deviations of 2 mm each


def test_limits_and_means_of_each_class():
    labels = np.repeat([0, 1, 2], 100)[:, None, None]
    entropy = np.concatenate(
        [np.linspace(0, 0.02, 50), np.full(50, 0.5), np.linspace(0, 1, 100), np.full(100, 0.25)]
    )
    entropy = entropy[:, None, None]
    limits = usual_limits(entropy, labels)
    np.testing.assert_allclose(limits[:3], [0.5, 0.95, 0.25])  # of the background, what is uncertain
    assert np.isnan(limits[3:]).all()
    np.testing.assert_allclose(mean_entropies(entropy, labels)[1:3], [0.5, 0.25])


def test_relative_to_the_structure_and_without_limits_to_two_equal_ones():
    labels = np.zeros((8, 8, 8), int)
    labels[4:] = 1
    entropy = np.full(labels.shape, 0.2)
    limits = np.full(28, 0.4)
    limits[1] = 0.1
    relative = relative_uncertainty(entropy, labels, (1, 1, 1), limits)
    np.testing.assert_allclose(relative[:4], 0.5, rtol=1e-5)
    np.testing.assert_allclose(relative[4:], 2, rtol=1e-5)
    np.testing.assert_allclose(relative_uncertainty(entropy, labels, (1, 1, 1)), 0.2 / TWO_EQUAL, rtol=1e-5)

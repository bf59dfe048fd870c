# SPDX-License-Identifier: Apache-2.0
"""Dilation by a ball."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_brainseg.core.morphology import dilate_by_ball


@pytest.mark.parametrize('shape', [(13, 17, 21), (9, 1, 30), (2, 11, 3)])
@pytest.mark.parametrize(
    ('sizes', 'radius'), [((1, 1, 1), 5), ((0.7, 0.7, 0.7), 4.9), ((0.9, 0.45, 5), 6.2), ((1, 1, 1), 0.4)]
)
def test_it_marks_what_the_distance_transform_finds(shape, sizes, radius):
    """Exactly, also where a voxel lies on the surface of the ball."""
    rng = np.random.default_rng(3)
    for share in (0.002, 0.02, 0.3):
        mask = rng.random(shape) < share
        mask[tuple(n // 2 for n in shape)] = True
        near = ndimage.distance_transform_edt(~mask, sampling=sizes) <= radius
        assert (dilate_by_ball(mask, sizes, radius) == near).all()


def test_nothing_stays_nothing():
    assert not dilate_by_ball(np.zeros((4, 5, 6), bool), (1, 1, 1), 3).any()

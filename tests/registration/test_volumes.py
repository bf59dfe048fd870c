# SPDX-License-Identifier: Apache-2.0
"""Small images: where their voxels lie."""

from __future__ import annotations

import numpy as np
from heads import far_away_grid, points_of

from bids_brainseg.registration.volumes import downsample


def test_downsampling_keeps_world_positions():
    affine = far_away_grid()[0]
    image = points_of(affine, (20, 21, 22))[1]
    small = downsample(image, affine, 10.0)
    assert small.data.shape == (5, 5, 11)
    np.testing.assert_allclose(small.data, points_of(small.affine, small.data.shape)[1], rtol=1e-5)

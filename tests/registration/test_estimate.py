# SPDX-License-Identifier: Apache-2.0
"""Registration: a head of ellipsoids is moved by a known affine, which must come back."""

from __future__ import annotations

import numpy as np
import pytest
from heads import SHAPE, SPACING, error_mm, far_away_grid, grid_affine, points_of, reference, scan, truth
from scipy import ndimage

from bids_brainseg import registration
from bids_brainseg.data.quality import packaged_rules
from bids_brainseg.errors import RegistrationError
from bids_brainseg.registration import estimate

CASES = {
    'scales': (truth(scales=(1.06, 0.95, 1.03), shift=(4, -6, 9)), grid_affine(), SHAPE, {}),
    'tilted and far away': (truth(26, 12, (1.03,) * 3, (300, -250, 400)), *far_away_grid(), {}),
    'skull-stripped': (
        truth(-10, 4, (0.97, 0.95, 1.0), (-5, 8, 0)),
        grid_affine(),
        SHAPE,
        {'stripped': True},
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_a_known_affine_is_recovered(case):
    expected, affine, shape, kind = CASES[case]
    fixed, fixed_affine, mask = reference()
    found = registration.register_affine(
        scan(expected, affine, shape, **kind), affine, fixed, fixed_affine, fixed_mask=mask
    )
    assert found.model == 'affine', found.notes
    assert error_mm(found.matrix, expected, mask, fixed_affine) < 1.0
    assert found.similarity > 0.6
    assert found.coverage > 0.99


def test_contrast_may_be_reversed():
    fixed, affine, mask = reference()
    expected = truth(pitch=7, shift=(3, 5, -8))
    moving = scan(expected, affine, SHAPE)
    moving = np.where(moving > 10, 130 - moving, 0)
    found = registration.register_affine(moving, affine, fixed, affine, fixed_mask=mask)
    assert error_mm(found.matrix, expected, mask, affine) < 1.5


def test_half_a_head_is_aligned_and_its_coverage_measured():
    fixed, affine, mask = reference()
    expected = truth(shift=(0, 0, 12))
    moving = scan(expected, affine, SHAPE)[:, :, 24:]
    moved = affine.copy()
    moved[2, 3] += 24 * SPACING
    found = registration.register_affine(moving, moved, fixed, affine, fixed_mask=mask)
    assert error_mm(found.matrix, expected, mask, affine) < 2.0
    lowest = moved[2, 3] - 12 - SPACING / 2
    z = points_of(affine, SHAPE)[2]
    assert found.coverage == pytest.approx(np.mean(z[mask] > lowest), abs=0.05)


def test_same_seed_and_threads_give_the_same_matrix():
    fixed, affine, mask = reference()
    moving = scan(truth(pitch=5, shift=(3, 0, 0)), affine, SHAPE)
    first, again = (
        registration.register_affine(moving, affine, fixed, affine, fixed_mask=mask, threads=2, seed=4)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert first.similarity == again.similarity


def test_noise_falls_below_the_threshold():
    fixed, affine, mask = reference()
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random(SHAPE), 2).astype(np.float32)
    found = registration.register_affine(noise, affine, fixed, affine, fixed_mask=mask)
    assert found.similarity < packaged_rules('T1w')[0]['alignment']['fail_below']


def test_input_that_cannot_be_aligned():
    fixed, affine, mask = reference()
    with pytest.raises(RegistrationError, match='no contrast'):
        registration.register_affine(np.full(SHAPE, 7.0), affine, fixed, affine)
    with pytest.raises(ValueError, match='moving must be three-dimensional'):
        registration.register_affine(fixed[0], affine, fixed, affine)
    with pytest.raises(ValueError, match='fixed_mask has shape'):
        registration.register_affine(fixed, affine, fixed, affine, fixed_mask=mask[1:])


def test_an_implausible_affine_is_rejected(monkeypatch):
    fixed, affine, mask = reference()
    monkeypatch.setattr(estimate, 'refine', lambda *a, **k: np.diag([1.0, 1.0, 2.0, 1.0]))
    found = registration.register_affine(fixed, affine, fixed, affine, fixed_mask=mask)
    assert found.model == 'similarity'
    assert 'scale' in found.notes[0]
    assert error_mm(found.matrix, np.eye(4), mask, affine) < 3


# === Scans of one person ===


FAR = truth(20, 15, shift=(300, -250, 400))


def test_a_known_rotation_and_shift_is_recovered():
    fixed, affine, mask = reference()
    for expected, grid in ((truth(3, 2, shift=(2, -1, 3)), (affine, SHAPE)), (FAR, far_away_grid())):
        moving = scan(expected, *grid)
        moving = np.where(moving > 10, 130 - moving, 0)  # another contrast
        found = registration.register_rigid(moving, grid[0], fixed, affine, fixed_mask=mask)
        assert found.model == 'rigid', found.notes
        assert error_mm(found.matrix, expected, mask, affine) < 0.5
        np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-9)
        assert found.similarity > 0.6 and found.scales == (1, 1, 1)

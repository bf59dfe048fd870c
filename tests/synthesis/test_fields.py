# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from bids_brainseg.synthesis.fields import (
    Placement,
    along_axes,
    bspline_matrix,
    linear_matrix,
    points,
    sample_codes,
)


def test_interpolation_matrices():
    weights = bspline_matrix(np.linspace(1, 6, 30), 8)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    # cubic B-splines reproduce straight lines
    np.testing.assert_allclose(weights @ np.arange(8.0), np.linspace(1, 6, 30), atol=1e-5)
    np.testing.assert_allclose(
        linear_matrix(np.array([-1, 0.25, 2.5, 9]), 4) @ np.arange(4.0), [0, 0.25, 2.5, 3], atol=1e-6
    )


def test_along_axes_is_the_sum_over_three_indices():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(3, 4, 5))
    matrices = [rng.normal(size=(6, 3)), rng.normal(size=(7, 4)), rng.normal(size=(8, 5))]
    expected = np.einsum('abc,ia,jb,kc->ijk', array, *matrices)
    np.testing.assert_allclose(along_axes(array, matrices), expected, rtol=1e-4, atol=1e-5)


def test_points_are_the_affine_and_the_displacement():
    matrix = np.float32([[2, 0, 0, 1], [0, 0, 3, -1], [0, 1, 0, 0]])
    control = np.zeros((3, 5, 5, 5), np.float32)
    control[1] = 0.5
    basis = [bspline_matrix(np.linspace(1, 3, n), 5) for n in (2, 3, 4)]
    found = np.stack(list(points(Placement(matrix, control, basis), (2, 3, 4))))
    i, j, k = np.indices((2, 3, 4))
    np.testing.assert_allclose(found, [2 * i + 1, 3 * k - 0.5, j], atol=1e-6)


def test_codes_beyond_the_limit_are_those_at_the_border():
    codes = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    still = Placement(np.eye(4, dtype=np.float32)[:3])
    np.testing.assert_array_equal(sample_codes(codes, still, (3, 3, 3), np.float32([2, 2, 2])), codes)
    found = sample_codes(codes, still, (4, 3, 3), np.float32([1, 2, 2]))
    np.testing.assert_array_equal(found, codes[[0, 1, 1, 1]])

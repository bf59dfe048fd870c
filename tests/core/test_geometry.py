# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core import geometry


def rotation(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    a, b = [i for i in range(3) if i != axis]
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix


def shift(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def test_inverse_of_any_affine():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = np.eye(4)
        matrix[:3] = rng.normal(size=(3, 4)) * (1, 1, 1, 300)
        inverse = geometry.invert(matrix)
        np.testing.assert_allclose(matrix @ inverse, np.eye(4), atol=1e-9)
        np.testing.assert_array_equal(inverse[3], (0, 0, 0, 1))


@pytest.mark.parametrize(
    ('matrix', 'message'),
    [
        (np.eye(3), r'\(3, 3\)'),
        (np.diag([1.0, 1, 1, 2]), 'Last row'),
        (np.diag([1.0, 0, 1, 1]), 'singular'),
        (np.diag([1.0, np.nan, 1, 1]), 'not finite'),
    ],
)
def test_matrices_that_cannot_be_inverted_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        geometry.invert(matrix)


def test_singular_is_a_matter_of_angles_and_not_of_size():
    flat = np.eye(4)
    flat[:3, 2] = flat[:3, 0] + flat[:3, 1]
    assert geometry.is_singular(flat)
    assert geometry.is_singular(np.diag([1.0, 1, np.inf, 1]))
    assert not geometry.is_singular(np.diag([1e-3, 1e-3, 1e-3, 1]))


def test_ras_to_lps_maps_points_the_same_way():
    matrix = shift(3, -4, 5) @ rotation(20, 0) @ rotation(30, 2)
    flip = np.array([-1, -1, 1])
    point = np.array([10.0, 20, 30])
    moved = matrix[:3, :3] @ point + matrix[:3, 3]
    lps = geometry.ras_to_lps(matrix)
    np.testing.assert_allclose(lps[:3, :3] @ (flip * point) + lps[:3, 3], flip * moved)
    np.testing.assert_allclose(geometry.ras_to_lps(lps), matrix)


def test_measures_of_a_rotated_and_a_sheared_grid():
    affine = rotation(12, 1) @ np.diag([-0.7, 0.8, 5, 1])
    np.testing.assert_allclose(geometry.voxel_sizes(affine), (0.7, 0.8, 5))
    assert geometry.voxel_volume(affine) == pytest.approx(2.8)
    assert geometry.obliquity(affine) == pytest.approx(12)
    sheared = np.diag([1.0, 1, 2, 1])
    sheared[1, 2] = 1.0  # the slices stay 2 mm apart, the edge becomes longer
    assert geometry.voxel_volume(sheared) == pytest.approx(2)
    assert geometry.voxel_sizes(sheared)[2] == pytest.approx(np.sqrt(5))
    assert geometry.volume_scaling(np.diag([-2.0, 3, 1, 1])) == pytest.approx(6)


def test_shear_is_distinguished_from_obliquity():
    oblique = rotation(20, 0) @ np.diag([1.0, 2.0, 3.0, 1.0])
    assert geometry.shear_angle(oblique) == pytest.approx(0, abs=1e-6)
    tilted = np.eye(4)
    tilted[2, 1] = np.tan(np.radians(-12))
    assert geometry.shear_angle(oblique @ np.diag([1, 1 / 2, 1 / 3, 1]) @ tilted) == pytest.approx(12)


@pytest.mark.parametrize('degrees', [0, 30, 90, 180])
def test_the_rotation_angle_ignores_scale_and_translation(degrees):
    matrix = shift(5, -3, 8) @ rotation(degrees, 1) @ np.diag([1.2, 1.2, 1.2, 1.0])
    assert geometry.rotation_angle(matrix) == pytest.approx(degrees, abs=1e-5)


def test_a_coarser_grid_covers_the_same_box_about_the_same_center():
    affine = rotation(30, 2) @ np.diag([1.4, 1.4, 2.0, 1.0])
    affine[:3, 3] = 5, -7, 9
    shape, found = geometry.grid_with_spacing((112, 144, 90), affine, 2.8, 16)
    assert shape == (64, 80, 80)  # 56, 72 and 64.3, each up to the next multiple of 16
    np.testing.assert_allclose(geometry.voxel_sizes(found), 2.8)
    middle, center = (
        (matrix @ [*((np.array(sides) - 1) / 2), 1])[:3]
        for sides, matrix in (((112, 144, 90), affine), (shape, found))
    )
    np.testing.assert_allclose(center, middle)
    np.testing.assert_allclose(found[:3, :3] / 2.8, affine[:3, :3] / [1.4, 1.4, 2.0], atol=1e-12)
    same, unchanged = geometry.grid_with_spacing((112, 144, 128), np.diag([1.4, 1.4, 1.4, 1.0]), 1.4, 16)
    assert same == (112, 144, 128)
    np.testing.assert_allclose(unchanged, np.diag([1.4, 1.4, 1.4, 1.0]), atol=1e-12)
    for wrong in (0, -1, np.nan):
        with pytest.raises(ValueError, match='must be positive'):
            geometry.grid_with_spacing((8, 8, 8), np.eye(4), wrong)

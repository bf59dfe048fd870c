# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

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


def ramp(shape, affine, slopes=(1.0, -2.0, 3.0), at_origin=5.0) -> np.ndarray:
    """An image whose value is a linear function of its RAS position."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return points @ np.array(slopes) + at_origin


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
def test_what_is_no_affine_has_no_inverse(matrix, message):
    with pytest.raises(ValueError, match=message):
        geometry.invert(matrix)


def test_singular_is_a_matter_of_angles_and_not_of_size():
    flat = np.eye(4)
    flat[:3, 2] = flat[:3, 0] + flat[:3, 1]
    assert geometry.is_singular(flat)
    assert geometry.is_singular(np.diag([1.0, 1, np.inf, 1]))
    assert not geometry.is_singular(np.diag([1e-3, 1e-3, 1e-3, 1]))


def test_ras_to_lps_turns_a_point_the_same_way():
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


@pytest.mark.parametrize('order', [1, 3])
@pytest.mark.parametrize('antialias', [False, True])
def test_a_linear_image_is_resampled_exactly(order, antialias):
    affine = shift(-40, -50, -35) @ rotation(15, 0) @ np.diag([-1.0, 0.8, 1.1, 1])
    affine[0, 3] += 80
    image = ramp((80, 100, 70), affine)
    matrix = shift(2, -3, 1) @ rotation(-8, 2) @ np.diag([1.1, 0.9, 1, 1])
    # Cover the middle, where no filter touches the border of the image.
    center = affine[:3, :3] @ (40, 50, 35) + affine[:3, 3]
    target_affine = np.diag([2.5, 2.0, 1.5, 1])
    target_affine[:3, 3] = (geometry.invert(matrix) @ (*center, 1))[:3] - (12.5, 10, 7.5)
    out = geometry.resample(
        image, affine, (11, 11, 11), target_affine, matrix, order=order, antialias=antialias
    )
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, ramp((11, 11, 11), matrix @ target_affine), atol=0.02)


def test_the_matrix_maps_target_points_to_image_points():
    image = np.zeros((9, 9, 9), np.float32)
    image[6, 4, 4] = 1
    out = geometry.resample(image, np.eye(4), (9, 9, 9), np.eye(4), shift(2, 0, 0))
    assert out[4, 4, 4] == 1 and out.sum() == 1


@pytest.mark.parametrize('order', [0, 1, 3])
def test_the_same_grid_gives_the_same_image(order):
    image = np.random.default_rng(1).normal(size=(7, 8, 9)).astype(np.float32)
    affine = shift(90.3, -126.7, -72.1) @ rotation(11, 1) @ np.diag([-0.7, 0.9, 1.3, 1])
    out = geometry.resample(image, affine, image.shape, affine, np.eye(4), order=order)
    np.testing.assert_allclose(out, image, atol=1e-5)


def test_antialias_averages_what_lies_between_the_samples():
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::4] = 1  # the mean is 1/4; samples every 4 voxels see only ones
    coarse = np.diag([4.0, 1, 1, 1])
    aliased = geometry.resample(stripes, np.eye(4), (16, 8, 8), coarse, np.eye(4), antialias=False)
    np.testing.assert_array_equal(aliased, 1)
    blurred = geometry.resample(stripes, np.eye(4), (16, 8, 8), coarse, np.eye(4))
    np.testing.assert_allclose(blurred[2:-2], 0.25, atol=0.06)


def test_antialias_leaves_axes_alone_that_become_finer():
    thick = np.random.default_rng(2).normal(size=(16, 16, 6)).astype(np.float32)
    affine = np.diag([1.0, 1, 5, 1])
    args = thick, affine, (16, 16, 26), np.eye(4), np.eye(4)
    np.testing.assert_array_equal(
        geometry.resample(*args, antialias=True), geometry.resample(*args, antialias=False)
    )


@pytest.mark.parametrize('order', [1, 3])
def test_the_field_of_view_ends_half_a_voxel_beyond_the_outer_centers(order):
    image = np.full((5, 5, 5), 7.0)
    affine = np.diag([1.0, 1, 4, 1])
    fine = shift(0, 0, -4)
    out = geometry.resample(image, affine, (5, 5, 25), fine, np.eye(4), order=order, cval=-1024)
    z = np.arange(25) - 4.0
    inside = (z >= -2) & (z <= 18)
    np.testing.assert_allclose(out[..., inside], 7, atol=1e-4)
    np.testing.assert_array_equal(out[..., ~inside], -1024)


def test_a_grid_elsewhere_holds_only_the_outside_value():
    out = geometry.resample(np.ones((4, 4, 4)), np.eye(4), (3, 3, 3), shift(500, 0, 0), np.eye(4), cval=-5)
    np.testing.assert_array_equal(out, np.full((3, 3, 3), -5))


def test_memory_order_and_integer_input_make_no_difference():
    image = np.random.default_rng(3).integers(0, 1000, (20, 21, 22)).astype(np.int16)
    matrix = rotation(10, 2)
    args = np.eye(4), (12, 12, 12), np.diag([1.5, 1.5, 1.5, 1]), matrix
    expected = geometry.resample(image.astype(np.float32), *args, order=3)
    np.testing.assert_array_equal(geometry.resample(np.asfortranarray(image), *args, order=3), expected)


def test_the_image_is_not_changed():
    image = np.random.default_rng(4).normal(size=(20, 20, 20)).astype(np.float32)
    before = image.copy()
    geometry.resample(image, np.eye(4), (10, 10, 10), np.diag([2.0, 2, 2, 1]), np.eye(4), order=3)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('order', [1, 3])
def test_neither_threads_nor_the_order_in_memory_change_what_is_resampled(order):
    image = np.random.default_rng(0).random((20, 23, 26))
    grid = np.diag([1.7, 1.4, 0.9, 1.0])
    turn = np.array([[0.9, 0.2, 0, 1], [-0.2, 1, 0.1, -3], [0, 0.1, 1.1, 2], [0, 0, 0, 1]])
    place = (np.eye(4), (12, 17, 30), grid, turn)
    plain = geometry.resample(image, *place, order=order)
    assert np.ptp(plain) > 0.1
    for laid_out in (image, np.asfortranarray(image), image[::-1].copy()[::-1]):
        found = geometry.resample(laid_out, *place, order=order, threads=3)
        np.testing.assert_array_equal(found, plain)


def test_a_box_is_sampled_as_scipy_samples_the_whole():
    """Plane by plane, to the last bit."""
    image = np.random.default_rng(0).random((20, 23, 26)).astype(np.float32)
    mapping = np.array([[0.9, 0.2, 0, 1], [-0.2, 1, 0.1, 3], [0, 0.1, 1.1, 0.3], [0, 0, 0, 1]])
    options = {'order': 3, 'mode': 'mirror'}
    whole = ndimage.affine_transform(image, mapping, output_shape=(15, 16, 17), prefilter=False, **options)
    box = (slice(0, 15), slice(0, 16), slice(0, 17))
    np.testing.assert_array_equal(geometry.sample_box(image, mapping, box, **options, threads=2), whole)


def test_only_volumes_are_resampled():
    with pytest.raises(ValueError, match=r'three dimensions, got shape \(2, 3, 4, 5\)'):
        geometry.resample(np.zeros((2, 3, 4, 5)), np.eye(4), (2, 2, 2), np.eye(4), np.eye(4))


def test_shear_is_told_from_obliquity():
    oblique = rotation(20, 0) @ np.diag([1.0, 2.0, 3.0, 1.0])
    assert geometry.shear_angle(oblique) == pytest.approx(0, abs=1e-6)
    tilted = np.eye(4)
    tilted[2, 1] = np.tan(np.radians(-12))
    assert geometry.shear_angle(oblique @ np.diag([1, 1 / 2, 1 / 3, 1]) @ tilted) == pytest.approx(12)


@pytest.mark.parametrize('degrees', [0, 30, 90, 180])
def test_the_angle_of_a_turn_does_not_depend_on_scale_and_place(degrees):
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

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_brainseg.core import geometry, resampling


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
    out = resampling.resample(
        image, affine, (11, 11, 11), target_affine, matrix, order=order, antialias=antialias
    )
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, ramp((11, 11, 11), matrix @ target_affine), atol=0.02)


def test_the_matrix_maps_target_points_to_image_points():
    image = np.zeros((9, 9, 9), np.float32)
    image[6, 4, 4] = 1
    out = resampling.resample(image, np.eye(4), (9, 9, 9), np.eye(4), shift(2, 0, 0))
    assert out[4, 4, 4] == 1 and out.sum() == 1


@pytest.mark.parametrize('order', [0, 1, 3])
def test_the_same_grid_gives_the_same_image(order):
    image = np.random.default_rng(1).normal(size=(7, 8, 9)).astype(np.float32)
    affine = shift(90.3, -126.7, -72.1) @ rotation(11, 1) @ np.diag([-0.7, 0.9, 1.3, 1])
    out = resampling.resample(image, affine, image.shape, affine, np.eye(4), order=order)
    np.testing.assert_allclose(out, image, atol=1e-5)


def test_antialias_averages_what_lies_between_the_samples():
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::4] = 1  # the mean is 1/4; samples every 4 voxels see only ones
    coarse = np.diag([4.0, 1, 1, 1])
    aliased = resampling.resample(stripes, np.eye(4), (16, 8, 8), coarse, np.eye(4), antialias=False)
    np.testing.assert_array_equal(aliased, 1)
    blurred = resampling.resample(stripes, np.eye(4), (16, 8, 8), coarse, np.eye(4))
    np.testing.assert_allclose(blurred[2:-2], 0.25, atol=0.06)


def test_antialias_leaves_axes_alone_that_become_finer():
    thick = np.random.default_rng(2).normal(size=(16, 16, 6)).astype(np.float32)
    affine = np.diag([1.0, 1, 5, 1])
    args = thick, affine, (16, 16, 26), np.eye(4), np.eye(4)
    np.testing.assert_array_equal(
        resampling.resample(*args, antialias=True), resampling.resample(*args, antialias=False)
    )


@pytest.mark.parametrize('order', [1, 3])
def test_the_field_of_view_ends_half_a_voxel_beyond_the_outer_centers(order):
    image = np.full((5, 5, 5), 7.0)
    affine = np.diag([1.0, 1, 4, 1])
    fine = shift(0, 0, -4)
    out = resampling.resample(image, affine, (5, 5, 25), fine, np.eye(4), order=order, cval=-1024)
    z = np.arange(25) - 4.0
    inside = (z >= -2) & (z <= 18)
    np.testing.assert_allclose(out[..., inside], 7, atol=1e-4)
    np.testing.assert_array_equal(out[..., ~inside], -1024)


def test_a_grid_elsewhere_holds_only_the_outside_value():
    out = resampling.resample(np.ones((4, 4, 4)), np.eye(4), (3, 3, 3), shift(500, 0, 0), np.eye(4), cval=-5)
    np.testing.assert_array_equal(out, np.full((3, 3, 3), -5))


def test_memory_order_and_integer_input_make_no_difference():
    image = np.random.default_rng(3).integers(0, 1000, (20, 21, 22)).astype(np.int16)
    matrix = rotation(10, 2)
    args = np.eye(4), (12, 12, 12), np.diag([1.5, 1.5, 1.5, 1]), matrix
    expected = resampling.resample(image.astype(np.float32), *args, order=3)
    np.testing.assert_array_equal(resampling.resample(np.asfortranarray(image), *args, order=3), expected)


def test_the_image_is_not_changed():
    image = np.random.default_rng(4).normal(size=(20, 20, 20)).astype(np.float32)
    before = image.copy()
    resampling.resample(image, np.eye(4), (10, 10, 10), np.diag([2.0, 2, 2, 1]), np.eye(4), order=3)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('order', [1, 3])
def test_neither_threads_nor_the_order_in_memory_change_what_is_resampled(order):
    image = np.random.default_rng(0).random((20, 23, 26))
    grid = np.diag([1.7, 1.4, 0.9, 1.0])
    turn = np.array([[0.9, 0.2, 0, 1], [-0.2, 1, 0.1, -3], [0, 0.1, 1.1, 2], [0, 0, 0, 1]])
    place = (np.eye(4), (12, 17, 30), grid, turn)
    plain = resampling.resample(image, *place, order=order)
    assert np.ptp(plain) > 0.1
    for laid_out in (image, np.asfortranarray(image), image[::-1].copy()[::-1]):
        found = resampling.resample(laid_out, *place, order=order, threads=3)
        np.testing.assert_array_equal(found, plain)


def test_a_box_is_sampled_as_scipy_samples_the_whole():
    """Plane by plane, to the last bit."""
    image = np.random.default_rng(0).random((20, 23, 26)).astype(np.float32)
    mapping = np.array([[0.9, 0.2, 0, 1], [-0.2, 1, 0.1, 3], [0, 0.1, 1.1, 0.3], [0, 0, 0, 1]])
    options = {'order': 3, 'mode': 'mirror'}
    whole = ndimage.affine_transform(image, mapping, output_shape=(15, 16, 17), prefilter=False, **options)
    box = (slice(0, 15), slice(0, 16), slice(0, 17))
    np.testing.assert_array_equal(resampling.sample_box(image, mapping, box, **options, threads=2), whole)


def test_only_volumes_are_resampled():
    with pytest.raises(ValueError, match=r'three dimensions, got shape \(2, 3, 4, 5\)'):
        resampling.resample(np.zeros((2, 3, 4, 5)), np.eye(4), (2, 2, 2), np.eye(4), np.eye(4))


def test_majority_preserves_volumes_and_centers(phantom27):
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = phantom27.affine[:3, 3] + 0.5
    shape = tuple(int(n * 2 / 3) + 1 for n in phantom27.labels.shape)
    found = resampling.resample_labels_majority(phantom27.labels, phantom27.affine, shape, affine, np.eye(4))
    measured = np.bincount(found.ravel(), minlength=28)[1:] * 27.0
    np.testing.assert_allclose(measured, phantom27.volumes_mm3[1:], rtol=0.45)  # corners are rounded off
    assert measured.sum() == pytest.approx(phantom27.volumes_mm3[1:].sum(), rel=0.15)
    for index in range(1, 28):
        middle = np.argwhere(found == index).mean(0) * 3 + affine[:3, 3]
        assert np.abs(middle - phantom27.center(index)).max() < 1.5


def test_majority_on_the_same_grid_changes_nothing(phantom27):
    same = resampling.resample_labels_majority(
        phantom27.labels, phantom27.affine, phantom27.labels.shape, phantom27.affine, np.eye(4)
    )
    np.testing.assert_array_equal(same, phantom27.labels)
    shift = np.eye(4)
    shift[0, 3] = 4.0  # target points to source points: two voxels
    moved = resampling.resample_labels_majority(
        phantom27.labels, phantom27.affine, phantom27.labels.shape, phantom27.affine, shift
    )
    np.testing.assert_array_equal(moved[:-2], phantom27.labels[2:])
    assert not moved[-2:].any()

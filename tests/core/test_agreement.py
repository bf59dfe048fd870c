# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itk
import numpy as np
import pytest

from bids_brainseg.core import agreement


def box(shape, lower, upper, index=1) -> np.ndarray:
    labels = np.zeros(shape, int)
    labels[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] = index
    return labels


def test_dice_of_shifted_boxes():
    a = box((20, 20, 20), (2, 2, 2), (12, 12, 12))
    b = box((20, 20, 20), (5, 2, 2), (15, 12, 12))
    scores = agreement.dice(a, b, n=3)
    assert scores[1] == pytest.approx(0.7)
    assert scores[0] == pytest.approx(2 * (8000 - 1300) / (2 * 7000))


def test_the_convention_of_empty_structures():
    a = box((5, 5, 5), (0, 0, 0), (2, 2, 2), index=1)
    b = box((5, 5, 5), (0, 0, 0), (2, 2, 2), index=2)
    np.testing.assert_allclose(agreement.dice(a, b, n=4), (1, 0, 0, np.nan))
    np.testing.assert_allclose(agreement.assd(a, b, (1, 1, 1), n=4), (np.nan, np.inf, np.inf, np.nan))


def test_the_phantom_agrees_with_itself(phantom27):
    scores = agreement.dice(phantom27.labels, phantom27.labels)
    np.testing.assert_array_equal(scores, 1)
    distances = agreement.assd(phantom27.labels, phantom27.labels, (2, 2, 2))
    assert np.isnan(distances[0])
    np.testing.assert_array_equal(distances[1:], 0)


def test_average_counts_structures_and_neither_background_nor_absent_ones():
    assert agreement.dice_average([0.0, 0.9, np.nan, 0.5]) == pytest.approx(0.7)
    assert np.isnan(agreement.dice_average([1.0, np.nan]))


def test_weighted_average_counts_volumes():
    assert agreement.dice_volume_weighted([0.0, 0.9, np.nan, 0.5], [1e9, 3, 100, 1]) == pytest.approx(0.8)
    assert np.isnan(agreement.dice_volume_weighted([1.0, np.nan, 0.0], [10, 5, 0]))


@pytest.mark.parametrize(('sizes', 'expected'), [((1, 1, 1), 3.0), ((2, 1, 1), 6.0), ((1, 5, 0.5), 3.0)])
def test_distance_of_parallel_plates_in_mm(sizes, expected):
    a = box((20, 9, 9), (5, 0, 0), (6, 9, 9))
    b = box((20, 9, 9), (8, 0, 0), (9, 9, 9))
    assert agreement.assd(a, b, sizes, n=2)[1] == pytest.approx(expected)


def test_distance_of_nested_cubes_by_counting():
    a = box((12, 12, 12), (2, 2, 2), (9, 9, 9))  # 7 voxels wide, 218 of them on the surface
    b = box((12, 12, 12), (3, 3, 3), (8, 8, 8))  # 5 voxels wide, 98 on the surface
    # Outside in: faces 6 x 25 at 1, edges 12 x 5 at sqrt 2, corners 8 at sqrt 3; inside out: 98 at 1.
    total = 150 + 60 * np.sqrt(2) + 8 * np.sqrt(3) + 98
    assert agreement.assd(a, b, (1, 1, 1), n=2)[1] == pytest.approx(total / (218 + 98))


def test_distance_equals_that_to_every_surface_voxel(phantom27):
    rng = np.random.default_rng(5)
    a, b = (rng.random((9, 10, 11)) < 0.3 for _ in range(2))
    sizes = np.array((0.7, 1.3, 4.0))

    def surface(mask):
        padded = np.pad(mask, 1)
        neighbors = [np.roll(padded, s, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for s in (-1, 1)]
        return np.argwhere(mask & ~np.all(neighbors, axis=0)) * sizes

    pairwise = np.linalg.norm(surface(a)[:, None] - surface(b)[None], axis=-1)
    expected = np.concatenate([pairwise.min(axis=0), pairwise.min(axis=1)]).mean()
    assert agreement.assd(a.astype(int), b.astype(int), sizes, n=2)[1] == pytest.approx(expected)


def test_distance_does_not_depend_on_the_order_or_the_field_of_view():
    a = box((30, 30, 30), (4, 5, 6), (14, 12, 20))
    b = box((30, 30, 30), (6, 4, 6), (15, 13, 17))
    there = agreement.assd(a, b, (1, 2, 3), n=2)[1]
    assert agreement.assd(b, a, (1, 2, 3), n=2)[1] == pytest.approx(there)
    crop = np.s_[4:15, 4:13, 6:20]
    assert agreement.assd(a[crop], b[crop], (1, 2, 3), n=2)[1] == pytest.approx(there)


def test_maps_that_cannot_be_compared_are_refused():
    a = np.zeros((3, 3, 3), int)
    for compare in (lambda x, y: agreement.dice(x, y), lambda x, y: agreement.assd(x, y, (1, 1, 1))):
        with pytest.raises(ValueError, match=r'\(3, 3, 3\) and \(3, 3, 4\)'):
            compare(a, np.zeros((3, 3, 4), int))
    with pytest.raises(ValueError, match='from 0 to 2, found 7'):
        agreement.dice(a, a + 7, n=3)
    with pytest.raises(ValueError, match='positive voxel sizes'):
        agreement.assd(a, a, (1, 0, 1))


def itk_surface_distance(a, b, sizes) -> float:
    """The same measure by ITK: its contours (faces towards anything else), its exact distance maps."""

    def contour(mask):
        image = itk.image_from_array(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing([float(size) for size in sizes[::-1]])
        return itk.binary_contour_image_filter(
            image, fully_connected=False, foreground_value=1, background_value=0
        )

    def distances(there, here):
        field = itk.signed_maurer_distance_map_image_filter(
            there, squared_distance=False, use_image_spacing=True, inside_is_positive=False
        )
        return np.maximum(itk.array_from_image(field)[itk.array_from_image(here) > 0], 0)

    first, second = contour(a), contour(b)
    return float(np.concatenate([distances(first, second), distances(second, first)]).mean())


@pytest.mark.parametrize('sizes', [(1.0, 1.0, 1.0), (0.9, 1.2, 5.0)])
def test_distance_is_that_of_itk(sizes):
    rng = np.random.default_rng(3)
    points = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing='ij'), -1)
    for _ in range(3):
        a, b = (
            np.linalg.norm((points - rng.uniform(8, 15, 3)) / rng.uniform(4, 8, 3), axis=-1) < 1
            for _ in range(2)
        )
        ours = agreement.assd(a.astype(int), b.astype(int), sizes, n=2)[1]
        assert ours == pytest.approx(itk_surface_distance(a, b, sizes), abs=1e-5)


def test_average_distance_is_over_the_structures_both_have():
    assert agreement.assd_average([np.nan, 1.0, np.inf, 3.0]) == 2
    assert np.isnan(agreement.assd_average([np.nan, np.inf]))


def test_everything_about_a_shifted_phantom(phantom27):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    shifted = np.roll(phantom27.labels, 1, axis=0)
    shifted[phantom27.labels == 14] = 0
    shifted[shifted == 14] = 0
    found = agreement.compare(shifted, phantom27.labels, affine)
    sizes = phantom27.boxes[1:, 1] - phantom27.boxes[1:, 0]
    expected = (sizes[:, 0] - 1) / sizes[:, 0]
    expected[13] = 0
    np.testing.assert_allclose(found.dice[1:], expected)
    volumes = sizes.prod(axis=1) * 6.0
    np.testing.assert_allclose(found.reference_volume[1:], volumes)
    assert found.volume[14] == 0
    assert found.missed == 1
    assert np.isinf(found.assd[14])
    assert found.dice_average == pytest.approx(expected.mean())
    assert found.dice_volume_weighted == pytest.approx((expected * volumes).sum() / volumes.sum())
    assert 0 < found.assd_average < 1  # one voxel of 1 mm, and only two of six sides move

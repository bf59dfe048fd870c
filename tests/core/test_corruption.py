# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core import corruption
from bids_brainseg.data import modalities


@pytest.fixture
def head() -> np.ndarray:
    image = np.zeros((12, 20, 16), np.float32)
    image[3:9, 6:12, 4:12] = 100
    return image


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_nothing_changes_at_strength_zero(head):
    affine = np.diag([2.0, 2, 2, 1])
    np.testing.assert_array_equal(corruption.add_noise(head, 0, rng()), head)
    np.testing.assert_array_equal(corruption.add_noise(head, 0, rng(), magnitude=True), head)
    np.testing.assert_array_equal(corruption.add_ghosts(head, 0), head)
    np.testing.assert_array_equal(corruption.blank_slices(head, []), head)
    np.testing.assert_array_equal(corruption.add_bias(head, 0, rng()), head)
    np.testing.assert_allclose(corruption.rotate_motion(head, affine, [0, 0, 0]), head, atol=1e-3)
    same, where = corruption.crop_field_of_view(head, affine, [(0, 1)] * 3)
    np.testing.assert_array_equal(same, head)
    np.testing.assert_array_equal(where, affine)


def test_the_input_is_left_alone(head):
    before = head.copy()
    corruption.blank_slices(head, [0, 8])
    box, _ = corruption.crop_field_of_view(head, np.eye(4), [(0, 1)] * 3)
    box[:] = 7
    np.testing.assert_array_equal(head, before)


def test_noise_has_the_spread_asked_for():
    flat = np.full((40, 40, 40), 50.0)
    noisy = corruption.add_noise(flat, 3, rng())
    assert noisy.std() == pytest.approx(3, rel=0.02)
    assert noisy.mean() == pytest.approx(50, abs=0.1)


def test_noise_of_a_magnitude_lifts_air():
    """The mean of Rician noise without signal is sigma * sqrt(pi / 2)."""
    noisy = corruption.add_noise(np.zeros((40, 40, 40)), 2, rng(), magnitude=True)
    assert noisy.min() >= 0
    assert noisy.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.02)


def test_ghosts_lie_where_they_should(head):
    corrupted = corruption.add_ghosts(head, 0.3, 0.25, axis=1)
    assert corrupted.sum() == pytest.approx(head.sum(), rel=1e-5)
    assert corrupted[5, 8, 8] == pytest.approx(70)  # the head itself, where no ghost lies
    assert corrupted[5, 6 + 5 + 1, 8] == pytest.approx(15)  # 5 of 20 voxels up
    assert corrupted[5, 2, 8] == pytest.approx(15)  # and down
    assert corruption.add_ghosts(head, 0.3, 0.5, axis=1)[5, 18, 8] == pytest.approx(30)


def test_slices_are_lost_along_any_axis(head):
    corrupted = corruption.blank_slices(head, [7, 8], axis=1, value=-5)
    assert np.unique(corrupted[:, 7:9]).tolist() == [-5]
    np.testing.assert_array_equal(np.delete(corrupted, [7, 8], 1), np.delete(head, [7, 8], 1))


def test_cropping_keeps_the_position_of_voxels():
    affine = np.array([[0, 0, 2, 5.0], [-1, 0, 0, 7], [0, 3, 0, -2], [0, 0, 0, 1]])
    image = np.arange(10 * 8 * 6).reshape(10, 8, 6)
    box, moved = corruption.crop_field_of_view(image, affine, [(0.2, 0.7), (0, 0.5), (0.5, 1)])
    assert box.dtype == image.dtype
    assert box.shape == (5, 4, 3)
    np.testing.assert_array_equal(box, image[2:7, :4, 3:])
    np.testing.assert_allclose(moved @ (1, 1, 1, 1), affine @ (3, 1, 4, 1))


@pytest.mark.parametrize('bounds', [(0.5, 0.5), (0.6, 0.4), (-0.5, 0.5), (0.5, 1.5)])
def test_an_empty_box_is_refused(head, bounds):
    with pytest.raises(ValueError, match='nothing is left'):
        corruption.crop_field_of_view(head, np.eye(4), [bounds, (0, 1), (0, 1)])


def test_bias_is_smooth_and_bounded():
    field = np.log(corruption.add_bias(np.ones((30, 30, 30)), 0.5, rng()))
    assert np.abs(field).max() == pytest.approx(0.5, rel=1e-4)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.12


def test_one_pose_is_a_rotated_head():
    """A quarter turn about the vertical axis moves the block from the right to the front."""
    image = np.zeros((21, 21, 5), np.float32)
    image[15:18, 9:12, 1:4] = 100
    turned = corruption.rotate_motion(image, np.eye(4), [90], rotation_axis=2, phase_axis=0)
    np.testing.assert_allclose(turned, np.rot90(image, axes=(0, 1)), atol=1e-2)


def test_the_middle_pose_places_the_head_and_the_others_blur_it(head):
    affine = np.diag([2.0, 2, 2, 1])
    still = corruption.rotate_motion(head, affine, [0, 0, 0, 0, 0])
    moved = corruption.rotate_motion(head, affine, [8, 4, 0, -4, -8], phase_axis=2)
    assert moved.sum(axis=(0, 1)).argmax() in range(4, 12)
    assert np.abs(moved - still).max() > 5
    assert np.corrcoef(moved.ravel(), still.ravel())[0, 1] > 0.9


def test_what_makes_no_sense_is_refused(head):
    with pytest.raises(ValueError, match='must not be negative'):
        corruption.add_noise(head, -1, rng())
    with pytest.raises(ValueError, match=r'\[0, 1\], got 1.5'):
        corruption.add_ghosts(head, 1.5)
    with pytest.raises(ValueError, match='1 to 20 poses, got 0'):
        corruption.rotate_motion(head, np.eye(4), [])
    with pytest.raises(IndexError):
        corruption.blank_slices(head, [16])


AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


@pytest.fixture
def ball():
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 24, 20)], indexing='ij'), -1)
    return np.where(np.linalg.norm(points, axis=-1) < 0.8, 100.0, 0.0) + 20 * (points[..., 0] > 0)


@pytest.mark.parametrize('kind', list(corruption.KINDS))
def test_corruption_grows_with_severity_from_nothing(ball, kind):
    def change(severity):
        image, affine = corruption.corrupt(ball, AFFINE, kind, severity, seed=3)
        if image.shape != ball.shape:
            return 1 - image.size / ball.size
        np.testing.assert_array_equal(affine, AFFINE)
        return float(np.abs(image - ball).mean())

    assert change(0) == pytest.approx(0, abs=1e-3)
    assert 0 < change(0.3) < change(1.0)


@pytest.mark.parametrize('kind', list(corruption.KINDS))
def test_the_seed_decides(ball, kind):
    once, again = (corruption.corrupt(ball, AFFINE, kind, 0.7, seed=1)[0] for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_slices_are_lost_along_the_thickest_axis(ball):
    corrupted, _ = corruption.corrupt(ball + 1, AFFINE, 'slices', 1.0, seed=0)
    assert (corrupted == 0).all(axis=(0, 1)).sum() == 8  # 40 % of 20
    assert not (corrupted == 0).all(axis=(1, 2)).any()


def test_cropping_at_full_severity_keeps_half_in_place(ball):
    corrupted, affine = corruption.corrupt(ball, AFFINE, 'crop', 1.0, seed=5)
    assert corrupted.size == ball.size // 2
    start = np.rint(np.linalg.solve(AFFINE, affine[:, 3])[:3]).astype(int)
    inside = tuple(slice(a, a + n) for a, n in zip(start, corrupted.shape, strict=True))
    np.testing.assert_array_equal(corrupted, ball[inside].astype(np.float32))


def test_the_contrast_is_inverted_inside_the_head_only():
    image = np.zeros((10, 10, 10))
    image[2:5, 2:8, 2:8], image[5:8, 2:8, 2:8] = 50, 100
    turned, _ = corruption.corrupt(image, AFFINE, 'contrast', 1.0, seed=0)
    assert turned[0, 0, 0] == 0
    assert turned[3, 5, 5] > turned[6, 5, 5] > 0


def test_noise_and_lost_slices_in_the_unit_of_the_image(ball):
    image, _ = corruption.corrupt(np.zeros((40, 40, 40)), AFFINE, 'noise', 0.5, seed=0, sigma=60)
    assert image.std() == pytest.approx(30, rel=0.02) and abs(image.mean()) < 1
    image, _ = corruption.corrupt(ball - 1000, AFFINE, 'slices', 1.0, seed=0, value=-1000)
    assert image.min() == -1000


def test_an_unknown_kind_and_too_much_severity_are_refused(ball):
    with pytest.raises(ValueError, match="unknown kind of corruption 'fog'; known: noise, motion"):
        corruption.corrupt(ball, AFFINE, 'fog', 0.5, seed=0)
    with pytest.raises(ValueError, match='severity'):
        corruption.corrupt(ball, AFFINE, 'noise', 1.5, seed=0)


@pytest.mark.parametrize('name', modalities())
def test_every_modality_names_kinds_and_parameters_that_exist(name, ball):
    for kind, parameters in modalities()[name].corruptions.items():
        corruption.corrupt(ball, AFFINE, kind, 0.5, seed=0, **parameters)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.severity import corrupt, kinds
from bids_brainseg.data import modalities

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


@pytest.fixture
def head():
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (24, 24, 20)], indexing='ij'), -1)
    return np.where(np.linalg.norm(points, axis=-1) < 0.8, 100.0, 0.0) + 20 * (points[..., 0] > 0)


@pytest.mark.parametrize('kind', kinds())
def test_severity_counts_and_zero_is_nothing(head, kind):
    def change(severity):
        image, affine = corrupt(head, AFFINE, kind, severity, seed=3)
        if image.shape != head.shape:
            return 1 - image.size / head.size
        np.testing.assert_array_equal(affine, AFFINE)
        return float(np.abs(image - head).mean())

    assert change(0) == pytest.approx(0, abs=1e-3)
    assert 0 < change(0.3) < change(1.0)


@pytest.mark.parametrize('kind', kinds())
def test_the_seed_decides(head, kind):
    once, again = (corrupt(head, AFFINE, kind, 0.7, seed=1)[0] for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_lost_slices_are_the_thick_ones(head):
    corrupted, _ = corrupt(head + 1, AFFINE, 'slices', 1.0, seed=0)
    assert (corrupted == 0).all(axis=(0, 1)).sum() == 8  # 40 % of 20
    assert not (corrupted == 0).all(axis=(1, 2)).any()


def test_half_of_the_field_of_view_is_lost_and_the_rest_stays_where_it_was(head):
    corrupted, affine = corrupt(head, AFFINE, 'crop', 1.0, seed=5)
    assert corrupted.size == head.size // 2
    start = np.rint(np.linalg.solve(AFFINE, affine[:, 3])[:3]).astype(int)
    inside = tuple(slice(a, a + n) for a, n in zip(start, corrupted.shape, strict=True))
    np.testing.assert_array_equal(corrupted, head[inside].astype(np.float32))


def test_the_contrast_is_turned_inside_and_air_stays_dark():
    image = np.zeros((10, 10, 10))
    image[2:5, 2:8, 2:8], image[5:8, 2:8, 2:8] = 50, 100
    turned, _ = corrupt(image, AFFINE, 'contrast', 1.0, seed=0)
    assert turned[0, 0, 0] == 0
    assert turned[3, 5, 5] > turned[6, 5, 5] > 0


def test_a_ct_keeps_its_units(head):
    corrupted, _ = corrupt(head - 1000, AFFINE, 'slices', 1.0, seed=0, hounsfield=True)
    assert corrupted.min() == -1000
    with pytest.raises(ValueError, match="unknown kind 'bias'; known: noise, slices, crop"):
        corrupt(head, AFFINE, 'bias', 0.5, seed=0, hounsfield=True)


def test_what_makes_no_sense_is_refused(head):
    with pytest.raises(ValueError, match='severity'):
        corrupt(head, AFFINE, 'noise', 1.5, seed=0)


def test_every_modality_names_kinds_that_exist():
    for name, rule in modalities().items():
        assert set(rule.corruptions) <= set(kinds(rule.hounsfield)), name

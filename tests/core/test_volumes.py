# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core import geometry, volumes


def test_label_volumes_of_the_phantom(phantom27):
    found = volumes.label_volumes(phantom27.labels, geometry.voxel_volume(phantom27.affine))
    np.testing.assert_allclose(found, phantom27.volumes_mm3)
    assert found.sum() == pytest.approx(phantom27.labels.size * 8)


def test_an_absent_class_has_no_volume():
    assert volumes.label_volumes(np.array([[[0, 3]]]), 0.5, n=5).tolist() == [0.5, 0, 0, 0.5, 0]


def test_a_label_without_a_class_is_refused():
    with pytest.raises(ValueError, match='from 0 to 27, found 28'):
        volumes.label_volumes(np.full((2, 2, 2), 28), 1.0)


def test_soft_volumes_equal_hard_ones_where_the_posterior_is_certain(phantom27):
    np.testing.assert_allclose(volumes.soft_volumes(phantom27.posterior, 8.0), phantom27.volumes_mm3)


def test_soft_volumes_do_not_lose_count_in_half_precision():
    posterior = np.full((2, 50, 50, 50), 0.5, np.float16)
    np.testing.assert_allclose(volumes.soft_volumes(posterior, 2.0), 125000)


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_soft_volumes_are_the_sums_whatever_the_precision_and_order(dtype):
    posterior = np.random.default_rng(0).random((3, 20, 30, 40)).astype(dtype)
    posterior[1] *= dtype(1e-6)  # below the least normal number of half precision
    expected = [sum(float(value) for value in channel.ravel()) for channel in posterior]
    np.testing.assert_allclose(volumes.soft_volumes(posterior, 1.0), expected, rtol=1e-12)
    turned = posterior.transpose(0, 3, 2, 1)[:, ::-1]
    np.testing.assert_allclose(volumes.soft_volumes(turned, 1.0), expected, rtol=1e-12)


def test_soft_volumes_need_classes_first():
    with pytest.raises(ValueError, match=r'got \(3, 3, 3\)'):
        volumes.soft_volumes(np.zeros((3, 3, 3)), 1.0)


def test_mc_statistics_are_those_of_the_population():
    mean, std, cv = volumes.mc_statistics([[10, 0, 5], [14, 0, 5], [12, 0, 5], [12, 0, 5]])
    np.testing.assert_allclose(mean, (12, 0, 5))
    np.testing.assert_allclose(std, (np.sqrt(2), 0, 0))
    np.testing.assert_allclose(cv, (100 * np.sqrt(2) / 12, np.nan, 0))


def test_one_sample_has_no_spread():
    mean, std, cv = volumes.mc_statistics([[10.0, 0.0]])
    assert mean.tolist() == [10, 0]
    assert np.isnan(std).all() and np.isnan(cv).all()


@pytest.mark.parametrize('samples', [np.zeros((0, 28)), np.zeros(28)])
def test_statistics_of_nothing_are_refused(samples):
    with pytest.raises(ValueError, match='Expected samples of shape'):
        volumes.mc_statistics(samples)


def test_mean_cv_leaves_out_background_and_absent_structures():
    assert volumes.mean_cv([100, 2, np.nan, 4]) == 3
    assert np.isnan(volumes.mean_cv([1, np.nan, np.nan]))


def test_totals_of_the_phantom(phantom27):
    brain, ventricles = volumes.brain_totals(phantom27.volumes_mm3, (5, 12, 13, 18))
    fluid = sum(phantom27.volumes_mm3[i] for i in (5, 18, 12, 13))
    assert ventricles == fluid
    assert brain == phantom27.volumes_mm3[1:].sum() - fluid


def test_asymmetry_is_zero_in_the_phantom_and_signed_elsewhere(phantom27):
    left, right = phantom27.volumes_mm3[np.transpose(phantom27.pairs)]
    np.testing.assert_array_equal(volumes.asymmetry(left, right), 0)
    percent = volumes.asymmetry([30, 10, 5, 0, np.nan], [10, 30, 0, 0, 1])
    np.testing.assert_allclose(percent, (100, -100, 200, np.nan, np.nan))


def test_asymmetry_of_two_numbers_is_a_number():
    assert float(volumes.asymmetry(110, 90)) == 20


def test_spread_of_a_box_is_exact_whatever_its_voxels():
    exact = np.prod([40.0, 60, 80]) / 12**1.5
    for voxel in ([1, 1, 1], [0.5, 2, 1], [1, 1, 10]):
        labels = np.zeros((100, 80, 90), np.uint8)
        box = [slice(3, 3 + round(length / step)) for length, step in zip((40, 60, 80), voxel, strict=True)]
        labels[tuple(box)] = 3
        labels[0, 0, 0] = 4  # another structure
        assert volumes.spread(labels, np.diag([*voxel, 1]), (3,)) == pytest.approx(exact)


def test_etiv_follows_an_affine_of_the_head_as_a_volume_does(phantom27):
    cerebrum, labels = (1, 2, 3, 4), phantom27.labels
    before = volumes.etiv(labels, phantom27.affine, cerebrum)
    assert before > 0
    change = np.array([[1.1, 0.2, 0, 5], [-0.3, 1, 0.1, 6], [0, 0, 0.9, 7], [0, 0, 0, 1]])
    after = volumes.etiv(labels, change @ phantom27.affine, cerebrum)
    assert after / before == pytest.approx(np.linalg.det(change))
    assert volumes.etiv(labels[::-1].transpose(1, 0, 2), phantom27.affine, cerebrum) == pytest.approx(before)


def test_without_a_cerebrum_there_is_no_etiv(phantom27):
    rest = np.where(phantom27.labels > 4, phantom27.labels, 0)
    assert np.isnan(volumes.etiv(rest, phantom27.affine, (1, 2, 3, 4)))

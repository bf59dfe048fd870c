# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core import inspection


def test_every_structure_of_the_phantom_is_one_component(phantom27):
    shares = inspection.largest_component_fractions(phantom27.labels)
    assert np.isnan(shares[0])
    assert shares[1:].tolist() == [1.0] * 27


def test_components_are_measured_by_their_voxels():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:3, :2, :5] = 1  # 30 voxels
    labels[6:8, 5:10, 0] = 1  # 10, apart
    labels[3, 2, 5] = 1  # one that touches the first at a corner
    labels[9, 9, 9] = 3
    for laid_out in (labels, np.asfortranarray(labels)):
        shares = inspection.largest_component_fractions(laid_out, n=4)
        assert shares[1] == pytest.approx(31 / 41)
        assert np.isnan(shares[2])
        assert shares[3] == 1


def test_a_field_of_view_that_cuts_the_brain():
    mask = np.zeros((20, 20, 20), bool)
    mask[2:18, 2:18, 2:18] = True
    mask[2:18, 2:18, 18:] = np.arange(16)[:, None, None] < 4  # a quarter reaches the last slice
    assert inspection.fov_truncation(mask) == pytest.approx(0.25)
    assert inspection.fov_truncation(mask[:, :, :10]) == 1
    assert inspection.fov_truncation(mask[5:]) == 1
    assert np.isnan(inspection.fov_truncation(np.zeros((3, 3, 3))))


def test_only_the_structures_on_the_border_are_cut():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:10, 2:10, 2:10] = 1  # touches nothing
    labels[12:20, 2:10, 2:10] = 2  # ends on a face at full width
    labels[2:10, 12:18, 0:4] = 3
    labels[2:10, 12:18, 0] = np.where(np.arange(8)[:, None] < 2, 3, 0)  # a quarter of it is on the face
    for laid_out in (labels, np.asfortranarray(labels), labels[:, ::-1]):
        found = inspection.structure_truncation(laid_out, n=5)
        np.testing.assert_allclose(found, [np.nan, 0, 1, 0.25, 0])


def test_contrast_of_white_and_gray_matter():
    """Two tissues of 110 +- 5 and 90 +- 10: a third of the voxels in the middle and at either end."""
    labels = np.repeat([1, 2, 0], 300).reshape(9, 10, 10)
    values = np.concatenate([np.tile([105.0, 110, 115], 100), np.tile([80.0, 90, 100], 100), np.zeros(300)])
    found = inspection.tissue_signal(values.reshape(9, 10, 10), labels, white=[1], gray=[2])
    assert found.contrast == pytest.approx(20)
    assert found.cnr == pytest.approx(20 / np.hypot(5, 10))
    assert found.snr_white == pytest.approx(110 / 5)
    swapped = inspection.tissue_signal(values.reshape(9, 10, 10), labels, white=[2], gray=[1])
    assert swapped.contrast == pytest.approx(-20)
    assert swapped.cnr == pytest.approx(found.cnr)


def test_signal_and_contrast_need_a_zero():
    """Shifted by a constant, an image has the same contrast to noise, but no signal to noise."""
    labels = np.repeat([1, 2, 0], 300).reshape(9, 10, 10)
    values = np.concatenate([np.tile([105.0, 110, 115], 100), np.tile([80.0, 90, 100], 100), np.zeros(300)])
    plain = inspection.tissue_signal(values.reshape(labels.shape), labels, white=[1], gray=[2])
    shifted = inspection.tissue_signal(values.reshape(labels.shape) - 1000, labels, white=[1], gray=[2])
    assert np.isnan(shifted.snr_white) and np.isnan(shifted.contrast)
    assert shifted.cnr == pytest.approx(plain.cnr)
    units = {'white': [1], 'gray': [2], 'magnitude': False}
    assert inspection.tissue_signal(values.reshape(labels.shape) - 85, labels, **units).snr_white == 5


def test_contrast_that_cannot_be_measured_is_not_a_number():
    labels = np.ones((4, 4, 4), int)
    assert all(np.isnan(inspection.tissue_signal(np.zeros((4, 4, 4)), labels, white=[1], gray=[2])))
    assert all(np.isnan(inspection.tissue_signal(np.zeros((4, 4, 4)), labels, white=[1], gray=[1])))


def test_saturation_counts_the_brightest_voxels_inside():
    image = np.arange(1000.0).reshape(10, 10, 10)
    inside = np.zeros(image.shape, bool)
    inside[5:] = True
    assert inspection.saturation_fraction(image, inside) == pytest.approx(1 / 500)
    assert inspection.saturation_fraction(np.minimum(image, 899), inside) == pytest.approx(101 / 500)
    assert inspection.saturation_fraction(image, ~inside) == 0
    assert np.isnan(inspection.saturation_fraction(image, np.zeros(image.shape)))


def test_volumes_are_compared_for_the_size_of_the_head():
    mean, sd = np.log([0.01, 0.02, 0.02]), np.array([0.1, 0.2, 0.0])
    scores = inspection.population_scores(
        [0.01 * 1.2e6 * np.exp(0.3), 0.02 * 1.2e6 / np.exp(0.2), 1.0], 1.2e6, mean, sd
    )
    np.testing.assert_allclose(scores[:2], (3, -1))
    assert np.isnan(scores[2])

# SPDX-License-Identifier: Apache-2.0
"""Numbers that say whether an alignment can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from heads import SHAPE, reference, scan, truth

from bids_brainseg import registration
from bids_brainseg.data.quality import packaged_rules


def test_wrong_alignments_fall_below_the_threshold():
    limits = packaged_rules('T1w')[0]['alignment']
    fixed, affine, mask = reference()
    moving = scan(np.eye(4), affine, SHAPE)
    right = registration.local_agreement((moving, affine), (fixed, affine), mask, np.eye(4))
    assert right > limits['review_below']
    for wrong in (truth(shift=(0, 0, 20)), truth(pitch=40)):
        number = registration.local_agreement((moving, affine), (fixed, affine), mask, wrong)
        assert number < limits['review_below']


def test_agreement_is_one_for_the_same_image_and_nothing_outside():
    fixed, affine, mask = reference()
    same = registration.local_agreement((fixed, affine), (fixed, affine), mask, np.eye(4))
    assert same == pytest.approx(1, abs=1e-4)
    reversed_ = registration.local_agreement((200 - fixed, affine), (fixed, affine), mask, np.eye(4))
    assert reversed_ == pytest.approx(1, abs=1e-3)
    nothing = registration.local_agreement((fixed, affine), (fixed, affine), mask, truth(shift=(1000, 0, 0)))
    assert nothing == 0


def test_coverage_counts_the_mask_inside_the_scan():
    mask = np.zeros((10, 10, 10), bool)
    mask[:, 4:6, 2:8] = True
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    shifted = truth(shift=(0, 0, -4))
    assert registration.field_coverage((10, 10, 10), affine, mask, affine, np.eye(4)) == 1
    assert registration.field_coverage((10, 10, 4), affine, mask, affine, np.eye(4)) == pytest.approx(2 / 6)
    assert registration.field_coverage((10, 10, 4), affine, mask, affine, shifted) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ('matrix', 'complaint'),
    [
        (truth(30, 20, (1.1, 0.9, 1.0)), None),
        (np.diag([-1.0, 1, 1, 1]), 'mirrors'),
        (np.diag([1.0, 1, 1.6, 1]), 'scale 1.60'),
        (np.diag([1.2, 1, 0.8, 1]), 'stretch 1.50'),
        (truth(yaw=120), 'rotation by 120'),
        (np.full((4, 4), np.nan), 'mirrors or flattens'),
    ],
)
def test_implausible(matrix, complaint):
    found = registration.implausible(matrix)
    assert found is None if complaint is None else complaint in found


def test_labels_that_do_not_fit_score_low():
    fixed, affine, mask = reference()
    labels = np.digitize(fixed, [17, 40, 60, 80]) * mask
    numbers = []
    for shift in (0, 1, 2, 4):  # voxels of 3 mm
        numbers.append(registration.label_agreement(np.roll(fixed, shift, 1), labels, affine))
    assert numbers[0] > 0.9
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] < 0.4
    assert registration.label_agreement(fixed, np.zeros_like(labels), affine) == 0

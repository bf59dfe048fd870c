# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.labels import remap, split_midline, to_classes


def test_remap_and_unknown_labels():
    labels = np.array([[[0, 2, 41]]], np.int32)
    assert remap(labels, {0: 0, 2: 1, 41: 3}).tolist() == [[[0, 1, 3]]]
    with pytest.raises(ValueError, match=r'\[41\]'):
        remap(labels, {0: 0, 2: 1})
    assert remap(labels, {0: 0, 2: 1}, default=0).tolist() == [[[0, 1, 0]]]


@pytest.mark.parametrize('wrong', [np.array([0.5]), np.array([-1])])
def test_remap_wants_whole_numbers(wrong):
    with pytest.raises(ValueError, match='whole numbers'):
        remap(wrong, {0: 0})


@pytest.mark.parametrize('flip', [1, -1])
def test_unpaired_structures_go_to_the_side_they_lie_in(flip):
    labels = np.zeros((10, 3, 3), int)
    labels[:3], labels[7:], labels[3:7] = 2, 41, 251
    affine = np.diag([flip, 1.0, 1.0, 1])
    sides = (2, 41) if flip == 1 else (41, 2)
    if flip == -1:
        labels = np.where(labels == 2, 41, np.where(labels == 41, 2, labels))
    result = split_midline(labels, affine, split=[251], left=2, right=41, left_of=[2], right_of=[41])
    assert (result[3:5] == sides[0]).all() and (result[5:7] == sides[1]).all()


def test_no_midplane_without_both_sides():
    with pytest.raises(ValueError, match='midplane'):
        split_midline(
            np.full((2, 2, 2), 251), np.eye(4), split=[251], left=2, right=41, left_of=[2], right_of=[41]
        )


def test_other_schemes_become_classes():
    labels = np.array([2, 77, 77, 0, 251, 77, 41, 17]).reshape(-1, 1, 1)
    found = to_classes(labels, np.eye(4), {0: 0, 2: 1, 41: 3, 17: 15}, split={77: (1, 3), 251: (1, 3)})
    assert found.ravel().tolist() == [1, 1, 1, 0, 3, 3, 3, 15]
    assert found.dtype == np.uint8


def test_unpaired_structures_may_go_to_different_pairs():
    labels = np.array([45, 71, 9, 9, 71, 44]).reshape(-1, 1, 1)
    found = to_classes(labels, np.diag([-1.0, 1, 1, 1]), {45: 3, 44: 1}, split={71: (7, 20), 9: (1, 3)})
    assert found.ravel().tolist() == [3, 20, 3, 1, 7, 1]


def test_unknown_labels_are_named_or_take_the_default():
    labels = np.array([[[2, 999]]])
    with pytest.raises(ValueError, match=r'unknown labels \[999\]'):
        to_classes(labels, np.eye(4), {2: 1})
    assert to_classes(labels, np.eye(4), {2: 1}, default=0).tolist() == [[[1, 0]]]

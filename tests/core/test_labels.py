# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.labels import (
    brain_mask,
    freesurfer_classes,
    remap,
    split_midline,
    split_nearest,
    to_classes,
)
from bids_brainseg.data import freesurfer_rules


def test_remap_and_unknown_labels():
    labels = np.array([[[0, 2, 41]]], np.int32)
    assert remap(labels, {0: 0, 2: 1, 41: 3}).tolist() == [[[0, 1, 3]]]
    with pytest.raises(ValueError, match=r'\[41\]'):
        remap(labels, {0: 0, 2: 1})
    assert remap(labels, {0: 0, 2: 1}, default=0).tolist() == [[[0, 1, 0]]]


@pytest.mark.parametrize('wrong', [np.array([0.5]), np.array([-1])])
def test_remap_refuses_negative_and_fractional_labels(wrong):
    with pytest.raises(ValueError, match='integers from 0'):
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
    found = to_classes(
        labels, np.eye(4), {0: 0, 2: 1, 41: 3, 17: 15}, split={77: (1, 3), 251: (1, 3)}, midplane=(1, 3)
    )
    assert found.ravel().tolist() == [1, 1, 1, 0, 3, 3, 3, 15]
    assert found.dtype == np.uint8


def test_unpaired_structures_may_go_to_different_pairs():
    labels = np.array([45, 71, 9, 9, 71, 44]).reshape(-1, 1, 1)
    found = to_classes(
        labels, np.diag([-1.0, 1, 1, 1]), {45: 3, 44: 1}, split={71: (7, 20), 9: (1, 3)}, midplane=(1, 3)
    )
    assert found.ravel().tolist() == [3, 20, 3, 1, 7, 1]


def test_unknown_labels_are_named_or_take_the_default():
    labels = np.array([[[2, 999]]])
    with pytest.raises(ValueError, match=r'unknown labels \[999\]'):
        to_classes(labels, np.eye(4), {2: 1})
    with pytest.raises(ValueError, match=r', 9\] and 25 more \(is it a scan\?\): not in the class table'):
        to_classes(np.arange(35).reshape(-1, 1, 1), np.eye(4), {})
    assert to_classes(labels, np.eye(4), {2: 1}, default=0).tolist() == [[[1, 0]]]


# === FreeSurfer ===


def brain(cortex, white, *, unpaired=True):
    """A strip from left to right: what a segmentation calls cortex and white matter, and what has no side."""
    left, right = np.array([[cortex[0], white[0]], [cortex[1], white[1]]])
    strip = [left[0], left[1], left[1], 77, 251, 253, 77, right[1], right[1], right[0]]
    labels = np.zeros((12, 3, 3), int)
    labels[1:11] = np.array(strip)[:, None, None]
    labels[4, 2, 2] = 80
    labels[5:7, 0] = 14
    return labels if unpaired else np.where(np.isin(labels, (77, 80, 251, 253)), 14, labels)


VARIANTS = {
    'aseg': ((3, 42), (2, 41)),
    'aparc+aseg': ((1012, 2035), (2, 41)),
    'aparc.DKTatlas+aseg': ((1002, 2000), (2, 41)),
    'wmparc': ((1012, 2035), (3012, 5002)),
    'aparc.a2009s+aseg': ((11103, 12175), (2, 41)),
}


@pytest.mark.parametrize('flip', [1, -1])
def test_the_segmentations_of_freesurfer_give_the_same_classes(flip):
    affine = np.diag([flip * 2.0, 1, 1, 1])
    found = {name: brain(*numbers)[::flip] for name, numbers in VARIANTS.items()}
    found = {
        name: freesurfer_classes(labels, affine, **freesurfer_rules())[::flip]
        for name, labels in found.items()
    }
    expected = found['aseg']
    # cortex, white matter with the hypointensity at its side and its half of the corpus callosum; mirrored
    assert expected[1:11, 1, 1].tolist() == [2, 1, 1, 1, 1, 3, 3, 3, 3, 4]
    assert expected[4, 2, 2] == 1 and (expected[5:7, 0] == 12).all()
    for name, classes in found.items():
        np.testing.assert_array_equal(classes, expected, err_msg=name)


def test_a_number_that_freesurfer_does_not_have_is_named():
    labels = brain((3, 42), (2, 41))
    labels[0, 0, :2] = 777, 9999
    with pytest.raises(ValueError, match=r'\[777, 9999\]'):
        freesurfer_classes(labels, np.eye(4), **freesurfer_rules())


def test_hypointensities_go_to_the_nearest_white_matter_in_millimeters():
    labels = np.zeros((9, 9, 1), int)
    labels[4, 4], labels[4, 1], labels[6, 4] = 77, 2, 41
    split = {'split': [77], 'left': 2, 'right': 41}
    assert split_nearest(labels, np.eye(4), **split)[4, 4, 0] == 41  # 3 against 2 voxels
    assert split_nearest(labels, np.diag([2.0, 1, 1, 1]), **split)[4, 4, 0] == 2  # 3 against 4 mm
    labels[labels == 2] = 0
    assert split_nearest(labels, np.diag([2.0, 1, 1, 1]), **split)[4, 4, 0] == 41
    with pytest.raises(ValueError, match='belong to no side'):
        split_nearest(np.full((2, 2, 2), 77), np.eye(4), **split)


def sphere(shape, center, radius, sizes=(1, 1, 1)):
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing='ij'), -1) - np.array(center)
    return np.linalg.norm(grid * sizes, axis=-1) <= radius


def test_mask_fills_sulci_and_holes_and_adds_nothing_outside():
    ball = sphere((50, 50, 50), (25, 25, 25), 20)
    labels = ball.astype(np.uint8)
    labels[:, 23:28] = 0  # a fissure of 5 mm through and through
    labels[sphere(labels.shape, (25, 36, 25), 7)] = 0  # a hole wider than the ball that closes
    mask = brain_mask(labels, np.eye(4))
    assert mask[labels > 0].all()
    assert mask[sphere(labels.shape, (25, 25, 25), 17)].all()
    assert not mask[~sphere(labels.shape, (25, 25, 25), 20.5)].any()


def test_mask_leaves_what_is_wider_than_the_ball_open():
    labels = np.zeros((60, 40, 40), np.uint8)
    labels[5:20, 5:35, 5:35] = labels[34:50, 5:35, 5:35] = 1  # 14 mm apart
    assert not brain_mask(labels, np.eye(4))[20:34].any()
    assert brain_mask(labels, np.eye(4), closing_mm=8)[20:34, 20, 20].all()


def test_mask_knows_the_size_of_voxels_and_the_border():
    """Slices of 5 mm: a gap of one slice is closed, one of three is not; the image ends within the brain."""
    labels = np.ones((20, 20, 12), np.uint8)
    labels[:, :, 3] = labels[:, :, 6:9] = 0
    mask = brain_mask(labels, np.diag([1.0, 1.0, 5.0, 1.0]))
    assert mask[10, 10].tolist() == [True] * 6 + [False] * 3 + [True] * 3
    assert not brain_mask(np.zeros((4, 4, 4), np.uint8), np.eye(4)).any()

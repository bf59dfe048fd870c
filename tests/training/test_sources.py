# SPDX-License-Identifier: Apache-2.0
"""Pairs from prepared scans: moved together, each scan in its turn, the same for the same number."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bids_brainseg.errors import InputError
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.records import TrainingScan
from bids_brainseg.synthesis.ranges import AugmentationRanges
from bids_brainseg.training.sources import Mixture, ScanPairs

STILL = AugmentationRanges(0, 0, 0, 0, 0, 0, 0, 0, 0, False)


@pytest.fixture
def scans(phantom27, tmp_path):
    """Three scans of the phantom, whose intensity is three times the class, brightened by scan."""
    found = []
    for number in range(3):
        paths = [tmp_path / f'{kind}{number}.nii.gz' for kind in ('image', 'labels')]
        like = image_on_grid(phantom27.labels, phantom27.affine)
        save_like(phantom27.labels * 3.0 + number * (phantom27.labels > 0), like, paths[0], np.float32)
        save_like(phantom27.labels, like, paths[1], np.uint8)
        found.append(TrainingScan(*map(str, paths), f'scan {number}', 'T1w'))
    return found


def source(scans, phantom27, **changes):
    return ScanPairs(scans, phantom27.labels.shape, phantom27.affine, **{'ranges': STILL, **changes})


def test_every_scan_has_its_turn_and_stays_as_it_is(scans, phantom27):
    pairs = source(scans, phantom27, ranges=None)
    for turn in range(3):
        seen = sorted(int(pairs.pair(3 * turn + n)[0].max()) for n in range(3))
        assert seen == [81, 82, 83]
    orders = {tuple(int(pairs.pair(3 * turn + n)[0].max()) for n in range(3)) for turn in range(6)}
    assert len(orders) > 1
    np.testing.assert_array_equal(pairs.pair(0)[1], phantom27.labels)


def test_image_and_labels_move_together_and_repeatably(scans, phantom27):
    ranges = AugmentationRanges(
        rotation=10, shear=0, scale=0.05, translation=5, displacement=1, crop=0, flip=False
    )
    pairs = source(scans[:1], phantom27, ranges=ranges, seed=1)
    image, labels = pairs.pair(4)
    np.testing.assert_array_equal(image, pairs.pair(4)[0])
    assert not np.array_equal(labels, phantom27.labels)
    assert not np.array_equal(labels, pairs.pair(5)[1])
    inside = np.abs(image - 3.0 * labels) < 0.5  # but for the blur at the borders
    assert inside.mean() > 0.9 and (labels[~inside] == 0).sum() < labels.size * 0.1
    assert np.isin(np.arange(28), labels).sum() > 20


def test_a_mirrored_head_has_its_sides_exchanged(scans, phantom27):
    pairs = source(scans[:1], phantom27, ranges=AugmentationRanges(0, 0, 0, 0, 0, 0, 0, 0, 0, True))
    found = [pairs.pair(number) for number in range(8)]
    mirrored = [(image, labels) for image, labels in found if not np.allclose(image[image > 0], 0) and
                not np.array_equal(image, found[0][0])]  # fmt: skip
    kinds = {labels.tobytes() for _, labels in found}
    assert len(mirrored) in range(1, 8)
    # the phantom is symmetric: a mirrored one has the same labels, while its intensities tell the side
    assert kinds == {phantom27.labels.tobytes()}
    left, right = phantom27.pairs[0]
    values = {float(np.median(image[labels == left])) for image, labels in found}
    assert values == {3.0 * left, 3.0 * right}


def test_windows_are_parts_of_the_pair(scans, phantom27):
    image, labels = source(scans[:1], phantom27, ranges=None, window=(16, 24, 8)).pair(0)
    assert image.shape == labels.shape == (16, 24, 8)
    np.testing.assert_array_equal(image, 3.0 * labels)
    moved, there = source(scans[:1], phantom27, window=(16, 24, 8)).pair(0)
    assert moved.shape == there.shape == (16, 24, 8)
    np.testing.assert_allclose(moved, 3.0 * there, atol=1e-3)


def test_cropping_blanks_the_image_at_a_side(scans, phantom27):
    pairs = source(scans[:1], phantom27, ranges=AugmentationRanges(0, 0, 0, 0, 0, 1.0, 0, 0, 0, False))
    lost = [np.count_nonzero((image == 0) & (labels > 0)) for image, labels in map(pairs.pair, range(6))]
    assert max(lost) > 0


def test_another_grid_is_refused(scans, phantom27):
    with pytest.raises(InputError, match='prepared for another grid'):
        ScanPairs(scans, (8, 8, 8), phantom27.affine).pair(0)


def test_a_mixture_draws_from_both():
    named = [SimpleNamespace(pair=lambda number, name=name: (name, number)) for name in ('real', 'drawn')]
    pairs = [Mixture(*named, share=0.25, seed=1).pair(number) for number in range(400)]
    assert [number for _, number in pairs] == list(range(400))
    assert 70 < sum(name == 'drawn' for name, _ in pairs) < 130
    assert {name for name, _ in map(Mixture(*named, share=0.0).pair, range(50))} == {'real'}

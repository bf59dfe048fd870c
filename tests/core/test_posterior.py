# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.posterior import LabelOverlapAccumulator


def test_accumulated_overlap_equals_that_of_all_passes_at_once():
    labels = np.random.default_rng(0).integers(0, 4, (5, 3, 4, 2)).astype(np.uint8)
    labels[:, 0] = 1
    running = LabelOverlapAccumulator((3, 4, 2), 5)
    for own in labels:
        running.update(own)
    assert running.passes == 5
    np.testing.assert_array_equal(running.counts, [np.bincount(x.ravel(), minlength=5) for x in labels])
    shared = [(labels == c).all(0).sum() for c in range(5)]
    touched = [(labels == c).any(0).sum() for c in range(5)]
    assert shared[1] >= 8 and touched[4] == 0
    expected = np.divide(shared, touched, where=np.array(touched) > 0, out=np.full(5, np.nan))
    np.testing.assert_array_equal(running.intersection_over_union(), expected)


def test_shapes_and_number_of_classes_are_checked():
    with pytest.raises(ValueError, match='shape'):
        LabelOverlapAccumulator((2, 2, 2), 4).update(np.zeros((1, 1, 1), np.uint8))
    with pytest.raises(ValueError, match='32'):
        LabelOverlapAccumulator((1, 1, 1), 33)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.posterior import RunningPosterior


def run(passes):
    posterior = RunningPosterior(passes[0].shape[:3], passes[0].shape[3])
    for p in passes:
        with np.errstate(divide='ignore', invalid='ignore'):
            entropy = -np.nansum(p * np.log(p), -1)
        posterior.update(p, p.argmax(-1).astype(np.uint8), entropy)
    return posterior


@pytest.fixture
def passes():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=(5, 3, 4, 2)).astype(np.float32)
    return list(p)


def test_the_stream_gives_what_all_at_once_gives(passes):
    posterior = run(passes)
    mean = np.mean(passes, 0)
    np.testing.assert_allclose(posterior.mean(), np.moveaxis(mean, -1, 0), atol=1e-3)
    entropy = -(mean * np.log(mean)).sum(-1) / np.log(4)
    np.testing.assert_allclose(posterior.entropy(), entropy, atol=1e-5)
    within = np.mean([-(p * np.log(p)).sum(-1) for p in passes], 0) / np.log(4)
    np.testing.assert_allclose(posterior.mutual_information(), entropy - within, atol=1e-5)
    np.testing.assert_array_equal(
        posterior.counts, [np.bincount(p.argmax(-1).ravel(), minlength=4) for p in passes]
    )
    labels = np.array([p.argmax(-1) for p in passes])
    expected = [(labels == c).all(0).sum() / max((labels == c).any(0).sum(), 1) for c in range(4)]
    np.testing.assert_allclose(posterior.intersection_over_union(), expected)


def test_certainty_has_no_entropy():
    certain = np.zeros((2, 2, 2, 3), np.float32)
    certain[..., 1] = 1
    posterior = run([certain, certain])
    assert posterior.entropy().max() == 0 and posterior.mutual_information().max() == 0
    iou = posterior.intersection_over_union()
    assert iou[1] == 1 and np.isnan(iou[[0, 2]]).all()


def test_shapes_and_number_of_classes_are_checked(passes):
    posterior = run(passes)
    with pytest.raises(ValueError, match='shape'):
        posterior.update(np.zeros((1, 1, 1, 4)), np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1)))
    with pytest.raises(ValueError, match='32'):
        RunningPosterior((1, 1, 1), 33)

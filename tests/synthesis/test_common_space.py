# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.synthesis.common_space import (
    MNI_CENTERS,
    common_space,
    fit_affine,
    fit_rigid,
    structure_centers,
)

NUMBERS = list(MNI_CENTERS)


def affine(rng, scale=1.0):
    matrix = np.eye(4)
    matrix[:3, :3] = scale * (np.eye(3) + rng.normal(0, 0.08, (3, 3)))
    matrix[:3, 3] = rng.normal(0, 30, 3)
    return matrix


def move(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def test_centers_are_in_ras_mm():
    labels = np.zeros((10, 10, 10), int)
    labels[2:4, 3:5, 6] = 17
    labels[7, 7, 7] = 53
    matrix = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 0], [0, 0, 1, -5], [0, 0, 0, 1]])
    np.testing.assert_allclose(structure_centers(labels, matrix, [17, 53]), [[5, 10.5, 1], [-4, 21, 2]])
    with pytest.raises(ValueError, match=r'\[18\]'):
        structure_centers(labels, matrix, [17, 18])


def test_fits_recover_what_moved_the_points():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 30, (12, 3))
    truth = affine(rng)
    np.testing.assert_allclose(fit_affine(points, move(truth, points)), truth, atol=1e-9)
    rotation = np.eye(4)
    rotation[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation[:3, :3] *= np.sign(np.linalg.det(rotation[:3, :3]))
    rotation[:3, 3] = [5, -7, 3]
    np.testing.assert_allclose(fit_rigid(points, move(rotation, points)), rotation, atol=1e-9)


def test_a_mirror_image_is_not_rotated_into_place():
    points = np.random.default_rng(0).normal(0, 30, (12, 3))
    assert np.linalg.det(fit_rigid(points, points * [-1, 1, 1])[:3, :3]) == pytest.approx(1)


def test_the_common_space_has_mean_size_and_the_orientation_of_mni():
    rng = np.random.default_rng(1)
    mni = np.array([MNI_CENTERS[n] for n in NUMBERS], float)
    truths = [affine(rng, scale) for scale in (0.9, 1.0, 1.1)]
    matrices = common_space([move(t, mni) for t in truths], NUMBERS)
    determinants = [np.linalg.det(m[:3, :3]) for m in matrices]
    assert np.exp(np.mean(np.log(determinants))) == pytest.approx(1, abs=1e-6)
    # the subjects are affine images of one brain, so that they meet exactly in the common space
    common = [move(np.linalg.inv(m), move(t, mni)) for m, t in zip(matrices, truths, strict=True)]
    np.testing.assert_allclose(common[0], common[1], atol=1e-6)
    left, right = (common[0][NUMBERS.index(n)] for n in (17, 53))
    assert left[0] < -10 and right[0] > 10
    assert abs(left[1] - right[1]) < 3

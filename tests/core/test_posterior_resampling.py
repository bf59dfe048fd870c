# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest

from bids_brainseg.core import geometry
from bids_brainseg.core.posterior_resampling import resample_map, resample_posterior
from bids_brainseg.core.resampling import resample, resample_labels_nearest

AXES = dict(zip('RLAPSI', [*itertools.chain(*((v, -v) for v in np.eye(3)))], strict=True))


def rotation(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    a, b = [i for i in range(3) if i != axis]
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix


def scan_grid(codes: str, sizes, tilt: float = 0.0, extent=(115.0, 135.0, 115.0)):
    """A grid around the origin whose axes point where the codes say."""
    linear = np.stack([AXES[c] * s for c, s in zip(codes, sizes, strict=True)], axis=1)
    shape = tuple(int(np.ceil(np.abs(AXES[c]) @ extent / s)) for c, s in zip(codes, sizes, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = (rotation(tilt, 0) @ rotation(tilt, 2))[:3, :3] @ linear
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return shape, affine


GRIDS = {
    'LAS': scan_grid('LAS', (2, 2, 2)),
    'PSR': scan_grid('PSR', (2, 2, 2)),
    'oblique': scan_grid('LPS', (2, 2, 2), tilt=20),
    'anisotropic': scan_grid('RAS', (1, 1, 5)),
    'sagittal slices': scan_grid('PIR', (1.5, 1.5, 4), tilt=8),
    '0.7 mm': scan_grid('LIA', (0.7, 0.7, 0.7)),
}
# What a registration would have found: turned, squeezed and moved, but the head is still upright.
REFERENCE_TO_SCAN = rotation(9, 0) @ rotation(-4, 1) @ np.diag([0.95, 1.05, 0.9, 1])
REFERENCE_TO_SCAN[:3, 3] = 1.0, 4.0, -3.0


def world(shape, affine) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def apply(matrix, points) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@pytest.mark.parametrize('name', GRIDS)
@pytest.mark.parametrize('how', ['posterior', 'nearest'])
def test_left_stays_left_from_the_reference_to_the_scan(phantom27, name, how):
    shape, affine = GRIDS[name]
    back = geometry.invert(REFERENCE_TO_SCAN)
    if how == 'posterior':
        labels = resample_posterior(phantom27.posterior, phantom27.affine, shape, affine, back)
    else:
        labels = resample_labels_nearest(phantom27.labels, phantom27.affine, shape, affine, back)
    assert labels.shape == shape and labels.dtype == np.uint8
    longest = geometry.voxel_sizes(affine).max()
    voxels = np.argwhere(labels)
    found = labels[tuple(voxels.T)]
    center = {i: apply(affine, voxels[found == i].mean(axis=0)) for i in range(1, 28)}
    for left, right in phantom27.pairs:
        assert center[left][0] < -10 and center[right][0] > 10
    for index in range(1, 28):
        expected = apply(REFERENCE_TO_SCAN, phantom27.center(index))
        assert np.linalg.norm(center[index] - expected) < longest / 2


@pytest.mark.parametrize('name', GRIDS)
def test_left_stays_left_from_the_scan_to_the_reference(phantom27, name):
    shape, affine = GRIDS[name]
    head = phantom27.labels_at(apply(geometry.invert(REFERENCE_TO_SCAN), world(shape, affine)))
    points = world(phantom27.labels.shape, phantom27.affine)
    for index in phantom27.pairs[2]:
        out = resample(head == index, affine, phantom27.labels.shape, phantom27.affine, REFERENCE_TO_SCAN)
        center = (points * out[..., None]).sum(axis=(0, 1, 2)) / out.sum()
        assert np.linalg.norm(center - phantom27.center(index)) < geometry.voxel_sizes(affine).max() / 2


@pytest.mark.parametrize('name', ['LAS', 'oblique', '0.7 mm'])
def test_resampling_to_the_scan_preserves_volumes(phantom27, name):
    shape, affine = GRIDS[name]
    labels = resample_labels_nearest(
        phantom27.labels, phantom27.affine, shape, affine, geometry.invert(REFERENCE_TO_SCAN)
    )
    expected = phantom27.volumes_mm3[1:] * geometry.volume_scaling(REFERENCE_TO_SCAN)
    measured = np.bincount(labels.ravel(), minlength=28)[1:] * geometry.voxel_volume(affine)
    np.testing.assert_allclose(measured, expected, rtol=0.02 if name == '0.7 mm' else 0.12)
    assert measured.sum() == pytest.approx(expected.sum(), rel=0.01)


def test_nearest_neighbor_follows_the_definition_of_the_boxes(phantom27):
    shape, affine = GRIDS['oblique']
    back = geometry.invert(REFERENCE_TO_SCAN)
    labels = resample_labels_nearest(phantom27.labels, phantom27.affine, shape, affine, back)
    np.testing.assert_array_equal(labels, phantom27.labels_at(apply(back, world(shape, affine))))


def random_posterior(shape=(14, 17, 15), classes=28, smooth=3, seed=0) -> np.ndarray:
    """Classes in patches, with soft and noisy borders, and up to the edge of the grid."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(classes, *(n // smooth + 1 for n in shape)))
    patches = np.kron(coarse, np.ones((1, smooth, smooth, smooth)))[:, : shape[0], : shape[1], : shape[2]]
    logits = 2.0 * patches + rng.normal(size=(classes, *shape))
    exp = np.exp(logits)
    return (exp / exp.sum(axis=0)).astype(np.float16)


@pytest.mark.parametrize('seed', range(3))
def test_posterior_equals_evaluating_every_class_everywhere(seed):
    posterior = random_posterior(seed=seed)
    affine = np.diag([1.4, 1.4, 1.4, 1])
    matrix = rotation(20, 0) @ rotation(-15, 2)
    matrix[:3, 3] = -3.0, 2.0, 1.0
    shape, target = (41, 39, 37), np.diag([0.7, 0.6, 0.8, 1])
    out = resample_posterior(posterior, affine, shape, target, matrix)
    # Linear interpolation by its definition: the mean of eight corners, weighted by the opposite volumes.
    where = apply(geometry.voxel_to_voxel(affine, target, matrix), np.moveaxis(np.indices(shape), 0, -1))
    padded = np.pad(posterior.astype(np.float64), ((0, 0), (1, 1), (1, 1), (1, 1)))
    padded[0, ...] = 1.0
    padded[0, 1:-1, 1:-1, 1:-1] = posterior[0]
    position = np.clip(where + 1, 0, np.array(padded.shape[1:]) - 1 - 1e-9)
    base = np.floor(position).astype(int)
    part = position - base
    values = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        i, j, k = np.moveaxis(base + corner, -1, 0)
        values = values + padded[:, i, j, k] * np.where(corner, part, 1 - part).prod(axis=-1)
    first, second = np.sort(values, axis=0)[[-1, -2]]
    decided = first - second > 1e-5
    assert decided.mean() > 0.99 and len(np.unique(values.argmax(axis=0))) > 10
    np.testing.assert_array_equal(out[decided], values.argmax(axis=0)[decided])
    threaded = resample_posterior(posterior, affine, shape, target, matrix, threads=3)
    np.testing.assert_array_equal(threaded, out)


def test_posterior_on_its_own_grid_is_the_argmax():
    posterior = random_posterior()
    affine = rotation(7, 1) @ np.diag([-1.4, 1.3, 1.4, 1])
    affine[:3, 3] = 87.3, -126.1, -72.9
    out = resample_posterior(posterior, affine, posterior.shape[1:], affine, np.eye(4))
    # Grid-scale rounding may turn a tie; there is none between half-precision numbers this far apart.
    first, second = np.sort(posterior.astype(np.float32), axis=0)[[-1, -2]]
    clear = first - second > 1e-4
    np.testing.assert_array_equal(out[clear], posterior.argmax(axis=0)[clear])


def test_a_class_that_is_second_everywhere_may_win_in_between():
    posterior = np.zeros((4, 2, 2, 2))
    posterior[:, 0] = np.array([0.0, 0.55, 0.45, 0.0])[:, None, None]
    posterior[:, 1] = np.array([0.0, 0.0, 0.45, 0.55])[:, None, None]
    out = resample_posterior(posterior, np.eye(4), (3, 2, 2), np.diag([0.5, 1, 1, 1]), np.eye(4))
    np.testing.assert_array_equal(out[:, 0, 0], (1, 2, 3))


def test_outside_the_network_grid_is_background():
    posterior = np.zeros((3, 4, 4, 4))
    posterior[2] = 1
    shifted = np.eye(4)
    shifted[:3, 3] = -3
    out = resample_posterior(posterior, np.eye(4), (10, 10, 10), shifted, np.eye(4))
    expected = np.zeros((10, 10, 10))
    expected[3:7, 3:7, 3:7] = 2
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(
        resample_labels_nearest(posterior.argmax(0), np.eye(4), (10, 10, 10), shifted, np.eye(4)),
        expected,
    )


def test_a_scan_elsewhere_has_no_labels(phantom27):
    far = np.eye(4)
    far[:3, 3] = 1000
    args = phantom27.affine, (5, 6, 7), far, np.eye(4)
    assert not resample_posterior(phantom27.posterior, *args).any()
    assert not resample_labels_nearest(phantom27.labels, *args).any()


def test_an_empty_label_map_stays_empty():
    out = resample_labels_nearest(np.zeros((4, 4, 4), int), np.eye(4), (5, 5, 5), np.eye(4), np.eye(4))
    assert out.shape == (5, 5, 5) and not out.any()


def test_a_map_is_interpolated_and_not_blurred():
    values = np.zeros((5, 5, 5))
    values[2, 2, 2] = 1
    out = resample_map(values, np.eye(4), (3, 5, 5), np.diag([2.0, 1, 1, 1]), np.eye(4))
    assert out[1, 2, 2] == 1 and out.sum() == 1
    finer = resample_map(values, np.eye(4), (9, 5, 5), np.diag([0.5, 1, 1, 1]), np.eye(4))
    np.testing.assert_allclose(finer[3:6, 2, 2], (0.5, 1, 0.5))


@pytest.mark.parametrize(
    ('posterior', 'message'),
    [
        (np.zeros((4, 4, 4)), r'got \(4, 4, 4\)'),
        (np.zeros((65, 2, 2, 2)), r'got \(65, 2, 2, 2\)'),
        (np.full((3, 2, 2, 2), np.nan), 'not finite'),
    ],
)
def test_invalid_posteriors_are_refused(posterior, message):
    with pytest.raises(ValueError, match=message):
        resample_posterior(posterior, np.eye(4), (2, 2, 2), np.eye(4), np.eye(4))

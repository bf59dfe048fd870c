# SPDX-License-Identifier: Apache-2.0
"""Muon on the kernels of convolutions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from bids_brainseg.network.optimizers import COEFFICIENTS, ConvolutionMuon, is_inner_kernel, orthogonalized
from bids_brainseg.network.unet import build_unet


def plainly_orthogonalized(matrix):
    a, b, c = COEFFICIENTS
    matrix = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = matrix @ matrix.T
        matrix = a * matrix + (b * gram + c * gram @ gram) @ matrix
    return matrix


@pytest.mark.parametrize('shape', [(54, 16), (6, 6), (8, 40)])
def test_singular_values_become_one_as_by_the_plain_iteration(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    found = keras.ops.convert_to_numpy(orthogonalized(keras.ops.convert_to_tensor(matrix, 'float32')))
    np.testing.assert_allclose(found, plainly_orthogonalized(matrix), atol=2e-4)
    values = np.linalg.svd(found, compute_uv=False)
    assert 0.6 < values.min() and values.max() < 1.25


def test_a_matrix_of_low_rank_does_not_blow_up():
    rng = np.random.default_rng(0)
    matrix = (rng.standard_normal((432, 2)) @ rng.standard_normal((2, 64))).astype(np.float32)
    found = keras.ops.convert_to_numpy(orthogonalized(keras.ops.convert_to_tensor(matrix)))
    values = np.linalg.svd(found, compute_uv=False)
    assert values.max() < 1.25 and values[2:].max() < 0.2
    zero = keras.ops.convert_to_numpy(orthogonalized(keras.ops.zeros((8, 4))))
    assert not zero.any()


def test_kernels_of_inner_convolutions_are_told_from_the_rest():
    model = build_unet(filters=2, depth=1)
    inner = {v.path for v in model.trainable_variables if is_inner_kernel(v.shape)}
    first = {'encoder_0_conv_0/kernel'}
    inside = {v.path for v in model.trainable_variables if '_conv_' in v.path} - first | {'up_0/kernel'}
    assert len(inside) == 6 and inner == inside


def changed(optimizer, gradients, start):
    variables = [keras.Variable(value) for value in start]
    for step in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [keras.ops.convert_to_numpy(v) for v in variables]


def test_a_step_is_that_of_muon_or_of_adam():
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 3, 4, 6), (6,), (3, 3, 3, 1, 6), (1, 1, 1, 6, 28)]
    start = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    gradients = [[rng.standard_normal(s).astype(np.float32) for s in shapes] for _ in range(3)]
    found = changed(ConvolutionMuon(0.01), gradients, start)
    adam = changed(keras.optimizers.Adam(0.01), gradients, start)
    for a, b in zip(found[1:], adam[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    kernel, momentum = start[0].reshape(-1, 6).astype(float), 0
    for gradient in gradients:
        flat = gradient[0].reshape(-1, 6)
        momentum = 0.95 * momentum + flat
        kernel -= 0.01 * 0.2 * np.sqrt(108) * plainly_orthogonalized((flat + 0.95 * momentum).T).T
    np.testing.assert_allclose(found[0].reshape(-1, 6), kernel, atol=1e-5)


def test_it_is_rebuilt_from_what_it_says_of_itself():
    before = ConvolutionMuon(0.02, momentum=0.9, use_ema=True, ema_momentum=0.8, epsilon=1e-6)
    after = keras.optimizers.deserialize(keras.optimizers.serialize(before))
    assert after.get_config() == before.get_config()
    assert (after.momentum, after.use_ema, after.epsilon) == (0.9, True, 1e-6)

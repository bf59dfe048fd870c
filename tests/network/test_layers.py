# SPDX-License-Identifier: Apache-2.0
"""Layers against their plain formulas."""

from __future__ import annotations

import os
from functools import partial

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import numpy as np
import pytest

from bids_brainseg.network.layers import InstanceNormalization, MonteCarloDropout, PosteriorAccumulator


def trained_once(make, inputs, targets):
    """Output, and scale, offset and shift after a step of length 1 along the gradient of the summed product.

    Scale and offset take their step in another model than the shift: TensorFlow may update one variable
    before the gradient of another has read it.
    """
    changed = []
    for learned in ('normalization', 'shift'):
        shift, layer = Shift(trainable=learned == 'shift'), make(trainable=learned == 'normalization')
        model = keras.Sequential([keras.Input(inputs.shape[1:]), shift, layer])
        layer.gamma.assign(np.linspace(-1, 2, inputs.shape[-1]))
        layer.beta.assign(np.linspace(0, 1, inputs.shape[-1]))
        output = model.predict_on_batch(inputs)
        model.compile(keras.optimizers.SGD(1.0), loss=lambda y, p: keras.ops.sum(y * p))
        model.train_on_batch(inputs, targets)
        changed += [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    return output, changed


class Shift(keras.layers.Layer):
    """Add a weight to every number, so that a step of the optimizer shows the gradient."""

    def build(self, shape):
        self.shift = self.add_weight(shape=shape[1:], initializer='zeros')

    def call(self, inputs):
        return inputs + self.shift


@pytest.mark.parametrize('scans', [1, 3])
def test_normalization_and_its_gradient_are_those_of_single_maps_as_groups(scans):
    rng = np.random.default_rng(0)
    inputs = (rng.normal(1, 2, (scans, 4, 5, 6, 3)) * [0.1, 1, 10]).astype(np.float32)
    targets = rng.normal(0, 1, inputs.shape).astype(np.float32)
    found, changed = trained_once(InstanceNormalization, inputs, targets)
    expected, wanted = trained_once(partial(keras.layers.GroupNormalization, -1), inputs, targets)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    for a, b in zip(changed, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_normalization_of_many_voxels_is_as_exact_as_single_precision_allows():
    inputs = np.random.default_rng(0).normal(4, 1, (1, 40, 64, 64, 2)).astype(np.float32)
    found = keras.ops.convert_to_numpy(InstanceNormalization()(inputs))
    plain = inputs.astype(float)
    deviation = np.sqrt(plain.var((1, 2, 3)) + 1e-3)
    np.testing.assert_allclose(found, (plain - plain.mean((1, 2, 3))) / deviation, atol=1e-4)


def test_a_map_without_contrast_becomes_its_offset():
    layer = InstanceNormalization()
    layer.build((1, 4, 4, 4, 2))
    layer.beta.assign([0.5, -0.5])
    found = keras.ops.convert_to_numpy(layer(np.full((1, 4, 4, 4, 2), 3, np.float32)))
    np.testing.assert_allclose(found, np.broadcast_to([0.5, -0.5], found.shape), atol=1e-3)


def test_layers_are_rebuilt_from_what_they_say_of_themselves():
    for layer in (InstanceNormalization(1e-5, name='a'), MonteCarloDropout(0.3, channelwise=True, seed=2)):
        again = keras.layers.deserialize(keras.layers.serialize(layer))
        assert again.get_config() == layer.get_config()


@pytest.mark.parametrize('channels', [1, 5, 16])
def test_single_voxels_are_dropped_at_the_rate_and_the_mean_is_kept(channels):
    ones = np.ones((1, 40, 40, 40, channels), np.float32)
    found = keras.ops.convert_to_numpy(MonteCarloDropout(0.2, seed=1)(ones))
    dropped = round(0.2 * 65536) / 65536
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / (1 - dropped))}
    share, spread = (found == 0).mean(), np.sqrt(0.2 * 0.8 / found.size)
    assert abs(share - dropped) < 4 * spread
    # neighbours, also those that share a word, are dropped independently
    if channels > 1:
        both = ((found[..., 1:] == 0) & (found[..., :-1] == 0)).mean()
        assert abs(both - dropped**2) < 4 * spread
    both = ((found[:, 1:] == 0) & (found[:, :-1] == 0)).mean()
    assert abs(both - dropped**2) < 4 * spread


@pytest.mark.parametrize('channels', [3, 4])
def test_masks_repeat_with_the_seed_and_differ_from_call_to_call(channels):
    ones = np.ones((1, 6, 6, 6, channels), np.float32)
    one, same, other = (MonteCarloDropout(0.5, seed=seed) for seed in (3, 3, 4))
    first = [keras.ops.convert_to_numpy(one(ones)) for _ in range(2)]
    again = [keras.ops.convert_to_numpy(same(ones)) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(*first)
    assert not np.array_equal(first[0], keras.ops.convert_to_numpy(other(ones)))


def test_no_rate_drops_nothing():
    inputs = np.random.default_rng(0).normal(0, 1, (1, 3, 3, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(MonteCarloDropout(0.0)(inputs)), inputs)


def test_the_accumulator_adds_probabilities_and_entropies():
    rng = np.random.default_rng(0)
    passes = rng.normal(0, 5, (3, 1, 4, 5, 6, 7))
    passes[0, ..., 2] += 200  # nothing but one class: the others have no logarithm in single precision
    sums = PosteriorAccumulator((4, 5, 6), 7)
    for logits in passes:
        np.testing.assert_array_equal(np.asarray(sums(logits.astype(np.float32))), logits.argmax(-1))
    probabilities = np.exp(passes - passes.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    mean, total, information = sums.summary(3)
    np.testing.assert_allclose(np.moveaxis(mean, 0, -1), probabilities.mean(0)[0], atol=1e-3)
    entropies = [
        -(p * np.log(np.maximum(p, 1e-30))).sum(-1) / np.log(7)
        for p in (*probabilities, probabilities.mean(0))
    ]
    np.testing.assert_allclose(total, entropies[-1][0], atol=1e-5)
    assert information == pytest.approx(entropies[-1].mean() - np.mean(entropies[:-1]), abs=1e-5)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import numpy as np
import pytest

from bids_brainseg.network.layers import MonteCarloDropout
from bids_brainseg.network.unet import build_unet, split_first_block

SMALL = {'filters': 2, 'depth': 2, 'classes': 5}


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(0, 100, (1, 8, 12, 16, 1)).astype(np.float32)


def test_the_published_network_has_the_published_shape():
    model = build_unet(filters=32, depth=4)
    assert model.get_layer('bottleneck_conv_1').filters == 512
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv3DTranspose)] == [
        256,
        128,
        64,
        32,
    ]
    assert sum(isinstance(layer, keras.layers.MaxPooling3D) for layer in model.layers) == 4
    dropped = [layer.name for layer in model.layers if isinstance(layer, MonteCarloDropout)]
    # after every encoder and decoder block, none in the bottleneck
    assert sorted(dropped) == sorted(
        [f'{part}_{i}_drop' for part in ('encoder', 'decoder') for i in range(4)]
    )
    assert model.output_shape == (None, None, None, None, 28)


def test_probabilities_sum_to_one(image):
    probabilities = build_unet(**SMALL).predict_on_batch(image)
    assert probabilities.shape == (1, 8, 12, 16, 5)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize('kind', ['channel', 'element'])
def test_passes_differ_and_repeat_with_the_seed(image, kind):
    keras.utils.set_random_seed(3)
    model = build_unet(**SMALL, dropout_kind=kind, seed=7)
    twin = build_unet(**SMALL, dropout_kind=kind, seed=7)
    twin.set_weights(model.get_weights())
    first, second = model.predict_on_batch(image), model.predict_on_batch(image)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(twin.predict_on_batch(image), first, atol=1e-6)
    np.testing.assert_allclose(twin.predict_on_batch(image), second, atol=1e-6)
    other = build_unet(**SMALL, dropout_kind=kind, seed=8)
    other.set_weights([*model.get_weights()])
    for layer in other.layers:
        if isinstance(layer, MonteCarloDropout):
            layer.seed_generator.state.assign(keras.random.SeedGenerator(layer.seed).state)
    assert np.abs(other.predict_on_batch(image) - first).max() > 1e-3


def test_sampling_leaves_the_statistics_of_batch_normalization_alone(image):
    model = build_unet(**SMALL, normalization='batch')
    before = [np.array(w) for w in model.get_weights()]
    names = [v.path for v in model.weights]
    model.predict_on_batch(image)
    for name, old, new in zip(names, before, model.get_weights(), strict=True):
        if 'seed_generator' not in name:
            np.testing.assert_array_equal(old, new)


def test_the_deterministic_network_repeats(image):
    model = build_unet(**SMALL, stochastic=False)
    np.testing.assert_array_equal(model.predict_on_batch(image), model.predict_on_batch(image))
    assert not any(isinstance(layer, MonteCarloDropout) for layer in model.layers)


def test_channelwise_dropout_drops_whole_maps_and_keeps_the_mean():
    layer = MonteCarloDropout(0.5, channelwise=True, seed=1)
    out = np.asarray(layer(np.ones((1, 4, 4, 4, 1000), np.float32)))
    per_map = out.reshape(-1, 1000)
    assert (per_map == per_map[0]).all()
    assert set(np.unique(out)) == {0.0, 2.0}
    assert abs(out.mean() - 1) < 0.1


def test_the_two_parts_make_the_whole(image):
    model = build_unet(**SMALL, stochastic=False)
    first, rest = split_first_block(model)
    logits = rest.predict_on_batch(first.predict_on_batch(image))
    found = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    np.testing.assert_allclose(found, model.predict_on_batch(image), atol=1e-6)
    assert not any(
        isinstance(layer, MonteCarloDropout) for layer in split_first_block(build_unet(**SMALL))[0].layers
    )


@pytest.mark.parametrize(
    'wrong', [{'normalization': 'none'}, {'dropout_kind': 'voxel'}, {'filters': 0}, {'dropout': 1.0}]
)
def test_arguments_are_checked(wrong):
    with pytest.raises(ValueError, match='Received instead'):
        build_unet(**{**SMALL, **wrong})


def test_saved_layer_comes_back():
    layer = MonteCarloDropout(0.3, channelwise=False, seed=5)
    twin = MonteCarloDropout.from_config(layer.get_config())
    assert (twin.rate, twin.channelwise, twin.seed) == (0.3, False, 5)

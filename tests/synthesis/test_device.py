# SPDX-License-Identifier: Apache-2.0
"""Pairs drawn on the device: the arithmetic of the host, in steps of fixed shape."""

from __future__ import annotations

import os

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import numpy as np
import pytest
from keras import ops, tree
from tiny import make_label_map

from bids_brainseg.core.intensity import percentile_limits
from bids_brainseg.errors import ModelError
from bids_brainseg.network.backend import set_precision
from bids_brainseg.network.losses import DiceCrossEntropy
from bids_brainseg.network.unet import build_unet
from bids_brainseg.records import TrainingStage
from bids_brainseg.synthesis.device import (
    DeviceSource,
    KerasOps,
    render_batch,
    sampled_on,
)
from bids_brainseg.synthesis.label_map import priors
from bids_brainseg.synthesis.ranges import AugmentationRanges
from bids_brainseg.synthesis.render import render_image, render_labels
from bids_brainseg.synthesis.scene import fixed_shapes
from bids_brainseg.training.label_maps import align_label_map
from bids_brainseg.training.loop import CHECKPOINT, build_optimizer, fit
from bids_brainseg.training.references import defaults, grid_affine, packaged_references
from bids_brainseg.training.sources import ScanPairs, synthesizer

GRID = {'shape': (32, 32, 32), 'affine': grid_affine((32, 32, 32), 6.0, defaults()['center'])}
OFTEN = AugmentationRanges(crop=0.5, deface=0.5, lesions=0.5, effects=dict.fromkeys(priors()['effects'], 0.5))


@pytest.fixture(scope='module')
def pair_of_maps(tmp_path_factory):
    """Two label maps of different shape."""
    folder = tmp_path_factory.mktemp('maps')
    maps = [make_label_map(folder / f'map{n}.nii.gz', shift) for n, shift in enumerate((0, 20))]
    first, second = (align_label_map(path, folder / 'aligned', defaults()['centers']) for path in maps)
    arrays = second.arrays()
    arrays['codes'] = np.pad(second.codes, [(0, 0), (0, 0), (0, 3)])
    return [first, type(first).from_arrays(**arrays)]


def synthesizer_of(pair_of_maps, contrasts=('T1w', 'ct'), **changes):
    values = {**GRID, 'ranges': OFTEN, 'seed': 3, **changes}
    return synthesizer(pair_of_maps, packaged_references(contrasts), **values)


@pytest.mark.parametrize('window', [None, (16, 32, 16)])
def test_the_same_scene_gives_the_same_scan(pair_of_maps, window):
    source = synthesizer_of(pair_of_maps, window=window)
    device = DeviceSource(source)
    seen = set()
    for number in range(12):
        scene, noise = source.sample(np.random.default_rng(number), noisy=True)
        facts = (
            scene.label_map,
            scene.hounsfield,
            scene.effects['lesions'] is None,
            scene.effects['crop'] is None,
        )
        seen |= set(enumerate(facts))
        codes = source.label_maps[scene.label_map].codes
        fixed = tree.map_structure(ops.convert_to_tensor, fixed_shapes(scene, device.grids))
        full = {}
        for name, fields in noise.items():
            full[name] = np.zeros((2, *device.grids.fine_shape), np.float32)
            for place, part in zip(full[name], fields, strict=False):
                place[tuple(map(slice, part.shape))] = part
        found = render_image(
            fixed, device.codes[scene.label_map], tree.map_structure(ops.convert_to_tensor, full), KerasOps
        )
        labels = ops.convert_to_numpy(render_labels(fixed, device.codes[scene.label_map], KerasOps))
        # intensities go up to 100; a voxel between two labels may round to either
        difference = np.abs(ops.convert_to_numpy(found) - render_image(scene, codes, noise))
        assert np.quantile(difference, 0.999) < 0.01
        assert np.mean(labels == render_labels(scene, codes)) > 0.999
        assert len(np.unique(labels)) > 5
    assert len(seen) == 8  # each of both heads, CT or not, lesions or not, cropped or not


@pytest.mark.parametrize('offset', [0.0, 300.0])
def test_limits_are_those_of_the_host(offset):
    rng = np.random.default_rng(0)
    image = np.abs(rng.normal(0, 1, (24, 24, 24))).astype(np.float32)
    image[4:20, 4:20, 4:20] += rng.uniform(20, 60, (16, 16, 16)).astype(np.float32)
    image += np.float32(offset)
    region = np.zeros(image.shape, bool)
    region[2:9] = True
    low, high = (ops.cast(x, 'float32') for x in (0.5, 99.5))
    tensor = ops.convert_to_tensor(image)
    of_head = percentile_limits(image, 0.5, 99.5)
    of_brain = percentile_limits(image, 0.5, 99.5, region)
    assert abs(np.subtract(of_brain, of_head)).min() > 0.01
    nothing = np.zeros(image.shape, bool)  # a region without signal is left out of account
    for where, expected in ((None, of_head), (region, of_brain), (nothing, of_head)):
        where = where if where is None else ops.convert_to_tensor(where)
        limits = percentile_limits(tensor, low, high, where, strict=False, xp=KerasOps)
        np.testing.assert_allclose([float(x) for x in limits], expected, rtol=1e-4)


def test_an_image_of_two_values_has_limits_on_the_device_too():
    image = np.zeros((20, 20, 20), np.float32)
    image[10, 10, 10:13] = 7.0  # fewer than the percentiles of the histogram leave out
    low, high = (ops.cast(x, 'float32') for x in (0.0, 100.0))
    limits = percentile_limits(ops.convert_to_tensor(image), low, high, xp=KerasOps)
    assert [float(x) for x in limits] == list(percentile_limits(image, 0.0, 100.0)) == [7.0, 7.0]


def test_a_pair_depends_on_seed_and_number_alone(pair_of_maps):
    one, two = DeviceSource(synthesizer_of(pair_of_maps)), DeviceSource(synthesizer_of(pair_of_maps))
    (both,) = one.collate([one.pair(4), one.pair(9)])
    images, labels = (ops.convert_to_numpy(x) for x in render_batch(both))
    assert images.shape == labels.shape == (2, 32, 32, 32) and labels.dtype == np.uint8
    assert images.min() >= 0 and images.max() <= 100
    for row, number in enumerate((4, 9)):
        alone = [ops.convert_to_numpy(x)[0] for x in render_batch(*two.collate([two.pair(number)]))]
        np.testing.assert_allclose(alone[0], images[row], atol=1e-3)
        np.testing.assert_array_equal(alone[1], labels[row])
    assert not np.array_equal(labels[0], labels[1])


def test_noise_is_as_strong_as_on_the_host(pair_of_maps):
    source = synthesizer_of(pair_of_maps, ['ct'], ranges=AugmentationRanges(0, 0, 0, 0, 0, 0, 0, 0, 0, False))
    device = DeviceSource(source)
    fluid = source.pair(0)[1] == 0
    spread = []
    for number in range(6):
        rng = np.random.default_rng([source.seed, number])
        scene, noise = source.sample(rng, noisy=True)
        part = (slice(13, 19),) * 3  # fluid and the edges of a few balls
        host = render_image(scene, source.label_maps[scene.label_map].codes, noise)[part][fluid[part]]
        key = np.array([number, 1], device.key_type)
        (drawn,) = device.collate([fixed_shapes(scene, device.grids)._asdict() | {'key': key}])
        there = ops.convert_to_numpy(render_batch(drawn)[0])[0][part][fluid[part]]
        assert not np.array_equal(host, there)
        spread.append([host.std(), there.std()])
    host, there = np.sum(spread, 0)
    assert host > 1 and there == pytest.approx(host, rel=0.15)


def stage(**changes) -> TrainingStage:
    usual = {'name': 'x', 'contrasts': ('T1w', 'ct'), 'architecture': {}, 'epochs': 2, 'steps_per_epoch': 3,
             'learning_rate': 5e-3}  # fmt: skip
    return TrainingStage(**{**usual, **changes})


def test_the_step_is_the_loss_of_what_was_drawn(pair_of_maps):
    keras.utils.set_random_seed(0)
    source, loss = DeviceSource(synthesizer_of(pair_of_maps)), DiceCrossEntropy(0.5)
    network = build_unet(filters=1, depth=1, stochastic=False)
    network.compile(optimizer=build_optimizer(stage()), loss=loss)
    (batch,) = source.collate([source.pair(0), source.pair(1)])
    images, labels = render_batch(batch)
    expected = float(loss(labels, network(images[..., None])))
    before = network.get_weights()[0]
    assert float(source.learner(network, loss).train_on_batch(batch)) == pytest.approx(expected, abs=1e-4)
    assert not np.array_equal(network.get_weights()[0], before)


class Interrupted(DeviceSource):
    def pair(self, number):
        if number > 3:
            raise InterruptedError
        return super().pair(number)


def trained(folder, source):
    keras.utils.set_random_seed(0)
    model = build_unet(filters=1, depth=1, dropout=0.1, seed=0)
    rules = stage(ema_momentum=0.9, checkpoint_seconds=0)
    fit(model, source, folder, rules, identity=rules.identity() | {'sample_on': 'device'})
    return [*(v for x in model.layers for v in x.variables), *model.optimizer.variables]


def test_an_interrupted_training_ends_with_the_same_weights(pair_of_maps, tmp_path):
    expected = trained(tmp_path / 'whole', DeviceSource(synthesizer_of(pair_of_maps)))
    with pytest.raises(InterruptedError):
        trained(tmp_path / 'parts', Interrupted(synthesizer_of(pair_of_maps)))
    assert (tmp_path / 'parts' / CHECKPOINT).is_file()
    found = trained(tmp_path / 'parts', DeviceSource(synthesizer_of(pair_of_maps)))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_where_pairs_are_drawn(pair_of_maps):
    source = synthesizer_of(pair_of_maps)
    chosen = {
        (wanted, device): type(sampled_on(wanted, device, source)) is DeviceSource
        for wanted in ('auto', 'host', 'device')
        for device in ('cpu', 'gpu')
    }
    there = [asked for asked, drawn_there in chosen.items() if drawn_there]
    assert there == [('auto', 'gpu'), ('device', 'cpu'), ('device', 'gpu')]
    real = ScanPairs([], (8, 8, 8), np.eye(4))
    assert sampled_on('auto', 'gpu', real) is real
    with pytest.raises(ModelError, match='--sample-on host'):
        sampled_on('device', 'gpu', real)


def test_mixed_precision_keeps_weights_and_loss_in_full(pair_of_maps, tmp_path):
    policy = 'mixed_bfloat16'
    try:
        assert set_precision('auto', 'gpu') == policy
        model = build_unet(filters=1, depth=1, seed=0)
        eval_model = build_unet(filters=1, depth=1, stochastic=False)
        assert model.get_layer('encoder_0_conv_0').compute_dtype == policy.removeprefix('mixed_')
        assert model.get_layer('probabilities').compute_dtype == 'float32'
        source = DeviceSource(synthesizer_of(pair_of_maps))
        before = model.get_weights()[0]
        rules = stage(ema_momentum=0.9, epochs=1)
        progress = fit(model, source, tmp_path, rules, identity={}, eval_model=eval_model)
        assert np.isfinite(progress.rows[0]['loss'])
        assert {keras.backend.standardize_dtype(v.dtype) for v in model.trainable_variables} == {'float32'}
        assert not np.array_equal(before, model.get_weights()[0])
        assert not np.array_equal(eval_model.get_weights()[0], model.get_weights()[0])  # it has the average
    finally:
        set_precision('auto', 'cpu')
    assert keras.config.dtype_policy().name == 'float32'

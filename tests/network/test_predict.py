# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bids_brainseg.data import label_table
from bids_brainseg.errors import ModelError
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.network.predict import predict_samples
from bids_brainseg.network.unet import build_unet
from bids_brainseg.network.weights import load_weights, save_weights


@pytest.fixture(scope='module')
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture(scope='module')
def image(bundle):
    return np.random.default_rng(1).uniform(0, 100, bundle.grid_shape).astype(np.float32)


def run_process(**options):
    words = [str(x) for name, value in options.items() for x in ('--' + name.replace('_', '-'), value)]
    command = [sys.executable, '-m', 'bids_brainseg.process', 'predict', '--device', 'cpu', *words]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def entropy_of(p):
    return -(p * np.log(np.maximum(p, 1e-30))).sum(-1) / np.log(p.shape[-1])


def test_samples_repeat_with_the_seed(bundle, image):
    one, _ = predict_samples(image, bundle, mc_samples=2, seed=4)
    same, _ = predict_samples(image, bundle, mc_samples=2, seed=4)
    other, _ = predict_samples(image, bundle, mc_samples=2, seed=5)
    np.testing.assert_array_equal(one.labels.counts, same.labels.counts)
    np.testing.assert_allclose(one.mean, same.mean, atol=1e-3)
    assert np.abs(one.mean - other.mean).max() > 1e-2
    assert not np.array_equal(one.labels.counts[0], one.labels.counts[1])


def test_the_mean_is_that_of_the_single_passes(bundle, image):
    together, _ = predict_samples(image, bundle, mc_samples=3, seed=4)
    model = build_unet(**bundle.architecture, seed=4)
    load_weights(model, bundle.weights_path)
    passes = [model.predict_on_batch(image[None, ..., None])[0] for _ in range(3)]
    np.testing.assert_allclose(np.moveaxis(together.mean, 0, -1), np.mean(passes, 0), atol=2e-3)
    np.testing.assert_allclose(together.entropy, entropy_of(np.mean(passes, 0)), atol=1e-4)
    within = np.mean([entropy_of(p) for p in passes])
    assert together.mutual_information == pytest.approx(together.entropy.mean() - within, abs=1e-5)
    counts = [np.bincount(p.argmax(-1).ravel(), minlength=28) for p in passes]
    assert np.abs(np.subtract(together.labels.counts, counts)).max() <= 5


def test_half_of_the_passes_see_the_mirrored_scan(bundle, image):
    together, _ = predict_samples(image, bundle, mc_samples=3, mirrored=True, seed=4)
    model = build_unet(**bundle.architecture, seed=4)
    load_weights(model, bundle.weights_path)
    names = [label.name for label in label_table()]
    other = [
        names.index({'Left': 'Right', 'Right': 'Left'}[side] + '-' + rest) if side in ('Left', 'Right') else i
        for i, (side, _, rest) in enumerate(name.partition('-') for name in names)
    ]
    passes = [model.predict_on_batch(x[None, ..., None])[0] for x in (image, image, image[::-1])]
    passes[2] = passes[2][::-1][..., other]
    np.testing.assert_allclose(np.moveaxis(together.mean, 0, -1), np.mean(passes, 0), atol=2e-3)
    np.testing.assert_allclose(together.entropy, entropy_of(np.mean(passes, 0)), atol=1e-4)
    counts = [np.bincount(p.argmax(-1).ravel(), minlength=28) for p in passes]
    assert np.abs(np.subtract(together.labels.counts, counts)).max() <= 5
    agreed = np.logical_and.reduce([p.argmax(-1) == passes[0].argmax(-1) for p in passes])
    shared = np.bincount(passes[0].argmax(-1)[agreed], minlength=28)
    union = [np.logical_or.reduce([p.argmax(-1) == c for p in passes]).sum() for c in range(28)]
    found = together.labels.intersection_over_union()
    np.testing.assert_allclose(found * union, np.where(union, shared, np.nan), atol=5)


def test_one_pass_is_never_mirrored(bundle, image):
    plain, _ = predict_samples(image, bundle, mc_samples=0)
    asked, _ = predict_samples(image, bundle, mc_samples=0, mirrored=True)
    np.testing.assert_array_equal(plain.mean, asked.mean)


def test_no_samples_is_one_pass_without_dropout(bundle, image):
    one, _ = predict_samples(image, bundle, mc_samples=0)
    two, _ = predict_samples(image, bundle, mc_samples=0, seed=9)
    assert one.labels.passes == 1
    np.testing.assert_array_equal(one.mean, two.mean)


def test_an_image_off_the_grid_is_refused(bundle):
    with pytest.raises(ValueError, match='network grid'):
        predict_samples(np.zeros((8, 8, 8), np.float32), bundle, mc_samples=0)


def test_the_process_writes_what_the_next_node_reads(bundle, image, tmp_path):
    scan = tmp_path / 'prepared.nii'
    save_like(image, image_on_grid(image, bundle.grid_affine), scan, np.float32)
    done = run_process(image=scan, bundle=bundle.path, mc_samples=2, seed=4, out_dir=tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    samples = json.loads((tmp_path / 'out' / 'samples.json').read_text())
    expected, _ = predict_samples(image, bundle, mc_samples=2, seed=4)
    assert np.abs(np.subtract(samples['counts'], expected.labels.counts)).max() <= 5
    assert samples['voxel_mm3_grid'] == pytest.approx(64)
    assert np.load(tmp_path / 'out' / 'posterior.npy').shape == (28, *bundle.grid_shape)


def test_an_error_is_one_line_and_an_exit_code(bundle, tmp_path):
    done = run_process(image='x.nii', bundle=tmp_path, mc_samples=2, out_dir=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith('ModelError: not a model bundle')


def test_weights_of_another_network_are_refused(bundle, tmp_path):
    tensors = load_file(bundle.weights_path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, tmp_path / 'w.safetensors')
    with pytest.raises(ModelError, match='do not fit'):
        load_weights(build_unet(**bundle.architecture), tmp_path / 'w.safetensors')
    (tmp_path / 'w.safetensors').write_bytes(b'nothing')
    with pytest.raises(ModelError, match='cannot be read'):
        load_weights(build_unet(**bundle.architecture), tmp_path / 'w.safetensors')


def test_half_precision_changes_little(bundle, image, tmp_path):
    model = build_unet(**bundle.architecture, stochastic=False)
    load_weights(model, bundle.weights_path)
    before = model.predict_on_batch(image[None, ..., None])
    save_weights(model, tmp_path / 'half.safetensors', dtype='float16')
    load_weights(model, tmp_path / 'half.safetensors')
    np.testing.assert_allclose(model.predict_on_batch(image[None, ..., None]), before, atol=5e-3)


def test_bfloat16_changes_little_and_is_used(bundle, image, tmp_path):
    scan = tmp_path / 'prepared.nii'
    save_like(image, image_on_grid(image, bundle.grid_affine), scan, np.float32)
    shared = {'image': scan, 'bundle': bundle.path, 'mc_samples': 2, 'seed': 4}
    means = {}
    for precision in ('float32', 'mixed_bfloat16'):
        done = run_process(**shared, precision=precision, out_dir=tmp_path / precision)
        assert done.returncode == 0, done.stderr
        means[precision] = np.load(tmp_path / precision / 'posterior.npy').astype(np.float32)
    difference = np.abs(means['mixed_bfloat16'] - means['float32'])
    assert 1e-4 < difference.max() < 0.05  # the dropout masks are the same: others differ by far more
    np.testing.assert_allclose(means['mixed_bfloat16'].sum(0), 1, atol=5e-3)

# SPDX-License-Identifier: Apache-2.0
"""The same weights give the same prediction, whatever Keras computes with."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bids_brainseg.errors import ModelError
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.network.backend import configure, find_device
from bids_brainseg.network.bundle import load_bundle

OTHERS = [name for name in ('jax', 'torch') if find_spec(name)]
#: Largest difference of a probability: the posterior is stored in half precision, whose step near 1 is 5e-4.
TOLERANCE = 1e-3


def predict(backend, bundle, image, folder):
    command = [sys.executable, '-m', 'bids_brainseg.process', 'predict', '--device', 'cpu', '--threads', '1']
    command += ['--image', image, '--bundle', bundle, '--mc-samples', '0', '--out-dir', folder]
    environment = {**os.environ, 'KERAS_BACKEND': backend}
    run = subprocess.run([*map(str, command)], env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return np.load(folder / 'posterior.npy').astype(np.float32)


@pytest.mark.skipif(not OTHERS, reason='neither JAX nor torch is installed beside TensorFlow')
def test_backends_agree(tiny_bundle, tmp_path):
    bundle = load_bundle(tiny_bundle)
    noise = np.random.default_rng(0).uniform(0, 100, bundle.grid_shape)
    image = save_like(
        noise, image_on_grid(noise, bundle.grid_affine), tmp_path / 'image.nii.gz', dtype=np.float32
    )
    expected = predict('tensorflow', tiny_bundle, image, tmp_path / 'tensorflow')
    assert np.ptp(expected.max(0)) > 0.01  # a constant would agree with anything
    for backend in OTHERS:
        found = predict(backend, tiny_bundle, image, tmp_path / backend)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, err_msg=backend)
        assert np.mean(found.argmax(0) == expected.argmax(0)) > 0.999


def raising(error):
    def list_devices(kind):
        raise error

    return list_devices


def keras_with(list_devices, device='cpu'):
    """Keras as far as it is asked where it computes."""
    ops = SimpleNamespace(ones=lambda shape: SimpleNamespace(device=device))
    return SimpleNamespace(distribution=SimpleNamespace(list_devices=list_devices), ops=ops)


@pytest.mark.parametrize(
    ('found', 'expected'),
    [
        (keras_with(lambda kind: []), 'cpu'),
        (keras_with(lambda kind: ['gpu:0']), 'gpu'),
        (keras_with(raising(RuntimeError('Unknown backend gpu'))), 'cpu'),  # JAX
        (keras_with(raising(AttributeError())), 'cpu'),  # torch
        (keras_with(raising(AttributeError()), 'cuda:0'), 'gpu'),
    ],
)
def test_every_backend_says_whether_there_is_a_gpu(monkeypatch, found, expected):
    monkeypatch.setitem(sys.modules, 'keras', found)
    assert find_device('auto') == expected
    assert find_device('cpu') == 'cpu'
    if expected == 'cpu':
        with pytest.raises(ModelError, match='no GPU is visible'):
            find_device('gpu')


def test_keras_comes_without_what_is_not_used_and_leaves_it_to_others():
    code = (
        'import sys\n'
        'from bids_brainseg.network import backend\n'
        "backend.configure('cpu')\n"
        'backend.import_keras()\n'
        "assert 'keras' in sys.modules\n"
        'print(*(name for name in backend.UNUSED_BY_KERAS if name in sys.modules))\n'
        'import matplotlib, pandas\n'
    )
    run = subprocess.run([sys.executable, '-c', code], check=False, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, ''), run.stderr


def test_the_environment_hides_gpus_and_leaves_the_cores_to_the_network(monkeypatch):
    monkeypatch.setattr(
        os, 'environ', {'KERAS_BACKEND': 'jax', 'OPENBLAS_NUM_THREADS': '3', 'TF_ENABLE_ONEDNN_OPTS': '0'}
    )
    configure('cpu', 2)
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '-1'
    assert os.environ['OMP_NUM_THREADS'] == os.environ['TF_NUM_INTRAOP_THREADS'] == '2'
    # what the user has set stays
    assert (os.environ['KERAS_BACKEND'], os.environ['OPENBLAS_NUM_THREADS']) == ('jax', '3')
    assert os.environ['TF_ENABLE_ONEDNN_OPTS'] == '0'
    monkeypatch.setattr(os, 'environ', {})
    configure('auto')
    assert (os.environ['KERAS_BACKEND'], os.environ['OPENBLAS_NUM_THREADS']) == ('tensorflow', '1')
    assert os.environ['TF_ENABLE_ONEDNN_OPTS'] == '1'
    assert not {'CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS'} & set(os.environ)


@pytest.mark.skipif(not OTHERS, reason='neither JAX nor torch is installed beside TensorFlow')
@pytest.mark.parametrize('backend', OTHERS)
def test_pairs_are_drawn_on_the_device_with_every_backend(backend):
    """The tests of drawing on the device pass with another backend, too."""
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        Path(__file__).parents[1] / 'synthesis' / 'test_device.py',
    ]
    environment = {**os.environ, 'KERAS_BACKEND': backend}
    run = subprocess.run([*map(str, command)], env=environment, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout

# SPDX-License-Identifier: Apache-2.0
"""The same weights give the same prediction, whatever Keras computes with."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.model.bundle import load_bundle

OTHERS = [name for name in ('jax', 'torch') if find_spec(name)]
#: Largest difference of a probability: the posterior is stored in half precision, whose step near 1 is 5e-4.
TOLERANCE = 1e-3


def predict(backend, bundle, image, folder):
    command = [sys.executable, '-m', 'bids_brainseg.model', 'predict', '--device', 'cpu', '--threads', '1']
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

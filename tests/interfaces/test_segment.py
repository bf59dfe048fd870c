# SPDX-License-Identifier: Apache-2.0
"""The network's process: its command line, what it leaves, and why it failed."""

from __future__ import annotations

import shlex
import sys

import pytest

from bids_brainseg.errors import ModelError
from bids_brainseg.interfaces.segment import Segment, explain
from bids_brainseg.process import get_parser


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')


def segment(make_nifti, **values):
    (make_nifti('a b.nii').parent / 'bundle').mkdir(exist_ok=True)
    inputs = {'in_file': str(make_nifti('a b.nii')), 'bundle': 'bundle', 'weights_sha256': 'f' * 64}
    return Segment(**inputs | values)


def test_the_process_understands_its_command_line(make_nifti):
    node = segment(make_nifti, mc_samples=0, random_seed=3, device='cpu', num_threads=2, use_gpu=True)
    instead, python, dash_m, module, *words = shlex.split(node.cmdline)
    assert (instead, python, dash_m, module) == ('exec', sys.executable, '-m', 'bids_brainseg.process')
    found = get_parser().parse_args(words)
    assert found.image.name == 'a b.nii'
    assert (found.mc_samples, found.seed, found.device, found.threads) == (0, 3, 'cpu', 2)
    assert 'f' * 64 not in node.cmdline  # the hash is there for the cache


def test_failure_is_one_line(make_nifti):
    with pytest.raises(ModelError, match='not a model bundle'):
        segment(make_nifti, device='cpu').run()


@pytest.mark.parametrize(
    ('code', 'output', 'line'),
    [
        (-9, 'loading', 'the network process was killed (SIGKILL), usually because memory ran out'),
        (137, '', 'the network process was killed (SIGKILL)'),
        (-11, '', 'the network process was killed (SIGSEGV)'),
        (1, 'noise\nModelError: weights are damaged; get them anew\n', 'weights are damaged; get them anew'),
        (1, 'Traceback\nValueError: wrong shape\n\n', 'wrong shape'),
        (1, "Traceback\nKeyError: 'grid'\n", "the network process ended with code 1: KeyError: 'grid'"),
        (2, 'usage: x', 'the network process ended with code 2: usage: x'),
        (1, '', 'the network process ended with code 1: no message'),
    ],
)
def test_explain(code, output, line):
    assert explain(code, output).startswith(line)


@pytest.mark.integration
def test_a_tiny_network_answers(tiny_bundle, make_nifti):
    import json

    import numpy as np

    from bids_brainseg.network.bundle import load_bundle

    bundle = load_bundle(tiny_bundle)
    noise = np.random.default_rng(0).uniform(0, 100, bundle.grid_shape).astype(np.float32)
    node = Segment(
        in_file=str(make_nifti('prepared.nii', noise, np.array(bundle.grid_affine))),
        bundle=str(tiny_bundle),
        weights_sha256=bundle.weights_sha256,
        mc_samples=2,
        device='cpu',
    )
    outputs = node.run().outputs
    posterior = np.load(outputs.posterior)
    assert posterior.shape == (28, *bundle.grid_shape)
    np.testing.assert_allclose(posterior.sum(axis=0, dtype=np.float64), 1, atol=0.01)
    samples = json.loads(open(outputs.samples).read())
    assert [sum(row) for row in samples['counts']] == [np.prod(bundle.grid_shape)] * 2
    assert samples['voxel_mm3_grid'] == pytest.approx(64)

# SPDX-License-Identifier: Apache-2.0
"""Errors of volumes from synthetic scans; the passes are those of test_scores.py."""

from __future__ import annotations

import os
import shutil

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import pytest
from tiny import make_label_map

from bids_brainseg.data import label_table
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.process import main
from bids_brainseg.training import scores
from bids_brainseg.training.scores import Measured
from bids_brainseg.training.volume_calibration import volume_errors


def simulated(seed, participants=12):
    rng = np.random.default_rng(seed)
    spread = rng.gamma(2, 0.02, (participants, 2, 28))
    errors = 0.1 + rng.normal(0, 1, spread.shape) * (0.05 + spread)
    return {
        str(number): [Measured(np.full(28, 0.8), 2.0, *pair) for pair in zip(*own, strict=True)]
        for number, own in enumerate(zip(errors, spread, strict=True))
    }


def test_the_file_says_how_often_the_intervals_hold_the_labels():
    content, text = volume_errors(simulated(0))
    names = [label.name for label in label_table()[1:]]
    assert list(content['structures']) == names
    assert 0.85 <= content['coverage']['all'] <= 0.95
    assert set(content['coverage']) == {'what', 'all', *names}
    assert (content['participants'], content['scans']) == (12, 24)
    assert 'labeled volumes in 24 synthetic scans of 12 participants' in text and 'wider' not in text
    wider, told = volume_errors(simulated(0), inflation=1.5, because='six real scans')
    assert wider['factor'] == pytest.approx(1.5 * content['factor'], abs=1e-4)
    assert told.endswith('are 1.5 times as wide for real scans (six real scans)')


def test_too_few_scans_have_no_intervals():
    few = dict(list(simulated(0).items())[:2])
    assert volume_errors(few) == ({}, 'no intervals: they need 3 participants and two passes at least')
    unknown = {'spread': np.full(28, np.nan)}  # of a single pass
    alone = {name: [one._replace(**unknown) for one in own] for name, own in simulated(0).items()}
    assert volume_errors(alone)[0] == {}


def test_the_command_keeps_what_it_measured(tiny_bundle, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(tiny_bundle, tmp_path / 'bundle')
    maps = [make_label_map(tmp_path / f'head{number}.nii.gz', 4 * number) for number in range(3)]
    calls, found = [], iter([one for own in simulated(1).values() for one in own])

    def measure(image, labels, bundle, mc_samples, seed):
        calls.append((image.shape, mc_samples))
        return next(found)

    monkeypatch.setattr(scores, 'measure', measure)
    words = ['calibrate', '--bundle', f'{folder}', '--work-dir', f'{tmp_path}/work', '--device', 'cpu']
    words += ['--mc-samples', '2', '--label-maps', *map(str, maps)]
    assert main(words) == 0
    assert calls == [(load_bundle(folder).grid_shape, 2)] * 6  # a scan of each map, and a corrupted copy
    first = load_bundle(folder)
    assert first.card['intervals'] in capsys.readouterr().out
    assert main([*words, '--inflation', '2', '--because', 'real scans']) == 0
    assert len(calls) == 6
    again = load_bundle(folder).volume_errors
    assert again['factor'] == pytest.approx(2 * first.volume_errors['factor'], abs=1e-3)
    assert again['because'] == 'real scans'

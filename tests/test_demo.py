# SPDX-License-Identifier: Apache-2.0
"""The demo dataset: geometry and labels of what it simulates, on a ball instead of a brain."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose

from bids_brainseg import demo
from bids_brainseg.lifetime import bound

RADIUS = 20


@pytest.fixture
def ball() -> np.ndarray:
    grid = np.indices((81, 81, 81)) - 40
    return np.sqrt((grid**2).sum(0)) <= RADIUS


def test_head_is_made_of_shells_around_the_brain(ball):
    tissues = demo.head_tissues(ball, np.uint8(0) * ball, np.uint8(255) * ball)
    along = {name: values[40:, 40, 40] for name, values in tissues.items()}
    millimeters = np.arange(41)
    assert (along['white'] == (millimeters <= RADIUS)).all()
    # 3 mm of fluid, 7 of bone, 6 of soft tissue, each edge within the half voxel that is shared
    for name, thickness in {'fluid': 3, 'skull': 7, 'scalp': 6}.items():
        assert along[name].sum() == pytest.approx(thickness, abs=0.5)
    assert np.diff([along[name].argmax() for name in ('white', 'fluid', 'skull', 'scalp')]).min() > 0
    assert_allclose(sum(tissues.values()).max(), 1)


def test_simulated_scan_shows_the_tissue_where_the_template_has_it(ball, monkeypatch):
    contrast = demo.Contrast(
        (38, 29, 8, 900, 20), -1000, 0, (90, 90, 24), (1, 1, 3.5), (10, 5, 0), (3, -7, 50)
    )
    monkeypatch.setitem(demo.CONTRASTS, 'ct', contrast)
    affine = np.array([[1, 0, 0, -40], [0, 1, 0, -40], [0, 0, 1, -40], [0, 0, 0, 1.0]])
    tissues = demo.head_tissues(ball, 0 * ball.astype(np.uint8), 255 * ball.astype(np.uint8))
    image = demo.simulate('ct', tissues, affine, np.random.default_rng(0))
    assert nib.aff2axcodes(image.affine) == ('L', 'P', 'S')
    assert_allclose(nib.affines.voxel_sizes(image.affine), contrast.spacing)
    # the ball's middle, template point (0, 0, 0), was moved by the shift
    i, j, k = np.rint(np.linalg.inv(image.affine) @ [*contrast.shift, 1])[:3].astype(int)
    assert image.dataobj[i, j, k] == 29
    assert image.dataobj[0, 0, 0] == -1000
    assert int(image.header['qform_code']) == int(image.header['sform_code']) == 1


def test_same_scan_every_time(ball):
    tissues = demo.head_tissues(ball, 0 * ball.astype(np.uint8), 255 * ball.astype(np.uint8))
    one, two = (
        demo.simulate('b1000', tissues, np.eye(4), np.random.default_rng(demo.SEED)).to_bytes()
        for _ in range(2)
    )
    assert one == two


def test_the_demo_runs_the_program_on_its_dataset(tmp_path, monkeypatch, capsys):
    ran, built = [], []
    monkeypatch.setattr(demo, 'build', built.append)
    monkeypatch.setattr(
        demo.subprocess, 'run', lambda words, **_: ran.append(words) or SimpleNamespace(returncode=7)
    )
    assert demo.main([str(tmp_path), '--dataset-only']) == 0
    assert (built, ran) == ([tmp_path / 'bids'], [])
    assert demo.main([str(tmp_path), '--mc-samples', '2']) == 7
    (words,) = ran
    program = [sys.executable, '-m', 'bids_brainseg']
    options = ['--work-dir', f'{tmp_path}/work', '--mc-samples', '2']
    folders = [f'{tmp_path}/bids', f'{tmp_path}/derivatives']
    assert words == bound([*program, *folders, 'participant', *options])
    assert capsys.readouterr().out.endswith(f'Report: file://{tmp_path}/derivatives/sub-01.html\n')


@pytest.mark.integration
def test_dataset_says_what_is_simulated(tmp_path):
    root = demo.build(tmp_path / 'demo')
    assert 'SIMULATED' in json.loads((root / 'dataset_description.json').read_text())['Name']
    marked = {p.name: json.loads(p.read_text())['Simulated'] for p in root.glob('sub-01/*/*.json')}
    assert marked == {
        'sub-01_T1w.json': False,
        'sub-01_FLAIR.json': True,
        'sub-01_T2w.json': True,
        'sub-01_dwi.json': True,
        'sub-01_ct.json': True,
    }
    assert nib.load(root / 'sub-01/dwi/sub-01_dwi.nii.gz').shape[3] == 4

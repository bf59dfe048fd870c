# SPDX-License-Identifier: Apache-2.0
"""From a plan to a bundle that can be used at once."""

from __future__ import annotations

import os

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import nibabel as nib
import numpy as np
import pytest
from tiny import ARCHITECTURE, GRID, make_label_map

from bids_brainseg.data import training_defaults
from bids_brainseg.errors import InputError, ModelError
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.training import run as module
from bids_brainseg.training.build import align_head, head_labels
from bids_brainseg.training.run import run


@pytest.fixture
def plan(tiny_bundle, tmp_path):
    """One label map and one scan to train on, one scan that validates."""
    affine = np.array(load_bundle(tiny_bundle).grid_affine)
    labels = np.zeros(GRID, np.uint8)
    labels[10:22, 10:30, 10:30], labels[22:34, 10:30, 10:30] = 1, 3
    scans = []
    for number in range(2):
        paths = [tmp_path / f'{kind}{number}.nii.gz' for kind in ('image', 'labels')]
        noise = np.random.default_rng(number).normal(0, 2, GRID)
        for path, data in zip(paths, (labels * 20 + noise, labels), strict=True):
            save_like(data, image_on_grid(data, affine), path, np.uint8 if data is labels else np.float32)
        scans.append({'image': str(paths[0]), 'labels': str(paths[1]), 'name': f'scan {number}'})
    known = training_defaults()
    return {
        'modality': 'T1w', 'base': str(tiny_bundle), 'init': True, 'grid_spacing': None,
        'architecture': ARCHITECTURE,
        'recipe': {**known['recipe'], 'epochs': 2, 'steps_per_epoch': 1},
        'augmentation': known['augmentation'], 'ranges': {}, 'share': 0.5,
        'scans': {'train': scans[:1], 'validate': scans[1:]},
        'label_maps': {'train': [str(make_label_map(tmp_path / 'map.nii.gz'))], 'validate': []},
        'mc_samples': 2, 'bundle_dir': str(tmp_path / 'out' / 'bundle'), 'name': 'mine', 'license': 'CC0-1.0',
        'card': {'training': {'dataset': 'made up'}, 'threshold': 'x', 'limits': ['all']},
        'card_init': 'tiny',
    }  # fmt: skip


def test_it_ends_with_a_bundle_and_its_card(plan, tmp_path, tiny_bundle):
    made = run(plan, tmp_path / 'work', device='cpu')
    bundle, base = load_bundle(made.path), load_bundle(tiny_bundle)
    assert (bundle.name, bundle.license, bundle.modality) == ('mine', 'CC0-1.0', 'T1w')
    for name in ('reference.nii.gz', 'mask.nii.gz'):
        assert bundle.sha256[name] == base.sha256[name]
    assert bundle.weights_sha256 != base.weights_sha256
    assert (bundle.grid_affine, bundle.cv_threshold) == (base.grid_affine, base.cv_threshold)
    training = bundle.card['training']
    assert (training['dataset'], training['init']) == ('made up', 'tiny')
    assert (training['steps'], training['epochs'], training['stopped']) == (2, 2, 'all epochs were run')
    assert training['backend'] in training['versions'] and training['hours'] >= 0
    scores = bundle.card['dice']['validation']
    assert scores['what'].startswith('1 held-out scans') and 0 <= scores['average'] <= 1
    assert bundle.card['cv_and_dice'].startswith('n/a')
    assert bundle.mirrored_passes  # as the pairs were
    again = run(plan, tmp_path / 'work', device='cpu')  # nothing is trained twice
    assert again.weights_sha256 == bundle.weights_sha256
    with pytest.raises(ModelError, match='begun with share'):
        run(plan | {'share': 0.9}, tmp_path / 'work', device='cpu')


def test_passes_are_mirrored_only_where_all_pairs_were(plan):
    still = {'flip': False}
    assert module._mirrors(plan)
    assert not module._mirrors(plan | {'ranges': still})
    assert not module._mirrors(plan | {'augmentation': plan['augmentation'] | still})
    assert not module._mirrors(plan | {'augmentation': None})
    without = {'train': [], 'validate': []}
    assert module._mirrors(plan | {'augmentation': None, 'scans': without})
    assert module._mirrors(plan | {'ranges': still, 'label_maps': without})


def test_two_processes_do_not_share_a_checkpoint(plan, tmp_path):
    (tmp_path / 'work').mkdir()
    with module._alone(tmp_path / 'work'), pytest.raises(ModelError, match='another training is running'):
        run(plan, tmp_path / 'work', device='cpu')


def test_the_correlation_of_cv_and_dice_needs_scans():
    assert module._correlation([0.8, 0.7], [1, 2]).startswith('n/a: 2 held-out scans')
    found = module._correlation([0.9, 0.8, 0.7, 0.6, np.nan], [1, 2, 3, 4, 9])
    assert (found['pearson_r'], found['scans']) == (-1.0, 4)
    low, high = module._correlation([0.9, 0.7, 0.8, 0.6], [1, 2, 3, 4])['interval']
    assert -1 < low < -0.8 < high < 1
    assert module._correlation([0.9] * 5, [1, 2, 3, 4, 5]).startswith('n/a: all')


def test_label_maps_of_freesurfer_lose_their_parcels():
    labels = np.zeros((8, 3, 3), int)
    labels[:] = np.array([1012, 3005, 77, 251, 253, 77, 4010, 2030])[:, None, None]
    labels[0, 0, 0], labels[7, 0, 0] = 515, 31
    found = head_labels(labels, np.eye(4))
    assert found[:, 1, 1].tolist() == [3, 2, 25, 2, 41, 57, 41, 42]
    assert (found[0, 0, 0], found[7, 0, 0]) == (515, 31)


def test_a_label_map_is_aligned_once_and_refused_by_name(tmp_path):
    path = make_label_map(tmp_path / 'map.nii.gz', shift=30)
    head = align_head(path, tmp_path / 'heads')
    assert len(list((tmp_path / 'heads').iterdir())) == 1
    np.testing.assert_array_equal(head.codes, align_head(path, tmp_path / 'heads').codes)
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[labels == 17] = 999
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / 'odd.nii.gz')
    with pytest.raises(InputError, match=r'odd\.nii\.gz.*999'):
        align_head(tmp_path / 'odd.nii.gz', tmp_path / 'heads')

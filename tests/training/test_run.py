# SPDX-License-Identifier: Apache-2.0
"""From a plan to a bundle that can be used at once."""

from __future__ import annotations

import os

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from tiny import ARCHITECTURE, GRID, make_label_map

from bids_brainseg.data import training_defaults
from bids_brainseg.errors import InputError, ModelError
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.records import PlannedBundle, TrainingPlan, TrainingScan, TrainingStage
from bids_brainseg.training import run as module
from bids_brainseg.training.label_maps import align_label_map, simplify_labels
from bids_brainseg.training.references import defaults
from bids_brainseg.training.run import run


@pytest.fixture
def plan(tiny_bundle, tmp_path):
    """One label map and one scan to train on, one scan that validates."""
    base = load_bundle(tiny_bundle)
    affine = np.array(base.grid_affine)
    labels = np.zeros(GRID, np.uint8)
    labels[10:22, 10:30, 10:30], labels[22:34, 10:30, 10:30] = 1, 3
    scans = []
    for number in range(2):
        paths = [tmp_path / f'{kind}{number}.nii.gz' for kind in ('image', 'labels')]
        noise = np.random.default_rng(number).normal(0, 2, GRID)
        for path, data in zip(paths, (labels * 20 + noise, labels), strict=True):
            save_like(data, image_on_grid(data, affine), path, np.uint8 if data is labels else np.float32)
        scans.append(TrainingScan(*map(str, paths), f'scan {number}', 'T1w'))
    stage = TrainingStage(
        name='training', contrasts=('T1w',), architecture=ARCHITECTURE, init=str(base.weights_path),
        augmentation=training_defaults()['augmentation'], synthetic_share=0.5, epochs=2, steps_per_epoch=1,
        learning_rate=1e-3,
    )  # fmt: skip
    bundle = PlannedBundle(
        modality='T1w', stage='training', folder=str(tmp_path / 'out' / 'bundle'), name='mine', version='1',
        license='CC0-1.0',
        card={'training': {'dataset': 'made up', 'init': 'tiny'}, 'threshold': 'x', 'limits': ['all']},
    )  # fmt: skip
    return TrainingPlan(
        stages=(stage,),
        folder=str(tmp_path / 'out'),
        bundles=(bundle,),
        bases={'T1w': str(tiny_bundle)},
        scans={'train': tuple(scans[:1]), 'validate': tuple(scans[1:])},
        label_maps={'train': (str(make_label_map(tmp_path / 'map.nii.gz')),), 'validate': ()},
        mc_samples=2,
    )


def changed(plan: TrainingPlan, **stage) -> TrainingPlan:
    return replace(plan, stages=(replace(plan.stages[0], **stage),))


def test_it_ends_with_a_bundle_and_its_card(plan, tmp_path, tiny_bundle):
    (made,) = run(plan, tmp_path / 'work', device='cpu')
    bundle, base = load_bundle(made.path), load_bundle(tiny_bundle)
    assert (bundle.name, bundle.license, bundle.modality) == ('mine', 'CC0-1.0', 'T1w')
    for name in ('reference.nii.gz', 'mask.nii.gz'):
        assert bundle.sha256[name] == base.sha256[name]
    assert bundle.weights_sha256 != base.weights_sha256
    assert (bundle.grid_affine, bundle.cv_threshold) == (base.grid_affine, base.cv_threshold)
    training = bundle.card['training']
    assert (training['dataset'], training['init']) == ('made up', 'tiny')
    assert (training['steps'], training['epochs'], training['stopped']) == (2, 2, 'all epochs were run')
    assert training['recipe']['learning_rate'] == 1e-3 and 'earlier_stages' not in training
    assert training['backend'] in training['versions'] and training['hours'] >= 0
    scores = bundle.card['dice']['validation']
    assert scores['what'].startswith('1 held-out scans') and 0 <= scores['average'] <= 1
    assert bundle.card['cv_and_dice'].startswith('n/a')
    assert bundle.mirrored_passes  # as the pairs were
    (again,) = run(plan, tmp_path / 'work', device='cpu')  # nothing is trained twice
    assert again.weights_sha256 == bundle.weights_sha256
    with pytest.raises(ModelError, match=r'begun with synthetic_share 0\.5 \(now 0\.9\)'):
        run(changed(plan, synthetic_share=0.9), tmp_path / 'work', device='cpu')


def test_a_finished_stage_may_be_given_more_epochs(plan, tmp_path):
    plan = replace(changed(plan, synthetic_share=1.0), scans={})  # without validation the last is kept
    (first,) = run(plan, tmp_path / 'work', device='cpu')
    (second,) = run(changed(plan, epochs=3), tmp_path / 'work', device='cpu')
    assert second.card['training']['steps'] == 3
    assert first.weights_sha256 != second.weights_sha256
    (whole,) = run(changed(plan, epochs=3), tmp_path / 'other', device='cpu')
    assert whole.weights_sha256 == second.weights_sha256


def test_what_cannot_run_is_refused_before_anything_does(plan, tmp_path):
    def refused(match, error=ModelError, **stage):
        with pytest.raises(error, match=match):
            run(changed(plan, **stage), tmp_path / 'work', device='cpu')

    refused(r'the window is 30 32 32; every side must be a multiple of 4', window=(30, 32, 32))
    refused(r'the window is 64 32 32; .*, 44 48 40', window=(64, 32, 32))
    refused('prepared for another grid', InputError, grid_spacing=8.0)
    refused(
        'stage training: a side of 2 at the bottleneck is too small for bfloat16 on the processor',
        window=(8, 32, 32), precision='mixed_bfloat16',
    )  # fmt: skip
    assert not (tmp_path / 'work' / 'stages').exists()


def test_passes_are_mirrored_only_where_all_pairs_were(plan):
    still = {'flip': False}

    def mirrored(scans=plan.scans, label_maps=plan.label_maps, **stage):
        new = replace(changed(plan, **stage), scans=scans, label_maps=label_maps)
        return module.mirrors(new, new.stages[0])

    assert mirrored()
    assert not mirrored(ranges=still)
    assert not mirrored(augmentation={**plan.stages[0].augmentation, **still})
    assert not mirrored(augmentation=None)
    none = {'train': (), 'validate': ()}
    assert mirrored(scans=none, augmentation=None)
    assert mirrored(label_maps=none, ranges=still)


def test_two_processes_do_not_share_a_checkpoint(plan, tmp_path):
    (tmp_path / 'work').mkdir()
    with module._alone(tmp_path / 'work'), pytest.raises(ModelError, match='another training is running'):
        run(plan, tmp_path / 'work', device='cpu')


def test_references_are_made_from_the_label_maps(plan, tmp_path):
    maps = [str(make_label_map(tmp_path / f'map{n}.nii.gz', shift)) for n, shift in enumerate((0, 20))]
    stage = replace(
        plan.stages[0], contrasts=('T1w', 'ct'), init=None, grid_spacing=5.6, synthetic_share=1.0, epochs=1
    )
    own = replace(
        plan,
        stages=(stage,),
        bundles=tuple(
            replace(plan.bundles[0], modality=m, name=m, folder=str(tmp_path / m)) for m in ('T1w', 'ct')
        ),
        bases={}, reference_name='Made', scans={}, label_maps={'train': tuple(maps), 'validate': ()},
        hashes={path: path for path in maps},
    )  # fmt: skip
    t1w, ct = run(own, tmp_path / 'work', device='cpu')
    assert (t1w.reference_name, ct.reference_name) == ('Made', 'Made')
    mask, image = (np.asarray(nib.load(path).dataobj) for path in (ct.mask_path, ct.reference_path))
    assert -5 < np.median(image[mask > 0]) < 45
    assert image.min() == -1000 and image.max() > 500
    space = json.loads((tmp_path / 'work' / 'reference' / 'space.json').read_text())
    # the fixture's structures lie where the packaged ones do, but for half the shift of one map
    assert (
        np.abs(np.subtract(*(np.array(x['17']) for x in (space['centers'], defaults()['centers'])))).max() < 9
    )


def test_label_maps_of_freesurfer_lose_their_parcels():
    labels = np.zeros((8, 3, 3), int)
    labels[:] = np.array([1012, 3005, 77, 251, 253, 77, 4010, 2030])[:, None, None]
    labels[0, 0, 0], labels[7, 0, 0] = 515, 31
    found = simplify_labels(labels, np.eye(4))
    assert found[:, 1, 1].tolist() == [3, 2, 25, 2, 41, 57, 41, 42]
    assert (found[0, 0, 0], found[7, 0, 0]) == (515, 31)


def test_a_label_map_is_aligned_once_and_refused_by_name(tmp_path):
    path, centers = make_label_map(tmp_path / 'map.nii.gz', shift=30), defaults()['centers']
    head = align_label_map(path, tmp_path / 'heads', centers)
    assert len(list((tmp_path / 'heads').iterdir())) == 1
    np.testing.assert_array_equal(head.codes, align_label_map(path, tmp_path / 'heads', centers).codes)
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[labels == 17] = 999
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / 'odd.nii.gz')
    with pytest.raises(InputError, match=r'odd\.nii\.gz.*999'):
        align_label_map(tmp_path / 'odd.nii.gz', tmp_path / 'heads', centers)

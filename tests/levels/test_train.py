# SPDX-License-Identifier: Apache-2.0
"""The train level as a user meets it."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tiny import GRID, SPACING, head

from bids_brainseg.cli.options import parse
from bids_brainseg.cli.run import main
from bids_brainseg.levels import train, training_plan
from bids_brainseg.levels.training_plan import plan_network, split
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.records import TrainingRequest

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (-86, -112, -80)


def usage(capsys, *words) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(['in', 'out', 'train', *words])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_what_train_needs(capsys, tmp_path):
    assert 'train needs --modality' in usage(capsys)
    assert 'training needs labels' in usage(capsys, '--modality', 'T1w')
    assert 'write NAME=DIR' in usage(capsys, '--modality', 'T1w', '-d', str(tmp_path))
    assert 'is not a folder' in usage(capsys, '--modality', 'T1w', '-d', f'freesurfer={tmp_path}/none')
    words = ('--modality', 'T1w', '-d', f'freesurfer={tmp_path}')
    assert "unknown name 'rot'" in usage(capsys, *words, '--range', 'rot=3')
    assert 'not between 0 and 1' in usage(capsys, *words, '--synthetic-share', '3')
    assert '-1 is not between 0 and 1' in usage(capsys, *words, '--learning-rate', '-1')
    assert '-1 is not a number of 0 or more' in usage(capsys, *words, '--cross-entropy-weight', '-1')
    assert '40 mm is not between 0.5 and 8' in usage(capsys, *words, '--grid-spacing', '40')
    assert "'my net' holds more than letters and digits" in usage(capsys, *words, '--bundle-name', 'my net')
    assert 'is for label maps alone' in usage(capsys, *words, '--sample-on', 'device')


def test_only_what_was_given_is_in_the_settings(tmp_path):
    words = ['in', 'out', 'train', '--modality', 'T1w', '-d', f'freesurfer={tmp_path}']
    assert parse(words).training == TrainingRequest(modality='T1w')
    given = parse([*words, '--epochs', '5', '--workers', '2', '--range', 'rotation=3', '--filters', '4',
                   '--sample-on', 'host', '--precision', 'mixed_float16'])  # fmt: skip
    chosen = {'sample_on': 'host', 'precision': 'mixed_float16'}
    assert given.training.stage == {'epochs': 5, 'workers': 2, **chosen}
    assert (given.training.ranges, given.training.filters) == ({'rotation': 3.0}, 4)
    assert given.derivatives == {'freesurfer': tmp_path}
    assert parse([*words, '--validation-share', '0']).training.validation_share == 0
    assert parse(['in', 'out', 'participant']).training == TrainingRequest()


def labels_of_head() -> np.ndarray:
    """FreeSurfer numbers for the head of `tiny`: white matter by side, ventricles, cerebellum."""
    image, cavity = head(GRID, AFFINE)
    x = (np.arange(GRID[0]) * SPACING + AFFINE[0, 3])[:, None, None]
    labels = np.where(cavity, np.where(x < 0, 2, 41), 0)
    labels[cavity & (image == 120)] = 4
    labels[cavity & (image == 120) & (x > 0)] = 43
    labels[cavity & (image == 650)] = 8
    return labels.astype(np.int32)


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """Two good participants, one whose labels are shifted, one with a wrong label, one who is excluded."""
    root = tmp_path_factory.mktemp('people')
    (root / 'dataset_description.json').write_text(json.dumps({'Name': 'people', 'BIDSVersion': '1.10.0'}))
    image, _ = head(GRID, AFFINE)
    for number, label in enumerate(('01', '02', 'moved', 'odd', 'out')):
        rng = np.random.default_rng(number)
        scan = root / f'sub-{label}' / 'anat' / f'sub-{label}_T1w.nii.gz'
        scan.parent.mkdir(parents=True)
        noisy = (image + rng.normal(0, 10, GRID)).astype(np.float32)
        nib.save(nib.Nifti1Image(noisy, AFFINE), scan)
        labels = labels_of_head()
        if label == 'moved':
            labels = np.roll(labels, 8, axis=1)
        if label == 'odd':
            labels[0, 0, 0] = 4321
        aseg = root / 'derivatives' / 'fs' / f'sub-{label}' / 'mri' / 'aseg.mgz'
        aseg.parent.mkdir(parents=True)
        nib.save(nib.MGHImage(labels, AFFINE), aseg)
    (root / 'sub-01' / 'anat' / 'sub-01_PDw.nii.gz').touch()
    (root / 'exclude.tsv').write_text('participant_id\treason\nsub-out\tblurred\n')
    return root


@pytest.mark.integration
def test_from_scans_to_a_bundle_and_again(people, tiny_bundle, tmp_path, capfd):
    out = tmp_path / 'out'
    words = (
        f'{people} {out} train --modality T1w -d freesurfer={people}/derivatives/fs -w {tmp_path}/work '
        f'--init {tiny_bundle} --epochs 2 --exclude {people}/exclude.tsv --mc-samples 0 --nprocs 2 '
        '--omp-nthreads 1 --skip-bids-validation --device cpu'
    ).split()
    assert main(words) == 1  # one could not be prepared
    with (out / 'training_T1w' / 'cases.tsv').open() as stream:
        rows = {row['participant_id']: row for row in csv.DictReader(stream, delimiter='\t')}
    assert sorted(rows[f'sub-0{n}']['status'] for n in (1, 2)) == ['train', 'validate']
    assert rows['sub-out']['reason'] == 'excluded: blurred'
    assert rows['sub-odd']['status'] == 'failed' and '[4321]' in rows['sub-odd']['reason']
    assert rows['sub-moved']['status'] == 'rejected'
    assert rows['sub-moved']['reason'].startswith('the labels do not fit: agreement')
    assert float(rows['sub-01']['agreement']) > 0.5 > float(rows['sub-moved']['agreement'])
    page = (out / 'training_T1w' / 'cases.html').read_text()
    assert '../sub-moved/figures/sub-moved_desc-labels_T1w.svg' in page and 'blurred' in page
    bundle = load_bundle(out / 'training_T1w' / 'bundle')
    assert bundle.card['training']['data']['train'] == {'scans': 1, 'subjects': 1, 'label_maps': 0}
    assert 0 <= bundle.card['dice']['validation']['average'] <= 1
    printed = capfd.readouterr().out
    assert f'--model {bundle.path}' in printed
    unused = 'sub-01/anat/sub-01_PDw.nii.gz'
    assert f'  unused  1 image, there is no model for PDw: {unused}' in printed
    assert f'<code>{unused}</code>: there is no model for PDw' in page

    # the pairs are there, and nothing is learned twice
    before = {path: path.stat().st_mtime_ns for path in out.glob('sub-0*/anat/*')}
    assert len(before) == 2 * 5
    assert main([*words, '--participant-label', '01', '02']) == 0
    assert '2 of 2 pairs were prepared before' in capfd.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert load_bundle(bundle.path).weights_sha256 == bundle.weights_sha256

    # a bundle that was trained in another way is not overwritten, with whatever work folder
    plan = (out / 'training_T1w' / 'plan.json').read_bytes()
    capfd.readouterr()
    again = [
        *words,
        '--learning-rate',
        '0.002',
        '-w',
        f'{tmp_path}/elsewhere',
        '--participant-label',
        '01',
        '02',
    ]
    assert main(again) == 2
    assert 'was trained with other options: learning_rate 0.001, and would be' in capfd.readouterr().err
    assert (out / 'training_T1w' / 'plan.json').read_bytes() == plan


@pytest.mark.integration
def test_dry_run_lists_the_cases(people, tmp_path, capsys):
    words = f'{people} {tmp_path}/out train --modality T1w -d freesurfer={people}/derivatives/fs --dry-run'
    assert main([*words.split(), '--exclude', f'{people}/exclude.tsv']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and 'by scanner coordinates' in lines[0]
    assert lines[5] == 'sub-01/anat/sub-01_PDw.nii.gz: not used: there is no model for PDw'
    assert lines[6].startswith('unused  1 image, there is no model for PDw')
    assert any(line.endswith('excluded: blurred') for line in lines)
    assert not (tmp_path / 'out').exists()


def test_a_base_for_another_modality_is_refused(people, tiny_bundle, tmp_path, capsys):
    words = f'{people} {tmp_path}/out train --modality FLAIR -d freesurfer={people} --init {tiny_bundle}'
    assert main(words.split()) == 1
    assert 'is a bundle for T1w, not for FLAIR' in capsys.readouterr().err
    words = f'{people} {tmp_path}/out train --modality T1w -d freesurfer={people} --init {tiny_bundle}'
    assert main([*words.split(), '--filters', '9']) == 1
    assert '--filters 9 does not fit --init' in capsys.readouterr().err


def refused(capsys, *words) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, capsys.readouterr().err.strip().splitlines()[-1]


def test_what_cannot_end_well_is_refused_before_anything_is_written(people, tmp_path, capsys):
    out, fs = tmp_path / 'out', people / 'derivatives' / 'fs'
    words = (people, out, 'train', '--modality', 'T1w', '-d', f'freesurfer={fs}', '-w', tmp_path / 'work')
    code, said = refused(capsys, *words, '--window', '33', '32', '32')
    assert code == 2
    assert '--window 33 32 32: every side must be a multiple of 16 and at most' in said
    assert refused(capsys, *words, '--window', '32', '32', '512')[0] == 2
    # a coarser grid has shorter sides
    code, said = refused(capsys, *words, '--window', '112', '32', '32', '--grid-spacing', '2.8')
    assert code == 2 and said.endswith('that of the network grid, 64 80 64')
    code, said = refused(capsys, *words, '--validation-label', '01', 'nobody')
    assert code == 2
    assert '--validation-label nobody: no such participant; found 01 02 moved odd out' in said
    (tmp_path / 'empty').mkdir()
    code, said = refused(capsys, *words[:5], '-d', f'freesurfer={tmp_path / "empty"}')
    assert code == 18
    assert 'no scan can be trained on: no labels: none of aparc+aseg' in said
    assert not out.exists() and not (tmp_path / 'work').exists()


def planned(folder, *words, rows=(), maps=(), bundle=None):
    asked = parse(['in', 'out', 'train', '--modality', 'T1w', '--label-maps', str(folder), *words])
    chosen, share = train.who_validates(asked, None)
    data = split(asked, [dict(row) for row in rows], maps, chosen=chosen, share=share)
    return plan_network(asked, bundle, data, folder)


def test_who_validates_where_there_are_few(tiny_bundle, tmp_path):
    maps = [tmp_path / f'sub-{n}_dseg.nii.gz' for n in (1, 2, 3)]
    for path in maps:
        path.touch()

    def roles(*words, rows=(), maps=maps[:2]):
        plan = planned(tmp_path, *words, rows=rows, maps=maps, bundle=load_bundle(tiny_bundle))
        return [[len(kind[role]) for role in ('train', 'validate')] for kind in (plan.scans, plan.label_maps)]

    assert roles() == [[0, 0], [1, 1]]
    assert roles(maps=maps[:1]) == [[0, 0], [1, 0]]
    assert roles('--validation-share', '0') == [[0, 0], [2, 0]]
    row = {'status': 'kept', 'subject': '1', 'scan': 'x', 'modality': 'T1w', 'labels': 'brainseg',
           'files': {'image': 'i', 'labels': 'l'}}  # fmt: skip
    # one person with scans: a label map of somebody else validates, never one of the same person
    assert roles(rows=[row]) == [[1, 0], [2, 0]]
    assert roles(rows=[row], maps=maps) == [[1, 0], [2, 1]]
    assert roles(rows=[row, row | {'subject': '2'}])[0] == [1, 1]


def test_nobody_validates_is_said(tiny_bundle, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(training_plan.LOGGER, 'warning', lambda text, *values: said.append(text % values))
    path = tmp_path / 'sub-1_dseg.nii.gz'
    path.touch()
    planned(tmp_path, maps=[path], bundle=load_bundle(tiny_bundle))
    assert said == ['No validation data: all epochs run, and the bundle gets no scores']

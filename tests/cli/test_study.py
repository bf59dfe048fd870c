# SPDX-License-Identifier: Apache-2.0
"""Which networks a study trains, on whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_brainseg.bids.records import record_from_path
from bids_brainseg.cli import study
from bids_brainseg.errors import BidsError
from bids_brainseg.settings import Settings

MATERIAL = {'T1w': list('abcdefghij'), 'FLAIR': list('abcdef')}


def settings(**values) -> Settings:
    return Settings(Path('in'), Path('out'), Path('work'), **{'study': 'scaling', **values})


def test_scaling_doubles_up_to_all():
    found = study.sizes(settings(), MATERIAL)
    assert found == [('T1w', 4), ('T1w', 8), ('T1w', 10), ('FLAIR', 4), ('FLAIR', 6)]
    assert study.sizes(settings(study_sizes=(3, 8, 99)), MATERIAL) == [('T1w', 3), ('T1w', 8), ('FLAIR', 3)]


def test_equal_sizes_are_those_that_every_modality_has():
    equal = settings(study='equal-size')
    assert study.sizes(equal, MATERIAL) == [('T1w', 6), ('FLAIR', 6)]
    assert study.sizes(settings(study='equal-size', study_sizes=(4,)), MATERIAL) == [('T1w', 4), ('FLAIR', 4)]
    assert study.sizes(settings(study='equal-size', study_sizes=(9,)), MATERIAL) == [('T1w', 6), ('FLAIR', 6)]


def test_too_few_to_train_on():
    with pytest.raises(BidsError, match='1 subjects are left'):
        study.sizes(settings(), {'T1w': ['a']})
    with pytest.raises(BidsError, match='--study-sizes 20: 6 subjects are there'):
        study.sizes(settings(study_sizes=(20,)), MATERIAL)


def test_sets_are_nested_and_the_seed_decides():
    sets = [study.subset(MATERIAL['T1w'], size, 3) for size in (2, 5, 10)]
    assert set(sets[0]) < set(sets[1]) < set(sets[2])
    assert study.subset(MATERIAL['T1w'][::-1], 5, 3) == sets[1]
    assert study.subset(MATERIAL['T1w'], 5, 4) != sets[1]


def test_nobody_who_is_tested_is_trained_on(monkeypatch, tmp_path):
    trained, scored = [], []
    monkeypatch.setattr(study, 'training_material', lambda settings, modality: list('abcdef'))
    monkeypatch.setattr(
        study, 'train_on', lambda settings, modality, who, folder: trained.append((modality, who)) or folder
    )
    monkeypatch.setattr(
        study,
        'score',
        lambda settings, bundle, own, plans, folder, size: scored.append(own) or {'size': size},
    )
    records = [record_from_path(Path(f'/d/sub-{n}/anat/sub-{n}_T1w.nii.gz'), 'T1w') for n in 'ab']
    runs = study.study(settings(study_sizes=(2, 4)), records, {})
    assert [run['size'] for run in runs] == [2, 4]
    assert trained[1] == ('T1w', list('cdef'))
    assert scored == [records, records]


def test_label_maps_are_narrowed_to_the_chosen(monkeypatch, tmp_path):
    for name in ('sub-1', 'sub-2', 'sub-3'):
        (tmp_path / f'{name}_dseg.nii.gz').touch()
    asked = {'label_maps': (tmp_path,), 'recipe': {}}
    everyone = study.training_material(settings(training=asked), 'T1w')
    assert len(everyone) == 3
    seen = []
    monkeypatch.setattr('bids_brainseg.cli.train.train', seen.append)
    bundle = study.train_on(settings(training=asked), 'T1w', everyone[:2], tmp_path / 'x')
    assert bundle == tmp_path / 'x' / 'training' / 'training_T1w' / 'bundle'
    (used,) = seen
    assert used.level == 'train'
    assert used.training['modality'] == 'T1w'
    assert used.training['validation_label'] == tuple(everyone[:1])
    assert len(used.training['label_maps']) == 2
    assert used.output_dir == tmp_path / 'x' / 'training'

# SPDX-License-Identifier: Apache-2.0
"""Which networks a study trains, on whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.errors import BidsError, ModelError
from bids_brainseg.levels import study
from bids_brainseg.records import TrainingRequest
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


def records(*subjects: str) -> list:
    return [record_from_path(Path(f'/d/sub-{n}/anat/sub-{n}_T1w.nii.gz'), 'T1w') for n in subjects]


def test_nobody_who_is_tested_is_trained_on(monkeypatch):
    monkeypatch.setattr(study, 'training_material', lambda settings, modality: list('abcdef'))
    networks = study.plan_study(settings(study_sizes=(2, 4)), records('a', 'b'))
    assert [len(network.subjects) for network in networks] == [2, 4]
    assert networks[1] == study.Network('T1w', list('cdef'))
    with pytest.raises(BidsError, match=r'1 subjects are left.*, 2 are needed'):
        study.plan_study(settings(), records(*'abcde'))


def test_scans_and_label_maps_are_not_counted_together():
    request = TrainingRequest(label_maps=(Path('maps'),))
    both = settings(derivatives={'freesurfer': Path('fs')}, training=request)
    with pytest.raises(BidsError, match='was given both') as found:
        study.plan_study(both, records('a'))
    assert found.value.exit_code == 2


def test_a_network_that_fails_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    used = []

    def train_on(settings, network, folder):
        used.append(settings)
        if len(network.subjects) == 2:
            raise ModelError('training diverged')
        return folder

    monkeypatch.setattr(study, 'train_on', train_on)
    monkeypatch.setattr(study, 'score', lambda settings, bundle, own, plans, folder: {'scored': len(own)})
    (tmp_path / 'study').mkdir()
    networks = [study.Network('T1w', list('cd')), study.Network('T1w', list('cdef'))]
    asked = Settings(Path('in'), Path('out'), tmp_path, study='scaling', clean_workdir=True)
    runs, failed = study.study(asked, networks, records('a', 'b'), {})
    assert runs == [{'scored': 2, 'participants': 4}]
    assert failed == [{'modality': 'T1w', 'participants': 2, 'reason': 'training diverged'}]
    assert 'T1w, 2 participants: failed: training diverged' in capsys.readouterr().err
    assert not (tmp_path / 'study').exists()  # begun anew, once, and not validated for each network
    assert not used[1].clean_workdir and used[1].skip_bids_validation


def test_label_maps_are_narrowed_to_the_chosen(monkeypatch, tmp_path):
    for name in ('sub-1', 'sub-2', 'sub-3'):
        (tmp_path / f'{name}_dseg.nii.gz').touch()
    asked = TrainingRequest(label_maps=(tmp_path,))
    everyone = study.training_material(settings(training=asked), 'T1w')
    assert len(everyone) == 3
    seen = []
    monkeypatch.setattr('bids_brainseg.levels.train.run', seen.append)
    network = study.Network('T1w', everyone[:2])
    bundle = study.train_on(settings(training=asked), network, tmp_path / 'x')
    assert bundle == tmp_path / 'x' / 'training' / 'training_T1w' / 'bundle'
    (used,) = seen
    assert used.level == 'train'
    assert used.training.modality == 'T1w'
    assert used.training.validation_label == tuple(everyone[:1])
    assert len(used.training.label_maps) == 2
    assert used.output_dir == tmp_path / 'x' / 'training'

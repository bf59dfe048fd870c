# SPDX-License-Identifier: Apache-2.0
"""The plan of a training: to JSON and back, what it refuses, and what makes two trainings the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bids_brainseg.records import PlannedBundle, TrainingPlan, TrainingScan, TrainingStage

FILES = ('/maps/1', '/maps/2', '/maps/3', '/models/ct', '/models/t1w')


def stage(name='one', **changes) -> TrainingStage:
    values = {'contrasts': ('T1w', 'ct'), 'architecture': {'filters': 2}, 'epochs': 3, 'steps_per_epoch': 5,
              'learning_rate': 1e-3}  # fmt: skip
    return TrainingStage(name=name, **{**values, **changes})


def plan(**changes) -> TrainingPlan:
    values = {
        'stages': (stage(window=(16, 16, 16)), stage('two', after='one', contrasts=('ct',))),
        'folder': '/out',
        'bundles': (
            PlannedBundle(modality='ct', stage='two', folder='/o', name='b', version='1', license='CC0-1.0'),
        ),
        'bases': {'ct': '/models/ct', 'T1w': '/models/t1w'},
        'label_maps': {'train': ('/maps/1', '/maps/2'), 'validate': ('/maps/3',)},
        'scans': {'train': (TrainingScan('/i', '/l', 'n', 'T1w'),), 'validate': ()},
        'hashes': {
            '/maps/1': 'aa',
            '/maps/2': 'bb',
            '/maps/3': 'cc',
            '/models/ct': 'dd',
            '/models/t1w': 'ee',
        },
    }
    return TrainingPlan(**{**values, **changes})


def test_to_json_and_back():
    content = json.loads(json.dumps(plan().to_json()))
    again = TrainingPlan.from_json(content)
    assert again == plan()
    assert again.identity() == plan().identity() == json.loads(json.dumps(plan().identity()))


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'stage': []}, 'the plan holds stage, which nothing reads; known: .*stages'),
        ({'folder': None}, 'the plan lacks folder'),
        ({'stages': [{'nam': 'x'}]}, 'one of stages holds nam, which nothing reads'),
        ({'stages': [{'name': 'x'}]}, 'one of stages lacks architecture, contrasts, epochs'),
        ({'stages': ['x']}, "one of stages must be a table of names and values, not 'x'"),
        ({'stages': []}, r"takes the weights of stage 'two'; there are"),
    ],
)
def test_what_is_no_plan_is_refused(change, said):
    content = {name: value for name, value in {**plan().to_json(), **change}.items() if value is not None}
    content |= {name: value for name, value in plan().to_json().items() if value is None}
    with pytest.raises(ValueError, match=said):
        TrainingPlan.from_json(content)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'optimizer': 'sgd'}, "stage one: optimizer is 'sgd'; it must be one of adam, muon"),
        ({'epochs': 0}, 'epochs is 0; it must be a whole number of 1 or more'),
        ({'epochs': 2.5}, 'epochs is 2.5; it must be a whole number'),
        ({'epochs': True}, 'epochs is True; it must be a whole number'),
        ({'learning_rate': '6e-3'}, "learning_rate is '6e-3'; it must be a number from 0 to 1"),
        ({'window': (3, 4)}, r'window is \(3, 4\); it must be three numbers of voxels'),
        ({'name': 'a/b'}, "a stage is named 'a/b'; use letters"),
        ({'after': 'x', 'init': 'y'}, 'give "after" or "init", not both'),
    ],
)
def test_a_stage_says_what_is_wrong(change, said):
    with pytest.raises(ValueError, match=said):
        stage(**{'name': 'one', **change})


def test_stages_follow_each_other():
    with pytest.raises(ValueError, match='two stages are named one'):
        plan(stages=(stage(), stage()), bundles=())
    with pytest.raises(
        ValueError, match="comes after 'one', which is no earlier stage; earlier: none"
    ):
        plan(stages=(stage('two', after='one'), stage('one')), bundles=())


def first(plan: TrainingPlan, **changes) -> TrainingPlan:
    one, *others = plan.stages
    return replace(plan, stages=(replace(one, **changes), *others))


def test_what_changes_the_weights_changes_the_identity():
    same = plan().identity('one')
    for changes in ({'learning_rate': 2e-3}, {'ranges': {'rotation': 3}}, {'steps_per_epoch': 6}, {'seed': 4},
                    {'window': None}, {'contrasts': ('T1w',)}):  # fmt: skip
        assert first(plan(), **changes).identity('one') != same
        assert first(plan(), **changes).identity('two') != plan().identity('two')
    assert plan(hashes={**plan().hashes, '/maps/1': 'xx'}).identity('one') != same
    moved = {'/elsewhere' + path: found for path, found in plan().hashes.items()}
    maps = {role: tuple('/elsewhere' + x for x in paths) for role, paths in plan().label_maps.items()}
    bases = {name: '/elsewhere' + path for name, path in plan().bases.items()}
    assert plan(hashes=moved, label_maps=maps, bases=bases).identity('one') == same


def test_what_does_not_change_the_weights_does_not():
    for changes in ({'workers': 4}, {'checkpoint_seconds': 1}, {'epochs': 9}, {'patience': 2}):
        assert first(plan(), **changes).identity('one') == plan().identity('one')
    # but the weights that a later stage begins with depend on the epochs of the one before
    assert first(plan(), epochs=9).identity('two') != plan().identity('two')
    cosine = first(plan(), schedule='cosine')
    assert first(cosine, epochs=9).identity('one') != cosine.identity('one')

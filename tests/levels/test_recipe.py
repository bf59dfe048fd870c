# SPDX-License-Identifier: Apache-2.0
"""Recipes: what they say, what they refuse, and from label maps to bundles in spite of every kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import make_label_map

from bids_brainseg.cli.options import parse
from bids_brainseg.cli.run import main
from bids_brainseg.data import modalities, resource
from bids_brainseg.errors import BidsError
from bids_brainseg.levels.recipe import read_recipe
from bids_brainseg.network.bundle import load_bundle


def write(folder: Path, name='mine.json', **changes) -> Path:
    content = {
        'contrasts': ['T1w', 'ct'],
        'architecture': {'filters': 1, 'depth': 2},
        'training': {'grid_spacing': 8.0, 'epochs': 2, 'steps_per_epoch': 2, 'checkpoint_seconds': 0},
        'stages': [
            {'name': 'a', 'class_balance': 1.0},
            {'name': 'b', 'dropout': 0.1, 'learning_rate': 0.002},
        ],
        'specialization': {'epochs': 1, 'modalities': {'ct': {'steps_per_epoch': 3}}},
        'evaluation': {'pairs': 1, 'mc_samples': 0},
    } | changes
    path = folder / name
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return path


def stages(path: Path, **changes):
    return read_recipe(path).stages_for(**{'seed': 5, 'beside': {}, 'init': None, 'share': 1.0, **changes})


@pytest.mark.parametrize('path', sorted(resource('recipes').glob('*.json')), ids=lambda path: path.stem)
def test_packaged_recipes_are_valid(path):
    recipe = read_recipe(path)
    found = recipe.stages_for(seed=0, beside={}, init=None, share=1.0)
    assert recipe.name == path.stem and recipe.description
    for modality in recipe.contrasts:
        assert modality in next(s for s in found if s.name == recipe.last_stage(modality)).contrasts


def test_stages_follow_each_other_and_then_part(tmp_path):
    found = stages(write(tmp_path))
    assert [(s.name, s.after, s.seed) for s in found] == [
        ('a', None, 5), ('b', 'a', 6), ('T1w', 'b', 7), ('ct', 'b', 8),
    ]  # fmt: skip
    a, b, t1w, ct = found
    assert a.contrasts == b.contrasts == ('T1w', 'ct') and ct.contrasts == ('ct',)
    assert (a.class_balance, b.class_balance, b.learning_rate, a.learning_rate) == (1, 0, 0.002, 0.001)
    assert (a.architecture['dropout'], b.architecture['dropout'], t1w.architecture['dropout']) == (
        0.2,
        0.1,
        0.2,
    )
    assert {s.architecture['filters'] for s in found} == {1}
    assert (t1w.epochs, t1w.steps_per_epoch, ct.steps_per_epoch) == (1, 2, 3)
    assert {s.workers for s in stages(write(tmp_path), beside={'workers': 3})} == {3}


def test_a_recipe_may_be_yaml(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('stages:\n  - name: a\n    learning_rate: 0.01\n    window: [32, 32, 32]\n')
    (stage,) = stages(path)
    assert (stage.window, stage.learning_rate, stage.contrasts) == ((32, 32, 32), 0.01, tuple(modalities()))
    assert read_recipe(path).last_stage('T1w') == 'a'


def test_weights_to_begin_with(tmp_path, tiny_bundle):
    weights = tiny_bundle / 'weights.safetensors'
    (tmp_path / 'w.safetensors').symlink_to(weights)
    named = write(tmp_path, stages=[{'name': 'a', 'init': 'w.safetensors'}], specialization=None)
    assert stages(named)[0].init == str(tmp_path / 'w.safetensors')
    of_bundle = write(tmp_path, stages=[{'name': 'a', 'init': str(tiny_bundle)}], specialization=None)
    assert stages(of_bundle)[0].init == str(weights)
    first, *others = stages(write(tmp_path), init=weights)
    assert first.init == str(weights) and {stage.init for stage in others} == {None}


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'stage': []}, 'the recipe holds stage, which nothing reads; known: .*stages'),
        ({'stages': None}, 'the recipe lacks stages'),
        ({'stages': []}, 'it needs "stages": a list, each with a "name"'),
        ({'stages': [{'name': 'a', 'learnig_rate': 1}]}, 'a stage holds learnig_rate, which nothing reads'),
        ({'stages': [{'name': 'a', 'epochs': 0}]}, 'stage a: epochs is 0; it must be a whole number'),
        ({'stages': [{'name': 'a'}, {'name': 'a'}]}, 'stages are named twice: a'),
        ({'stages': [{'name': 'ct'}]}, 'stages are named twice: ct'),
        ({'stages': [{'name': 'a', 'init': 'none'}]}, 'init .*none is neither weights nor a bundle'),
        ({'stages': [{'name': 'a', 'synthetic_share': 0.5}]}, r'synthetic_share 0\.5 needs real scans'),
        ({'training': {'rate': 1}}, 'training holds rate, which no stage has'),
        ({'contrasts': ['T3w']}, 'contrasts T3w are unknown; known: T1w'),
        ({'evaluation': {'scans': 3}}, 'evaluation holds scans, which nothing reads; known: mc'),
        ({'reference': {'name': 'a b'}}, 'reference needs a "name" of letters and digits'),
        ({'calibration': 3}, 'calibration must be a table of names and values, not 3'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, change, said):
    path = write(tmp_path, **change)
    with pytest.raises(BidsError, match=said) as found:
        stages(path)
    assert found.value.exit_code == 2 and str(path) in str(found.value)


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(
        BidsError, match='cannot be read: No such file.*recipes in that folder: continued, packaged, short'
    ):
        read_recipe(resource('recipes') / 'shrt.json')
    (tmp_path / 'x.json').write_text('{"stages": ')
    with pytest.raises(BidsError, match='neither JSON nor YAML'):
        read_recipe(tmp_path / 'x.json')
    (tmp_path / 'y.yaml').write_text('- a')
    with pytest.raises(BidsError, match='the recipe must be a table'):
        read_recipe(tmp_path / 'y.yaml')


def usage(capsys, *words) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(['in', 'out', *words])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_command_leaves_to_the_recipe_what_it_says(tmp_path, capsys):
    words = ('train', '--recipe', 'short', '--label-maps', str(tmp_path))
    assert parse(['in', 'out', *words]).training.recipe == resource('recipes') / 'short.json'
    assert '--epochs --modality: the recipe says that' in usage(
        capsys, *words, '--epochs', '3', '--modality', 'ct'
    )
    assert '--range: the recipe says that' in usage(capsys, *words, '--range', 'crop=0')
    assert 'training needs labels' in usage(capsys, *words[:3])
    assert parse(['in', 'out', *words, '--workers', '3']).training.stage == {'workers': 3}


@pytest.fixture(scope='module')
def maps(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('maps')
    for number, shift in enumerate((0, 20, -60)):
        make_label_map(folder / f'sub-{number}_dseg.nii.gz', shift)
    return folder


def command(recipe, maps, folder) -> list[str]:
    return [str(maps), str(folder / 'out'), 'train', '--recipe', str(recipe), '--label-maps', str(maps),
            '-w', str(folder / 'work'), '--device', 'cpu', '--omp-nthreads', '1']  # fmt: skip


def test_dry_run_lists_the_stages(maps, tmp_path, capsys):
    assert main([*command('short', maps, tmp_path), '--dry-run']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f'stage coarse: {", ".join(modalities())}, at most 8 steps' in lines
    assert sum('label map of' in line for line in lines) == 3
    assert not (tmp_path / 'out').exists()


def test_who_validates_must_be_there(maps, tmp_path, capsys):
    recipe = write(tmp_path, validation={'labels': ['0', 'nobody']})
    assert main(command(recipe, maps, tmp_path)) == 2
    assert 'validation of the recipe: nobody: no such participant; found 0 1 2' in capsys.readouterr().err


@pytest.mark.integration
def test_the_short_recipe_ends_with_a_bundle_for_each_modality(maps, tmp_path, capfd):
    assert main(command('short', maps, tmp_path)) == 0
    folder = tmp_path / 'out' / 'training_short'
    for modality in modalities():
        bundle = load_bundle(folder / 'bundles' / f'short{modality}')
        assert (bundle.modality, bundle.license) == (modality, 'CC0-1.0')
        training = bundle.card['training']
        assert [stage['stage']['name'] for stage in training['earlier_stages']] == ['coarse', 'fine']
        assert training['recipe']['contrasts'] == [modality] and training['steps'] == 20
        assert training['data']['validate']['label_maps'] == 1
        assert bundle.card['threshold'].startswith(('mean CV above', 'not calibrated'))
        assert bundle.card['dice']['validation']['what'].startswith('2 held-out scans')
        assert (folder / f'log_{modality}.csv').is_file()
    capfd.readouterr()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('model.json')}
    assert main(command('short', maps, tmp_path)) == 0  # nothing is done twice
    assert capfd.readouterr().out.count('finished before') == 2 + len(modalities())
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob('model.json')}


def killed_when(there: Path, words: list[str]) -> None:
    """Run the network process, and kill it as soon as a file is there."""
    process = subprocess.Popen([sys.executable, '-m', 'bids_brainseg.process', *words])
    try:
        while not there.exists():
            assert process.poll() is None, 'it ended before it could be killed'
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.integration
def test_killed_at_every_stage_it_ends_with_the_same_weights(maps, tmp_path, capfd):
    """Literally: SIGKILL in the first stage, between stages, in a specialization, while bundles are made."""
    recipe = write(tmp_path)
    assert main(command(recipe, maps, tmp_path / 'whole')) == 0
    parts = tmp_path / 'parts'
    (parts / 'out' / 'training_mine').mkdir(parents=True)
    plan = (tmp_path / 'whole' / 'out' / 'training_mine' / 'plan.json').read_text()
    path = parts / 'out' / 'training_mine' / 'plan.json'
    path.write_text(plan.replace(str(tmp_path / 'whole'), str(parts)))
    work = parts / 'work' / 'training_mine'
    words = ['train', '--plan', str(path), '--work-dir', str(work), '--device', 'cpu', '--threads', '1']
    for there in (
        'stages/a/checkpoint.safetensors',
        'stages/a/finished.json',
        'stages/b/checkpoint.safetensors',
        'stages/T1w/best.safetensors',
        'bundles/mineT1w/model.json',
    ):
        killed_when(work / there, words)
    assert main(command(recipe, maps, parts)) == 0
    for name in ('mineT1w', 'minect'):
        folders = [tmp_path / run / 'out' / 'training_mine' / 'bundles' for run in ('whole', 'parts')]
        one, other = (load_bundle(folder / name) for folder in folders)
        assert one.weights_sha256 == other.weights_sha256
        assert one.card['dice'] == other.card['dice']
    # a recipe that was changed is not mixed with what another one left
    write(tmp_path, training={'grid_spacing': 8.0, 'epochs': 2, 'steps_per_epoch': 2, 'learning_rate': 0.01})
    capfd.readouterr()
    again = command(recipe, maps, parts)
    assert main(again) == 2
    assert 'was trained with other options' in capfd.readouterr().err
    again[1] = str(tmp_path / 'new')
    assert main(again) == 1
    assert 'stages/a was begun with learning_rate 0.001 (now 0.01)' in capfd.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""Words in, settings out; usage errors name the flag, what was found and what to do."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.cli.options import parse, spell_options
from bids_brainseg.cli.parser import LEVELS, get_parser
from bids_brainseg.data import modalities
from bids_brainseg.levels.outcome import reproduce


def refused(capsys, *words) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        parse([str(word) for word in words])
    return stop.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def test_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = parse(['in', 'out', 'participant'])
    assert settings.bids_dir == tmp_path / 'in'
    assert settings.work_dir == tmp_path / 'work'
    assert settings.modalities == tuple(modalities())
    assert settings.nprocs == len(os.sched_getaffinity(0))
    assert settings.random_seed == 0  # fixed, or no run would find the cache of the one before
    assert settings.mc_samples is None
    assert not (tmp_path / 'work').exists()
    assert not (tmp_path / 'out').exists()


def test_every_word_arrives(tmp_path):
    (tmp_path / 'filters.json').write_text('{"T1w": {"acquisition": null, "run": "*"}}')
    (tmp_path / 'plugin.yml').write_text('plugin: SLURM\nplugin_args: {max_jobs: 2}\n')
    (tmp_path / 'model').mkdir()
    settings = parse(
        f'{tmp_path}/in {tmp_path}/out participant --participant-label sub-01 02 01 --session-label ses-1 '
        f'--modalities dwi ct --bids-filter-file {tmp_path}/filters.json --skip-bids-validation '
        f'--bids-database-dir {tmp_path}/db -w {tmp_path}/w --nprocs 8 --omp-nthreads 3 --mem 16G --low-mem '
        f'--device cpu --use-plugin {tmp_path}/plugin.yml --model ct={tmp_path}/model {tmp_path}/model '
        '--mc-samples 0 --random-seed 5 --cv-threshold 2.5% --ct-window -20 100 --label-resampling nearest '
        '--save-probseg --reports-only --write-graph --stop-on-first-crash --resource-monitor '
        '--clean-workdir '
        '--dry-run -vv'.split()
    )
    assert settings.participant_label == ('01', '02')
    assert settings.session_label == ('1',)
    assert settings.modalities == ('dwi', 'ct')
    assert settings.bids_filters == {'T1w': {'acquisition': None, 'run': '*'}}
    assert settings.bids_database_dir == tmp_path / 'db'
    assert (settings.nprocs, settings.omp_nthreads, settings.mem_gb, settings.low_mem) == (8, 3, 16.0, True)
    assert (settings.plugin, settings.plugin_args) == ('SLURM', {'max_jobs': 2})
    assert settings.models == (('ct', tmp_path / 'model'), ('', tmp_path / 'model'))
    assert (settings.mc_samples, settings.random_seed, settings.cv_threshold) == (0, 5, 2.5)
    assert settings.ct_window == (-20.0, 100.0)
    assert (settings.label_resampling, settings.save_probseg, settings.device) == ('nearest', True, 'cpu')
    assert settings.verbosity == 2
    for name in (
        'skip_bids_validation reports_only write_graph stop_on_first_crash resource_monitor clean_workdir '
        'dry_run'
    ).split():
        assert getattr(settings, name) is True, name


def test_outputs_may_lie_among_the_derivatives(tmp_path):
    settings = parse([f'{tmp_path}/in', f'{tmp_path}/in/derivatives/brainseg', 'participant'])
    assert settings.output_dir == tmp_path / 'in' / 'derivatives' / 'brainseg'


@pytest.mark.parametrize(
    ('words', 'phrase'),
    [
        (['in', 'in', 'participant'], 'OUTPUT_DIR is BIDS_DIR'),
        (['in', 'in/../in', 'participant'], 'OUTPUT_DIR is BIDS_DIR'),
        (['in', 'in/sub-01/out', 'participant'], 'OUTPUT_DIR is inside BIDS_DIR'),
        (['in', '.', 'evaluate', '-d', 'labels=.'], 'OUTPUT_DIR is the folder of --derivatives labels'),
        (['in', 'out', 'participant', '-w', 'in/work'], '--work-dir is inside BIDS_DIR'),
        (['in', 'out', 'participant', '--mem', '16'], '16 is 0.016 GB'),
        (['in', 'out', 'participant', '--mem', 'much'], '--mem'),
        (['in', 'out', 'participant', '--nprocs', '0'], '0 is less than 1'),
        (['in', 'out', 'participant', '--mc-samples', '-1'], '-1 is negative'),
        (['in', 'out', 'participant', '--cv-threshold', '0'], '0 is not above 0'),
        (['in', 'out', 'participant', '--ct-window', '80', '0'], 'the first number must be the lower one'),
        (['in', 'out', 'participant', '--modalities', 'photo'], "invalid choice: 'photo'"),
        (['in', 'out', 'participant', '--model', 'absent'], 'absent is not a folder'),
        (['in', 'out', 'participant', '--model', 'photo=.'], "unknown modality 'photo'"),
        (['in', 'out', 'participant', '--bids-filter-file', 'absent.json'], 'cannot be read as JSON'),
        (['in', 'out', 'participant', '--bids-filter-file', 'list.json'], 'must hold {"MODALITY"'),
        (['in', 'out', 'participant', '--qc-thresholds', 'absent.json'], 'cannot be read as JSON'),
        (['in', 'out', 'participant', '--qc-thresholds', 'list.json'], 'list.json: must hold {"all" or'),
        (['in', 'out', 'participant', '--use-plugin', 'absent.yml'], 'cannot be read as YAML'),
        (['in', 'out', 'participant', '--use-plugin', 'list.json'], 'must name a nipype plugin'),
        (
            ['in', 'out', 'participant', '--use-plugin', 'graph.yml'],
            'SLURMGraph submits the jobs and does not wait',
        ),
        (['in', 'out', 'participant', '--use-plugin', 'case.yml'], "unknown plugin 'Slurm'; known: SLURM, "),
        (['in', 'out'], 'required: LEVEL'),
    ],
)
def test_usage_errors(capsys, tmp_path, monkeypatch, words, phrase):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'list.json').write_text(json.dumps([1]))
    (tmp_path / 'graph.yml').write_text('plugin: SLURMGraph')
    (tmp_path / 'case.yml').write_text('plugin: Slurm')
    code, message = refused(capsys, *words)
    assert code == 2
    assert phrase in message


def test_thresholds_come_from_a_file(tmp_path):
    rules = {'all': {'alignment': {'review_below': 0.5}}, 'ct': {'fov_truncation': None}}
    (tmp_path / 'rules.json').write_text(json.dumps(rules))
    settings = parse(['in', 'out', 'participant', '--qc-thresholds', f'{tmp_path}/rules.json'])
    assert settings.qc_thresholds == rules
    assert tomllib.loads(settings.to_toml())['qc_thresholds']['all'] == rules['all']


def test_a_file_may_be_a_pipe_of_the_shell():
    reading, writing = os.pipe()
    with os.fdopen(writing, 'w') as stream:
        stream.write('{"all": {"alignment": {"review_below": 0.5}}}')
    settings = parse(['in', 'out', 'participant', '--qc-thresholds', f'/dev/fd/{reading}'])
    os.close(reading)
    assert settings.qc_thresholds['all']['alignment'] == {'review_below': 0.5}


def test_derivatives_folder_inside_the_dataset_is_fine(tmp_path):
    assert parse([f'{tmp_path}', f'{tmp_path}/derivatives/brainseg', 'participant', '-w', '/elsewhere'])


@pytest.mark.parametrize('level', ['subject', 'Group'])
def test_unknown_level(capsys, level):
    code, message = refused(capsys, 'in', 'out', level)
    assert code == 17
    known = ', '.join(LEVELS)
    assert message == f"bids_brainseg: error: unknown level '{level}'; this version knows: {known}"


def test_the_command_for_one_scan_gives_the_same_settings(tmp_path, monkeypatch):
    """Whatever option is given, the command that the page shows runs the scan in the same way."""
    monkeypatch.chdir(tmp_path)
    for name in ('model', 'flow'):
        Path(name).mkdir()
    Path('filters.json').write_text('{"T1w": {"acquisition": null}}')
    Path('rules.json').write_text('{"all": {"alignment": {"review_below": 0.5}}}')
    Path('plugin.yml').write_text('plugin: SLURM')
    first = parse(
        'in out participant --participant-label 01 02 --session-label 1 --modalities T1w ct -w work/a '
        '--bids-filter-file filters.json --skip-bids-validation --bids-database-dir db -d x=flow '
        '--nprocs 3 --omp-nthreads 2 --mem 1500M --low-mem --device cpu --use-plugin plugin.yml '
        '--model model T1w=model --mc-samples 0 --random-seed 5 --cv-threshold 2.5% '
        '--qc-thresholds rules.json --ct-window -20 80.5 --label-resampling nearest --save-probseg '
        '--output-spaces MNI152NLin2009cAsym:res-1 X --write-graph --stop-on-first-crash '
        '--resource-monitor --clean-workdir -vv'.split()
    )
    record = record_from_path(Path('in/sub-02/ses-1/ct/sub-02_ses-1_ct.nii.gz'), 'ct')
    monkeypatch.chdir('/')  # the command works from any folder
    again = parse(shlex.split(reproduce(record, first))[1:])
    assert (again.participant_label, again.session_label, again.modalities) == (('02',), ('1',), ('ct',))
    assert again.verbosity == 1 and not again.clean_workdir  # what is done need not be done again
    changed = 'run_uuid options participant_label session_label modalities verbosity clean_workdir'
    same = {name: getattr(first, name) for name in changed.split()}
    assert replace(again, **same) == first


def test_every_option_is_spelled_as_it_is_read():
    """Each option of the parser survives from its value to words and back."""
    parser = get_parser()
    texts = {
        '--mem': ['2T'],
        '--learning-rate': ['0.01'],
        '--output-spaces': ['A:res-1', 'B'],
        '--ct-window': ['-1.5', '1e3'],
    }
    for action in parser._actions:
        if not action.option_strings or action.dest in ('help', argparse.SUPPRESS):
            continue
        flag = action.option_strings[-1]
        words = texts.get(flag, action.choices and [list(action.choices)[-1]] or ['1'])
        if isinstance(action.nargs, int):  # none for a switch
            words = (words * 3)[: action.nargs]
        first = parser.parse_args(['/in', '/out', 'participant', flag, *words])
        spelled = [word for option in spell_options(parser, first) for word in option]
        assert flag in spelled
        assert parser.parse_args(['/in', '/out', 'participant', *spelled]) == first


def test_words_of_an_evaluation_arrive(tmp_path):
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'table.tsv').touch()
    settings = parse(
        f'in out evaluate --derivatives labels={tmp_path}/labels --label-table {tmp_path}/table.tsv '
        '--label-filter desc=manual seg=x --calibrate --acceptable-dice 0.7'.split()
    )
    assert settings.derivatives == {'labels': tmp_path / 'labels'}
    assert settings.label_table == tmp_path / 'table.tsv'
    assert settings.label_filter == {'desc': 'manual', 'seg': 'x'}
    assert (settings.calibrate, settings.acceptable_dice) == (6, 0.7)
    settings = parse('in out evaluate --calibrate 3 --label-table freesurfer'.split())
    assert (settings.calibrate, settings.label_table, settings.label_filter) == (3, 'freesurfer', {})
    assert parse(['in', 'out', 'evaluate']).calibrate == 0


def test_words_of_a_study_arrive(tmp_path):
    words = (
        f'in out evaluate --study scaling --study-sizes 4 2 4 --label-maps {tmp_path} --filters 4 --epochs 2'
    )
    settings = parse(words.split())
    assert (settings.study, settings.study_sizes) == ('scaling', (4, 2))
    assert settings.training.filters == 4
    assert settings.training.stage == {'epochs': 2}


@pytest.mark.parametrize(
    ('words', 'phrase'),
    [
        (['--label-table', 'absent.tsv'], 'neither auto, freesurfer, brainseg nor a file'),
        (['--label-filter', 'manual'], '--label-filter manual: expected NAME=VALUE'),
        (['--derivatives', 'labels=absent'], 'absent is not a folder'),
        (['--acceptable-dice', '70'], '70 is not between 0 and 1'),
        (['--study', 'scaling'], 'training needs labels'),
    ],
)
def test_usage_errors_of_an_evaluation(capsys, words, phrase):
    code, message = refused(capsys, 'in', 'out', 'evaluate', *words)
    assert code == 2
    assert phrase in message

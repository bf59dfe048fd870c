# SPDX-License-Identifier: Apache-2.0
"""Words in, settings out; usage errors name the flag, what was found and what to do."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.cli.options import parse, spell_options
from bids_brainseg.cli.parser import LEVELS, TASKS, flag_of, get_parser
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
    (tmp_path / 'plugin.yml').write_text('plugin: LegacyMultiProc\nplugin_args: {max_jobs: 2}\n')
    (tmp_path / 'model').mkdir()
    settings = parse(
        f'{tmp_path}/in {tmp_path}/out participant --participant-label sub-01 02 01 --session-label ses-1 '
        f'--modalities dwi ct --bids-filter-file {tmp_path}/filters.json --skip-bids-validation '
        f'--bids-database-dir {tmp_path}/db -w {tmp_path}/w --nprocs 8 --omp-nthreads 3 --mem 16G --low-mem '
        f'--device cpu --use-plugin {tmp_path}/plugin.yml --model ct={tmp_path}/model {tmp_path}/model '
        '--mc-samples 0 --random-seed 5 --cv-threshold 2.5% --ct-window -20 100 --label-resampling nearest '
        '--precision mixed_bfloat16 --save-probseg --reports-only --write-graph --stop-on-first-crash '
        '--resource-monitor --clean-workdir '
        '--dry-run -vv'.split()
    )
    assert settings.participant_label == ('01', '02')
    assert settings.session_label == ('1',)
    assert settings.modalities == ('dwi', 'ct')
    assert settings.bids_filters == {'T1w': {'acquisition': None, 'run': '*'}}
    assert settings.bids_database_dir == tmp_path / 'db'
    assert (settings.nprocs, settings.omp_nthreads, settings.mem_gb, settings.low_mem) == (8, 3, 16.0, True)
    assert (settings.plugin, settings.plugin_args) == ('MultiProc', {'max_jobs': 2})
    assert settings.models == (('ct', tmp_path / 'model'), ('', tmp_path / 'model'))
    assert (settings.mc_samples, settings.random_seed, settings.cv_threshold) == (0, 5, 2.5)
    assert settings.ct_window == (-20.0, 100.0)
    assert (settings.label_resampling, settings.save_probseg, settings.device) == ('nearest', True, 'cpu')
    assert (settings.precision, settings.verbosity) == ('mixed_bfloat16', 2)
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
        (['in', 'out', 'participant', '--precision', 'mixed_float16'], 'is for a training'),
        (['in', 'out', 'participant', '--cv-threshold', '0'], '0 is not above 0'),
        (['in', 'out', 'participant', '--ct-window', '80', '0'], 'the first number must be the lower one'),
        (['in', 'out', 'participant', '--modalities', 'photo'], "unknown modality 'photo'"),
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
        (['in', 'out', 'train', '--use-plugin', 'slurm.yml', '--resource-monitor'], 'those of SLURM are'),
        (['in', 'out'], 'required: LEVEL'),
    ],
)
def test_usage_errors(capsys, tmp_path, monkeypatch, words, phrase):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'list.json').write_text(json.dumps([1]))
    (tmp_path / 'graph.yml').write_text('plugin: SLURMGraph')
    (tmp_path / 'case.yml').write_text('plugin: Slurm')
    (tmp_path / 'slurm.yml').write_text('plugin: SLURM')
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


def test_the_command_works_within_the_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = parse('. ./derivatives/x participant'.split())
    assert (settings.bids_dir, settings.output_dir) == (tmp_path, tmp_path / 'derivatives' / 'x')
    assert settings.work_dir == tmp_path / 'derivatives' / 'x' / 'work'
    assert parse('. ./derivatives/x participant -w ./derivatives/w'.split()).work_dir.name == 'w'
    assert refused(capsys, *'. ./derivatives/x participant -w work'.split())[0] == 2


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', f'{tmp_path}')
    (tmp_path / 'm').mkdir()
    (tmp_path / 'f.json').write_text('{}')
    settings = parse(
        '~/in ~/out evaluate --work-dir=~/w --bids-database-dir ~/index --model T1w=~/m FLAIR=~/m '
        '--derivatives labels=~/m --bids-filter-file=~/f.json --qc-thresholds ~/f.json'.split()
    )
    assert (settings.bids_dir, settings.output_dir) == (tmp_path / 'in', tmp_path / 'out')
    assert (settings.work_dir, settings.bids_database_dir) == (tmp_path / 'w', tmp_path / 'index')
    assert settings.models == (('T1w', tmp_path / 'm'), ('FLAIR', tmp_path / 'm'))
    assert settings.derivatives == {'labels': tmp_path / 'm'}


def test_a_tilde_in_the_options_of_a_training(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', f'{tmp_path}')
    (tmp_path / 'm').mkdir()
    words = '~/in ~/out train --modality T1w --label-maps ~/m --init=~/m'
    training = parse(words.split()).training
    assert (training.label_maps, training.init) == ((tmp_path / 'm',), tmp_path / 'm')


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
    Path('model').mkdir()
    Path('filters.json').write_text('{"T1w": {"acquisition": null}}')
    Path('rules.json').write_text('{"all": {"alignment": {"review_below": 0.5}}}')
    Path('plugin.yml').write_text('plugin: Linear')
    first = parse(
        'in out participant --participant-label 01 02 --session-label 1 --modalities T1w ct -w work/a '
        '--bids-filter-file filters.json --skip-bids-validation --bids-database-dir db '
        '--nprocs 3 --omp-nthreads 2 --mem 1500M --low-mem --device cpu --use-plugin plugin.yml '
        '--model model T1w=model --mc-samples 0 --random-seed 5 --cv-threshold 2.5% '
        '--qc-thresholds rules.json --ct-window -20 80.5 --label-resampling nearest --save-probseg '
        '--precision mixed_bfloat16 '
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
        '--mem-gb': ['2000'],
        '--learning-rate': ['0.01'],
        '--output-spaces': ['A:res-1', 'B'],
        '--ct-window': ['-1.5', '1e3'],
        '--modalities': ['ct'],
    }
    for action in parser._actions:
        if not action.option_strings or action.dest in ('help', argparse.SUPPRESS):
            continue
        flag = flag_of(action)
        words = texts.get(flag, action.choices and [list(action.choices)[-1]] or ['1'])
        if isinstance(action.nargs, int):  # none for a switch
            words = (words * 3)[: action.nargs]
        first = parser.parse_args(['/in', '/out', 'participant', flag, *words])
        spelled = [word for option in spell_options(parser, first) for word in option]
        assert (flag if flag != '--mem-gb' else '--mem') in spelled
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


@pytest.mark.parametrize(
    ('typed', 'meant'),
    [
        ('--participant_label 01,sub-02 03', '--participant-label 01 02 03'),
        ('--subject-label 01', '--participant-label 01'),
        ('--participant-label 01 --participant-label 02', '--participant-label 01 02'),
        ('--participant-label=01,02', '--participant-label 01 02'),
        ('--session_label ses-1,2', '--session-label 1 2'),
        ('--session-id 1', '--session-label 1'),
        ('-m t1w,CT', '--modalities T1w ct'),
        ('--nthreads 3', '--nprocs 3'),
        ('--n_cpus 3', '--nprocs 3'),
        ('--n-cpus=3', '--nprocs 3'),
        ('--mem_mb 8000', '--mem 8G'),
        ('--mem-mb 8000', '--mem 8G'),
        ('--mem_gb 8', '--mem 8G'),
        ('--mem-gb 8000M', '--mem 8G'),
        ('--skip_bids_validation', '--skip-bids-validation'),
        ('--omp_nthreads 2 --low_mem --work_dir w_w', '--omp-nthreads 2 --low-mem -w w_w'),
        ('--nipype-plugin-file plugin.yml', '--use-plugin plugin.yml'),
        ('--device cuda', '--device gpu'),
        ('--notrack --no-sub', ''),
        ('--boilerplate_only', '--boilerplate-only'),
    ],
)
def test_spellings_of_other_programs(tmp_path, monkeypatch, typed, meant):
    monkeypatch.chdir(tmp_path)
    Path('plugin.yml').write_text('plugin: SLURM')
    first, second = (parse(['in', 'out', 'participant', *words.split()]) for words in (typed, meant))
    assert replace(first, run_uuid='', options=()) == replace(second, run_uuid='', options=())


def test_options_may_come_first():
    words = '--participant-label 01 -- in out participant'.split()
    assert parse(words).participant_label == ('01',)
    assert parse('in -w w out --low-mem participant'.split()).low_mem


def test_runs_are_a_filter_of_every_modality(tmp_path):
    (tmp_path / 'filters.json').write_text('{"t1w": {"run": "1", "acquisition": "x"}}')
    words = ['in', 'out', 'participant', '--run-id', '1,run-02']
    assert parse(words).bids_filters == {name: {'run': ['1', '02']} for name in modalities()}
    filters = parse([*words, '--bids-filter-file', f'{tmp_path}/filters.json']).bids_filters
    assert filters['t1w'] == {'run': ['1', '02'], 'acquisition': 'x'}
    assert 'T1w' not in filters


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('participant --modality T1w', '--modality is an option of train and commands without BIDS, not of '
         'participant; did you mean --modalities?'),
        ('participant --epochs 3', '--epochs is an option of train and evaluate --study, not of participant'),
        ('evaluate --epochs 3', '--epochs is an option of train and evaluate --study, not of evaluate'),
        ('participant --calibrate', '--calibrate is an option of evaluate, not of participant'),
        ('group --save_probseg', '--save-probseg is an option of participant, evaluate and commands without '
         'BIDS, not of group'),
        ('train --modalities T1w', '--modalities is an option of participant, group and evaluate, not of '
         'train; did you mean --modality?'),
        ('participant --particpant-label 01', 'unknown option --particpant-label; did you mean '
         '--participant-label?'),
        ('participant --participant 01', 'unknown option --participant'),
        ('participant --mc 3', 'unknown option --mc'),
        ('participant group', 'unrecognized arguments: group'),
    ],
)  # fmt: skip
def test_one_line_for_an_option_that_does_not_belong(capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        parse(['in', 'out', *words.split()])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith(f'bids_brainseg: error: {message}')
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize('level', TASKS)
def test_the_help_of_a_level_lists_what_it_takes(level):
    lines = [line for line in get_parser(level).format_help().splitlines() if line.startswith('  -')]
    listed = {flag for line in lines for flag in re.findall(r'--[a-z-]+', line)}
    here = {level, 'evaluate --study'} if level == 'evaluate' else {level}
    taken = {flag_of(action) for action in get_parser()._actions if here & {*getattr(action, 'levels', ())}}
    assert taken <= listed
    assert {flag_of(action) for action in get_parser()._actions if action.option_strings} & listed == {
        *taken, '--help', '--version', '--bids-exec-spec'
    }


@pytest.mark.parametrize(
    ('words', 'present', 'absent'),
    [
        ('participant --help', '--save-probseg', '--epochs'),
        ('in out train -h', '--epochs', '--save-probseg'),
        ('group --help', '--participant-label', '--output-spaces'),
        ('scans --help', '--modality', '--participant-label'),
        ('--help', 'options of a level: bids_brainseg LEVEL --help', '--epochs'),
    ],
)
def test_help_is_of_the_level(capsys, words, present, absent):
    with pytest.raises(SystemExit) as stop:
        parse(words.split())
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert present in text
    assert absent not in text


def test_the_settings_of_a_run_are_read_back(tmp_path, monkeypatch):
    """Whatever was asked for, --config-file asks for the same; what is typed goes first."""
    monkeypatch.chdir(tmp_path)
    Path('model').mkdir()
    Path('filters.json').write_text('{"T1w": {"acquisition": null, "run": ["1", null]}}')
    Path('rules.json').write_text('{"ct": {"fov_truncation": null}}')
    Path('plugin.yml').write_text('plugin: Linear\nplugin_args: {sbatch_args: "--mem=6G -t 1"}\n')
    first = parse(
        'in out participant --participant-label 01 02 --session-label 1 --modalities T1w ct -w work/a '
        '--bids-filter-file filters.json --skip-bids-validation --bids-database-dir db --nprocs 3 '
        '--omp-nthreads 2 --mem 1500M --low-mem --device cpu --use-plugin plugin.yml '
        '--model model T1w=model --mc-samples 0 --random-seed 5 --cv-threshold 2.5% '
        '--qc-thresholds rules.json --ct-window -20 80.5 --label-resampling nearest --save-probseg '
        '--precision mixed_bfloat16 '
        '--output-spaces MNI152NLin2009cAsym:res-1 X --write-graph --stop-on-first-crash '
        '--resource-monitor --clean-workdir -vv'.split()
    )
    Path('settings.toml').write_text(first.to_toml())
    for name in ('filters.json', 'rules.json', 'plugin.yml'):
        Path(name).unlink()  # their contents are in the settings
    words = ['in', 'out', 'participant', '--config-file', 'settings.toml']
    again = parse(words)
    assert replace(again, run_uuid=first.run_uuid, options=first.options) == first
    changed = parse([*words, '--participant-label', '03', '--mc-samples', '2'])
    assert (changed.participant_label, changed.mc_samples, changed.nprocs) == (('03',), 2, 3)
    record = record_from_path(Path('in/sub-02/ses-1/ct/sub-02_ses-1_ct.nii.gz'), 'ct')
    rerun = parse(shlex.split(reproduce(record, changed))[1:])  # the file is named there as well
    assert (rerun.mc_samples, rerun.nprocs, rerun.bids_filters) == (2, 3, first.bids_filters)


def test_the_settings_of_a_training_are_read_back(tmp_path):
    (tmp_path / 'maps').mkdir()
    first = parse(
        f'in out train --modality FLAIR --label-maps {tmp_path}/maps --epochs 3 --learning-rate 0.01 '
        '--range shear=0.5 --validation-label 01 02 --window 32 32 32 --no-augmentation'.split()
    )
    (tmp_path / 'settings.toml').write_text(first.to_toml())
    again = parse(['in', 'out', 'train', '--config-file', f'{tmp_path}/settings.toml'])
    assert replace(again, run_uuid=first.run_uuid, options=first.options) == first


@pytest.mark.parametrize(
    ('content', 'phrase'),
    [
        ('mc_samples = ', 'cannot be read as TOML'),
        ('mc_sample = 3', 'mc_sample: no such setting'),
        ('nprocs = 0', '0 is less than 1'),
        ('modalities = ["photo"]', "unknown modality 'photo'"),
    ],
)
def test_a_settings_file_that_makes_no_sense_is_refused(capsys, tmp_path, content, phrase):
    (tmp_path / 'settings.toml').write_text(content)
    code, message = refused(capsys, 'in', 'out', 'participant', '--config-file', tmp_path / 'settings.toml')
    assert code == 2
    assert phrase in message


def test_scans_in_place_of_a_dataset(tmp_path, monkeypatch, make_nifti):
    monkeypatch.chdir(tmp_path)
    scan, other = make_nifti('scan.nii.gz'), make_nifti('a/scan.nii.gz')
    settings = parse(['scan.nii.gz', 'a/scan.nii.gz', 'out', '--modality', 't1w', '--mc-samples', '2'])
    assert settings.scans == (scan, other)
    assert (settings.scans_modality, settings.level, settings.mc_samples) == ('T1w', 'participant', 2)
    assert settings.bids_dir == tmp_path / 'out' / 'sourcedata' / 'scans'
    assert not settings.work_dir.is_relative_to(tmp_path / 'work')  # nobody asked for intermediate results
    assert not settings.work_dir.exists()
    assert parse(['scan.nii.gz', 'out', '-w', 'w']).work_dir == tmp_path / 'w'
    assert parse(['scan.nii.gz', 'out', 'participant']).scans == (scan,)
    assert parse(['a', 'out']).scans == (tmp_path / 'a',)  # a folder that is no dataset: DICOM files


@pytest.mark.parametrize(
    ('words', 'code', 'phrase'),
    [
        ('absent.nii.gz out', 2, 'absent.nii.gz does not exist'),
        ('a a/out', 2, 'OUTPUT_DIR is inside'),
        ('scan.nii.gz out --participant-label 01', 2, '--participant-label is an option of'),
        ('bids out', 2, 'required: LEVEL (one of participant,'),
        ('scan.nii.gz', 2, 'required: OUTPUT_DIR; e.g. bids_brainseg scan.nii.gz OUT'),
        ('a out Group', 17, "unknown level 'Group'"),
        ('scan.nii.gz out --modality photo', 2, "unknown modality 'photo'"),
    ],
)
def test_usage_errors_without_bids(
    capsys, tmp_path, monkeypatch, make_nifti, make_bids, words, code, phrase
):
    monkeypatch.chdir(tmp_path)
    make_nifti('scan.nii.gz')
    make_nifti('a/scan.nii.gz')
    make_bids({}, name='bids')
    (tmp_path / 'out').mkdir()
    found, message = refused(capsys, *words.split())
    assert found == code
    assert phrase in message

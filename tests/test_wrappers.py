# SPDX-License-Identifier: Apache-2.0
"""Boutiques, nipoppy and BABS read what describes the command, and what they make of it is parsed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import bids_brainseg
from bids_brainseg.cli.descriptor import describe
from bids_brainseg.cli.options import parse
from bids_brainseg.cli.parser import LEVELS

EXAMPLES = Path(__file__).parents[1] / 'examples'
VALUES = {
    'bids_dir': '/in', 'output_dir': '/out', 'analysis_level': 'participant',
    'participant_label': ['01', '02'], 'modalities': ['T1w', 'ct'], 'work_dir': '/w', 'nprocs': 2,
    'mem': '6G', 'ct_window': [0, 80],
    'device': 'cpu', 'mc_samples': 0, 'cv_threshold': '2.5', 'skip_bids_validation': True, 'verbosity': True,
}  # fmt: skip
SAME = (
    '/in /out participant --participant-label 01 02 --modalities T1w ct -w /w --nprocs 2 --mem 6G '
    '--ct-window 0 80 --device cpu --mc-samples 0 --cv-threshold 2.5 --skip-bids-validation -v'
)


def same(first, second) -> bool:
    return replace(first, run_uuid='', options=()) == replace(second, run_uuid='', options=())


@pytest.mark.parametrize('level', LEVELS)
def test_boutiques_accepts_the_description(level):
    boutiques = pytest.importorskip('boutiques')
    boutiques.validate(json.dumps(describe(level)))


def test_the_description_is_printed(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(['group', '--bids-exec-spec'])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out) == describe('group')


def test_what_boutiques_makes_of_it_is_parsed(tmp_path):
    boutiques = pytest.importorskip('boutiques')
    (tmp_path / 'call.json').write_text(json.dumps(VALUES))
    said = boutiques.execute('simulate', json.dumps(describe()), '-i', str(tmp_path / 'call.json'))
    command = shlex.split(said.shell_command)
    assert command[0] == 'bids_brainseg'
    assert same(parse(command[1:]), parse(SAME.split()))


def test_the_files_for_nipoppy_are_those_of_this_version(monkeypatch):
    version = bids_brainseg.__version__
    monkeypatch.setenv('BIDS_BRAINSEG_CONTAINER', f'bids_brainseg:{version}')
    stored, current = json.loads((EXAMPLES / 'nipoppy' / 'descriptor.json').read_text()), describe()
    kinds = [
        {one['id']: (one['type'], one.get('command-line-flag'), one.get('list')) for one in spec['inputs']}
        for spec in (stored, current)
    ]
    assert kinds[0].items() <= kinds[1].items(), 'bids_brainseg --bids-exec-spec prints the new one'
    assert (stored['tool-version'], stored['container-image']) == (version, current['container-image'])
    assert json.loads((EXAMPLES / 'nipoppy' / 'config.json').read_text())['VERSION'] == version


def test_nipoppy_reads_its_files():
    validation = pytest.importorskip('nipoppy.pipeline_validation')
    validation.check_pipeline_bundle(EXAMPLES / 'nipoppy', strict=True)


def test_the_call_of_nipoppy_is_parsed(tmp_path):
    boutiques = pytest.importorskip('boutiques')
    text = (EXAMPLES / 'nipoppy' / 'invocation.json').read_text()
    filled = {
        'NIPOPPY_DPATH_BIDS': '/in', 'NIPOPPY_DPATH_PIPELINE_OUTPUT': '/out', 'NIPOPPY_PARTICIPANT_ID': '01',
        'NIPOPPY_SESSION_ID': '1', 'NIPOPPY_DPATH_PIPELINE_WORK': '/w',
    }  # fmt: skip
    (tmp_path / 'call.json').write_text(re.sub(r'\[\[(\w+)\]\]', lambda match: filled[match[1]], text))
    said = boutiques.execute('simulate', json.dumps(describe()), '-i', str(tmp_path / 'call.json'))
    words = '/in /out participant --participant-label 01 --session-label 1 -w /w --nprocs 2 --mem 6G'
    expected = parse([*words.split(), '--skip-bids-validation'])
    assert same(parse(shlex.split(said.shell_command)[1:]), expected)


@pytest.mark.parametrize('level', ['subject', 'session'])
def test_the_script_of_babs_is_parsed(tmp_path, level):
    """BABS writes a shell script; a stand-in for singularity notes what it was called with."""
    scripts = pytest.importorskip('babs.generate_bidsapp_runscript')
    from babs.utils import app_output_settings_from_config

    text = (EXAMPLES / 'babs' / 'bids_brainseg.yaml').read_text()
    config = yaml.safe_load(text if level == 'subject' else text.replace('# $SESSION', '$SESSION'))
    folders, out_dir = app_output_settings_from_config(config)
    script = scripts.generate_bidsapp_runscript(
        [{'name': 'BIDS', 'is_zipped': False, 'unzipped_path_containing_subject_dirs': 'inputs/data/BIDS'}],
        level,
        container_name='bids_brainseg-0-1-0',
        relative_container_path='containers/image',
        bids_app_output_dir=out_dir,
        dict_zip_foldernames=folders,
        bids_app_args=config['bids_app_args'],
        singularity_args=config['singularity_args'],
    )
    (tmp_path / 'bin').mkdir()
    for name, text in {'singularity': f'printf "%s\\n" "$@" > {tmp_path}/words', '7z': 'true'}.items():
        (tmp_path / 'bin' / name).write_text(f'#!/bin/sh\n{text}\n')
        (tmp_path / 'bin' / name).chmod(0o755)
    environment = os.environ | {'PATH': f'{tmp_path / "bin"}:{os.environ["PATH"]}'}
    command = ['bash', '-c', script, 'run', 'sub-01', 'ses-2']
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    words = (tmp_path / 'words').read_text().splitlines()
    settings = parse(words[words.index('containers/image') + 1 :])
    assert settings.bids_dir == tmp_path / 'inputs' / 'data' / 'BIDS'
    assert settings.output_dir == tmp_path / 'outputs' / 'bids_brainseg'
    assert settings.work_dir == tmp_path / '.git' / 'tmp' / 'wkdir'
    assert (settings.participant_label, settings.nprocs, settings.mem_gb) == (('01',), 2, 6.0)
    assert settings.session_label == (('2',) if level == 'session' else ())


@pytest.mark.parametrize(
    'words',
    [
        # as the examples of BABS call MRIQC and fMRIPrep, without what belongs to FreeSurfer and BOLD
        '--participant-label sub-01 -w w --n_cpus 4 --mem_gb 20 --ants-nthreads 4 -vv --no-sub',
        '-w w --n_cpus 4 --stop-on-first-crash --skip-bids-validation --participant-label sub-01 -v -v',
        '--bids-filter-file filter.json --participant-label sub-01 --output-spaces MNI152NLin2009cAsym:res-2',
        # as nipoppy's descriptors of both do
        '--participant-label 01 --work-dir w --bids-database-dir db --skip_bids_validation --mem_mb 12000',
        '--participant_label 01 --session-id 1 --modalities T1w --no-sub --nprocs 2 --verbose',
        # as users do in threads
        '--participant-label 01 --nthreads 8 --omp-nthreads 8 --mem_mb 30000 --notrack --work-dir w',
    ],
)
def test_calls_of_others_are_parsed(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    kinds = ('fmap', 'sbref', 'flair', 't2w', 't1w')  # what the script of BABS writes for one session
    Path('filter.json').write_text(json.dumps({kind: {'session': '1'} for kind in kinds}))
    assert parse(['in', 'out', 'participant', *words.split()]).participant_label == ('01',)

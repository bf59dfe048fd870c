# SPDX-License-Identifier: Apache-2.0
"""The command as a user meets it: exit codes, one line for an error, quick answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bids_brainseg import __version__
from bids_brainseg.cli.run import main


def last_line(capsys) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_main_returns_the_code():
    assert main(['in', 'out', 'nonsense']) == 17
    assert main([]) == 2
    assert main(['--help']) == 0


def test_the_version_goes_to_standard_output(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr() == (f'bids_brainseg {__version__}\n', '')


def test_not_a_dataset(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    assert main([f'{tmp_path}/in', f'{tmp_path}/out', 'participant']) == 16
    assert last_line(capsys).startswith('bids_brainseg: error: not a BIDS dataset')
    assert main([f'{tmp_path}/absent', f'{tmp_path}/out', 'participant']) == 16
    assert not (tmp_path / 'out').exists()


def test_nothing_selected(make_bids, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None})
    words = [f'{root}', f'{tmp_path}/out', 'participant', '-w', f'{tmp_path}/work', '--skip-bids-validation']
    assert main([*words, '--participant-label', '02']) == 18
    message = last_line(capsys)
    assert message.startswith('bids_brainseg: error: nothing is selected: found 1 T1w')
    assert 'participants 02' in message
    assert not (tmp_path / 'out').exists()


def test_output_folder_that_cannot_be_written(make_bids, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None})
    (tmp_path / 'file').touch()
    assert main([f'{root}', f'{tmp_path}/file/out', 'participant', '--skip-bids-validation']) == 1
    assert last_line(capsys).startswith('bids_brainseg: error: the output folder cannot be written')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_read_only_output_folder(make_bids, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None})
    (tmp_path / 'out').mkdir(mode=0o555)
    assert main([f'{root}', f'{tmp_path}/out', 'participant', '--skip-bids-validation']) == 1
    assert '(Permission denied); choose another one' in last_line(capsys)


def test_model_that_is_none(make_bids, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None})
    words = f'{root} {tmp_path}/out participant -w {tmp_path}/work --skip-bids-validation --model {root}'
    assert main(words.split()) == 1
    assert 'not a model bundle' in last_line(capsys)


def test_traceback_only_on_request(tmp_path, capsys):
    words = [f'{tmp_path}/absent', f'{tmp_path}/out', 'participant']
    main(words)
    assert len(capsys.readouterr().err.splitlines()) == 1
    main([*words, '-v'])
    assert 'Traceback' in capsys.readouterr().err


@pytest.mark.parametrize('flag', ['--version', '--help'])
def test_quick_answers_load_nothing_heavy(flag):
    command = [sys.executable, '-X', 'importtime', '-m', 'bids_brainseg', flag]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    loaded = {line.split()[-1].partition('.')[0] for line in done.stderr.splitlines()}
    assert 'argparse' in loaded
    assert not loaded & {
        'numpy',
        'scipy',
        'pandas',
        'nibabel',
        'nipype',
        'bids',
        'matplotlib',
        'itk',
        'keras',
    }

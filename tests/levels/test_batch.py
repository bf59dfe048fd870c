# SPDX-License-Identifier: Apache-2.0
"""Jobs of a cluster that get lost, and a cluster that does not answer, played by programs on the path."""

from __future__ import annotations

import os
import signal
import subprocess
from itertools import count
from pathlib import Path

import pytest
from levels_graph import GOOD, run
from nipype.pipeline.plugins import SLURMPlugin

from bids_brainseg.errors import BrainsegError

FAILS = 'def f(x):\n    raise ValueError("no such thing")\n'


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that puts a shell script on the path."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder), prepend=':')
    monkeypatch.setenv('NIPYPE_NO_ET', '1')

    def program(name: str, text: str) -> None:
        (folder / name).write_text(f'#!/bin/sh\n{text}\n')
        (folder / name).chmod(0o755)

    return program


@pytest.fixture
def at_once(monkeypatch):
    """SLURM runs a job before it answers with its number; a function tells it which steps it loses."""
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    numbers, lost = count(1), set()

    def submit(self, script, task):
        if task.name not in lost:
            subprocess.run(['bash', script], check=False)
        number = next(numbers)
        self._pending[number] = task.output_dir()
        return number

    monkeypatch.setattr(SLURMPlugin, '_submit_batchtask', submit)
    return lost.add


def notes(folder: Path) -> list[Path]:
    return [path for path in (folder / 'work' / '.jobs').glob('*') if path.is_file()]


def test_a_job_that_the_cluster_killed_fails_alone(tmp_path, monkeypatch, programs, at_once):
    monkeypatch.delenv('LOGNAME', raising=False)
    programs('squeue', 'exit 0')
    at_once('bad')
    assert 'ended without a result' in run(tmp_path, GOOD, plugin='SLURM')
    (crash,) = (tmp_path / 'crash').glob('crash-*-bad-*.txt')
    text = crash.read_text()
    assert text.startswith('Node: run.subject.bad\n')
    assert 'ended without a result' in text
    assert (tmp_path / 'work' / 'run' / 'subject' / 'last' / 'result_last.pklz').exists()
    assert notes(tmp_path) == []


def test_a_refused_job_is_told(tmp_path, programs):
    programs('sbatch', 'echo "sbatch: error: invalid partition specified" >&2; exit 1')
    assert 'the scheduler refused the job' in run(tmp_path, GOOD, plugin='SLURM')


def test_a_scheduler_that_does_not_answer_is_waited_for(tmp_path, programs, at_once, caplog):
    """Its controller is away when it is asked for the first time, and back when it is asked again."""
    programs(
        'squeue',
        f'[ -e {tmp_path}/asked ] && exit 0; touch {tmp_path}/asked\n'
        'echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1',
    )
    assert run(tmp_path, GOOD, plugin='SLURM') is None
    assert caplog.text.count('SLURM does not answer; waiting until it does: slurm_load_jobs error') == 1


def test_jobs_that_are_left_are_canceled(tmp_path, programs, at_once, capfd):
    """The first failure ends the run, while SLURM says of the other step's job that it runs."""
    programs('scancel', f'echo "$@" > {tmp_path}/canceled')
    programs('squeue', 'echo "$3"')
    at_once('bad')
    plain = SLURMPlugin._get_result
    failed = {'result': None, 'traceback': ['ValueError: no such thing']}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SLURMPlugin,
            '_get_result',
            lambda self, number: failed if number == 1 else plain(self, number),
        )
        complaint = run(tmp_path, GOOD, plugin='SLURM', stop_on_first_crash=True)
    assert 'no such thing' in complaint
    canceled = (tmp_path / 'canceled').read_text().split()
    assert '2' in canceled
    assert f'canceled the jobs that were left: {" ".join(canceled)}' in capfd.readouterr().err
    assert len(notes(tmp_path)) > 0


def test_jobs_of_a_run_that_was_killed_are_not_doubled(tmp_path, programs, at_once):
    note = tmp_path / 'work' / '.jobs' / 'subject.bad'
    note.parent.mkdir(parents=True)
    note.write_text('71\n72\n')
    programs('squeue', '[ $3 = 71 ] && echo 71; exit 0')
    with pytest.raises(BrainsegError, match=r'still in the queue: 71; .* cancel them .scancel 71., then'):
        run(tmp_path, GOOD, plugin='SLURM')
    assert note.exists()
    programs('squeue', 'exit 0')
    assert run(tmp_path, GOOD, plugin='SLURM') is None
    assert notes(tmp_path) == []


def test_a_signal_waits_until_the_number_of_a_job_is_known(tmp_path, monkeypatch, programs, capfd):
    """It comes while sbatch works; the job that this has just made is canceled."""
    programs('sbatch', f'kill -TERM {os.getpid()}; sleep 0.5; echo "Submitted batch job 71"')
    programs('squeue', 'echo 71')
    programs('scancel', f'echo "$@" > {tmp_path}/canceled')

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, GOOD, plugin='SLURM')
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / 'canceled').read_text() == '71\n'
    assert 'canceled the jobs that were left: 71' in capfd.readouterr().err
    assert [note.read_text() for note in notes(tmp_path)] == ['71\n']

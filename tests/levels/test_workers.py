# SPDX-License-Identifier: Apache-2.0
"""The process that workers are forked from is there before it is needed, and only where it is."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import forkserver

import pytest

from bids_brainseg.levels import workers
from bids_brainseg.settings import Settings


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, ['preload', 'run']),
        ({'level': 'evaluate'}, ['preload', 'run']),
        ({'plugin': 'SLURM'}, []),
        ({'level': 'group'}, []),
        ({'dry_run': True}, []),
        ({'reports_only': True}, []),
    ],
)
def test_it_starts_where_local_workers_follow(tmp_path, monkeypatch, changes, expected):
    called = []
    monkeypatch.setattr(workers, '_runs', lambda: False)
    monkeypatch.setattr(workers, '_take_name_away', lambda folder: None)
    monkeypatch.setattr(forkserver, 'set_forkserver_preload', lambda names: called.append('preload'))
    monkeypatch.setattr(forkserver, 'ensure_running', lambda: called.append('run'))
    workers.warm_up(Settings(tmp_path, tmp_path, tmp_path, **changes))
    assert called == expected


def test_starting_it_waits_for_no_import():
    code = 'import sys, bids_brainseg.levels.workers as w; print("nipype" in sys.modules, *w.PRELOADED)'
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    names = [f'bids_brainseg.{name}' for name in ('levels.fork_server', 'workflows.base', 'levels.local')]
    assert said.split() == ['False', *names]


NAMELESS = """
import os, sys
from multiprocessing import get_context
from bids_brainseg.levels import workers
workers.PRELOADED = []
if __name__ == '__main__':
    for _ in range(2):
        workers.start_fork_server()
        process = get_context('forkserver').Process(target=print, args=('done',))
        process.start()
        process.join()
    print(os.listdir(sys.argv[1]), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_the_socket_has_no_name_and_a_kill_leaves_none(tmp_path):
    script, folder = tmp_path / 'script.py', tmp_path / 'temporary'
    script.write_text(NAMELESS)
    folder.mkdir()
    command, environment = [sys.executable, str(script), str(folder)], {**os.environ, 'TMPDIR': str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (-9, ['done', 'done', '[]'])
    assert not list(folder.iterdir())

# SPDX-License-Identifier: Apache-2.0
"""The process that workers are forked from is there before it is needed, and only where it is."""

from __future__ import annotations

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
    monkeypatch.setattr(forkserver, 'set_forkserver_preload', lambda names: called.append('preload'))
    monkeypatch.setattr(forkserver, 'ensure_running', lambda: called.append('run'))
    workers.warm_up(Settings(tmp_path, tmp_path, tmp_path, **changes))
    assert called == expected


def test_starting_it_waits_for_no_import():
    code = 'import sys, bids_brainseg.levels.workers as w; print("nipype" in sys.modules, *w.PRELOADED)'
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    names = [f'bids_brainseg.{name}' for name in ('levels.fork_server', 'workflows.base', 'levels.local')]
    assert said.split() == ['False', *names]

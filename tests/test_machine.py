# SPDX-License-Identifier: Apache-2.0
"""What Linux alone answers may be absent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from bids_brainseg import lifetime, machine
from bids_brainseg.levels.claim import claimed

ROOT = Path(__file__).parents[1]
#: What macOS lacks or does otherwise, and what only Unix has.
LINUX = re.compile(
    r'sched_[gs]etaffinity|\bfcntl\b|/proc\b|/sys/|\bprctl\b|^import resource\b|getuid\(|memfd_create|'
    r'pidfd_open|posix_fadvise|inotify|\bepoll\b|SC_PHYS_PAGES',
    re.MULTILINE,
)
#: Take it away before anything is imported.
ABSENT = """
import os, sys
for name in ('sched_getaffinity', 'sched_setaffinity', 'pidfd_open', 'memfd_create', 'posix_fadvise'):
    if hasattr(os, name):
        delattr(os, name)
sys.modules.update(fcntl=None)
"""


#: Modules that ask for it and go on without it: what there is, the death of a parent, locks of a work folder.
GUARDED = {'machine.py', 'lifetime.py', 'claim.py'}


def test_few_modules_ask_what_only_some_systems_answer():
    modules = [*(ROOT / 'bids_brainseg').rglob('*.py'), *(ROOT / 'workflows').rglob('*.py')]
    asking = {path.name for path in modules if LINUX.search(path.read_text(encoding='utf-8'))}
    assert asking == GUARDED


def test_a_work_folder_is_used_without_locks(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'fcntl', None)
    with claimed(tmp_path, ['sub_01_wf.T1w_wf']):
        pass


def test_a_process_watches_its_parent_on_other_systems(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert not lifetime._ask_the_kernel()


def test_processors_and_users_of_other_systems(monkeypatch):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 5)
    assert machine.available_processors() == 5
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert machine.available_processors() == 1
    monkeypatch.setattr(machine.getpass, 'getuser', lambda: (_ for _ in ()).throw(OSError))
    assert machine.user_name() == f'uid{os.getuid()}'
    monkeypatch.delattr(os, 'getuid')
    assert machine.user_name() == 'user'


def test_memory_is_that_of_the_control_group(monkeypatch, tmp_path):
    limit = tmp_path / 'memory.max'
    monkeypatch.setattr(machine, 'MEMORY_LIMITS', (tmp_path / 'absent', limit))
    whole = machine.available_memory_gb()
    limit.write_text('max')
    assert machine.available_memory_gb() == whole > 1
    limit.write_text('500000000')
    assert machine.available_memory_gb() == 0.5


def test_the_command_is_loaded_without_what_linux_alone_has():
    code = ABSENT + (
        'import bids_brainseg.cli.run, bids_brainseg.levels.participant, bids_brainseg.levels.train\n'
        'from bids_brainseg.cli.options import parse\n'
        "settings = parse(['in', 'out', 'participant'])\n"
        'print(settings.nprocs, settings.mem_gb > 0)\n'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert run.stdout.split() == [str(os.cpu_count()), 'True'], run.stderr

# SPDX-License-Identifier: Apache-2.0
"""What Linux alone answers may be absent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from simulated import simulate

from bids_brainseg import lifetime, machine
from bids_brainseg.levels.claim import claimed

ROOT = Path(__file__).parents[1]
#: What macOS lacks or does otherwise, and what only Unix has.
LINUX = re.compile(
    r'sched_[gs]etaffinity|\bfcntl\b|/proc\b|/sys/|\bprctl\b|\bctypes\b|^import resource\b|getuid\(|'
    r'memfd_create|pidfd_open|posix_fadvise|inotify|\bepoll\b|SC_PHYS_PAGES',
    re.MULTILINE,
)
#: Modules that ask for it and go on without it: what there is, the death of a parent, locks of a work folder,
#: a socket without a name.
GUARDED = {
    'bids_brainseg/machine.py', 'bids_brainseg/lifetime.py', 'bids_brainseg/levels/claim.py',
    'bids_brainseg/levels/workers.py',
}  # fmt: skip
#: Environment of a process that finds what one finds on macOS.
MACOS = {**os.environ, 'PYTHONPATH': str(ROOT / 'tests' / 'macos')}
HIDDEN = """
import ctypes, os, pathlib, subprocess, sys
assert sys.platform == 'darwin' and not hasattr(os, 'sched_getaffinity')
for look in (os.listdir, os.stat, open, lambda path: pathlib.Path(path).read_text()):
    for path in ('/proc/self', '/sys/fs/cgroup/memory.max'):
        try:
            look(path)
        except FileNotFoundError:
            continue
        raise AssertionError((look, path))
assert not hasattr(ctypes.CDLL(None), 'prctl')
print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.platform)'], capture_output=True).stdout)
"""


def test_few_modules_ask_what_only_some_systems_answer():
    modules = [*(ROOT / 'bids_brainseg').rglob('*.py'), *(ROOT / 'workflows').rglob('*.py')]
    asking = {path for path in modules if LINUX.search(path.read_text(encoding='utf-8'))}
    assert {path.relative_to(ROOT).as_posix() for path in asking} == GUARDED


def on_macos(*command: object) -> subprocess.CompletedProcess:
    """Run Python with what one finds on macOS."""
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, env=MACOS, capture_output=True, text=True, check=False)


def test_the_stand_in_for_macos_hides_linux_from_a_process_and_its_children():
    run = on_macos('-c', HIDDEN)
    assert run.stdout == "b'darwin\\n'\n", run.stderr


def test_pages_and_tables_are_written_on_macos(make_bids, tmp_path):
    """The whole way, with a network, is in ``stress/test_macos.py``."""
    out = tmp_path / 'out'
    simulate(out, 2)
    root = make_bids({f'sub-{n:04d}/anat/sub-{n:04d}_T1w.nii.gz': None for n in (1, 2)})
    command = ('-m', 'bids_brainseg', root, out)
    run = on_macos(*command, 'participant', '--reports-only', '-w', tmp_path / 'work')
    assert run.returncode == 0, run.stderr
    assert '<title>sub-0001</title>' in (out / 'sub-0001.html').read_text()
    run = on_macos(*command, 'group')
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('2 scans of 2 of 2 participants')


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

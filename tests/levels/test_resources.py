# SPDX-License-Identifier: Apache-2.0
"""The table of what steps used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from nipype.interfaces.base import Bunch, InterfaceResult
from nipype.utils.filemanip import savepkl

from bids_brainseg.levels import resources


def save_result(path, *, started: str, profile: dict | None) -> None:
    path.parent.mkdir(parents=True)
    runtime = Bunch(hostname='node1', startTime=started, duration=2.5)
    if profile:
        runtime.prof_dict = profile
    savepkl(str(path), InterfaceResult(None, runtime))


def test_what_steps_used_becomes_a_table(tmp_path):
    began = resources.now()
    scan = tmp_path / 'work' / 'sub_01_wf' / 'T1w_wf'
    profile = {'cpus': [50.0, 150.0], 'rss_GiB': [0.5, 1.25]}
    save_result(scan / 'a_wf' / 'segment' / 'result_segment.pklz', started='2026-01-02', profile=profile)
    save_result(scan / 'check' / 'result_check.pklz', started='2026-01-01', profile=profile)
    save_result(scan / 'mute' / 'result_mute.pklz', started='2026-01-01', profile=None)
    save_result(scan / 'old' / 'result_old.pklz', started='2025-01-01', profile=profile)
    (scan / 'crashed').mkdir()
    savepkl(str(scan / 'crashed' / 'result_crashed.pklz'), {'traceback': ['ValueError']})
    os.utime(scan / 'old' / 'result_old.pklz', (0, 0))  # of an earlier run
    table = tmp_path / 'logs' / 'resources.tsv'
    resources.write_usages(resources.usages(tmp_path / 'work', began), table)
    header, *rows = table.read_text().splitlines()
    assert rows == [
        'sub_01\tT1w\tcheck\tnode1\t2026-01-01\t2.5\t1.25\t1.0\t1.5',
        'sub_01\tT1w\tsegment\tnode1\t2026-01-02\t2.5\t1.25\t1.0\t1.5',
    ]
    about = json.loads(table.with_suffix('.json').read_text())
    assert list(about) == header.split('\t')
    assert about['memory_peak']['Units'] == 'GiB'


def test_children_are_known_again():
    """A new object for a child would say at every sample that it has used no processor so far."""
    family = resources.Family(os.getpid())
    with subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE) as child:
        first, again = (next(p for p in family.children(recursive=True) if p.pid == child.pid) for _ in '12')
        child.communicate(b'\n')
    assert first is again


def test_the_monitor_leaves_no_file(tmp_path, monkeypatch):
    """Nipype's own writes where the command was started, which may be read-only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    monitor = resources.Monitor(os.getpid(), freq=1.0)
    monitor.start()
    measured = monitor.stop()
    assert len(measured['prof_dict']['rss_GiB']) >= 2
    assert [path.name for path in tmp_path.rglob('*')] == ['tmp']

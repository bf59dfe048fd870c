# SPDX-License-Identifier: Apache-2.0
"""A file is written whole or not at all, also when its writer is killed or is one of many."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bids_brainseg import files
from bids_brainseg.files import copy_file, write_text, write_whole

DIES = """
import os, signal, sys
from bids_brainseg.files import write_whole
with write_whole(sys.argv[1]) as temporary:
    temporary.write_text('half')
    os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_half_a_file(target: Path) -> Path:
    """Kill a process that is writing, and return its temporary file."""
    died = subprocess.run([sys.executable, '-c', DIES, str(target)], check=False)
    assert died.returncode == -signal.SIGKILL
    (left,) = target.parent.iterdir()
    return left


@pytest.mark.parametrize('name', ['dseg.nii.gz', '.bidsignore', 'README', 'table.tsv'])
def test_the_temporary_file_is_hidden_and_keeps_the_extension(tmp_path, name):
    target = tmp_path / 'folder' / name
    with write_whole(target) as temporary:
        assert temporary.parent == target.parent and temporary.name.startswith('.')
        assert temporary.name.endswith(''.join(name.partition('.')[1:]))
        temporary.write_text('content')
        assert not target.exists()
    assert list(target.parent.iterdir()) == [target] and target.read_text() == 'content'


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    target = write_text('old', tmp_path / 'a.svg')
    with pytest.raises(OSError, match='disk full'), write_whole(target) as temporary:
        temporary.write_text('ne')
        raise OSError('disk full')
    assert list(tmp_path.iterdir()) == [target] and target.read_text() == 'old'
    with pytest.raises(UnicodeEncodeError):
        write_text('\ud800', target)
    assert list(tmp_path.iterdir()) == [target] and target.read_text() == 'old'


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path):
    left = leave_half_a_file(tmp_path / 'qc.json')
    assert left.read_text() == 'half'
    write_text('other', tmp_path / 'qc.tsv')
    assert left.exists()  # it belongs to another target
    write_text('whole', tmp_path / 'qc.json')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['qc.json', 'qc.tsv']


def test_another_machine_is_given_a_day(tmp_path, monkeypatch):
    left = leave_half_a_file(tmp_path / 'qc.json')
    monkeypatch.setattr(files.socket, 'gethostname', lambda: 'elsewhere.cluster.org')
    write_text('whole', tmp_path / 'qc.json')
    assert left.exists()
    yesterday = left.stat().st_mtime - files._STALE_SECONDS - 1
    os.utime(left, (yesterday, yesterday))
    write_text('anew', tmp_path / 'qc.json')
    assert list(tmp_path.iterdir()) == [tmp_path / 'qc.json']


def test_writers_of_one_target_do_not_disturb_each_other(tmp_path):
    """A writer that finds the temporary file of a living one, in its process or another, leaves it there."""
    target = tmp_path / 'a.json'
    code = 'import sys; from bids_brainseg.files import write_text; write_text("second", sys.argv[1])'
    with write_whole(target) as temporary:
        temporary.write_text('first')
        subprocess.run([sys.executable, '-c', code, str(target)], check=True)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(write_text, 'third', target).result()
        assert target.read_text() == 'third'
    assert target.read_text() == 'first' and list(tmp_path.iterdir()) == [target]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        assert write_text('x', tmp_path / 'a').stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_text_that_is_there_already_is_left_alone(tmp_path):
    inode = write_text('same', tmp_path / 'a').stat().st_ino
    assert write_text('same', tmp_path / 'a').stat().st_ino == inode


def test_a_copy_is_whole_or_absent_and_an_equal_one_is_left_alone(tmp_path, monkeypatch):
    source = write_text('same', tmp_path / 'source')
    target = copy_file(source, tmp_path / 'folder' / 'target')
    inode = target.stat().st_ino
    assert copy_file(source, target).stat().st_ino == inode
    write_text('other', source)
    assert copy_file(source, target).read_text() == 'other'

    def interrupted(source, temporary):
        Path(temporary).write_text('ne')
        raise OSError('disk full')

    monkeypatch.setattr(shutil, 'copyfile', interrupted)
    write_text('new', source)
    with pytest.raises(OSError, match='disk full'):
        copy_file(source, target)
    assert target.read_text() == 'other' and list(target.parent.iterdir()) == [target]


def test_others_may_read_what_a_library_wrote_for_us_alone(tmp_path):
    (tmp_path / 'usual').touch()
    with write_whole(tmp_path / 'weights') as temporary:
        temporary.touch(0o600)
    assert (tmp_path / 'weights').stat().st_mode == (tmp_path / 'usual').stat().st_mode

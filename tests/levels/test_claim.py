# SPDX-License-Identifier: Apache-2.0
"""A scan in a work folder has one run; one that died holds nothing."""

from __future__ import annotations

import errno
import subprocess
import sys
import time

import pytest

from bids_brainseg.errors import BrainsegError
from bids_brainseg.levels import claim
from bids_brainseg.levels.claim import claimed

HOLDS = """
import sys, time
from pathlib import Path
from bids_brainseg.levels.claim import claimed
with claimed(Path(sys.argv[1]), sys.argv[3:]):
    print('held', flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def other(tmp_path):
    """A function that starts another process which holds scans for some seconds."""
    processes = []

    def start(seconds: float, *names: str) -> subprocess.Popen:
        command = [sys.executable, '-c', HOLDS, str(tmp_path), str(seconds), *names]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == 'held\n'
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_what_another_run_holds_is_refused_in_words(tmp_path, other, monkeypatch):
    monkeypatch.setattr(claim, 'WAIT_SECONDS', 0.2)
    holder = other(60, '01 T1w', '02 T1w')
    with pytest.raises(BrainsegError, match='another run works on 02 T1w in this work folder: .*Nothing was'):
        with claimed(tmp_path, ['03 T1w', '02 T1w']):
            pytest.fail('it was held twice')
    with claimed(tmp_path, ['03 T1w', '01 T2w']):  # other scans of the same folder
        pass
    holder.kill()
    holder.wait()
    with claimed(tmp_path, ['01 T1w', '02 T1w']):
        pass


def test_a_run_that_is_about_to_end_is_waited_for(tmp_path, other):
    other(1, '01 T1w')
    began = time.monotonic()
    with claimed(tmp_path, ['01 T1w']):
        assert time.monotonic() - began > 0.2


def test_storage_without_locks_holds_nothing(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    with claimed(tmp_path, ['01 T1w']):
        pass
    with claimed(tmp_path / 'absent', ['01 T1w']):
        pass


def test_an_error_of_the_block_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(OSError, match='full'), claimed(tmp_path, ['01 T1w']):
        raise OSError(errno.ENOSPC, 'full')

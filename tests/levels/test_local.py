# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a step or to its process, the other steps are done and the run ends."""

from __future__ import annotations

import gc
import os
import tempfile

import numpy as np
import pytest
from levels_graph import GOOD, run
from scipy.sparse import lil_matrix

from bids_brainseg.errors import BrainsegError
from bids_brainseg.levels import local, workers

FULL = 'def f(x):\n    raise OSError(28, "No space left on device", "/work/a.nii")\n'
QUOTA = 'def f(x):\n    raise OSError(122, "Disk quota exceeded")\n'
#: The file of the result cannot be written, and nipype's own worker fails as it looks for it.
UNSAVED = 'def f(x):\n    import os, shutil\n    shutil.rmtree(os.getcwd())\n'
NUMPY = 'def f(x):\n    raise OSError("8192 requested and 0 written")\n'
MEMORY = 'def f(x):\n    return bytearray(1 << 62)\n'
STALE = 'def f(x):\n    raise OSError(116, "Stale file handle")\n'
EXITS = 'def f(x):\n    import os\n    os._exit(3)\n'
LEAVES = 'def f(x):\n    raise SystemExit(0)\n'
SLEEPS = 'def f(x):\n    import time\n    time.sleep(2)\n    return x\n'
STOPS = 'def f(x):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGSTOP)\n'


@pytest.mark.parametrize(
    ('bad', 'reason'),
    [
        (FULL, 'choose other folders (OUTPUT_DIR, -w, TMPDIR): /work/a.nii'),
        (QUOTA, 'the quota of the disk is used up'),
        (UNSAVED, 'FileNotFoundError: [Errno 2] No such file or directory'),
        (NUMPY, 'no space is left on the disk'),
        (MEMORY, 'memory ran out'),
        (STALE, 'a folder does not answer any more'),
        (EXITS, 'the process of this step ended with code 3'),
        (LEAVES, 'SystemExit: 0'),
    ],
)
def test_a_step_that_fails_in_any_way_fails_alone(tmp_path, bad, reason):
    complaint = run(tmp_path, bad)
    assert reason in complaint
    (crash,) = (tmp_path / 'crash').glob('crash-*-bad-*.txt')
    assert reason in crash.read_text()
    assert (tmp_path / 'work' / 'run' / 'subject' / 'last' / 'result_last.pklz').exists()


def test_a_step_that_stands_still_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(local, 'WATCH_SECONDS', 0.1)
    complaint = run(tmp_path, STOPS, plugin_args={'standstill_seconds': 1})
    assert 'this step stood still: for 0 minutes it used no processor time, and was ended' in complaint
    assert (tmp_path / 'work' / 'run' / 'subject' / 'last' / 'result_last.pklz').exists()


def test_the_command_sleeps_while_a_step_works(tmp_path, monkeypatch):
    """Neither does it look again and again, nor does the garbage collector look through the graph."""
    looks, plain = [], local.LocalPlugin._get_result

    def looked(plugin, taskid):
        looks.append(gc.get_freeze_count())
        return plain(plugin, taskid)

    monkeypatch.setattr(local.LocalPlugin, '_get_result', looked)
    assert run(tmp_path, SLEEPS) is None
    assert 3 <= len(looks) <= 12  # three steps, which may end beside each other
    assert min(looks) > 10_000
    assert gc.get_freeze_count() == 0


def test_dependencies_are_counted_as_nipype_adds_them_up():
    rng = np.random.default_rng(1)
    plain = lil_matrix(np.triu(rng.random((40, 40)) < 0.2, 1).astype(np.int8))
    counted = local.Dependencies(plain)
    for job in rng.permutation([*range(40), 3, 7]):  # nipype tells the end of a step that failed here twice
        counted.release(job)
        for table in (counted, plain):
            row = table.getrowview(job)
            row[row.nonzero()] = 0
        np.testing.assert_array_equal(counted.sum(axis=0), plain.sum(axis=0))
    assert not counted.sum(axis=0).any()


def test_folders_that_are_not_needed_any_more_are_removed_on_request(tmp_path, monkeypatch):
    monkeypatch.setitem(local.config._sections['execution'], 'remove_node_directories', 'true')
    assert run(tmp_path, GOOD) is None
    assert not list((tmp_path / 'work' / 'run' / 'subject').rglob('result_*.pklz'))


def test_a_step_that_works_does_not_stand_still():
    worker = local.Worker.__new__(local.Worker)
    worker._reset_watch(0.0)
    for look in range(100):  # a hundredth of a processor
        worker.watch(0.1 * look, 10)
    assert worker.idle_seconds <= 10
    for _ in range(100):
        worker.watch(9.9, 10)
    assert worker.idle_seconds >= 1000


def test_a_step_whose_inputs_cannot_be_read_fails_alone(tmp_path, monkeypatch):
    plain = local.pe.Node.is_cached

    def is_cached(node, **options):
        if node.name == 'bad':
            raise OSError(5, 'Input/output error', '/data/a.nii')
        return plain(node, **options)

    monkeypatch.setattr(local.pe.Node, 'is_cached', is_cached)
    assert 'a folder does not answer any more' in run(tmp_path, GOOD)
    assert (tmp_path / 'work' / 'run' / 'subject' / 'last' / 'result_last.pklz').exists()


def test_a_crash_file_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path / 'crash').touch()  # where a folder should be
    assert 'no space is left' in run(tmp_path, FULL)
    assert (tmp_path / 'work' / 'run' / 'subject' / 'last' / 'result_last.pklz').exists()


def test_a_worker_that_was_killed_while_idle_is_replaced(tmp_path):
    plugin = local.LocalPlugin({'n_procs': 1, 'memory_gb': 1, 'n_gpu_procs': 0, 'raise_insufficient': False})
    worker = local.Worker()
    worker.process.kill()
    worker.process.join()
    plugin._idle.append(worker)
    other = plugin._start('no node', False)
    assert other is not worker
    other.process.kill()
    assert other.end().startswith('the process of this step was killed (SIGKILL), usually because memory')


@pytest.fixture
def long_folder(tmp_path, monkeypatch):
    folder = tmp_path / ('t' * 90)
    folder.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    return folder


def test_a_long_folder_for_temporary_files_has_no_socket(long_folder):
    folder = workers.make_socket_folder()
    assert folder.startswith('/tmp/brainseg-')
    os.rmdir(folder)
    assert tempfile.gettempdir() == str(long_folder)


def test_no_short_folder_is_told(long_folder, monkeypatch):
    monkeypatch.setattr(workers, '_SHORT_FOLDERS', ('/no/such/folder',))
    with pytest.raises(BrainsegError, match='too long for a socket: .*; set TMPDIR to a path of at most 68'):
        workers.make_socket_folder()


def test_no_folder_at_all_is_told(monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', None)
    monkeypatch.setattr(tempfile, '_candidate_tempdir_list', lambda: ['/no/such/folder'])
    with pytest.raises(BrainsegError, match='there is no folder for temporary files: .*; set TMPDIR'):
        workers.make_socket_folder()

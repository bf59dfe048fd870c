# SPDX-License-Identifier: Apache-2.0
"""Disks that run full, in turn under everything that is written: told in words, and the next run goes on.

Each is a small file system in memory, which only root may mount.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stress.runs import Run, fingerprints, make_dataset, words

from bids_brainseg.settings import graph_name

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(os.geteuid() != 0, reason='only root may mount a small file system'),
]
FULL = 'no space is left on the disk; free some, or choose other folders (OUTPUT_DIR, -w, TMPDIR)'


@contextlib.contextmanager
def small_disk(folder: Path, size: str, *, full: bool = False) -> Iterator[None]:
    """Mount a small file system on a folder, and fill it if it shall be full from the beginning."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)], check=True)
    try:
        if full:
            with contextlib.suppress(OSError), (folder / 'filling').open('wb', buffering=0) as stream:
                while stream.write(bytes(4096)):
                    pass
        yield
    finally:
        subprocess.run(['umount', str(folder)], check=True)


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Path:
    """Two subjects, and their results after a run that nothing hindered."""
    folder = make_dataset(tmp_path_factory.mktemp('study'), 2)
    code, printed = Run(words(folder, out='expected')).finish()
    assert code == 0, printed
    return folder


def told(run: Run, code: int) -> str:
    """Return what was printed; the run ends with this code, no traceback, and no process."""
    found, printed = run.finish()
    print(printed)
    assert found == code, printed
    assert 'Traceback' not in printed and 'error: unexpected' not in printed, printed
    run.seconds_until_gone()
    return printed


def test_work_folder_of_one_scan(study):
    """The other scan is segmented; once there is room, the same command does the rest."""
    with small_disk(study / 'work1' / graph_name('brainseg') / 'sub_002_wf', '2m'):
        printed = told(Run(words(study, out='out1', work='work1')), 1)
    assert re.search(rf'failed  sub-002/anat/sub-002_T1w.nii.gz: {re.escape(FULL)}', printed)
    assert '1 of 2 scans segmented, 1 failed' in printed
    told(Run(words(study, out='out1', work='work1')), 0)
    assert fingerprints(study / 'out1') == fingerprints(study / 'expected')


@pytest.mark.parametrize('place', ['out2', 'out2/sub-001', 'out2/logs'])
def test_output_folder(study, place):
    """Full outputs, results of one subject, and logs; the intermediate results are there already."""
    with small_disk(study / place, '64k', full=True):
        printed = told(Run(words(study, out='out2')), 1)
        assert FULL in printed or 'No space left on device' in printed
    told(Run(words(study, out='out2')), 0)
    assert fingerprints(study / 'out2') == fingerprints(study / 'expected')


def test_folder_for_temporary_files(study):
    with small_disk(study / 'tmp', '64k', full=True):
        told(Run(words(study, out='out3'), env={'TMPDIR': str(study / 'tmp')}), 0)


def test_index_of_the_dataset(study):
    """It is a convenience: without it the dataset is indexed in memory."""
    with small_disk(study / 'index', '16k', full=True):
        printed = told(Run(words(study, '--bids-database-dir', f'{study}/index', out='out4')), 0)
        assert 'The BIDS database folder cannot be written' in printed


def test_standard_output(study):
    with small_disk(study / 'console', '64k', full=True), (study / 'console' / 'log').open('w') as stream:
        done = subprocess.run(words(study, '--dry-run'), stdout=stream, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith('bids_brainseg: error: standard output: No space left on device\n')

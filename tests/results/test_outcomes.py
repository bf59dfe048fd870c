# SPDX-License-Identifier: Apache-2.0
"""What runs leave about their scans, and what is read of it; also where a run was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_brainseg.records import RunOutcome
from bids_brainseg.results.outcomes import read_outcomes, write_outcomes

T1W, DWI = 'sub-01/anat/sub-01_T1w.nii.gz', 'sub-01/dwi/sub-01_dwi.nii.gz'
CRASH = (
    'Node: brainseg_wf.sub_01_wf.{key}_wf.check\n\nTraceback:\n\tbids_brainseg.errors.InputError: {reason}\n'
)


@pytest.fixture
def run(tmp_path):
    """Write the record of a run: `run('1', {scan: (status, reason)})`."""

    def write(name: str, scans: dict, folder: str = 'sub-01') -> Path:
        told = {scan: {'status': status, 'reason': reason} for scan, (status, reason) in scans.items()}
        return write_outcomes(tmp_path / folder / 'log' / name, run=name, version='1', scans=told)

    return write


def crash(folder: Path, name: str, key: str, reason: str, age: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'crash-{name}.txt'
    path.write_text(CRASH.format(key=key, reason=reason))
    os.utime(path, (age, age))


def test_the_latest_run_that_tells_of_a_scan_counts(tmp_path, run):
    run('2026-1', {T1W: ('failed', 'empty'), DWI: ('skipped', 'b = 0 only')})
    run('2026-2', {T1W: ('done', '')})
    found, unfinished = read_outcomes(tmp_path, 'sub-01')
    assert found == {
        T1W: RunOutcome('done', '', '2026-2'),
        DWI: RunOutcome('skipped', 'b = 0 only', '2026-1'),
    }
    assert unfinished is None


def test_sessions_have_logs_of_their_own(tmp_path, run):
    scan = 'sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz'
    run('1', {scan: ('failed', 'flat')}, 'sub-01/ses-2')
    assert read_outcomes(tmp_path, '01')[0] == {scan: RunOutcome('failed', 'flat', '1')}


def test_crash_files_stand_in_where_no_record_was_left(tmp_path):
    folder = tmp_path / 'sub-01' / 'log' / '1'
    crash(folder, 'a', 'ses_1_run_02_T1w', 'later', 2000)
    crash(folder, 'b', 'ses_1_run_02_T1w', 'cut short', 1000)
    crash(folder, 'c', 'dwi', 'no b-value', 3000)
    found, unfinished = read_outcomes(tmp_path, '01')
    log = Path('sub-01/log/1')
    assert found == {
        'sub-01_ses-1_run-02_T1w': RunOutcome('failed', 'cut short', '1', log / 'crash-b.txt'),
        'sub-01_dwi': RunOutcome('failed', 'no b-value', '1', log / 'crash-c.txt'),
    }
    assert unfinished is None


def test_a_run_that_left_nothing_is_named(tmp_path, run):
    killed = tmp_path / 'sub-01' / 'log' / '2026-2'
    killed.mkdir(parents=True)
    (killed / 'settings.toml').touch()
    assert read_outcomes(tmp_path, '01') == ({}, '2026-2')
    run('2026-3', {T1W: ('done', '')})
    assert read_outcomes(tmp_path, '01')[1] is None


@pytest.mark.parametrize(
    'text', ['{"Scans": {', '[]', '{"Scans": {"sub-01_T1w": "done"}}', '{"Scans": 3}', '\x00']
)
def test_a_broken_record_is_as_good_as_none(tmp_path, run, text):
    run('1', {}).write_text(text)
    assert read_outcomes(tmp_path, '01') == ({}, '1')
    assert read_outcomes(tmp_path, 'absent') == ({}, None)

# SPDX-License-Identifier: Apache-2.0
"""The reason why a scan failed is read from its crash file, in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from simulated import write_scan

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.levels.outcome import assess_outcome, format_summary, previous_outcomes, write_outcomes
from bids_brainseg.records import Outcome, RunOutcome
from bids_brainseg.results.outcomes import read_outcomes, reason_of
from bids_brainseg.settings import Settings

NESTED = """Node: brainseg_wf.sub_01_wf.T1w_wf.check
Working directory: /w

Node inputs:

in_file = /data/sub-01/anat/sub-01_T1w.nii.gz

Traceback (most recent call last):
  File "multiproc.py", line 67, in run_node
    result["result"] = node.run(updatehash=updatehash)
nipype.pipeline.engine.nodes.NodeExecutionError: Exception raised while executing Node check.

Traceback:
\tTraceback (most recent call last):
\t  File "imaging.py", line 9, in load_image
\t    nb.load(path)
\tnibabel.filebasedimages.ImageFileError: File is not a gzip file
\t
\tThe above exception was the direct cause of the following exception:
\t
\tTraceback (most recent call last):
\t  File "images.py", line 1, in _run_interface
\tbids_brainseg.errors.InputError: the file is cut short: 10 bytes of 20; copy it again


"""


def scan(name='sub-01_T1w'):
    return record_from_path(Path(f'/data/sub-01/anat/{name}.nii.gz'), 'T1w')


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work', run_uuid='now')


def crash(settings, name: str, text: str, age: float = 0.0) -> Path:
    folder = settings.log_dir('01', None)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'crash-{name}.txt'
    path.write_text(text)
    os.utime(path, (1e9 + age, 1e9 + age))
    return path


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        (NESTED, 'the file is cut short: 10 bytes of 20; copy it again'),
        (
            'RuntimeError: the process of this step was killed\n',
            'RuntimeError: the process of this step was killed',
        ),
        ('Traceback\nKeyboardInterrupt\n', 'KeyboardInterrupt'),
        ('something else entirely\n', 'something else entirely'),
        ('', 'no reason was recorded'),
    ],
)
def test_reason(text, reason):
    assert reason_of(text) == reason


def test_first_crash_of_the_scan_counts(settings):
    crash(
        settings, 'b', NESTED.replace('T1w_wf.check', 'T1w_wf.segment').replace('cut short', 'later'), age=5
    )
    first = crash(settings, 'a', NESTED, age=1)
    crash(settings, '0', NESTED.replace('T1w_wf', 'run_2_T1w_wf'), age=0)
    outcome = assess_outcome(scan(), settings, [], 'RuntimeError: 2 raised')
    assert (outcome.status, outcome.crashfile) == ('failed', first)
    assert outcome.reason.startswith('the file is cut short')
    assert assess_outcome(scan('sub-01_run-2_T1w'), settings, [], None).status == 'failed'
    assert assess_outcome(scan('sub-01_run-3_T1w'), settings, [], None).status == 'done'


def test_what_is_missing_failed_also_without_a_crash_file(settings, tmp_path):
    outcome = assess_outcome(
        scan(), settings, [tmp_path / 'sub-01_dseg.nii.gz'], 'IndexError: sbatch was refused'
    )
    assert outcome.status == 'failed'
    assert outcome.reason == 'was not written: sub-01_dseg.nii.gz (IndexError: sbatch was refused)'


def test_the_outputs_say_what_became_of_each_scan(settings):
    out, names = settings.output_dir, ['sub-01_T1w', *(f'sub-01_run-{n}_T1w' for n in (2, 3, 4))]
    for entities in ('', '_run-2', '_run-3'):
        table = write_scan(out, '01', None, 'T1w', [1.0] * 27, 1.5e6, entities=entities)
        if entities != '_run-2':
            dseg = table.name.replace('_seg', '_space-orig_seg').replace('morph.tsv', 'dseg.nii.gz')
            table.with_name(dseg).touch()
    crash = settings.log_dir('01', None) / 'crash-1.txt'
    write_outcomes([Outcome(scan(names[2]), 'failed', 'no space left', crash)], settings)
    records = [scan(name) for name in names]
    assert previous_outcomes(records, out) == [
        Outcome(records[0], 'done', verdict='pass'),
        Outcome(
            records[1], 'failed', 'was not written: sub-01_run-2_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz'
        ),
        Outcome(records[2], 'failed', 'no space left', crash),
        Outcome(records[3], 'skipped', 'not processed yet'),
    ]
    compared = previous_outcomes(records[:1], out, compared=True)
    assert compared == [Outcome(records[0], 'skipped', 'not compared yet')]


def test_written_outcomes_can_be_read_again(settings):
    session = record_from_path(Path('/data/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz'), 'T1w')
    inside = settings.output_dir / 'sub-01' / 'log' / 'now' / 'crash-1.txt'
    write_outcomes(
        [
            Outcome(scan(), 'failed', 'too small', inside),
            Outcome(scan('sub-01_run-2_T1w'), 'skipped', 'b = 0 only'),
            Outcome(session, 'done'),
        ],
        settings,
    )
    outcomes, unfinished = read_outcomes(settings.output_dir, '01')
    assert outcomes == {
        'sub-01/anat/sub-01_T1w.nii.gz': RunOutcome(
            'failed', 'too small', 'now', Path('sub-01/log/now/crash-1.txt')
        ),
        'sub-01/anat/sub-01_run-2_T1w.nii.gz': RunOutcome('skipped', 'b = 0 only', 'now'),
        'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz': RunOutcome('done', '', 'now'),
    }
    assert unfinished is None
    record = json.loads((settings.log_dir('01', None) / 'outcomes.json').read_text())
    assert record['Scans']['sub-01/anat/sub-01_T1w.nii.gz']['crashfile'] == 'sub-01/log/now/crash-1.txt'


def test_summary_lists_everything_that_is_not_done(tmp_path):
    (tmp_path / 'sub-01.html').touch()
    text = format_summary(
        [
            Outcome(scan(), 'done'),
            Outcome(scan('sub-01_run-2_T1w'), 'failed', 'too small', Path('/out/crash-1.txt')),
            Outcome(scan('sub-01_run-3_T1w'), 'skipped', 'b = 0 only'),
        ],
        tmp_path,
        61.7,
    )
    assert text.splitlines() == [
        '1 of 3 scans segmented, 1 failed, 1 skipped (62 s)',
        '  failed  sub-01/anat/sub-01_run-2_T1w.nii.gz: too small',
        '          details: /out/crash-1.txt',
        '  skipped sub-01/anat/sub-01_run-3_T1w.nii.gz: b = 0 only',
        f'  report  {tmp_path}/sub-01.html',
    ]

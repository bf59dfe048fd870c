# SPDX-License-Identifier: Apache-2.0
"""Which segmentations of this program may serve as labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import LABELS, describe, write_scan

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import output_path
from bids_brainseg.levels.pairs import own_segmentations

VERDICTS = {'good': 'pass', 'doubtful': 'review', 'bad': 'fail', 'rated': 'review', 'disputed': 'pass'}


@pytest.fixture
def out(tmp_path):
    """Segmentations of each verdict; people rated two of them."""
    describe(tmp_path)
    for subject, verdict in VERDICTS.items():
        write_scan(tmp_path, subject, None, 'T1w', [1000.0] * len(LABELS), 1.5e6, verdict=verdict)
        output_path(record(subject), tmp_path, suffix='dseg').write_bytes(b'image')
    said = ['rated\tA\tpass', 'disputed\tA\tpass', 'disputed\tB\tfail']
    rows = ['scan\trater\tverdict', *(f'sub-{row.replace(chr(9), "_T1w" + chr(9), 1)}' for row in said)]
    (tmp_path / 'mine_rating.tsv').write_text('\n'.join(rows) + '\n')
    return tmp_path


def record(subject):
    return record_from_path(Path(f'/d/sub-{subject}/anat/sub-{subject}_T1w.nii.gz'), 'T1w')


def judged(out, *verdicts):
    found = own_segmentations([record(subject) for subject in (*VERDICTS, 'none')], out, verdicts)
    return {case.record.subject: case for case in found.values()}


def test_what_passed_teaches_and_people_know_better(out):
    found = judged(out, 'pass')
    assert {subject for subject, case in found.items() if case.skip is None} == {'good', 'rated'}
    assert found['good'].labels == output_path(record('good'), out, suffix='dseg')
    assert found['good'].table.name == 'brainseg'
    assert found['doubtful'].skip == (
        'the segmentation of sub-doubtful_T1w has the verdict review, and --label-verdicts takes pass'
    )
    assert 'sub-disputed_T1w was rated fail' in found['disputed'].skip
    assert found['none'].skip == f'no labels: sub-none_T1w has no segmentation in {out}'


def test_more_verdicts_may_be_taken_but_nothing_broken(out):
    output_path(record('good'), out, suffix='qc', extension='.json').write_text('{"verdict": ')
    found = judged(out, 'pass', 'review')
    assert {subject for subject, case in found.items() if case.skip is None} == {'doubtful', 'rated'}
    assert 'the segmentation of sub-good_T1w is broken: ' in found['good'].skip

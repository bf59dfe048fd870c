# SPDX-License-Identifier: Apache-2.0
"""What the group level finds in a folder of outputs, whole and otherwise."""

from __future__ import annotations

import json

import pytest
from simulated import LABELS, describe, write_scan

from bids_brainseg.errors import BidsError
from bids_brainseg.results.group import collect_group
from bids_brainseg.results.outcomes import write_outcomes

VOLUMES = [1000.0 + label.index for label in LABELS]


@pytest.fixture
def out(tmp_path):
    describe(tmp_path / 'out')
    return tmp_path / 'out'


def add(out, subject='01', session=None, modality='T1w', **more):
    return write_scan(out, subject, session, modality, VOLUMES, 1.5e6, **more)


def tell(out, subject, scan, status, reason, run='2026-1'):
    told = {scan: {'status': status, 'reason': reason, 'crashfile': None}}
    write_outcomes(out / f'sub-{subject}' / 'log' / run, run=run, version='1', scans=told)


def test_scans_come_in_the_order_of_people_sessions_and_modalities(out):
    add(out, '10')
    add(out, '2', '2')
    add(out, '2', '1', 'FLAIR')
    add(out, '2', '1', 'ct')
    add(out, '2', '1')
    add(out, '2', '1', entities='_acq-2D_run-1')
    group = collect_group(out)
    assert [scan.name for scan in group.scans] == [
        'sub-2_ses-1_T1w', 'sub-2_ses-1_acq-2D_run-1_T1w', 'sub-2_ses-1_FLAIR', 'sub-2_ses-1_ct',
        'sub-2_ses-2_T1w', 'sub-10_T1w',
    ]  # fmt: skip
    scan = group.scans[1]
    assert scan.entities == {'sub': '2', 'ses': '1', 'acq': '2D', 'run': '1'}
    assert [row['name'] for row in scan.rows[-4:]] == ['Right-VentralDC', 'Brain', 'Ventricles', 'eTIV']
    assert scan.rows[0]['volume_mm3'] == 1001
    assert group.participants == {'2': '', '10': ''}


def cut(path):
    path.write_bytes(path.read_bytes()[:900])


def qc_of(path):
    return path.with_name(path.name.replace('_seg-brainseg', '').replace('_morph.tsv', '_qc.json'))


BROKEN = {
    'half a table': (cut, 'lacks 14 of 30 rows, Left-VentralDC first'),
    'a row cut off': (lambda p: p.write_text(p.read_text()[:-9]), 'lacks cells in the row of eTIV'),
    'no number': (
        lambda p: p.write_text(p.read_text().replace('1003', 'many')),
        'Right-Cerebral-White-Matter',
    ),
    'empty table': (lambda p: p.write_text(''), 'lacks 30 of 30 rows'),
    'bytes': (lambda p: p.write_bytes(b'\xff\xfe\x00'), 'codec'),
    'no table': (lambda p: p.unlink(), 'there is no morph file'),
    'no qc': (lambda p: qc_of(p).unlink(), 'there is no qc file'),
    'half a qc': (lambda p: qc_of(p).write_text('{"numbers": {'), 'qc.json cannot be read as JSON'),
    'odd qc': (lambda p: qc_of(p).write_text('{"numbers": {}, "Sources": 3}'), 'Sources'),
    'other qc': (lambda p: qc_of(p).write_text('[1]'), 'holds no numbers'),
}


@pytest.mark.parametrize('how', BROKEN)
def test_what_cannot_be_read_is_listed_and_the_others_are_kept(out, how):
    corrupt, phrase = BROKEN[how]
    add(out, '02')
    corrupt(add(out, '01'))
    broken, whole = collect_group(out).scans
    assert (broken.status, broken.usable, whole.status) == ('broken', False, 'done')
    assert phrase in broken.reason
    assert (broken.name, broken.modality) == ('sub-01_T1w', 'T1w')


def test_what_failed_is_known_from_the_record_of_the_run(out):
    add(out, '01')
    tell(out, '01', 'sub-01/dwi/sub-01_desc-a_trace.nii.gz', 'skipped', 'b = 0 only')
    tell(out, '02', 'sub-02/ses-1/anat/sub-02_ses-1_run-2_T1w.nii.gz', 'failed', 'empty file')
    whole, skipped, failed = collect_group(out).scans
    assert (whole.status, whole.reason) == ('done', '')
    assert (skipped.status, skipped.reason, skipped.modality) == ('skipped', 'b = 0 only', 'dwi')
    assert (failed.name, failed.session, failed.entities['run']) == ('sub-02_ses-1_run-2_T1w', '1', '2')
    assert (failed.status, failed.reason, failed.usable) == ('failed', 'empty file', False)


def test_a_result_and_a_later_failure(out):
    add(out, '01')
    scan = 'sub-01/anat/sub-01_T1w.nii.gz'
    tell(out, '01', scan, 'done', '')
    assert collect_group(out).scans[0].status == 'done'
    tell(out, '01', scan, 'failed', 'no space left', '2026-2')
    (old,) = collect_group(out).scans
    assert (old.status, old.usable) == ('outdated', True)
    assert 'no space left' in old.reason


def test_a_result_that_was_deleted_is_missed(out):
    add(out, '01')
    tell(out, '02', 'sub-02/anat/sub-02_T1w.nii.gz', 'done', '')
    gone = collect_group(out).scans[1]
    assert (gone.status, gone.reason) == ('broken', 'done in run 2026-1, but its files are no longer there')


def test_everyone_who_is_missing_is_listed_with_why(out, make_bids):
    add(out, '01')
    (out / 'sub-04').mkdir()
    (out / 'sub-05' / 'log' / '2026-9').mkdir(parents=True)
    bids = make_bids({
        'participants.tsv': 'participant_id\tsex\nsub-01\tF\nsub-02\tM\n',
        'sub-03/anat/sub-03_T1w.json': {},
    })  # fmt: skip
    why = collect_group(out, bids).participants
    assert list(why) == ['01', '02', '03', '04', '05']
    assert why['01'] == ''
    assert why['02'].startswith('is listed in participants.tsv')
    assert why['03'].startswith('has no output yet')
    assert why['04'] == 'the folder in the outputs holds no result of a scan'
    assert why['05'].startswith('run 2026-9 began and left no result')
    assert 'neither' in collect_group(out, bids, participant_label=['01', '09']).participants['09']


def test_the_dataset_need_not_be_there(out, tmp_path):
    add(out, '01')
    (out / 'participants.tsv').write_text('participant_id\tsex\nsub-01\tF\n')
    group = collect_group(out, tmp_path / 'gone')
    assert group.covariates.of('01', None) == {'sex': 'F'}
    assert 'The dataset was not found' in group.notes[0]


def test_selection(out):
    add(out, '01', '1')
    add(out, '01', '2', 'FLAIR')
    add(out, '02')
    names = lambda **asked: [scan.name for scan in collect_group(out, **asked).scans]  # noqa: E731
    assert names(participant_label=['sub-02']) == ['sub-02_T1w']
    assert names(session_label=['ses-2']) == ['sub-01_ses-2_FLAIR']
    assert names(modality=['FLAIR']) == ['sub-01_ses-2_FLAIR']
    with pytest.raises(BidsError, match='nothing is selected: .* for participants 03') as caught:
        names(participant_label=['03'])
    assert caught.value.exit_code == 18


def test_nothing_there(tmp_path):
    with pytest.raises(BidsError, match='run the participant level first') as caught:
        collect_group(tmp_path / 'absent')
    assert caught.value.exit_code == 18


def test_a_folder_of_another_program_is_left_alone(out):
    add(out, '01')
    (out / 'dataset_description.json').write_text(json.dumps({'GeneratedBy': [{'Name': 'other'}]}))
    with pytest.raises(BidsError, match='was made by other') as caught:
        collect_group(out)
    assert caught.value.exit_code == 2


def test_scanner_from_the_output_or_else_from_the_source(out, make_bids):
    add(out, '01', Scanner={'Manufacturer': 'GE'})
    add(out, '02')
    bids = make_bids({
        'sub-01/anat/sub-01_T1w.json': {'Manufacturer': 'not asked'},
        'T1w.json': {'MagneticFieldStrength': 3},
        'sub-02/anat/sub-02_T1w.json': {'Manufacturer': 'Siemens', 'EchoTime': 0.1},
    })  # fmt: skip
    first, second = collect_group(out, bids).scans
    assert first.qc['Scanner'] == {'Manufacturer': 'GE'}
    assert second.qc['Scanner'] == {'Manufacturer': 'Siemens', 'MagneticFieldStrength': 3}
    assert 'Scanner' not in collect_group(out).scans[1].qc


def test_files_with_odd_names_are_passed_over(out):
    add(out, '01')
    for name in ('desc-T1w_qc.json', '_morph.tsv', 'notes.txt', 'sub-01_desc-T1w_qc.txt'):
        (out / 'sub-01' / 'anat' / name).write_text('?')
    assert [scan.name for scan in collect_group(out).scans] == ['sub-01_T1w']


def test_volumes_of_different_weights_are_pointed_out(out):
    add(out, '01')
    add(out, '02', Model={'Name': 't1w', 'SHA256': 'b' * 64})
    add(out, '02', modality='FLAIR')
    notes = collect_group(out).notes
    assert 'The T1w scans come from 2 weights; their volumes may not be comparable.' in notes
    assert not any('FLAIR' in note for note in notes)


def test_volumes_of_different_precisions_are_pointed_out(out):
    add(out, '01')
    add(out, '02', Precision='mixed_bfloat16')
    add(out, '01', modality='FLAIR')  # without it, as before there was a choice
    add(out, '02', modality='FLAIR', Precision='float32')
    notes = collect_group(out).notes
    assert 'The T1w scans come from 2 precisions; their volumes may not be comparable.' in notes
    assert not any('FLAIR' in note for note in notes)

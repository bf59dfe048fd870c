# SPDX-License-Identifier: Apache-2.0
"""The one reader of derivatives: what it finds, whole and otherwise."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from simulated import LABELS, write_scan

from bids_brainseg import __version__
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import figure_path, output_path, xfm_path
from bids_brainseg.records import RunOutcome
from bids_brainseg.results.outcomes import write_outcomes
from bids_brainseg.results.scans import match_results, missing_figures, read_scans

VOLUMES = [1000.0 + label.index for label in LABELS]
T1W = 'sub-01/anat/sub-01_T1w.nii.gz'


def add(out, subject='01', session=None, modality='T1w', **more):
    return write_scan(out, subject, session, modality, VOLUMES, 1.5e6, **more)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def qc_of(table):
    return table.with_name(table.name.replace('_seg-brainseg', '').replace('_morph.tsv', '_qc.json'))


def change(table, **entries):
    path = qc_of(table)
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_scan_has_its_files_figures_and_transforms(tmp_path):
    record = record_from_path(Path('/d/sub-01/ses-1/anat/sub-01_ses-1_acq-2D_T1w.nii.gz'), 'T1w')
    table = add(tmp_path, '01', '1', entities='_acq-2D')
    add(tmp_path, '01', '1')  # another scan of the session, whose files have fewer entities
    dseg = touch(output_path(record, tmp_path, suffix='dseg', extension='.nii.gz'))
    touch(output_path(record, tmp_path, suffix='dseg', extension='.nii.gz', space='MNI', res='1'))
    touch(output_path(record, tmp_path, suffix='dseg', extension='.json'))
    there = touch(xfm_path(record, tmp_path, reference='Adult'))
    back = touch(xfm_path(record, tmp_path, reference='Adult', inverse=True))
    touch(xfm_path(record, tmp_path, reference='Adult', extension='.lta'))
    alignment, viewer = (touch(figure_path(record, tmp_path, kind=kind)) for kind in ('alignment', 'viewer'))
    alignment.write_text('<svg></svg>\n')
    viewer.write_text('{}')
    touch(viewer.with_suffix('.svg'))
    plain, scan = read_scans(tmp_path, 'sub-01')
    assert (plain.name, scan.name) == ('sub-01_ses-1_T1w', 'sub-01_ses-1_acq-2D_T1w')
    assert scan.files == {'dseg': dseg, 'morph': table, 'qc': qc_of(table)}
    assert scan.figures == {'alignment': alignment, 'viewer': viewer}
    assert scan.transforms == {('T1w', 'Adult'): there, ('Adult', 'T1w'): back}
    assert (plain.figures, plain.transforms) == ({}, {})
    assert (scan.title, scan.label, scan.session) == ('ses-1 acq-2D T1w', 'T1w', '1')
    assert scan.source == 'sub-01/ses-1/anat/sub-01_ses-1_acq-2D_T1w.nii.gz'
    absent = record_from_path(Path('/d/sub-02/anat/sub-02_T1w.nii.gz'), 'T1w')
    (_, missing), (_, matched) = match_results([absent, record], tmp_path)
    assert missing is None and matched.name == scan.name


def test_numbers_are_numbers_and_the_rest_is_text(tmp_path):
    table = add(tmp_path)
    change(table, numbers={'alignment': 0.5, 'cv_mean': 'n/a'}, Rules=None)
    (scan,) = read_scans(tmp_path)
    assert (len(scan.rows), scan.rows[0]['volume_mm3'], scan.rows[0]['index']) == (30, 1001.0, '1')
    assert math.isnan(scan.rows[-1]['mc_mean_mm3']) and scan.rows[-1]['flag'] == 'n/a'
    assert (scan.number('alignment'), scan.number('cv_mean'), scan.number('absent')) == (0.5, None, None)
    assert 'Rules' not in scan.qc  # null, as if it were not there


def test_scans_of_all_subjects_come_in_order(tmp_path):
    for subject, session, modality in (
        ('10', None, 'T1w'),
        ('2', '2', 'T1w'),
        ('2', '1', 'ct'),
        ('2', '1', 'T1w'),
    ):
        add(tmp_path, subject, session, modality)
    names = ['sub-2_ses-1_T1w', 'sub-2_ses-1_ct', 'sub-2_ses-2_T1w', 'sub-10_T1w']
    assert [scan.name for scan in read_scans(tmp_path)] == names
    assert [scan.name for scan in read_scans(tmp_path, '10')] == ['sub-10_T1w']
    assert read_scans(tmp_path, '99') == read_scans(tmp_path / 'absent') == []


def unfetched(path):
    path.unlink()
    path.symlink_to('../.git/annex/objects/x')


UNREADABLE = {
    'a link to nothing': (
        lambda table: unfetched(table),
        'morph.tsv cannot be read: its link is broken; fetch its content: datalad get',
    ),
    'a qc that links to nothing': (
        lambda table: unfetched(qc_of(table)),
        'qc.json cannot be read: its link is broken',
    ),
    'a pointer': (lambda table: table.write_text('/annex/objects/MD5E-s1--0'), 'it: datalad get sub-01_seg'),
    'a pointer of LFS': (
        lambda table: qc_of(table).write_text('version https://git-lfs.github.com/spec/v1\n'),
        'fetch it: git lfs pull --include sub-01_desc-T1w_qc',
    ),
    'nesting without end': (lambda table: qc_of(table).write_text('[' * 100_000), 'qc.json cannot be read'),
    'text for a list': (lambda table: change(table, reasons='none'), 'reasons is not of type list'),
    'text for seconds': (
        lambda table: change(table, Seconds={'network': 'many'}),
        "network in Seconds is 'many'",
    ),
    'text for a rule': (lambda table: change(table, Rules={'alignment': 'high'}), 'alignment in Rules'),
    'text for passes': (
        lambda table: change(table, MonteCarloSamples='n'),
        'MonteCarloSamples is not of type int',
    ),
}


@pytest.mark.parametrize('how', UNREADABLE)
def test_a_file_that_cannot_be_read_breaks_its_own_scan_only(tmp_path, how):
    damage, reason = UNREADABLE[how]
    damage(add(tmp_path))
    add(tmp_path, modality='FLAIR')
    broken, whole = read_scans(tmp_path)
    assert (broken.name, broken.status, broken.broken, broken.usable) == ('sub-01_T1w', 'broken', True, False)
    assert reason in broken.reason
    assert (whole.status, whole.usable) == ('done', True)


def test_images_and_figures_that_were_not_fetched_are_no_reason_to_miss_the_volumes(tmp_path):
    record = record_from_path(Path('/d/sub-01/anat/sub-01_T1w.nii.gz'), 'T1w')
    add(tmp_path)
    unfetched(touch(output_path(record, tmp_path, suffix='dseg', extension='.nii.gz')))
    unfetched(touch(figure_path(record, tmp_path, kind='contours')))
    touch(figure_path(record, tmp_path, kind='alignment')).write_text('/annex/objects/MD5E-s1--0')
    touch(figure_path(record, tmp_path, kind='uncertainty')).write_text('<svg><path d="M 1')
    (scan,) = read_scans(tmp_path)
    assert scan.status == 'done' and 'dseg' in scan.files and scan.figures == {}
    fetch = 'fetch its content: datalad get sub-01_desc-contours_T1w.svg'
    assert [line.removeprefix('figure sub-01_desc-') for line in missing_figures(scan)] == [
        'alignment_T1w.svg is not shown: its content is not on this disk; fetch it: datalad get '
        'sub-01_desc-alignment_T1w.svg',
        f'contours_T1w.svg is not shown: its link is broken; {fetch}',
        'uncertainty_T1w.svg is not shown: it is cut short or cannot be read',
    ]


def test_a_table_of_an_older_version_with_fewer_columns_is_read(tmp_path):
    table = add(tmp_path)
    rows = [line.split('\t') for line in table.read_text().splitlines()]
    table.write_text(''.join('\t'.join(row[:4]) + '\n' for row in rows))  # up to volume_mm3
    change(table, Versions={'bids_brainseg': '0.0.1'})
    (scan,) = read_scans(tmp_path)
    assert (scan.status, scan.rows[0]['volume_mm3'], scan.rows[0]['flag']) == ('done', 1001.0, 'n/a')
    assert math.isnan(scan.rows[0]['mc_mean_mm3'])


def test_what_an_older_version_wrote_otherwise_is_named(tmp_path):
    table = add(tmp_path)
    change(table, Versions={'bids_brainseg': '0.0.1'})
    table.write_text('index\tname\tvolume\n')
    (scan,) = read_scans(tmp_path)
    assert 'morph.tsv lacks 30 of 30 rows' in scan.reason
    assert scan.reason.endswith(f'; version 0.0.1 wrote it and this is {__version__}: segment the scan again')


def test_a_damaged_table_of_agreement_leaves_the_volumes(tmp_path):
    table = add(tmp_path)
    table.with_name(table.name.replace('morph', 'agreement')).write_text('index\tname\n')
    (scan,) = read_scans(tmp_path)
    assert scan.broken and scan.usable and 'agreement.json cannot be read' in scan.reason


def test_the_outcome_of_the_last_run_is_part_of_the_result(tmp_path):
    add(tmp_path)
    crash = Path('sub-01/log/2026-2/crash-1.txt')
    for run, status in (('2026-1', 'done'), ('2026-2', 'failed')):
        told = {T1W: {'status': status, 'reason': 'no space left', 'crashfile': crash}}
        write_outcomes(tmp_path / 'sub-01' / 'log' / run, run=run, version='1', scans=told)
    (scan,) = read_scans(tmp_path)
    assert scan.outcome == RunOutcome('failed', 'no space left', '2026-2', crash)
    assert scan.status == 'outdated' and 'no space left' in scan.reason


def test_outcomes_that_name_no_scan_are_ignored(tmp_path):
    told = {name: {'status': 'failed', 'reason': ''} for name in ('', 'notes.txt', 'anat/T1w.nii.gz')}
    write_outcomes(tmp_path / 'sub-01' / 'log' / '1', run='1', version='1', scans=told)
    assert read_scans(tmp_path) == []

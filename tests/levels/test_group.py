# SPDX-License-Identifier: Apache-2.0
"""The group level as a user meets it."""

from __future__ import annotations

import csv
import json
import logging

import pytest
from simulated import LABELS, describe, simulate, write_scan

from bids_brainseg.cli.run import main

FILES = {
    f'group_{name}{extension}'
    for name in (
        'volumes', 'volumes_wide', 'aseg_T1w', 'aseg_FLAIR', 'qc', 'participants', 'agreement', 'ratings',
        'rating_agreement',
    )
    for extension in ('.tsv', '.json')
} | {'group.html'}  # fmt: skip


def written(out) -> set[str]:
    return {path.name for path in out.iterdir() if 'group' in path.name}


def people_of(path) -> set[str]:
    with path.open(newline='') as stream:
        return {row['participant_id'] for row in csv.DictReader(stream, delimiter='\t')}


@pytest.fixture
def out(tmp_path):
    simulate(tmp_path / 'out', 3)
    return tmp_path / 'out'


def test_group_works_from_the_outputs_alone(out, tmp_path, capsys):
    before = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
    assert main([f'{tmp_path}/gone', f'{out}', 'group']) == 0
    printed = capsys.readouterr().out
    assert '4 scans of 3 of 3 participants' in printed
    assert str(out / 'group.html') in printed
    assert written(out) == FILES
    assert {path: path.read_bytes() for path in before} == before


def test_the_same_command_writes_the_same_bytes(out, tmp_path):
    words = [f'{tmp_path}/gone', f'{out}', 'group']
    main(words)
    first = {name: (out / name).read_bytes() for name in FILES}
    assert main(words) == 0
    assert {name: (out / name).read_bytes() for name in FILES} == first


def test_a_selection_is_said_to_be_one(out, tmp_path):
    assert main([f'{tmp_path}/gone', f'{out}', 'group', '--participant-label', 'sub-0002', '0003']) == 0
    assert people_of(out / 'group_volumes.tsv') == {'sub-0002', 'sub-0003'}
    assert (
        'Only a part of the outputs was selected: participants 0002 0003.' in (out / 'group.html').read_text()
    )
    assert main([f'{tmp_path}/gone', f'{out}', 'group', '--modalities', 'FLAIR']) == 0
    assert people_of(out / 'group_volumes.tsv') == {'sub-0003'}
    assert [path.name for path in out.glob('group_aseg_*.tsv')] == ['group_aseg_FLAIR.tsv']


def test_broken_outputs_are_told_and_the_rest_is_done(out, tmp_path, capsys):
    table = next((out / 'sub-0001').rglob('*_morph.tsv'))
    table.write_bytes(table.read_bytes()[:500])
    assert main([f'{tmp_path}/gone', f'{out}', 'group']) == 1
    assert 'broken   sub-0001_T1w: ' in capsys.readouterr().out
    assert people_of(out / 'group_volumes.tsv') == {'sub-0002', 'sub-0003'}
    assert people_of(out / 'group_qc.tsv') == {'sub-0001', 'sub-0002', 'sub-0003'}


def test_nothing_to_put_together(tmp_path, capsys):
    describe(tmp_path / 'out')
    assert main([f'{tmp_path}/gone', f'{tmp_path}/out', 'group']) == 18
    assert 'run the participant level first' in capsys.readouterr().err
    write_scan(tmp_path / 'out', '01', None, 'T1w', [1.0] * len(LABELS), 1.5e6)
    assert main([f'{tmp_path}/gone', f'{tmp_path}/out', 'group', '--participant-label', '02']) == 18
    assert main([f'{tmp_path}/gone', f'{tmp_path}/absent', 'group']) == 18
    assert not (tmp_path / 'absent').exists()
    assert not written(tmp_path / 'out')


def test_dry_run_lists_and_writes_nothing(out, tmp_path, capsys):
    assert main([f'{tmp_path}/gone', f'{out}', 'group', '--dry-run']) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'sub-0003_FLAIR: done'
    assert not written(out)


def test_ratings_are_counted_and_a_damaged_file_of_them_is_named(out, tmp_path, capsys):
    head = 'scan\tverdict\trater\n'
    (out / 'sub-0001_rating.tsv').write_text(f'{head}sub-0001_T1w\tfail\tAnn\n')
    (out / 'sub-0002_rating.json').write_text('[{')
    assert main([f'{tmp_path}/gone', f'{out}', 'group']) == 1
    printed = capsys.readouterr().out
    assert 'ratings  1 of 1 rater\n' in printed
    assert 'sub-0002_rating.json was skipped' in printed
    assert 'sub-0001_T1w\tT1w\t' in (out / 'group_ratings.tsv').read_text()


@pytest.fixture
def log(caplog):
    """What the command logs; its logger hands nothing on."""
    logger = logging.getLogger('bids_brainseg')
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'\xff\xfe\x00broken', 'cannot be read and was ignored'),
        (b'participant_id\tage\nsub-0001\n', '1 of 1 rows differ from the header'),
        (b'/annex/objects/MD5E-s1--0', 'its content is not on this disk; fetch it: datalad get'),
    ],
)
def test_a_table_of_participants_that_cannot_be_read_is_told(out, tmp_path, log, content, told):
    (out / 'participants.tsv').write_bytes(content)
    assert main([f'{tmp_path}/gone', f'{out}', 'group', '--dry-run']) == 0
    assert any(
        record.levelname == 'WARNING' and 'participants.tsv' in record.message and told in record.message
        for record in log.records
    )


def test_a_participant_whose_images_cannot_be_segmented_is_listed_with_the_reason(out, tmp_path):
    log = out / 'sub-77' / 'log' / '2026-1'
    log.mkdir(parents=True)
    unused = {'sub-77/anat/sub-77_PDw.nii.gz': 'there is no model for PDw'}
    (log / 'outcomes.json').write_text(json.dumps({'Scans': {}, 'Unused': unused}))
    assert main([f'{tmp_path}/gone', f'{out}', 'group']) == 0
    with (out / 'group_participants.tsv').open(newline='') as stream:
        (row,) = [row for row in csv.DictReader(stream, delimiter='\t') if row['participant_id'] == 'sub-77']
    assert row['participant_status'] == 'missing'
    assert row['participant_reason'] == (
        'no image of it can be segmented: 1 image, there is no model for PDw: sub-77/anat/sub-77_PDw.nii.gz'
    )

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bids_brainseg.bids.participants import read_covariates


def test_covariates_of_a_session_win(make_bids):
    root = make_bids({
        'participants.tsv': 'participant_id\tage\tsex\nsub-01\t60\tF\n02\tn/a\tM\n',
        'participants.json': {'age': {'Description': 'at enrolment', 'Units': 'year'}, 'odd': 3},
        'sub-01/sub-01_sessions.tsv': 'session_id\tage\tscore\nses-1\t61\t5\nses-2\tn/a\t6\n',
        'sessions.json': {'score': {'Description': 'of the test'}},
    })  # fmt: skip
    found = read_covariates([root], ['01', '02'])
    assert found.of('01', '1') == {'age': '61', 'sex': 'F', 'score': '5'}
    assert found.of('01', '2') == {'age': '60', 'sex': 'F', 'score': '6'}
    assert found.of('02', None) == {'sex': 'M'}
    assert found.of('03', None) == {}
    assert list(found.columns) == ['age', 'sex', 'score']
    assert found.columns['age']['Units'] == 'year'
    assert found.columns['score'] == {'Description': 'of the test'}
    assert found.notes == []


def test_a_table_that_cannot_be_read_is_noted_and_the_copy_is_used(make_bids):
    table = 'participant_id\tage\nsub-01\t60\nsub-01\t61\n'
    bids = make_bids({'participants.tsv': 'participant_id\tage\nsub-01\n'}, name='in')
    out = make_bids({'participants.tsv': table}, name='out')
    found = read_covariates([bids, out], [])
    assert found.participants == {'01': {'age': '60'}}
    assert 'in/participants.tsv cannot be read and was ignored: 1 of 1 rows' in found.notes[0]
    assert found.notes[1] == 'participants.tsv lists sub-01 more than once; the first row was used'


def test_an_empty_table_is_noted_and_one_without_rows_is_not(make_bids):
    for text, notes in (('', 1), ('\n\n', 1), ('participant_id\tage\n', 0)):
        root = make_bids({'participants.tsv': text}, name=f'in{len(text)}')
        found = read_covariates([root], [])
        assert (found.participants, len(found.notes)) == ({}, notes)
        assert all(note.endswith('cannot be read and was ignored: it is empty') for note in found.notes)


def test_other_names_and_encodings_are_accepted(tmp_path, make_bids):
    root = make_bids({'participants.tsv': 'id\tage\nsub-01\t60\n'})
    (root / 'sub-01').mkdir()
    (root / 'sub-01' / 'sub-01_sessions.tsv').write_bytes(b'session_id\tsite\nses-1\t\xff\xfe\n')
    found = read_covariates([root], ['01'])
    assert (found.participants, found.sessions) == ({}, {})
    assert 'it has no column participant_id' in found.notes[0]
    assert 'sub-01_sessions.tsv cannot be read' in found.notes[1]

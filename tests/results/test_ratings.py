# SPDX-License-Identifier: Apache-2.0
"""Rating files of several raters, good and damaged, against scans with known verdicts."""

from __future__ import annotations

import json

import pytest
from simulated import LABELS, describe, write_scan

from bids_brainseg.results.group import collect_group
from bids_brainseg.results.group_measures import measure_group
from bids_brainseg.results.group_tables import make_tables, write_tables
from bids_brainseg.results.ratings import compare_ratings, read_ratings
from bids_brainseg.results.scans import read_scans

HEAD = 'participant_id\tscan\tverdict\tnote\trater\trated_at\tbids_brainseg_verdict\tbids_brainseg_version\n'
VOLUMES = [1000.0 + label.index for label in LABELS]
NOON, LATER = '2026-11-26T12:00:00Z', '2026-11-26T14:30:00+02:00'  # the second is half an hour later


def line(scan, verdict, *, note='n/a', rater='Ann', at=NOON, ours='pass'):
    return f'{scan.split("_")[0]}\t{scan}\t{verdict}\t{note}\t{rater}\t{at}\t{ours}\t0.1.0\n'


@pytest.fixture
def out(tmp_path):
    """Three T1w of the verdicts pass, review and pass, and a FLAIR that passes."""
    describe(tmp_path)
    for subject, modality, cv in (
        ('01', 'T1w', 0.5),
        ('02', 'T1w', 3),
        ('03', 'T1w', 0.5),
        ('01', 'FLAIR', 0.5),
    ):
        write_scan(tmp_path, subject, None, modality, VOLUMES, 1.5e6, cv=cv)
    return tmp_path


def ratings_of(out):
    return read_ratings(out, read_scans(out))


def test_the_newest_of_each_rater_counts_wherever_it_lies(out):
    older = line('sub-01_T1w', 'pass') + line('sub-01_FLAIR', 'fail', note='"odd')
    (out / 'sub-01_rating.tsv').write_text(HEAD + older)
    rows = [{'scan': 'sub-01_desc-T1w_qc', 'verdict': 'review', 'rater': 'Ann', 'rated_at': LATER,
             'note': 'dark\trim'},
            {'scan': 'sub-02_T1w', 'verdict': 'review', 'rater': '', 'rated_at': None}]  # fmt: skip
    (out / 'ratings' / 'b').mkdir(parents=True)
    (out / 'ratings' / 'b' / 'sub-01_rating.json').write_text('\ufeff' + json.dumps(rows))
    found = ratings_of(out)
    assert (found.notes, found.damaged) == ([], [])
    assert [(r.scan, r.rater, r.verdict) for r in found.ratings] == [
        ('sub-01_T1w', 'Ann', 'review'), ('sub-01_FLAIR', 'Ann', 'fail'), ('sub-02_T1w', 'unnamed', 'review'),
    ]  # fmt: skip
    assert [r.note for r in found.ratings] == ['dark rim', '"odd', '']
    assert found.ratings[0].file == 'ratings/b/sub-01_rating.json'


@pytest.mark.parametrize(
    ('name', 'content', 'why'),
    [
        ('a_rating.tsv', '', 'it holds no rating'),
        ('a_rating.tsv', HEAD, 'it holds no rating'),
        ('a_rating.tsv', HEAD + 'sub-01\tsub-01_T1w\n', 'rating 1 lacks verdict'),
        ('a_rating.tsv', HEAD + line('sub-01_T1w', 'good'), "rating 1 has the verdict 'good'"),
        ('a_rating.tsv', HEAD.replace('\t', ',') + line('sub-01_T1w', 'pass'), 'lacks scan and verdict'),
        ('a_rating.tsv', b'\xff\xfe\x00', "can't decode"),
        ('a_rating.json', '[{"scan": "sub-01_T1w", ', 'Expecting'),
        ('a_rating.json', '{"scan": "sub-01_T1w"}', 'not a list'),
        ('a_rating.json', '[' * 100000, 'recursion'),
    ],
)
def test_a_damaged_file_is_named_and_the_others_are_read(out, name, content, why):
    (out / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (out / 'good_rating.tsv').write_text(HEAD + line('sub-01_T1w', 'pass'))
    found = ratings_of(out)
    assert [r.scan for r in found.ratings] == ['sub-01_T1w']
    assert len(found.damaged) == 1
    assert found.damaged[0].startswith(f'{name} was skipped: ')
    assert why in found.damaged[0]
    assert found.damaged[0] in collect_group(out).notes


def test_a_link_to_nothing_is_named(out):
    (out / 'a_rating.tsv').symlink_to('nowhere')
    assert 'its link is broken; fetch its content: datalad get a_rating.tsv' in ratings_of(out).damaged[0]


def test_a_rating_of_no_scan_is_remarked_on_unless_it_was_not_selected(out):
    (out / 'a_rating.tsv').write_text(HEAD + line('sub-02_T1w', 'pass') + line('sub-09_T1w', 'pass'))
    assert ratings_of(out).notes == ['a_rating.tsv rates sub-09_T1w, which has no result here.']
    assert collect_group(out, participant_label=['01']).ratings == ([], [], [])


def test_raters_are_compared_with_the_program_and_each_other(out):
    ann = {'sub-01_T1w': 'pass', 'sub-02_T1w': 'fail', 'sub-03_T1w': 'pass', 'sub-01_FLAIR': 'review'}
    bob = {'sub-02_T1w': 'fail', 'sub-03_T1w': 'review'}
    (out / 'a_rating.tsv').write_text(HEAD + ''.join(line(*both) for both in ann.items()))
    (out / 'b_rating.tsv').write_text(HEAD + ''.join(line(*both, rater='Bob') for both in bob.items()))
    scans = read_scans(out)
    rows = {
        (r['rater_a'], r['rater_b'], r['modality']): r
        for r in compare_ratings(scans, ratings_of(out).ratings)
    }
    assert list(rows) == [
        ('bids_brainseg', 'Ann', 'all'), ('bids_brainseg', 'Ann', 'T1w'), ('bids_brainseg', 'Ann', 'FLAIR'),
        ('bids_brainseg', 'Bob', 'T1w'), ('Ann', 'Bob', 'T1w'),
    ]  # fmt: skip
    all_ann = rows['bids_brainseg', 'Ann', 'all']
    assert (all_ann['n_scans'], all_ann['n_agree']) == (4, 2)
    assert (all_ann['pass_pass'], all_ann['pass_review'], all_ann['review_fail']) == (2, 1, 1)
    # observed 2/4; by chance 3/4 * 2/4 + 1/4 * 1/4 + 0 = 7/16
    assert all_ann['kappa'] == pytest.approx((1 / 2 - 7 / 16) / (1 - 7 / 16))
    # neighbors count half: observed 3/4; by chance 7/16 + (3/4 * 1/4 + 1/4 * 2/4 + 1/4 * 1/4) / 2 = 10/16
    assert all_ann['kappa_linear'] == pytest.approx((3 / 4 - 10 / 16) / (1 - 10 / 16))
    assert rows['Ann', 'Bob', 'T1w']['fail_fail'] == 1
    assert rows['Ann', 'Bob', 'T1w']['pass_review'] == 1


def test_tables_of_ratings(out):
    (out / 'a_rating.tsv').write_text(HEAD + line('sub-02_T1w', 'fail', note='motion', ours='pass'))
    group = collect_group(out)
    tables = make_tables(group, measure_group(group.scans))
    row = tables['ratings'].data.iloc[0]
    assert (row['verdict'], row['rating'], row['agrees'], row['verdict_when_rated']) == (
        'review',
        'fail',
        'no',
        'pass',
    )
    assert (row['participant_id'], row['modality'], row['rating_note']) == ('sub-02', 'T1w', 'motion')
    for name in ('ratings', 'rating_agreement'):
        described = tables[name].dictionary
        assert all(described[column]['Description'] for column in tables[name].data)
        assert not any(
            'as in its qc.json' in described[column]['Description'] for column in tables[name].data
        )
    (out / 'a_rating.tsv').unlink()
    group = collect_group(out)
    write_tables(make_tables(group, measure_group(group.scans)), out)
    assert (out / 'group_ratings.tsv').read_text().count('\n') == 1  # the head alone

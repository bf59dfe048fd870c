# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from bids_brainseg.bids.participants import read_covariates
from bids_brainseg.bids.visits import participant_facts, scan_date

LISTED = 'filename\tacq_time\nanat/sub-01_ses-1_T1w.nii.gz\t2009-06-15\n'
SOURCE = 'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz'


def facts(folder, subject, sessions):
    return participant_facts(read_covariates([folder], [subject]), subject, sessions)


def test_age_and_sex_in_words(tmp_path):
    (tmp_path / 'participants.tsv').write_text('participant_id\tAge\tsex\thandedness\nsub-01\t34\tF\tn/a\n')
    assert facts(tmp_path, '01', [None, None]) == [('Age', '34 years'), ('Sex', 'female')]
    assert facts(tmp_path, '02', [None]) == []
    described = {'Age': {'Units': 'months'}, 'sex': {'Levels': {'F': 'woman'}}}
    (tmp_path / 'participants.json').write_text(json.dumps(described))
    assert facts(tmp_path, '01', [None]) == [('Age', '34 months'), ('Sex', 'woman')]


def test_an_age_of_each_session(tmp_path):
    (tmp_path / 'sub-01').mkdir()
    table = 'session_id\tage\nses-1\t34\nses-2\t36\n'
    (tmp_path / 'sub-01' / 'sub-01_sessions.tsv').write_text(table)
    assert facts(tmp_path, '01', ['1', '2', '2']) == [('Age', '34 years (ses-1), 36 years (ses-2)')]


@pytest.mark.parametrize(
    ('table', 'sidecar', 'found'),
    [
        (LISTED, None, '2009-06-15'),
        (LISTED.replace('sub-01', 'sub-02'), '{"AcquisitionDateTime": "20100102"}', '2010-01-02'),
        (LISTED.replace('2009-06-15', 'n/a'), '{"AcquisitionDate": "2010-01-02"}', '2010-01-02'),
        ('filename\n', '{"AcquisitionTime": "10:11:12"}', ''),
        ('\xff\n', '{"Acq', ''),
        (None, '[]', ''),
        (None, None, ''),
    ],
)  # fmt: skip
def test_the_day_of_a_scan(tmp_path, table, sidecar, found):
    scan = tmp_path / SOURCE
    scan.parent.mkdir(parents=True)
    if table is not None:
        (scan.parents[1] / 'sub-01_ses-1_scans.tsv').write_bytes(table.encode('latin-1'))
    if sidecar is not None:
        (scan.parent / 'sub-01_ses-1_T1w.json').write_text(sidecar)
    assert scan_date(tmp_path, SOURCE) == found

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re

import pytest

from bids_brainseg.pages import cards


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_alignments_of_all_scans_by_modality(tmp_path):
    write(tmp_path / 'sub-01/anat/a_qc.json', {'modality': 'T1w', 'numbers': {'alignment': 0.6}})
    write(tmp_path / 'sub-02/ses-1/anat/a_qc.json', {'modality': 'T1w', 'numbers': {'alignment': 0.4}})
    write(tmp_path / 'sub-02/ct/a_qc.json', {'modality': 'ct', 'numbers': {'alignment': 'n/a'}})
    write(tmp_path / 'sub-03/anat/a_qc.json', 'cut off {')
    assert cards.alignments(tmp_path) == {'T1w': [0.4, 0.6]}


@pytest.mark.parametrize(
    ('value', 'peers', 'phrase'),
    [
        (0.5, [0.3, 0.5, 0.7, 0.9], '1 of the 4 T1w scans in these outputs so far have a lower one'),
        (0.3, [0.3, 0.9], '0 of the 2 T1w scans'),
    ],
)
def test_the_place_among_all_scans(value, peers, phrase):
    html = cards.rank_html({'modality': 'T1w', 'numbers': {'alignment': value}}, {'T1w': peers})
    assert phrase in html
    assert f'lowest {peers[0]:.2f}' in html and f'highest {peers[-1]:.2f}' in html


def test_a_scan_that_is_the_first_has_no_place_yet():
    rules = {'alignment': {'review_below': 0.45, 'fail_below': 0.33}}
    html = cards.rank_html({'modality': 'ct', 'numbers': {'alignment': 0.5}, 'Rules': rules}, {'ct': [0.5]})
    assert 'of the' not in html
    assert 'review below 0.45, fail below 0.33' in html
    assert cards.rank_html({'numbers': {'alignment': 'n/a'}}, {}) == ''


def test_the_card_of_a_model(tmp_path):
    model = {
        'name': 'ct', 'version': '1.2', 'license': 'Apache-2.0', 'grid_shape': [112, 144, 128],
        'sha256': {'weights.safetensors': 'abc'},
        'card': {
            'training': {'data': 'label maps', 'pairs_seen': 100},
            'dice': {'held_out': {'what': 'two heads', 'average': 0.671}},
            'limits': ['adults only'],
        },
    }  # fmt: skip
    write(tmp_path / 'logs/models/ct-abc.json', model)
    write(tmp_path / 'logs/models/other.json', model | {'name': 'b'})  # with the same weights
    write(tmp_path / 'logs/models/broken.json', '[')
    read = cards.read_cards(tmp_path)
    assert set(read) == {('ct', 'abc'), ('b', 'abc')}
    used = {'Model': {'Name': 'ct', 'SHA256': 'abc'}}
    html = cards.cards_html([used, {}, used], read)
    assert len(re.findall('<h4>', html)) == 1
    for phrase in ('Model ct', '1.2', '112 × 144 × 128', 'label maps', 'two heads', '0.67', 'adults only'):
        assert phrase in html


def test_findings_of_the_validator_are_counted(tmp_path):
    assert cards.validation_html(cards.read_validation(tmp_path)) == ''
    findings = {'errors': 0, 'warnings': 1, 'codes': {}, 'validator': 'bids-validator-deno 2.0'}
    write(tmp_path / 'logs/bids_validation.json', findings)
    html = cards.validation_html(cards.read_validation(tmp_path))
    assert '0 errors, 1 warning (bids-validator-deno 2.0)' in html
    assert 'details' not in html

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from bids_brainseg.pages import inputs


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_alignments_of_all_scans_by_modality(tmp_path):
    write(tmp_path / 'sub-01/anat/a_qc.json', {'modality': 'T1w', 'numbers': {'alignment': 0.6}})
    write(tmp_path / 'sub-02/ses-1/anat/a_qc.json', {'modality': 'T1w', 'numbers': {'alignment': 0.4}})
    write(tmp_path / 'sub-02/ct/a_qc.json', {'modality': 'ct', 'numbers': {'alignment': 'n/a'}})
    write(tmp_path / 'sub-03/anat/a_qc.json', 'cut off {')
    assert inputs.alignments(tmp_path) == {'T1w': [0.4, 0.6]}


def test_cards_are_known_by_name_and_weights(tmp_path):
    model = {'name': 'ct', 'sha256': {'weights.safetensors': 'abc'}}
    write(tmp_path / 'logs/models/ct-abc.json', model)
    write(tmp_path / 'logs/models/other.json', model | {'name': 'b'})  # with the same weights
    write(tmp_path / 'logs/models/broken.json', '[')
    assert set(inputs.read_cards(tmp_path)) == {('ct', 'abc'), ('b', 'abc')}


def test_findings_of_the_validator_are_optional(tmp_path):
    assert inputs.read_validation(tmp_path) is None
    write(tmp_path / 'logs/bids_validation.json', {'errors': 0})
    assert inputs.read_validation(tmp_path) == {'errors': 0}

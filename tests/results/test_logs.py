# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from bids_brainseg.results.logs import read_cards, read_validation


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_cards_are_known_by_name_and_weights(tmp_path):
    model = {'name': 'ct', 'sha256': {'weights.safetensors': 'abc'}}
    write(tmp_path / 'logs/models/ct-abc.json', model)
    write(tmp_path / 'logs/models/other.json', model | {'name': 'b'})  # with the same weights
    write(tmp_path / 'logs/models/broken.json', '[')
    assert set(read_cards(tmp_path)) == {('ct', 'abc'), ('b', 'abc')}


def test_findings_of_the_validator_are_optional(tmp_path):
    assert read_validation(tmp_path) is None
    write(tmp_path / 'logs/bids_validation.json', {'errors': 0})
    assert read_validation(tmp_path) == {'errors': 0}

# SPDX-License-Identifier: Apache-2.0
"""Folders that a run writes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_brainseg.errors import BrainsegError
from bids_brainseg.levels import folders
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.settings import Settings


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    folders.check_writable(tmp_path / 'a' / 'b', 'output folder')
    assert list((tmp_path / 'a' / 'b').iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(BrainsegError, match='the work folder cannot be written: .*choose another'):
        folders.check_writable(tmp_path / 'file' / 'out', 'work folder')


def test_linked_datasets_are_in_the_description(tmp_path):
    settings = Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work')
    folders.prepare_output(settings, links={'labels': tmp_path / 'labels'})
    description = json.loads((tmp_path / 'out' / 'dataset_description.json').read_text())
    assert set(description['DatasetLinks']) == {'raw', 'labels'}


def test_the_card_of_each_model_is_copied(tiny_bundle, tmp_path):
    bundle = load_bundle(tiny_bundle)
    folders.copy_model_cards([bundle, bundle], tmp_path)
    (card,) = (tmp_path / 'logs' / 'models').iterdir()
    assert card.name == f'{bundle.name}-{bundle.weights_sha256[:12]}.json'
    assert card.read_text() == (Path(bundle.path) / 'model.json').read_text()


def test_what_describes_a_run_may_fail_and_is_told(capsys):
    with folders.tolerated('the settings') as problems:
        raise OSError(28, 'No space left on device', '/out/log')
    assert len(problems) == 1 and problems[0].endswith(': /out/log')
    assert capsys.readouterr().err.startswith('not written: the settings: no space is left on the disk; free')
    with folders.tolerated('the settings') as problems:
        pass
    assert problems == []
    with pytest.raises(ValueError, match='a fault of ours'), folders.tolerated('the settings'):
        raise ValueError('a fault of ours')

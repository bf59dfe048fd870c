# SPDX-License-Identifier: Apache-2.0
"""Settings are frozen, and what is saved of them can be read again."""

from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from bids_brainseg.cli.options import parse
from bids_brainseg.settings import Settings


def test_settings_do_not_change(tmp_path):
    with pytest.raises(FrozenInstanceError):
        Settings(tmp_path, tmp_path, tmp_path).nprocs = 3


def test_settings_survive_toml():
    settings = parse(['in "x"', 'out', 'participant', '--ct-window', '0', '80', '--participant-label', 'ä1'])
    content = tomllib.loads(settings.to_toml())
    assert Path(content['bids_dir']) == settings.bids_dir
    assert content['ct_window'] == [0.0, 80.0]
    assert content['participant_label'] == ['ä1']
    assert 'mc_samples' not in content


def test_the_log_of_a_run_has_a_folder_of_its_own(tmp_path):
    settings = Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work', run_uuid='now')
    assert settings.log_dir('01', None) == tmp_path / 'out' / 'sub-01' / 'log' / 'now'
    assert settings.log_dir('01', '2') == tmp_path / 'out' / 'sub-01' / 'ses-2' / 'log' / 'now'

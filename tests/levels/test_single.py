# SPDX-License-Identifier: Apache-2.0
"""A command without BIDS is the participant level on a dataset that is made for it."""

from __future__ import annotations

import shlex

import pytest

from bids_brainseg.bids.query import find_images
from bids_brainseg.cli.options import parse
from bids_brainseg.cli.run import run_level
from bids_brainseg.levels import participant, single
from bids_brainseg.levels.outcome import reproduce


@pytest.fixture
def words(make_nifti, tmp_path):
    return [str(make_nifti('scan.nii.gz')), str(tmp_path / 'out'), '--modality', 'T1w', '--mc-samples', '0']


def test_the_scans_are_those_of_the_participant_level(words, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(participant, 'run', lambda settings: seen.append(settings) or 0)
    settings = parse(words)
    settings.work_dir.mkdir()
    assert run_level(settings) == 0
    [used] = seen
    assert (used.participant_label, used.session_label, used.modalities) == (('scan',), (), ('T1w',))
    assert (used.bids_dir, used.mc_samples) == (tmp_path / 'out' / 'sourcedata' / 'scans', 0)
    assert not settings.work_dir.exists()
    [record] = find_images(used.bids_dir)
    again = parse(shlex.split(reproduce(record, used))[1:])  # what the page says is a command
    assert (again.bids_dir, again.participant_label, again.mc_samples) == (used.bids_dir, ('scan',), 0)


def test_a_work_folder_that_was_named_stays(words, tmp_path, monkeypatch):
    monkeypatch.setattr(participant, 'run', lambda settings: 0)
    (tmp_path / 'work').mkdir()
    assert single.run(parse([*words, '-w', str(tmp_path / 'work')])) == 0
    assert (tmp_path / 'work').is_dir()


def test_a_dry_run_writes_nothing(words, tmp_path, tiny_bundle, capsys):
    assert single.run(parse([*words, '--dry-run', '--model', str(tiny_bundle)])) == 0
    said = capsys.readouterr().out
    assert f'{tmp_path}/scan.nii.gz: sub-scan_T1w' in said
    assert 'sub-scan/anat/sub-scan_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz' in said
    assert not (tmp_path / 'out').exists()

# SPDX-License-Identifier: Apache-2.0
"""What the levels share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.levels import scans
from bids_brainseg.settings import Settings, graph_name


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work', run_uuid='now')


def test_findings_of_the_validator_are_saved(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(scans, 'validation_findings', lambda folder: None)
    scans.validate_dataset(settings)
    assert not (tmp_path / 'out').exists()
    findings = {'errors': 2, 'warnings': 0, 'codes': {'X': 2}, 'validator': 'v'}
    monkeypatch.setattr(scans, 'validation_findings', lambda folder: findings)
    scans.validate_dataset(settings)
    assert json.loads((tmp_path / 'out' / 'logs' / 'bids_validation.json').read_text()) == findings


def test_validation_can_be_left_out(settings, monkeypatch):
    monkeypatch.setattr(scans, 'validation_findings', lambda folder: pytest.fail('was run'))
    scans.validate_dataset(replace(settings, skip_bids_validation=True))
    scans.validate_dataset(replace(settings, reports_only=True))


@pytest.mark.parametrize(('devices', 'expected'), [((), 'cpu'), (('/',), 'auto')])
def test_a_gpu_is_planned_with_only_where_there_is_one(settings, monkeypatch, devices, expected):
    monkeypatch.setattr(scans, 'GPU_DEVICES', devices)
    assert scans.resolve_device(settings).device == expected
    assert scans.resolve_device(replace(settings, device='gpu')).device == 'gpu'


def test_a_defect_is_a_failure_and_a_choice_is_not(settings):
    record = record_from_path(Path('sub-01/dwi/sub-01_dwi.nii.gz'), 'dwi')
    choice = replace(record, skip='b = 0 only')
    defect = replace(record, skip='no bval', broken=True)
    runnable, outcomes, bundles = scans.select_runnable(settings, [choice, defect])
    assert (runnable, bundles) == ([], {})
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ('skipped', 'b = 0 only'),
        ('failed', 'no bval'),
    ]


def test_old_results_are_removed_only_on_request_and_only_of_the_selected(settings):
    record = record_from_path(Path('sub-01/anat/sub-01_T1w.nii.gz'), 'T1w')
    top = settings.work_dir / graph_name('brainseg')
    for name in ('sub_01_wf', 'sub_02_wf'):
        (top / name).mkdir(parents=True)
    scans.prepare_work(settings, [record])
    assert (top / 'sub_01_wf').exists()
    assert (settings.log_dir('01', None) / 'settings.toml').read_text() == settings.to_toml()
    scans.prepare_work(replace(settings, clean_workdir=True), [record])
    assert not (top / 'sub_01_wf').exists() and (top / 'sub_02_wf').exists()


@pytest.mark.parametrize(('letters', 'fits'), [(100, True), (170, False)])
def test_labels_that_no_file_system_takes_are_refused(settings, tiny_bundle, letters, fits):
    settings = replace(settings, models=(('T1w', tiny_bundle),))
    label = 'x' * letters
    record = record_from_path(Path(f'/d/sub-{label}/anat/sub-{label}_T1w.nii.gz'), 'T1w')
    runnable, outcomes, _ = scans.select_runnable(settings, [record])
    assert bool(runnable) == fits and bool(outcomes) != fits
    for outcome in outcomes:
        assert outcome.status == 'failed' and outcome.reason.startswith('its labels are too long: sub-xxx')
        assert 'the file system takes 255; rename the scan' in outcome.reason

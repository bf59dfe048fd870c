# SPDX-License-Identifier: Apache-2.0
"""The list of what a run would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bids_brainseg.bids.query import Selection
from bids_brainseg.levels.dry_run import format_dry_run
from bids_brainseg.records import Outcome, UnusedImage
from bids_brainseg.settings import Settings
from bids_brainseg.workflows.examples import example_bundle, example_record, example_template

NOTHING = Selection([], [], {})


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work')


def test_each_scan_with_its_model_files_and_page(settings):
    record, bundle = example_record(), example_bundle(mc_samples=0)
    lines = format_dry_run(settings, [record], {record.modality: bundle}, {}, [], NOTHING).splitlines()
    assert lines[0] == f'{record.relative_path}: model {bundle.name}, one pass without dropout'
    assert all(line.startswith('  sub-') for line in lines[1:-1])
    assert not any('probseg' in line for line in lines)
    assert lines[-1] == f'page: sub-{record.subject}.html'


def test_what_is_asked_for_in_addition_is_listed(settings):
    record, bundle, template = example_record(), example_bundle(mc_samples=3), example_template()
    templates = {record.modality: [template]}
    plain = format_dry_run(settings, [record], {record.modality: bundle}, {}, [], NOTHING)
    more = format_dry_run(
        replace(settings, save_probseg=True), [record], {record.modality: bundle}, templates, [], NOTHING
    )
    assert 'model' in plain and '3 passes' in plain
    added = set(more.splitlines()) - set(plain.splitlines())
    assert any('_probseg.nii.gz' in line for line in added)
    assert sum(template.label in line for line in added) == len(added) - 1


def test_existing_files_are_marked(settings):
    record, bundle = example_record(), example_bundle()
    first = format_dry_run(settings, [record], {record.modality: bundle}, {}, [], NOTHING).splitlines()[1]
    path = settings.output_dir / first.strip()
    path.parent.mkdir(parents=True)
    path.touch()
    lines = format_dry_run(settings, [record], {record.modality: bundle}, {}, [], NOTHING).splitlines()
    assert lines[1] == f'{first} (exists)'
    assert not any('(exists)' in line for line in lines[2:])


def test_what_would_not_run_has_its_reason(settings):
    record = example_record()
    outcome = Outcome(record, 'skipped', 'b = 0 only')
    assert format_dry_run(settings, [], {}, {}, [outcome], NOTHING).splitlines() == [
        f'{record.relative_path}: skipped: b = 0 only',
        f'page: sub-{record.subject}.html',
    ]


def test_every_image_that_is_not_used_is_listed_and_counted(settings):
    record = example_record()
    paths = (Path(f'sub-01/anat/sub-01_run-{n}_PDw.nii.gz') for n in (1, 2))
    unused = [UnusedImage(path, 'there is no model for PDw') for path in paths]
    selection = Selection([record], unused, {'--session-label': 3})
    assert format_dry_run(settings, [], {}, {}, [], selection).splitlines() == [
        'sub-01/anat/sub-01_run-1_PDw.nii.gz: not used: there is no model for PDw',
        'sub-01/anat/sub-01_run-2_PDw.nii.gz: not used: there is no model for PDw',
        'unused  2 images, there is no model for PDw: sub-01/anat/sub-01_run-1_PDw.nii.gz ...',
        'left out 3 by --session-label',
    ]

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGE
from simulated import write_scan

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import output_path
from bids_brainseg.errors import InputError
from bids_brainseg.files import write_json, write_tsv
from bids_brainseg.results.agreement import agreement_document, agreement_table
from bids_brainseg.results.evaluation_tables import (
    collect_evaluation,
    read_study,
    write_evaluation,
    write_study_table,
)
from bids_brainseg.workflows.examples import example_provenance


@pytest.fixture
def record():
    return record_from_path(Path('/d/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz'), 'T1w')


@pytest.fixture
def outputs(record, tmp_path):
    dice = np.linspace(0, 1, 28)
    dice[3] = np.nan
    distance = np.full(28, 1.5)
    distance[5] = np.inf
    provenance = example_provenance(mc_samples=0)
    averages = {'D_A': 0.5, 'D_V': 0.6, 'ASSD_mm': 1.5, 'structures_missed': 1}
    document = agreement_document(record, averages=averages, labels='bids:labels:x', provenance=provenance)
    table = agreement_table(dice, distance, np.arange(28) * 10.0, np.arange(28) * 20.0)
    qc = {
        'Sources': ['bids:raw:sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz'],
        'numbers': {'cv_mean': 'n/a', 'alignment': 0.6},
        'Units': {'cv_mean': '%', 'alignment': 'share'},
    }
    write_scan(tmp_path, '01', '2', 'T1w', [1.0] * 27, 1.5e6)
    for suffix, extension, write, content in (
        ('agreement', '.tsv', write_tsv, table),
        ('agreement', '.json', write_json, document),
        ('qc', '.json', write_json, qc),
    ):
        write(content, output_path(record, tmp_path, suffix=suffix, extension=extension))
    return tmp_path


def test_what_was_measured_is_gathered(record, outputs):
    structures, scans, units = collect_evaluation([([record], outputs)])
    assert len(structures) == 27
    first = structures.set_index('index')
    assert first['dice'][1] == pytest.approx(1 / 27)
    assert np.isnan(first['dice'][3])
    assert np.isinf(first['assd_mm'][5])
    assert first['reference_volume_mm3'][27] == 540
    (row,) = scans.to_dict('records')
    assert (row['scan'], row['participant_id'], row['session_id']) == ('sub-01_ses-2_T1w', 'sub-01', 'ses-2')
    assert (row['D_A'], row['structures_missed'], row['alignment']) == (0.5, 1, 0.6)
    assert np.isnan(row['cv_mean'])
    assert units == {'cv_mean': '%', 'alignment': 'share'}


def test_a_scan_without_a_comparison_is_named(record, tmp_path):
    write_scan(tmp_path, '01', '2', 'T1w', [1.0] * 27, 1.5e6)
    with pytest.raises(InputError, match='sub-01_ses-2_T1w.nii.gz cannot be evaluated: it was not compared'):
        collect_evaluation([([record], tmp_path)])
    table = output_path(record, tmp_path, suffix='morph')
    table.write_bytes(table.read_bytes()[:900])
    with pytest.raises(InputError, match='morph.tsv lacks'):
        collect_evaluation([([record], tmp_path)])


def test_corrupted_scans_say_how(record, outputs):
    about = {('01', record.key): {'kind': 'noise', 'severity': 0.4, 'seed': 1}}
    structures, scans, _ = collect_evaluation([([record], outputs)], about)
    assert (scans['corrupted'][0], scans['severity'][0]) == ('noise', 0.4)
    assert (structures['corrupted'] == 'noise').all()


def test_tables_have_dictionaries_and_units(record, outputs):
    tables = collect_evaluation([([record], outputs), ([record], outputs)])
    assert (len(tables.structures), len(tables.scans)) == (54, 2)
    write_evaluation(tables, {'x': float('nan')}, outputs)
    described = json.loads((outputs / 'evaluation_scans.json').read_text())
    assert list(described) == list(tables.scans.columns)
    assert described['cv_mean']['Units'] == '%'
    assert described['ASSD_mm']['Units'] == 'mm'
    assert described['D_A']['Description'].startswith('Mean Dice')
    header, first = (outputs / 'evaluation_structures.tsv').read_text().splitlines()[:2]
    assert header.split('\t')[-6:-2] == ['dice', 'assd_mm', 'volume_mm3', 'reference_volume_mm3']
    assert header.split('\t')[-2:] == ['volume_low_mm3', 'volume_high_mm3']
    assert first.split('\t')[4:6] == ['n/a', 'n/a']
    assert json.loads((outputs / 'evaluation.json').read_text()) == {'x': 'n/a'}


def test_the_table_of_a_study_has_a_row_for_each_network_and_scan(tmp_path):
    scans = [{'scan': f'sub-{n}_T1w', 'D_A': 0.5, 'D_V': 0.6, 'ASSD_mm': 2.0} for n in (1, 2)]
    runs = [
        {'modality': 'T1w', 'participants': n, 'training_scans': n - 1, 'steps': 9, 'test_scans': scans}
        for n in (4, 8)
    ]
    failed = [{'modality': 'T1w', 'participants': 16, 'reason': 'why'}]
    table, document = write_study_table('scaling', runs, failed, tmp_path)
    lines = table.read_text().splitlines()
    columns = ['modality', 'participants', 'training_scans', 'scan', 'D_A', 'D_V', 'ASSD_mm']
    assert lines[0].split('\t') == columns
    assert [line.split('\t')[1:4] for line in lines[1:]] == [
        ['4', '3', 'sub-1_T1w'], ['4', '3', 'sub-2_T1w'], ['8', '7', 'sub-1_T1w'], ['8', '7', 'sub-2_T1w'],
    ]  # fmt: skip
    content = json.loads(document.read_text())
    assert set(lines[0].split('\t')) <= set(content)
    assert (content['study'], content['runs'][1]['participants'], content['failed']) == ('scaling', 8, failed)
    assert len(write_study_table('scaling', [], failed, tmp_path)[0].read_text().splitlines()) == 1


def test_a_study_is_read_back_or_said_to_be_damaged(tmp_path):
    assert read_study(tmp_path) == (None, '')
    averages = {name: {'mean': 0.5} for name in ('D_A', 'D_V', 'ASSD_mm')}
    run = {'modality': 'ct', 'participants': 4, 'training_scans': 3, 'steps': 9, 'test_scans': [], **averages}
    _, document = write_study_table('scaling', [run], [], tmp_path)
    study, reason = read_study(tmp_path)
    assert study['runs'] == [run] and reason == ''
    for how, damage in DAMAGE.items():
        folder = tmp_path / how.replace(' ', '_')
        folder.mkdir()
        damage(shutil.copy(document, folder) and folder / document.name)
        study, reason = read_study(folder)
        assert study is None and reason.startswith('evaluation_study.json cannot be read and is left out: ')

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from freesurfer_reader import make_table
from simulated import LABELS, TOTALS, describe, simulate, write_scan

from bids_brainseg.bids.aseg_stats import AsegRow, aseg_stats
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.sidecars import meanings
from bids_brainseg.core.aseg import global_measures
from bids_brainseg.data.quality import qc_numbers
from bids_brainseg.files import read_rows
from bids_brainseg.pages.group_data import levels_of
from bids_brainseg.results.group import collect_group
from bids_brainseg.results.group_measures import measure_group
from bids_brainseg.results.group_tables import make_tables, write_tables
from bids_brainseg.results.outcomes import write_outcomes
from bids_brainseg.workflows.examples import example_provenance

VOLUMES = [1000.0 + label.index for label in LABELS]


def tables_of(out, bids=None):
    group = collect_group(out, bids)
    return make_tables(group, measure_group(group.scans))


def read(path):
    return pd.read_csv(path, sep='\t', na_values='n/a', keep_default_na=False, dtype={'field_strength': str})


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    """Twenty participants, two of them with all modalities, one with two sessions; read back from disk."""
    out = tmp_path_factory.mktemp('crowd')
    simulate(out, 20)
    tables = tables_of(out)
    write_tables(tables, out)
    return out, {name: read(out / f'group_{name}.tsv') for name in tables}


def test_long_table_holds_every_scan_and_structure_as_the_scan_says(crowd):
    out, tables = crowd
    table = tables['volumes']
    scans = len(list(out.rglob('*_morph.tsv')))
    assert len(table) == scans * (len(LABELS) + len(TOTALS))
    own = read(next(out.rglob('sub-0010_*FLAIR_morph.tsv')))
    mine = table[table['scan'] == 'sub-0010_FLAIR']
    assert mine['structure'].tolist() == own['name'].tolist()
    assert mine['volume_mm3'].to_numpy() == pytest.approx(own['volume_mm3'].to_numpy())
    etiv = own['volume_mm3'].iloc[-1]
    assert mine['etiv_percent'].iloc[0] == pytest.approx(100 * own['volume_mm3'].iloc[0] / etiv, rel=1e-6)
    assert set(mine['modality']) == {'FLAIR'}
    assert np.isnan(mine['residual_z']).all()  # too few FLAIR
    assert np.isfinite(table.loc[table['modality'] == 'T1w', 'volume_z']).all()
    assert (table.loc[table['modality'] == 'T1w', 'n_reference'] == 20).all()


def test_wide_table_is_the_long_one(crowd):
    tables = crowd[1]
    wide = tables['volumes_wide'].set_index('scan')
    long = tables['volumes'].pivot(index='scan', columns='structure', values='volume_mm3')
    for name in long:
        assert wide[f'{name}_mm3'].to_dict() == long[name].to_dict()
    left, right = wide['Left-Thalamus_mm3'], wide['Right-Thalamus_mm3']
    assert wide['Thalamus_asymmetry_percent'].to_numpy() == pytest.approx(
        200 * (left - right) / (left + right)
    )


def test_aseg_tables_are_those_of_asegstats2table(crowd):
    out, tables = crowd
    table, wide = tables['aseg_FLAIR'], tables['volumes_wide'].set_index('scan')
    columns = list(table)
    assert columns[:3] == ['Measure:volume', 'Left-Lateral-Ventricle', 'Left-Cerebellum-White-Matter']
    assert columns[23:25] == ['Right-VentralDC', 'BrainSegVol']
    assert columns[-2:] == ['BrainSegVol-to-eTIV', 'EstimatedTotalIntraCranialVol']
    assert not {'Left-Cerebral-Cortex', 'Right-Cerebral-White-Matter', 'VentricleChoroidVol'} & set(columns)
    assert table['Measure:volume'].tolist() == [
        name.removesuffix('_FLAIR') for name in wide.index if name.endswith('_FLAIR')
    ]
    own = wide.loc['sub-0010_FLAIR']
    row = table.set_index('Measure:volume').loc['sub-0010']
    assert row['Right-Hippocampus'] == pytest.approx(own['Right-Hippocampus_mm3'], abs=0.05)
    assert row['BrainSegVol'] == pytest.approx(
        own['Brain_mm3'] + own['Ventricles_mm3'] - own['Brain-Stem_mm3'], rel=1e-6
    )
    described = json.loads((out / 'group_aseg_FLAIR.json').read_text())
    assert set(columns) <= set(described) and described['Left-Caudate']['Units'] == 'mm^3'


def test_aseg_tables_repeat_asegstats2table_letter_by_letter(crowd, tmp_path):
    out, tables = crowd
    rows = (out / 'group_aseg_T1w.tsv').read_text().splitlines()
    files = []
    for scan in tables['volumes_wide'].query('modality == "T1w"').itertuples():
        (morph,) = out.rglob(f'{scan.scan.removesuffix("_T1w")}_*T1w_morph.tsv')
        volumes = {row['name']: float(row['volume_mm3']) for row in read_rows(morph)}
        record = record_from_path(Path(f'{scan.participant_id}/anat/{scan.scan}.nii.gz'), 'T1w')
        structures = [AsegRow(label, 1, volumes[label.name], 0, 0, 0, 0) for label in LABELS]
        measures = global_measures({label.name: volumes[label.name] for label in LABELS}, volumes['eTIV'])
        text = aseg_stats(record, structures, measures, voxel_mm3=1, provenance=example_provenance())
        files.append(tmp_path / f'{scan.scan}.stats')
        files[-1].write_text(text)
    head, *body = make_table(files)
    assert len(body) == 21 and [row[0] for row in body[:2]] == ['0', '1']
    assert rows[0].split('\t') == head
    assert [row.split('\t')[1:] for row in rows[1:]] == [row[1:] for row in body]


def test_people_and_scanners_are_joined(crowd):
    out, tables = crowd
    people = read(out / 'participants.tsv').set_index('participant_id')
    for name in ('volumes', 'volumes_wide', 'qc'):
        row = tables[name].iloc[-1]
        assert (row['age'], row['sex']) == tuple(people.loc[row['participant_id'], ['age', 'sex']])
        assert row['manufacturer'] in ('Siemens', 'GE', 'Philips')
        assert row['field_strength'] in ('1.5', '3')
    assert tables['qc']['session_id'].dropna().tolist() == ['ses-1'] * 4 + ['ses-2'] * 4


def test_every_column_is_described_with_a_unit(crowd):
    out, tables = crowd
    for name, table in tables.items():
        described = json.loads((out / f'group_{name}.json').read_text())
        assert set(table.columns) <= set(described)
        if not name.startswith('aseg'):  # which compares nothing
            assert described['Parameters'] == {'Minimum': 10, 'Limit': 3.5}
        for column in set(table.columns) - {'age', 'sex', 'site'}:
            assert described[column]['Units'], column
    qc = json.loads((out / 'group_qc.json').read_text())
    assert qc['alignment']['Units'] == 'squared local correlation, [0, 1]'


def test_numbers_mean_what_the_scans_say_or_what_is_packaged(tmp_path):
    describe(tmp_path)
    mine = {'Description': 'How dark it is.', 'Units': 'lx', 'Range': [0, None]}
    numbers = {'cv_mean': 1.0, 'rotation': 3.0, 'darkness': 2.0, 'odd': 1.0}
    write_scan(tmp_path, '01', None, 'T1w', VOLUMES, 1.5e6, numbers=numbers, Units={'odd': 'furlong'})
    write_scan(tmp_path, '02', None, 'T1w', VOLUMES, 1.5e6, numbers=numbers, Meaning={'darkness': mine})
    group = collect_group(tmp_path)
    described = make_tables(group, measure_group(group.scans))['qc'].dictionary
    assert described['darkness'] == mine
    assert described['rotation'] == meanings(qc_numbers())['rotation']
    assert described['rotation']['Range'] == [0, 180]
    assert described['odd']['Units'] == 'furlong'


def test_a_scanner_has_one_name_and_its_spellings_are_kept(tmp_path):
    describe(tmp_path)
    keys = ('Manufacturer', 'ManufacturersModelName', 'MagneticFieldStrength')
    told = [('SIEMENS', 'MAGNETOM Prisma', 2.89), ('Siemens', 'Prisma', 3)]
    for subject, one in zip(('01', '02'), told, strict=True):
        scanner = dict(zip(keys, one, strict=True))
        write_scan(tmp_path, subject, None, 'T1w', VOLUMES, 1.5e6, Scanner=scanner)
    group = collect_group(tmp_path)
    tables = make_tables(group, measure_group(group.scans))
    for name in ('qc', 'volumes', 'volumes_wide'):
        assert set(tables[name].data['scanner']) == {'Siemens Prisma, 3 T'}
        assert set(tables[name].data['manufacturer']) == {'SIEMENS', 'Siemens'}
        assert set(tables[name].data['field_strength']) == {'2.89', '3'}
    assert levels_of(group, group.scans)['scanner'] == {'levels': ['Siemens Prisma, 3 T'], 'of': [0, 0]}


def test_every_scan_has_a_row_of_quality_also_without_a_result(tmp_path):
    describe(tmp_path)
    write_scan(tmp_path, '01', None, 'T1w', VOLUMES, 1.5e6, cv=3, warnings=['odd\tcode'])
    told = {'sub-02/ct/sub-02_ct.nii.gz': {'status': 'failed', 'reason': 'not in\nHounsfield units'}}
    write_outcomes(tmp_path / 'sub-02' / 'log' / '1', run='1', version='1', scans=told)
    (tmp_path / 'participants.tsv').write_text(
        'participant_id\tverdict\trun\nsub-03\tgood\t7\nsub-01\tbad\t8\n'
    )
    write_tables(tables_of(tmp_path), tmp_path)
    good, bad = read(tmp_path / 'group_qc.tsv').to_dict('records')
    assert (good['status'], good['verdict'], good['cv_mean']) == ('done', 'review', 3)
    assert (good['reasons'], good['warnings']) == ('mean CV is 3.00 %, above 2 %', 'odd code')
    assert (good['participants_verdict'], good['participants_run']) == ('bad', 8)
    assert (bad['scan'], bad['modality'], bad['status']) == ('sub-02_ct', 'ct', 'failed')
    assert bad['status_reason'] == 'not in Hounsfield units'
    people = read(tmp_path / 'group_participants.tsv').set_index('participant_id')
    assert people['participant_status'].to_dict() == {
        'sub-01': 'present',
        'sub-02': 'failed',
        'sub-03': 'missing',
    }
    assert 'not in Hounsfield units' in people.loc['sub-02', 'participant_reason']
    assert 'participants.tsv' in people.loc['sub-03', 'participant_reason']
    assert read(tmp_path / 'group_volumes.tsv')['participant_id'].unique().tolist() == ['sub-01']


def test_failures_alone_still_make_tables(tmp_path):
    describe(tmp_path)
    told = {'sub-02/ct/sub-02_ct.nii.gz': {'status': 'failed', 'reason': 'empty'}}
    write_outcomes(tmp_path / 'sub-02' / 'log' / '1', run='1', version='1', scans=told)
    tables = tables_of(tmp_path)
    assert len(tables['volumes'].data) == len(tables['volumes_wide'].data) == 0
    assert {'participant_id', 'structure', 'volume_mm3'} <= set(tables['volumes'].data)
    assert tables['qc'].data['status'].tolist() == ['failed']


def test_other_entities_get_a_column(tmp_path):
    describe(tmp_path)
    write_scan(tmp_path, '01', '1', 'T1w', VOLUMES, 1.5e6, entities='_acq-2D_ce-gd_run-2')
    row = tables_of(tmp_path)['volumes_wide'].data.iloc[0]
    assert (row['session_id'], row['acq'], row['ce'], row['rec'], row['run']) == (
        'ses-1',
        '2D',
        'gd',
        '',
        '2',
    )

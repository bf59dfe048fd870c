# SPDX-License-Identifier: Apache-2.0
"""Labels, mask and statistics for other programs, read by the rules of those who read them."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from freesurfer_reader import read_measures

from bids_brainseg.bids.class_tables import class_table
from bids_brainseg.bids.colors import color_tables
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import output_path
from bids_brainseg.bids.sidecars import morph_table, output_rules
from bids_brainseg.core.aseg import global_measures
from bids_brainseg.core.labels import BRAIN_CLOSING_MM, freesurfer_classes
from bids_brainseg.data import aseg_measures, freesurfer_rules, label_table
from bids_brainseg.files import write_tsv
from bids_brainseg.interfaces.freesurfer import AsegStats, BrainMask, FreeSurferLabels
from bids_brainseg.workflows.examples import example_provenance

RECORD = record_from_path(Path('/d/sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz'), 'T1w')
ETIV = 1.4e6


@pytest.fixture
def files(phantom27, make_nifti, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    table = morph_table({'volume_mm3': phantom27.volumes_mm3}, totals={'eTIV': ETIV})
    return {
        'in_file': str(make_nifti('scan.nii', 10.0 * phantom27.labels, phantom27.affine)),
        'dseg': str(make_nifti('dseg.nii', phantom27.labels, phantom27.affine, sform_code=2)),
        'morph': str(write_tsv(table, tmp_path / 'morph.tsv')),
    }


@pytest.fixture
def stats(files) -> Path:
    node = AsegStats(**files, record=RECORD, provenance=example_provenance())
    return Path(node.run().outputs.out_file)


def test_labels_get_freesurfers_numbers_and_come_back(files, phantom27, tmp_path):
    image = nib.load(FreeSurferLabels(dseg=files['dseg']).run().outputs.out_file)
    numbers = np.asanyarray(image.dataobj)
    for label in label_table():
        assert (numbers[phantom27.labels == label.index] == label.freesurfer).all()
    assert image.get_data_dtype() == np.uint8 and image.header['sform_code'] == 2
    np.testing.assert_array_equal(image.affine, phantom27.affine)
    back = freesurfer_classes(numbers, image.affine, **freesurfer_rules())
    np.testing.assert_array_equal(back, phantom27.labels)


def test_without_an_intracranial_volume_the_statistics_have_none(files, stats, tmp_path):
    whole = stats.read_text()
    table = [line.split('\t') for line in Path(files['morph']).read_text().splitlines()]
    place = table[0].index('volume_mm3')
    unknown = [[*row[:place], 'n/a', *row[place + 1 :]] if 'eTIV' in row else row for row in table]
    Path(files['morph']).write_text('\n'.join('\t'.join(row) for row in unknown) + '\n')
    node = AsegStats(**files, record=RECORD, provenance=example_provenance())
    lines = Path(node.run().outputs.out_file).read_text().splitlines()
    assert [line for line in whole.splitlines() if line not in lines] == [
        line for line in whole.splitlines() if 'eTIV' in line
    ]


def test_the_table_of_the_numbers_is_found_by_the_name_of_the_image(tmp_path):
    for name, text in color_tables().items():
        (tmp_path / name).write_text(text)
    path = output_path(RECORD, tmp_path, suffix='dseg', seg='aseg')
    path.parent.mkdir(parents=True)
    path.touch()
    assert class_table(path, tmp_path).name == 'freesurfer'
    table = pd.read_csv(tmp_path / 'seg-aseg_dseg.tsv', sep='\t', keep_default_na=False)
    assert table['index'].is_monotonic_increasing and len(table) == 28
    row = table.set_index('index').loc[53]
    assert row[['name', 'abbreviation', 'mapping']].tolist() == ['Right-Hippocampus', 'R-Hi', 9]


def test_mask_holds_the_brain(files, phantom27):
    image = nib.load(BrainMask(dseg=files['dseg']).run().outputs.out_file)
    mask = np.asanyarray(image.dataobj)
    assert set(np.unique(mask)) == {0, 1} and (mask[phantom27.labels > 0] == 1).all()
    assert f'a ball of {BRAIN_CLOSING_MM:g} mm' in output_rules()['descriptions']['mask']


def test_asegstats2table_reads_the_statistics(stats, phantom27):
    found = read_measures(stats)
    volumes = {label.name: phantom27.volumes_mm3[label.index] for label in label_table()[1:]}
    cerebral = [name for name in volumes if 'Cerebral' in name]
    assert len(cerebral) == 4 and not set(cerebral) & set(found)  # FreeSurfer has them as measures alone
    for name in set(volumes) - set(cerebral):
        assert found[name] == pytest.approx(volumes[name], abs=0.05)
    measures = global_measures(volumes, ETIV)
    for one in aseg_measures():
        if one.column:
            assert found[one.column] == pytest.approx(measures[one.field].item(), abs=6e-7)
    assert list(found)[23] == 'BrainSegVol' and len(found) == 23 + 14


def test_columns_are_freesurfers(stats, phantom27):
    lines = stats.read_text().splitlines()
    (head,) = [line for line in lines if line.startswith('# ColHeaders')]
    names = head.split()[2:]
    assert names == [
        'Index', 'SegId', 'NVoxels', 'Volume_mm3', 'StructName',
        'normMean', 'normStdDev', 'normMin', 'normMax', 'normRange',
    ]  # fmt: skip
    rows = pd.DataFrame([line.split() for line in lines if not line.startswith('#')], columns=names)
    rows = rows.set_index('StructName')
    left = rows.loc['Left-Thalamus']
    assert (left['SegId'], left['NVoxels']) == ('10', str((phantom27.labels == 8).sum()))
    assert (left['normMean'], left['normRange']) == ('80.0000', '0.0000')
    assert rows['SegId'].astype(int).is_monotonic_increasing
    assert '# subjectname sub-01_ses-b' in lines


def test_the_package_freesurfer_stats_reads_them(stats, monkeypatch):
    """It asks for an older pandas, whose ``to_numeric`` could leave text alone."""
    package = pytest.importorskip('freesurfer_stats')
    convert = pd.to_numeric

    def lenient(values, errors='raise'):
        try:
            return convert(values)
        except ValueError:
            if errors == 'ignore':
                return values
            raise

    monkeypatch.setattr(pd, 'to_numeric', lenient)
    read = package.CorticalParcellationStats.read(stats)
    table = read.structural_measurements.set_index('structure_name')
    assert table.loc['Right-VentralDC', 'segmentation_id'] == 60
    assert table['volume_mm^3'].sum() > 0
    whole = read.whole_brain_measurements
    assert whole['estimated_total_intracranial_volume_mm^3'].tolist() == [ETIV]
    assert whole['supratentorial_volume_without_ventricles_mm^3'].iloc[0] > 0
    assert len(whole.columns) == len(aseg_measures()) - 1  # it skips the first
    assert 'brain_segmentation_volume_mm^3' in whole
    assert re.fullmatch(r'bids_brainseg \S+', read.headers['generating_program'])

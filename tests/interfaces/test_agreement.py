# SPDX-License-Identifier: Apache-2.0
"""Labels of any scheme and grid arrive as classes on the scan's grid, and a phantom is compared exactly."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_brainseg.bids.class_tables import brainseg_table
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.data import label_table
from bids_brainseg.errors import InputError
from bids_brainseg.interfaces.agreement import CompareSegmentations, ComparisonFigure, ResampleReferenceLabels
from bids_brainseg.interfaces.corrupt import Corrupt
from bids_brainseg.records import ClassTable
from bids_brainseg.workflows.examples import example_provenance

RECORD = record_from_path(Path('/d/sub-01/anat/sub-01_T1w.nii.gz'), 'T1w')


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    return tmp_path


def carried(scan, labels, table):
    found = ResampleReferenceLabels(in_file=str(scan), labels=str(labels), table=table).run().outputs.out_file
    return np.asanyarray(nib.load(found).dataobj)


def freesurfer(classes: np.ndarray) -> np.ndarray:
    return np.array([label.freesurfer for label in label_table()], np.int32)[classes]


def test_labels_on_the_grid_of_the_scan(phantom27, make_nifti):
    scan = make_nifti('scan.nii.gz', phantom27.labels * 1.0, phantom27.affine)
    ours = make_nifti('ours.nii.gz', phantom27.labels, phantom27.affine)
    np.testing.assert_array_equal(carried(scan, ours, brainseg_table()), phantom27.labels)
    theirs = make_nifti('fs.nii.gz', freesurfer(phantom27.labels), phantom27.affine)
    np.testing.assert_array_equal(carried(scan, theirs, ClassTable('freesurfer')), phantom27.labels)


def test_labels_on_another_grid_are_carried_by_the_affines(phantom27, make_nifti):
    scan = make_nifti('scan.nii.gz', phantom27.labels * 1.0, phantom27.affine)
    fine = phantom27.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] = phantom27.affine[:3, 3] - 0.5
    labels = np.kron(phantom27.labels, np.ones((2, 2, 2), np.uint8))[::-1]  # left to right, as conformed ones
    flipped = fine @ np.diag([-1.0, 1, 1, 1])
    flipped[:3, 3] += fine[:3, 0] * (labels.shape[0] - 1)
    path = make_nifti('fs.nii.gz', freesurfer(labels), flipped)
    np.testing.assert_array_equal(carried(scan, path, ClassTable('freesurfer')), phantom27.labels)


def test_an_unknown_label_is_named_with_its_file(phantom27, make_nifti):
    scan = make_nifti('scan.nii.gz', phantom27.labels * 1.0, phantom27.affine)
    labels = phantom27.labels.astype(np.int32)
    labels[0, 0, 0] = 999
    with pytest.raises(
        InputError, match=r'unknown labels \[999\].*wrong\.nii\.gz; they were read as brainseg'
    ):
        carried(scan, make_nifti('wrong.nii.gz', labels, phantom27.affine), brainseg_table())


def test_labels_elsewhere_are_refused(phantom27, make_nifti):
    scan = make_nifti('scan.nii.gz', phantom27.labels * 1.0, phantom27.affine)
    far = phantom27.affine.copy()
    far[:3, 3] += 500
    with pytest.raises(InputError, match='outside the scan'):
        carried(scan, make_nifti('far.nii.gz', phantom27.labels, far), brainseg_table())


def test_the_table_of_a_scan(phantom27, make_nifti, folder):
    found = np.roll(phantom27.labels, 1, axis=0)
    found[found == 14] = 0
    outputs = CompareSegmentations(
        in_file=str(make_nifti('scan.nii.gz', phantom27.labels.astype(float), phantom27.affine)),
        dseg=str(make_nifti('dseg.nii.gz', found, phantom27.affine)),
        reference=str(make_nifti('reference.nii.gz', phantom27.labels, phantom27.affine)),
        provenance=example_provenance(model_sha256='f' * 64),
        record=RECORD,
        source='bids:labels:x',
    ).run().outputs  # fmt: skip
    table = pd.read_csv(outputs.table, sep='\t', na_values=['n/a'], keep_default_na=False)
    assert table['index'].tolist() == list(range(1, 28))
    np.testing.assert_allclose(table['reference_volume_mm3'], phantom27.volumes_mm3[1:])
    assert table['dice'][13] == 0
    assert np.isinf(table['assd_mm'][13])
    widths = (phantom27.boxes[:, 1] - phantom27.boxes[:, 0])[1:, 0]
    np.testing.assert_allclose(table['dice'].drop(13), np.delete((widths - 1) / widths, 13))
    document = json.loads(Path(outputs.document).read_text())
    assert document['Averages']['structures_missed'] == 1
    assert document['Averages']['label_distance_mm'] == pytest.approx(2)  # one voxel
    assert document['Averages']['label_fit'] > 0.5
    assert document['Averages']['D_A'] == pytest.approx(table['dice'].mean())
    assert document['ReferenceLabels'] == 'bids:labels:x'
    assert set(table.columns) <= set(document)


def test_the_figure_shows_both(phantom27, make_nifti):
    scan = make_nifti('scan.nii.gz', phantom27.labels * 1.0, phantom27.affine)
    labels = make_nifti('labels.nii.gz', phantom27.labels, phantom27.affine)
    empty = make_nifti('empty.nii.gz', np.zeros_like(phantom27.labels), phantom27.affine)

    def drawn(found) -> str:
        figure = ComparisonFigure(in_file=str(scan), dseg=str(found), reference=str(labels))
        return Path(figure.run().outputs.out_file).read_text()

    both, only = drawn(labels), drawn(empty)
    white = 'stroke="#ffffff"'
    assert both.count(white) == only.count(white) > 10
    assert both.count('<path') == 2 * both.count(white)
    assert only.count('<path') == only.count(white)


def test_a_scan_is_spoiled(phantom27, make_nifti):
    scan = make_nifti('scan.nii.gz', phantom27.labels * 10.0, phantom27.affine)
    corrupted = nib.load(Corrupt(in_file=str(scan), kind='crop', severity=1.0, seed=2).run().outputs.out_file)
    assert np.prod(corrupted.shape) == phantom27.labels.size // 2
    noisy = nib.load(Corrupt(in_file=str(scan), kind='noise', severity=0.5, seed=2).run().outputs.out_file)
    assert noisy.shape == phantom27.labels.shape
    np.testing.assert_array_equal(noisy.affine, phantom27.affine)

# SPDX-License-Identifier: Apache-2.0
"""Labels carried to the network's grid, with exact answers."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from bids_brainseg.bids.class_tables import brainseg_table
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.training_cases import pair_paths
from bids_brainseg.data import label_table
from bids_brainseg.errors import InputError
from bids_brainseg.interfaces import training as module
from bids_brainseg.interfaces.training import (
    LabelAgreement,
    PairSink,
    RegisterT1w,
    ResampleTrainingLabels,
    TrainingClasses,
)
from bids_brainseg.records import ClassTable
from bids_brainseg.registration import Registration


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')


def shift(*millimeters):
    matrix = np.eye(4)
    matrix[:3, 3] = millimeters
    return matrix


def test_an_mgz_becomes_classes_on_its_own_grid(phantom27, tmp_path):
    numbers = np.array([label.freesurfer for label in label_table()], np.int32)
    path = tmp_path / 'aseg.mgz'
    nib.save(nib.MGHImage(numbers[phantom27.labels], phantom27.affine), path)
    node = TrainingClasses(in_file=str(path), table=ClassTable('freesurfer'))
    found = nib.load(node.run().outputs.out_file)
    np.testing.assert_array_equal(np.asarray(found.dataobj), phantom27.labels)
    np.testing.assert_allclose(found.affine, phantom27.affine)


def test_an_unknown_label_names_itself_and_its_file(phantom27, tmp_path):
    path = tmp_path / 'other.nii.gz'
    nib.save(nib.Nifti1Image(phantom27.labels.astype(np.int16) + 600, phantom27.affine), path)
    with pytest.raises(InputError, match=r'other\.nii\.gz: unknown labels \[600, 601'):
        TrainingClasses(in_file=str(path), table=ClassTable('freesurfer')).run()


def test_classes_of_this_program_stay_as_they_are(phantom27, make_nifti):
    path = make_nifti('dseg.nii.gz', phantom27.labels, phantom27.affine)
    found = TrainingClasses(in_file=str(path), table=brainseg_table()).run().outputs.out_file
    np.testing.assert_array_equal(np.asarray(nib.load(found).dataobj), phantom27.labels)
    wrong = make_nifti('wrong.nii.gz', phantom27.labels + 100, phantom27.affine)
    with pytest.raises(InputError, match=r'wrong\.nii\.gz: .*100.*they were read as brainseg'):
        TrainingClasses(in_file=str(wrong), table=brainseg_table()).run()


@pytest.mark.parametrize('rigid', [None, shift(0, 4, 0)])
def test_labels_go_through_both_matrices_at_once(phantom27, make_nifti, tmp_path, rigid):
    registration = tmp_path / 'registration.json'
    registration.write_text(json.dumps({'reference_to_scan': shift(2, 0, 0).tolist()}))
    inputs = {}
    if rigid is not None:
        (tmp_path / 'rigid.json').write_text(json.dumps({'t1w_to_scan': rigid.tolist()}))
        inputs['rigid'] = str(tmp_path / 'rigid.json')
    found = ResampleTrainingLabels(
        in_file=str(make_nifti('classes.nii.gz', phantom27.labels, phantom27.affine)),
        registration=str(registration),
        grid_shape=phantom27.labels.shape,
        grid_affine=phantom27.affine.tolist(),
        **inputs,
    ).run()
    carried = np.asarray(nib.load(found.outputs.out_file).dataobj)
    for index in range(1, 28):
        # reference = scan - 2 mm in x; the T1w lies 4 mm behind the scan
        expected = phantom27.center(index) + [-2, 0 if rigid is None else 4, 0]
        there = np.argwhere(carried == index).mean(0) @ phantom27.affine[:3, :3] + phantom27.affine[:3, 3]
        np.testing.assert_allclose(there, expected, atol=1e-6, err_msg=str(index))


def test_align_gives_the_labels_as_brain_of_the_t1w(phantom27, make_nifti, monkeypatch):
    seen = {}

    def fake(moving, moving_affine, fixed, fixed_affine, **kwargs):
        seen.update(kwargs, moving=moving, fixed=fixed)
        return Registration(shift(1, 2, 3), 0.8, 1.0, 'rigid', 'x', (1, 1, 1), 0.1)

    monkeypatch.setattr(module, 'register_rigid', fake)
    scan = make_nifti('scan.nii.gz')
    t1w = make_nifti('t1w.nii.gz', phantom27.labels * 2.0, phantom27.affine)
    classes = make_nifti('classes.nii.gz', phantom27.labels, phantom27.affine)
    found = RegisterT1w(
        in_file=str(scan), t1w=str(t1w), classes=str(classes), window=(0.0, 80.0), random_seed=3
    ).run()
    np.testing.assert_array_equal(seen['fixed_mask'], phantom27.labels > 0)
    assert seen['moving'].shape == (8, 9, 10) and seen['fixed'].shape == phantom27.labels.shape
    assert (seen['window'], seen['seed']) == ((0.0, 80.0), 3)
    facts = json.loads(open(found.outputs.rigid).read())
    assert facts['t1w_to_scan'] == shift(1, 2, 3).tolist() and facts['similarity'] == 0.8


def test_a_pair_is_written_with_what_is_known_of_it(phantom27, make_nifti, tmp_path):
    image = str(make_nifti('image.nii.gz', phantom27.labels * 3.0, phantom27.affine))
    labels = str(make_nifti('labels.nii.gz', phantom27.labels, phantom27.affine))
    agreement = LabelAgreement(preprocessed=image, labels=labels).run().outputs.agreement
    assert agreement > 0.9
    (tmp_path / 'figure.svg').write_text('<svg/>')
    (tmp_path / 'registration.json').write_text('{"similarity": 0.7}')
    record = record_from_path(tmp_path / 'sub-01' / 'anat' / 'sub-01_FLAIR.nii.gz', 'FLAIR')
    found = PairSink(
        image=image, labels=labels, figure=str(tmp_path / 'figure.svg'), agreement=agreement, record=record,
        registration=str(tmp_path / 'registration.json'), output_dir=str(tmp_path / 'out'), space='Ref',
        methods='Aligned [@klein2010].', origin={'scan': 'abc'},
    ).run()  # fmt: skip
    paths = pair_paths(record, tmp_path / 'out', 'Ref')
    assert all(path.is_file() for path in paths.values())
    assert found.outputs.info == str(paths['info'])
    info = json.loads(paths['info'].read_text())
    assert info['agreement'] == pytest.approx(agreement)
    assert (info['origin'], info['registration']['similarity']) == ({'scan': 'abc'}, 0.7)
    assert info['rigid'].startswith('n/a')
    assert info['Methods'] == 'Aligned [@klein2010].'
    sidecar = paths['labels'].with_name('sub-01_space-Ref_seg-brainseg_desc-FLAIR_dseg.json')
    assert json.loads(sidecar.read_text())['SpatialReference'] == 'Ref'

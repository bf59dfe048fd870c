# SPDX-License-Identifier: Apache-2.0
"""Nodes around the affine: what goes in, and both directions out of one matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nitransforms.linear import load as load_linear

from bids_brainseg.interfaces import registration as module
from bids_brainseg.interfaces.registration import Coregister, WriteTransforms
from bids_brainseg.registration import Registration

MATRIX = np.array([[1.1, 0.1, 0, 3], [0, 0.9, 0.2, -4], [0, 0, 1, 5], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')


def test_coregister_moves_the_scan_and_keeps_what_it_learnt(make_nifti, monkeypatch):
    seen = {}

    def fake(moving, moving_affine, fixed, fixed_affine, **kwargs):
        seen.update(kwargs, moving=moving_affine, fixed=fixed_affine)
        return Registration(MATRIX, 0.7, 0.9, 'affine', 'center', (0.9, 1.0, 1.1), 1.5, ('a note',))

    monkeypatch.setattr(module, 'register_affine', fake)
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[2:5] = 1
    outputs = Coregister(
        in_file=str(make_nifti('scan.nii.gz', affine=np.diag([2, 2, 2, 1.0]))),
        reference=str(make_nifti('reference.nii.gz', affine=np.diag([3, 3, 3, 1.0]))),
        reference_mask=str(make_nifti('mask.nii.gz', mask, affine=np.diag([3, 3, 3, 1.0]))),
        reference_sha256=('0' * 64, '1' * 64),
        window=(0.0, 80.0),
        random_seed=5,
        num_threads=2,
    ).run()
    assert (seen['moving'][0, 0], seen['fixed'][0, 0]) == (2, 3)
    np.testing.assert_array_equal(seen['fixed_mask'], mask == 1)
    assert (seen['window'], seen['seed'], seen['threads']) == ((0.0, 80.0), 5, 2)
    found = json.loads(open(outputs.outputs.registration).read())
    np.testing.assert_array_equal(found['reference_to_scan'], MATRIX)
    assert (found['similarity'], found['coverage'], found['notes']) == (0.7, 0.9, ['a note'])


def write(tmp_path, make_nifti, **onward):
    path = tmp_path / 'registration.json'
    path.write_text(json.dumps({'reference_to_scan': MATRIX.tolist()}))
    scan = make_nifti('scan.nii.gz', affine=np.diag([2, 2, 2, 1.0]))
    reference = make_nifti('reference.nii.gz', affine=np.diag([3, 3, 3, 1.0]))
    node = WriteTransforms(registration=str(path), in_file=str(scan), reference=str(reference), **onward)
    return node.run().outputs


def test_transforms_are_each_others_inverse(tmp_path, make_nifti):
    outputs = write(tmp_path, make_nifti)
    # The transform that moves images from the scan to the reference maps points the other way.
    np.testing.assert_allclose(load_linear(outputs.scan_to_reference, fmt='itk').matrix, MATRIX, atol=1e-12)
    np.testing.assert_allclose(
        load_linear(outputs.reference_to_scan, fmt='itk').matrix, np.linalg.inv(MATRIX), atol=1e-12
    )
    np.testing.assert_allclose(load_linear(outputs.scan_to_reference_lta, fmt='fs').matrix, MATRIX, atol=1e-4)


def test_a_template_is_reached_through_the_reference(tmp_path, make_nifti):
    to_template = np.diag([1.2, 1, 0.9, 1])
    to_template[:3, 3] = 1, -2, 3
    path = tmp_path / 'template.json'
    path.write_text(json.dumps({'reference_to_scan': to_template.tolist()}))
    outputs = write(tmp_path, make_nifti, onward=str(path))
    in_reference = np.array([7.0, -8, 9, 1])
    found = load_linear(outputs.scan_to_reference, fmt='itk').matrix @ (to_template @ in_reference)
    np.testing.assert_allclose(found, MATRIX @ in_reference)

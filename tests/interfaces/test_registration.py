# SPDX-License-Identifier: Apache-2.0
"""Nodes around the affine: what goes in, and both directions out of one matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bids_brainseg.interfaces import registration as module
from bids_brainseg.interfaces.registration import Coregister, WriteTransforms
from bids_brainseg.registration import Registration, load_itk_affine

MATRIX = np.array([[1.1, 0.1, 0, 3], [0, 0.9, 0.2, -4], [0, 0, 1, 5], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')


def test_coregister_moves_the_scan_and_keeps_what_it_learnt(make_nifti, monkeypatch):
    seen = {}

    def fake(moving, moving_affine, fixed, fixed_affine, **kwargs):
        seen.update(kwargs, moving=moving_affine, fixed=fixed_affine)
        return Registration(MATRIX, 0.7, 0.9, 'affine', 'centre', (0.9, 1.0, 1.1), 1.5, ('a note',))

    monkeypatch.setattr(module, 'register_affine', fake)
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[2:5] = 1
    outputs = Coregister(
        in_file=str(make_nifti('scan.nii.gz', affine=np.diag([2, 2, 2, 1.0]))),
        reference=str(make_nifti('reference.nii.gz', affine=np.diag([3, 3, 3, 1.0]))),
        reference_mask=str(make_nifti('mask.nii.gz', mask, affine=np.diag([3, 3, 3, 1.0]))),
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


def test_transforms_are_each_others_inverse(tmp_path):
    path = tmp_path / 'registration.json'
    path.write_text(json.dumps({'reference_to_scan': MATRIX.tolist()}))
    outputs = WriteTransforms(registration=str(path)).run().outputs
    # The transform that moves images from the scan to the reference maps points the other way.
    np.testing.assert_allclose(load_itk_affine(outputs.scan_to_reference), MATRIX, atol=1e-12)
    np.testing.assert_allclose(load_itk_affine(outputs.reference_to_scan), np.linalg.inv(MATRIX), atol=1e-12)

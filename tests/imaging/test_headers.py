# SPDX-License-Identifier: Apache-2.0
"""What a header says, and what is doubtful about it."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np

from bids_brainseg import imaging

OBLIQUE = np.array(
    [[-0.69, 0.02, 0.1, 90], [0.02, -0.7, 0.5, 110.5], [0.05, 0.25, 4.9, -70.25], [0, 0, 0, 1]]
)
NOISE = np.random.default_rng(0).integers(0, 1000, (20, 21, 22)).astype(np.int16)


def test_forms_that_disagree_are_noted(make_nifti):
    path = make_nifti('image.nii', data=NOISE)
    image = nib.load(path, mmap=False)
    moved = np.eye(4)
    moved[:3, 3] = 3, 4, 0
    image.set_sform(moved, 1)
    image.to_filename(path)
    found = imaging.load_image(path)
    assert found.notes == ('qform and sform disagree by up to 5.0 mm; the sform is used.',)
    assert imaging.header_facts(found)['forms_disagreement_mm'] == 5.0
    np.testing.assert_array_equal(found.affine, moved)


def test_an_image_on_a_given_grid_can_be_saved_and_loaded(tmp_path):
    image = imaging.image_on_grid(NOISE, OBLIQUE, code=4)
    found = imaging.load_image(imaging.save_like(image.data, image, tmp_path / 'prepared.nii'))
    np.testing.assert_array_equal(found.data, NOISE)
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-5)
    assert imaging.header_facts(found)['sform_code'] == 4


def test_facts_of_a_header(make_nifti):
    affine = np.array([[0.0, 0, -5, 0], [-1, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1]])
    facts = imaging.header_facts(imaging.load_image(make_nifti(data=NOISE, affine=affine, sform_code=2)))
    assert json.loads(json.dumps(facts)) == facts
    assert facts == {
        'shape': [20, 21, 22],
        'voxel_size_mm': [1.0, 0.5, 5.0],
        'orientation': 'PSL',
        'obliquity_degrees': 0.0,
        'shear_degrees': 0.0,
        'value_range': [float(NOISE.min()), float(NOISE.max())],
        'anisotropy': 10.0,
        'voxel_volume_mm3': 2.5,
        'datatype': 'int16',
        'spatial_units': 'mm',
        'qform_code': 1,
        'sform_code': 2,
        'forms_disagreement_mm': 0.0,
    }

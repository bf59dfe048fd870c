# SPDX-License-Identifier: Apache-2.0
"""What is saved lies on the grid of the input and says no more than it should."""

from __future__ import annotations

import os
import stat

import nibabel as nib
import numpy as np
import pytest

from bids_brainseg import imaging
from bids_brainseg.errors import GeometryError

OBLIQUE = np.array(
    [[-0.69, 0.02, 0.1, 90], [0.02, -0.7, 0.5, 110.5], [0.05, 0.25, 4.9, -70.25], [0, 0, 0, 1]]
)
NOISE = np.random.default_rng(0).integers(0, 1000, (20, 21, 22)).astype(np.int16)


FORMS = ['qform_code', 'sform_code', 'srow_x', 'srow_y', 'srow_z', 'xyzt_units']
FORMS += [f'quatern_{x}' for x in 'bcd'] + [f'qoffset_{x}' for x in 'xyz']


@pytest.mark.parametrize('codes', [(1, 1), (0, 2), (1, 0), (0, 0), (2, 4)])
@pytest.mark.parametrize('name', ['dseg.nii.gz', 'dseg.nii'])
def test_a_saved_image_has_the_grid_of_the_input(make_nifti, tmp_path, codes, name):
    path = make_nifti(data=NOISE, affine=OBLIQUE, qform_code=codes[0], sform_code=codes[1])
    source = nib.load(path, mmap=False)
    image = imaging.load_image(path)
    labels = (NOISE % 28).astype(np.uint8)
    saved = nib.load(imaging.save_like(labels, image, tmp_path / name, np.uint8))
    np.testing.assert_array_equal(np.asarray(saved.dataobj), labels)
    assert saved.get_data_dtype() == np.uint8 and saved.shape == source.shape
    np.testing.assert_array_equal(saved.affine, source.affine)
    for field in FORMS:
        np.testing.assert_array_equal(saved.header[field], source.header[field], err_msg=field)
    np.testing.assert_array_equal(saved.header['pixdim'][:4], source.header['pixdim'][:4])


def test_forms_that_disagree_stay_as_they_are(make_nifti, tmp_path):
    path = make_nifti('image.nii', data=NOISE, affine=OBLIQUE)
    source = nib.load(path, mmap=False)
    source.set_sform(np.diag([2.0, 2, 2, 1]), 4)
    source.to_filename(path)
    imaging.save_like(NOISE, imaging.load_image(path), tmp_path / 'out.nii')
    saved = nib.load(tmp_path / 'out.nii')
    for field in FORMS:
        np.testing.assert_array_equal(saved.header[field], nib.load(path).header[field], err_msg=field)


def test_what_describes_the_values_or_the_person_is_not_kept(make_nifti, tmp_path):
    path = make_nifti('image.nii', data=NOISE)
    source = nib.load(path, mmap=False)
    source.header.extensions.append(nib.nifti1.Nifti1Extension('comment', b'Jane Doe'))
    source.header['descrip'] = b'Jane Doe 1970'
    source.header['cal_max'] = 4000
    source.header.set_intent('t test', (10,))
    source.header.set_slope_inter(2, 7)
    source.to_filename(path)
    out = imaging.save_like(NOISE, imaging.load_image(path), tmp_path / 'out.nii')
    saved = nib.load(out)
    assert b'Jane' not in out.read_bytes()
    assert saved.header['cal_max'] == 0 and saved.header.get_intent()[0] == 'none'
    np.testing.assert_array_equal(saved.get_fdata(), NOISE)


def test_a_map_of_a_series_is_3d(make_nifti, tmp_path):
    series = make_nifti(data=np.stack([NOISE] * 4, axis=-1))
    saved = nib.load(imaging.save_like(NOISE, imaging.load_image(series, (1, 2)), tmp_path / 'out.nii'))
    assert saved.shape == NOISE.shape
    probabilities = np.zeros((*NOISE.shape, 3), np.float32)
    saved = nib.load(imaging.save_like(probabilities, imaging.load_image(series, (1,)), tmp_path / 'p.nii'))
    assert saved.shape == probabilities.shape


def test_an_mgh_input_gives_a_nifti_on_its_grid(tmp_path):
    nib.MGHImage(NOISE, OBLIQUE).to_filename(tmp_path / 'orig.mgz')
    image = imaging.load_image(tmp_path / 'orig.mgz')
    saved = nib.load(imaging.save_like(NOISE, image, tmp_path / 'out.nii.gz'))
    assert isinstance(saved, nib.Nifti1Image)
    np.testing.assert_allclose(saved.affine, image.affine, atol=1e-4)


def test_a_slope_saves_space_and_keeps_the_precision(make_nifti, tmp_path):
    image = imaging.load_image(make_nifti(data=NOISE))
    values = np.random.default_rng(1).random(NOISE.shape).astype(np.float32)
    saved = nib.load(imaging.save_like(values, image, tmp_path / 'out.nii', np.int16, slope=1e-3))
    assert saved.get_data_dtype() == np.int16
    np.testing.assert_allclose(saved.get_fdata(), values, atol=5.1e-4)


def test_saving_twice_gives_the_same_bytes(make_nifti, tmp_path):
    image = imaging.load_image(make_nifti(data=NOISE))
    first = imaging.save_like(NOISE, image, tmp_path / 'a.nii.gz').read_bytes()
    assert imaging.save_like(NOISE, image, tmp_path / 'b.nii.gz').read_bytes() == first


def test_compressing_gives_the_file_that_is_saved_compressed(make_nifti, tmp_path):
    image = imaging.load_image(make_nifti('in.nii.gz'))
    imaging.save_like(image.data, image, tmp_path / 'plain.nii')
    imaging.save_like(image.data, image, tmp_path / 'packed.nii.gz')
    assert imaging.compress(tmp_path / 'plain.nii') == tmp_path / 'plain.nii.gz'
    assert (tmp_path / 'plain.nii.gz').read_bytes() == (tmp_path / 'packed.nii.gz').read_bytes()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(make_nifti, tmp_path, monkeypatch):
    image = imaging.load_image(make_nifti(data=NOISE))
    path = tmp_path / 'out' / 'dseg.nii.gz'
    path.parent.mkdir()
    path.write_bytes(b'old')

    def full_disk(self, filename):
        filename.write_bytes(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(nib.Nifti1Image, 'to_filename', full_disk)
    with pytest.raises(OSError, match='No space'):
        imaging.save_like(NOISE, image, path)
    assert os.listdir(path.parent) == ['dseg.nii.gz'] and path.read_bytes() == b'old'


def test_a_saved_file_can_be_read_by_the_group(make_nifti, tmp_path):
    image = imaging.load_image(make_nifti(data=NOISE))
    mode = stat.S_IMODE(imaging.save_like(NOISE, image, tmp_path / 'out.nii').stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask


def test_an_array_of_another_shape_is_refused(make_nifti, tmp_path):
    image = imaging.load_image(make_nifti(data=NOISE))
    with pytest.raises(GeometryError, match=r'\(21, 20, 22\) does not fit the grid \(20, 21, 22\)'):
        imaging.save_like(NOISE.swapaxes(0, 1), image, tmp_path / 'out.nii')
    assert not (tmp_path / 'out.nii').exists()


@pytest.mark.parametrize(
    ('value', 'message'), [(300, 'do not fit uint8'), (0.5, 'not whole'), (np.nan, 'fit')]
)
def test_values_are_never_changed_by_a_conversion(make_nifti, tmp_path, value, message):
    image = imaging.load_image(make_nifti(data=NOISE))
    with pytest.raises(ValueError, match=message):
        imaging.save_like(np.full(NOISE.shape, value), image, tmp_path / 'out.nii', np.uint8)


def test_only_nifti_is_written(make_nifti, tmp_path):
    with pytest.raises(ValueError, match=r'\.nii or \.nii\.gz, got out\.mgz'):
        imaging.save_like(NOISE, imaging.load_image(make_nifti(data=NOISE)), tmp_path / 'out.mgz')

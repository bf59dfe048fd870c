# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import os
import stat

import nibabel as nib
import numpy as np
import pytest

from bids_brainseg import imaging
from bids_brainseg.errors import GeometryError, InputError

OBLIQUE = np.array(
    [[-0.69, 0.02, 0.1, 90], [0.02, -0.7, 0.5, 110.5], [0.05, 0.25, 4.9, -70.25], [0, 0, 0, 1]]
)
NOISE = np.random.default_rng(0).integers(0, 1000, (20, 21, 22)).astype(np.int16)


def refuse(path, *parts, error=InputError, **kwargs):
    """The file is refused with a message that names it and says all the parts."""
    with pytest.raises(error) as raised:
        imaging.load_image(path, **kwargs)
    message = str(raised.value)
    for part in (str(path), *parts):
        assert part in message


# --- what cannot be used ---


def test_a_missing_file(tmp_path):
    refuse(tmp_path / 'nothing.nii.gz', 'Image not found')


def test_a_folder(tmp_path):
    refuse(tmp_path, 'Image not found')


def test_a_link_to_content_that_was_not_fetched(tmp_path):
    link = tmp_path / 'sub-01_T1w.nii.gz'
    link.symlink_to(tmp_path / '.git' / 'annex' / 'content')
    refuse(link, 'link leads nowhere', 'datalad get')


@pytest.mark.parametrize('name', ['empty.nii.gz', 'empty.nii'])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    refuse(tmp_path / name, 'Empty file, found 0 bytes', 'download the file again')


@pytest.mark.parametrize('keep', [0.02, 0.3, 0.9, -1, -6])
def test_a_truncated_compressed_file(make_nifti, keep):
    path = make_nifti(data=NOISE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep > 0 else keep])
    refuse(path, 'Truncated', 'download the file again')


@pytest.mark.parametrize('where', [0.5, -6])
def test_a_compressed_file_with_a_wrong_byte(make_nifti, where):
    path = make_nifti(data=NOISE)
    whole = bytearray(path.read_bytes())
    whole[int(where * len(whole)) if where > 0 else where] ^= 0xFF
    path.write_bytes(whole)
    refuse(path, 'Truncated or damaged image')


def test_a_truncated_plain_file(make_nifti):
    path = make_nifti('image.nii', data=NOISE)
    path.write_bytes(path.read_bytes()[:-1000])
    refuse(path, 'Truncated image, found 17480 of 18480 bytes', 'download the file again')


def test_a_series_that_lacks_its_last_volume(make_nifti):
    path = make_nifti('series.nii', data=np.stack([NOISE] * 3, axis=-1))
    path.write_bytes(path.read_bytes()[: -NOISE.nbytes])
    refuse(path, 'Truncated image', volumes=(0,))


@pytest.mark.parametrize('content', [b'x', b'{"a": 1}' * 200, gzip.compress(b'hello' * 300)])
@pytest.mark.parametrize('name', ['text.nii.gz', 'text.nii'])
def test_a_file_that_is_no_image(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refuse(path, 'Not an image', 'Give a NIfTI or MGH file')


def test_an_mgh_file_that_is_none(tmp_path):
    path = tmp_path / 'orig.mgz'
    path.write_bytes(gzip.compress(b'hello' * 300))
    refuse(path, 'Damaged header')


def test_a_data_type_that_does_not_exist(make_nifti):
    path = make_nifti('image.nii')
    content = bytearray(path.read_bytes())
    content[70:72] = (1234).to_bytes(2, 'little')
    path.write_bytes(content)
    refuse(path, 'Damaged header', '1234')


@pytest.mark.parametrize('shape', [(30, 30), (30, 30, 1), (30, 1, 30), (30, 30, 1, 5)])
def test_a_2d_image(make_nifti, shape):
    path = make_nifti(data=np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    refuse(path, 'not three-dimensional', str(shape))


def test_a_4d_image(make_nifti):
    path = make_nifti(data=np.stack([NOISE] * 4, axis=-1))
    refuse(path, '4 volumes where one is expected', '(20, 21, 22, 4)', 'Give a 3D image')


def test_volumes_that_the_series_does_not_have(make_nifti):
    path = make_nifti(data=np.stack([NOISE] * 4, axis=-1))
    refuse(path, 'Volumes [1, 4] were asked for, found 4', 'bval', volumes=(1, 4))
    refuse(path, 'Volumes [] were asked for', volumes=())


def test_a_colour_image(make_nifti):
    colours = np.zeros((5, 5, 5), dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    refuse(make_nifti(data=colours), 'not of plain numbers, found RGB')


def test_a_complex_image(make_nifti):
    refuse(make_nifti(data=NOISE.astype(np.complex64)), 'not of plain numbers, found complex')


@pytest.mark.parametrize('flaw', ['zero column', 'dependent columns', 'nan'])
def test_a_singular_affine(make_nifti, flaw):
    affine = np.eye(4)
    if flaw == 'zero column':
        affine[:3, 1] = 0
    elif flaw == 'dependent columns':
        affine[:3, 2] = affine[:3, 0] + affine[:3, 1]
    path = make_nifti('image.nii')
    image = nib.load(path, mmap=False)
    header = image.header.copy()
    header['srow_x'], header['srow_y'], header['srow_z'] = affine[:3]
    if flaw == 'nan':
        header['srow_y'] = np.nan
    content = bytearray(path.read_bytes())
    content[:348] = header.binaryblock
    path.write_bytes(content)
    refuse(path, 'Singular affine', 'Convert the scan again', error=GeometryError)


@pytest.mark.parametrize(('value', 'what'), [(0, 'every voxel is zero'), (7, 'every voxel is 7')])
def test_an_image_without_contrast(make_nifti, value, what):
    refuse(make_nifti(data=np.full((5, 5, 5), value, np.int16)), 'Image without contrast', what)


def test_an_image_without_a_finite_voxel(make_nifti):
    data = np.full((5, 5, 5), np.nan, np.float32)
    data[0] = np.inf
    refuse(make_nifti(data=data), 'No finite voxel, found only NaN or infinity')


# --- what can be used ---


def test_values_are_scaled_and_float32(make_nifti):
    path = make_nifti('image.nii', data=NOISE)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([2.0, -1024.0], '<f4').tobytes()
    path.write_bytes(content)
    image = imaging.load_image(path)
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, 2.0 * NOISE - 1024)
    assert image.notes == () and image.path == path


def test_a_big_endian_nifti2_is_read(tmp_path):
    header = nib.Nifti2Header(endianness='>')
    header.set_data_dtype('>i2')
    nib.Nifti2Image(NOISE, OBLIQUE, header).to_filename(tmp_path / 'image.nii.gz')
    image = imaging.load_image(tmp_path / 'image.nii.gz')
    np.testing.assert_array_equal(image.data, NOISE)
    np.testing.assert_allclose(image.affine, OBLIQUE)


def test_a_compressed_file_may_lack_its_ending_and_the_reverse(make_nifti, tmp_path):
    content = make_nifti(data=NOISE).read_bytes()
    (tmp_path / 'a.nii').write_bytes(content)
    (tmp_path / 'b.nii.gz').write_bytes(gzip.decompress(content))
    for name in ('a.nii', 'b.nii.gz'):
        np.testing.assert_array_equal(imaging.load_image(tmp_path / name).data, NOISE)


@pytest.mark.parametrize('name', ['orig.mgz', 'orig.mgh'])
def test_an_mgh_image_is_read(tmp_path, name):
    nib.MGHImage(NOISE, OBLIQUE).to_filename(tmp_path / name)
    image = imaging.load_image(tmp_path / name)
    np.testing.assert_array_equal(image.data, NOISE)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-4)


def test_a_single_volume_may_be_called_a_series(make_nifti):
    path = make_nifti(data=NOISE[..., None])
    for volumes in (None, (0,)):
        np.testing.assert_array_equal(imaging.load_image(path, volumes).data, NOISE)


def test_the_chosen_volumes_are_averaged(make_nifti):
    series = np.stack([NOISE * 0, NOISE, NOISE * 3, NOISE + 5], axis=-1)
    image = imaging.load_image(make_nifti(data=series, affine=OBLIQUE), (1, 2))
    np.testing.assert_allclose(image.data, 2.0 * NOISE)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)


def test_a_scaled_series_is_averaged(make_nifti):
    path = make_nifti('series.nii', data=np.stack([NOISE, NOISE + 2], axis=-1))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, 10.0], '<f4').tobytes()
    path.write_bytes(content)
    np.testing.assert_allclose(imaging.load_image(path, (0, 1)).data, 0.5 * (NOISE + 1.0) + 10)


@pytest.mark.parametrize(('floor', 'fill'), [(0, 0), (-1024, -1024)])
def test_voxels_that_are_not_finite_become_the_darkest(make_nifti, floor, fill):
    data = NOISE.astype(np.float32) + floor
    data[0, 0, 0], data[1, 1, 1], data[2, 2, 2] = np.nan, np.inf, -np.inf
    data[3, 3, 3] = floor
    image = imaging.load_image(make_nifti(data=data))
    assert image.data[0, 0, 0] == image.data[1, 1, 1] == image.data[2, 2, 2] == fill
    assert image.notes == (f'3 voxels were NaN or infinite and were set to {fill}.',)
    untouched = np.isfinite(data)
    np.testing.assert_array_equal(image.data[untouched], data[untouched])


def test_an_image_without_orientation_is_noted(make_nifti):
    image = imaging.load_image(make_nifti(data=NOISE, qform_code=0, sform_code=0))
    assert len(image.notes) == 1 and 'No orientation in the header' in image.notes[0]


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


# --- CT ---


def ct(shift=0.0, slope=1.0) -> np.ndarray:
    """Air, a skull, a brain and fluid, in HU if the arguments are left alone."""
    data = np.full((20, 20, 20), -1000.0)
    data[5:15, 5:15, 5:15] = 1200
    data[6:14, 6:14, 6:14] = 35
    data[9:11, 9:11, 9:11] = 8
    return (data * slope + shift).astype(np.float32)


def test_hounsfield_units_are_accepted():
    imaging.check_hounsfield(imaging.image_on_grid(ct(), np.eye(4)))


@pytest.mark.parametrize(
    ('data', 'found'),
    [
        (ct(shift=1024), 'no air: values from 24 to 2224'),
        (np.clip(ct(), 0, 80) * 255 / 80, 'no air: values from 0 to 255'),
        (ct(slope=1e-3), 'no air: values from -1 to 1.2'),
        (ct(shift=-1024), '0.0 % of the voxels between 0 and 100, values from -2024 to 176'),
    ],
)
def test_a_ct_in_other_units_is_refused(data, found):
    with pytest.raises(InputError, match='CT is not in Hounsfield units') as raised:
        imaging.check_hounsfield(imaging.image_on_grid(data, np.eye(4)))
    assert found in str(raised.value) and 'rescale slope' in str(raised.value)


# --- saving ---

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

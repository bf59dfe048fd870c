# SPDX-License-Identifier: Apache-2.0
"""Headers that do not settle size or sides: a right value with a note, a doubt, or a refusal in words."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_brainseg import imaging
from bids_brainseg.errors import GeometryError

SHAPE = (90, 100, 80)
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.05, -0.2) @ np.diag([-0.8, 0.9, 1.5]), [30, -40, 20]
)
LAS = nib.Nifti1Image(np.zeros(SHAPE), np.eye(4)).header.get_base_affine() @ np.eye(4)


@pytest.fixture
def load(tmp_path):
    """Write an image with an oblique qform and sform, change fields of its header, and load it."""

    def make(affine=OBLIQUE, **fields):
        header = nib.Nifti1Header()
        header.set_data_shape(SHAPE)
        header.set_data_dtype(np.int16)
        header.set_xyzt_units('mm', 'sec')
        header.set_qform(affine, 1)
        header.set_sform(affine, 1)
        header['magic'], header['vox_offset'] = b'n+1', 352
        for name, value in fields.items():
            field, _, index = name.partition('__')
            if index:
                header[field][int(index)] = value
            else:
                header[field] = value
        data = (np.arange(np.prod(SHAPE)) % 1000).astype('<i2')
        path = tmp_path / 'image.nii'
        path.write_bytes(header.binaryblock + bytes(4) + data.tobytes())
        return imaging.load_image(path)

    return make


NO_SFORM = {'sform_code': 0, 'srow_x': 0, 'srow_y': 0, 'srow_z': 0}
ZERO_SFORM = {'srow_x': 0, 'srow_y': 0, 'srow_z': 0}
NO_QFORM = {'qform_code': 0}


def test_a_plain_header_settles_everything(load):
    image = load()
    assert image.notes == image.doubts == ()
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)


# --- what is missing can be had from elsewhere ---


def test_an_sform_of_zeros_gives_way_to_the_qform(load):
    image = load(**ZERO_SFORM)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert image.notes == ('The sform cannot be used (it is all zero); the qform gives the position.',)
    assert image.doubts == () and int(image.header['sform_code']) == 0


@pytest.mark.parametrize(
    ('fields', 'told'),
    [
        ({'srow_y__2': np.nan}, 'The sform cannot be used (it holds numbers that are not finite)'),
        ({'srow_x__2': np.inf}, 'The sform cannot be used (it holds numbers that are not finite)'),
        ({'srow_z': 0}, 'The sform cannot be used (its voxels have no volume)'),
        ({'quatern_b': np.nan}, 'The qform cannot be used (it holds numbers that are not finite)'),
        ({'qoffset_z': np.inf}, 'The qform cannot be used (it holds numbers that are not finite)'),
        ({'quatern_b': 0.9, 'quatern_c': 0.9}, 'The qform cannot be used (its quaternion is longer than 1)'),
    ],
)
def test_one_damaged_form_gives_way_to_the_other_and_leaves_a_doubt(load, fields, told):
    image = load(**fields)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert len(image.doubts) == 1 and image.doubts[0].startswith(told)
    again = np.array([image.header.get_qform(), image.header.get_best_affine()])
    assert np.isfinite(again).all()


def test_a_missing_voxel_size_is_had_from_the_sform(load):
    image = load(**NO_QFORM, pixdim__1=0, pixdim__2=0, pixdim__3=np.nan)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert 'no voxel size in pixdim (0, 0, nan); the sform gives it' in image.notes[0]
    np.testing.assert_allclose(image.header.get_zooms()[:3], [0.8, 0.9, 1.5], rtol=1e-5)
    assert image.doubts == ()


@pytest.mark.parametrize(('code', 'factor', 'name'), [(1, 1e-3, 'meters'), (3, 1e3, 'micrometers')])
@pytest.mark.parametrize('form', [{}, NO_SFORM, NO_QFORM])
def test_other_units_are_converted(load, code, factor, name, form):
    scaled = OBLIQUE.copy()
    scaled[:3] *= factor
    image = load(scaled, xyzt_units=code, **form)
    np.testing.assert_allclose(image.affine, OBLIQUE, rtol=1e-5, atol=1e-4)
    assert image.notes == (f'The header gives its lengths in {name}; they were converted to mm.',)
    assert image.doubts == ()
    assert imaging.header_facts(image)['voxel_size_mm'] == [0.8, 0.9, 1.5]


def test_a_unit_that_does_not_exist_is_no_unit(load):
    image = load(xyzt_units=255)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert imaging.header_facts(image)['spatial_units'] == 'unknown'


# --- what is assumed asks for review ---


@pytest.mark.parametrize('code', [0, 99])
def test_sides_that_no_code_settles(load, code):
    image = load(qform_code=code, sform_code=code)
    np.testing.assert_allclose(image.affine, np.diag([-0.8, 0.9, 1.5, 1]) @ shift_to_center(), atol=1e-4)
    (doubt,) = image.doubts
    assert 'No orientation in the header' in doubt and f'codes {code} and {code}' in doubt
    assert 'LAS is assumed' in doubt and 'check the sides' in doubt


def shift_to_center():
    shift = np.eye(4)
    shift[:3, 3] = -(np.array(SHAPE) - 1) / 2
    return shift


@pytest.mark.parametrize('qfac', [0.5, -3.0, np.nan])
def test_a_sign_of_the_qform_that_is_none(load, qfac):
    (doubt,) = load(**NO_SFORM, pixdim__0=qfac).doubts
    assert f'(qfac, pixdim[0]) is {qfac:g}' in doubt and 'check the sides' in doubt
    assert load(pixdim__0=qfac).doubts == ()  # the sform has a sign of its own


def test_forms_that_disagree_about_the_sides(load):
    mirrored = np.diag([-1.0, 1, 1, 1]) @ OBLIQUE
    fields = {f'srow_{axis}': row for axis, row in zip('xyz', mirrored[:3], strict=True)}
    image = load(**fields)
    np.testing.assert_allclose(image.affine, mirrored, atol=1e-5)
    assert 'disagree about left and right (RAS and LAS): the sform is used' in image.doubts[0]
    assert 'disagree by up to' in image.notes[0]


def test_forms_that_disagree_about_the_position_alone_are_a_note(load):
    image = load(srow_x__3=200.0)
    assert image.doubts == () and 'disagree by up to 1' in image.notes[0]


def test_a_size_by_pixdim_that_is_not_that_of_the_sform(load):
    image = load(**NO_QFORM, pixdim__1=1.6)
    assert 'A voxel has 1.08 mm3 by the sform and 2.16 mm3 by pixdim' in image.doubts[0]
    assert 'multiplied by 2' in image.doubts[0]


def test_a_tilted_gantry_is_no_disagreement(load):
    tilted = np.diag([0.5, 0.5, 4.0, 1.0])
    tilted[1, 2] = 4 * np.tan(np.radians(20))
    fields = {f'srow_{axis}': row for axis, row in zip('xyz', tilted[:3], strict=True)}
    assert load(np.diag([0.5, 0.5, 4.0, 1.0]), **fields).doubts == ()


def test_axes_far_from_right_angles(load):
    fields = {'srow_x': [1, 0, 1, 0], 'srow_y': [0, 1, 0, 0], 'srow_z': [0, 0, 1, 0]}
    assert '45 degrees away from right angles' in load(np.eye(4), **fields).doubts[0]


@pytest.mark.parametrize(('code', 'name'), [(1, 'meters'), (3, 'micrometers')])
def test_a_unit_that_cannot_be_meant_is_a_doubt(load, code, name):
    image = load(xyzt_units=code)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert f'in {name}, and its field of view would be' in image.doubts[0]


def test_an_mgh_file_without_geometry(tmp_path):
    path = tmp_path / 'orig.mgh'
    nib.MGHImage(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), OBLIQUE).to_filename(path)
    assert imaging.load_image(path).doubts == ()
    content = bytearray(path.read_bytes())
    content[28:30] = bytes(2)
    path.write_bytes(content)
    image = imaging.load_image(path)
    assert 'goodRASFlag 0' in image.doubts[0]
    assert nib.aff2axcodes(image.affine) == ('L', 'I', 'A')


# --- what cannot be assumed is refused ---


@pytest.mark.parametrize('codes', [(1, 0), (0, 0)])
@pytest.mark.parametrize('size', [0, np.nan, np.inf])
def test_a_voxel_size_that_nothing_gives(load, codes, size):
    with pytest.raises(GeometryError, match='The header has no voxel size, found pixdim') as raised:
        load(qform_code=codes[0], sform_code=codes[1], pixdim__2=size)
    assert 'Correct the header' in str(raised.value)


@pytest.mark.parametrize('fields', [ZERO_SFORM, {'srow_y__2': np.nan}, {'srow_z': 0}])
def test_a_damaged_sform_alone(load, fields):
    with pytest.raises(GeometryError, match='Singular affine'):
        load(**NO_QFORM, **fields)


def test_lengths_that_fit_no_head_in_any_unit(load):
    with pytest.raises(GeometryError, match='cannot hold a head, found'):
        load(np.diag([1e-6, 1e-6, 1e-6, 1]), xyzt_units=1)


# --- pairs of files ---


@pytest.mark.parametrize('given', ['hdr', 'img'])
@pytest.mark.parametrize('kind', [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize('dtype', [np.int64, np.float64, '>i2'])
def test_a_pair_of_files_is_one_image(tmp_path, given, kind, dtype):
    data = np.arange(720).reshape(8, 9, 10).astype(dtype)
    pair = kind(data, OBLIQUE, dtype=data.dtype)
    pair.to_filename(tmp_path / 'scan.img')
    image = imaging.load_image(tmp_path / f'scan.{given}')
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    saved = imaging.save_like(image.data, image, tmp_path / 'saved.nii.gz')
    np.testing.assert_allclose(nib.load(saved).affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(nib.load(saved).get_fdata(), data)


def test_half_a_pair_is_refused(tmp_path):
    nib.Nifti1Pair(np.ones((4, 4, 4), np.int16), np.eye(4)).to_filename(tmp_path / 'scan.img')
    (tmp_path / 'scan.hdr').unlink()
    with pytest.raises(imaging.reading.InputError, match='there is no scan.hdr beside it'):
        imaging.load_image(tmp_path / 'scan.img')


def test_analyze_without_orientation_is_refused(tmp_path):
    nib.AnalyzeImage(np.ones((4, 4, 4), np.int16), np.eye(4)).to_filename(tmp_path / 'scan.img')
    with pytest.raises(imaging.reading.InputError, match='ANALYZE 7.5 does not say which side is left'):
        imaging.load_image(tmp_path / 'scan.img')

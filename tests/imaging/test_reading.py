# SPDX-License-Identifier: Apache-2.0
"""What is read, and what is refused with which words."""

from __future__ import annotations

import gzip
import math

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
    refuse(link, 'link is broken', 'datalad get')


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


@pytest.mark.parametrize('content', [b'x', b'{"a": 1}' * 200, gzip.compress(b'hello' * 300, mtime=0)])
@pytest.mark.parametrize('name', ['text.nii.gz', 'text.nii'])
def test_a_file_without_an_image(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refuse(path, 'Not an image', 'Give a NIfTI or MGH file')


def test_an_mgh_file_without_an_image(tmp_path):
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


def test_a_color_image(make_nifti):
    colors = np.zeros((5, 5, 5), dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    refuse(make_nifti(data=colors), 'not grayscale, found RGB')


def test_a_complex_image(make_nifti):
    refuse(make_nifti(data=NOISE.astype(np.complex64)), 'not grayscale, found complex')


@pytest.mark.parametrize('flaw', ['zero column', 'dependent columns', 'nan'])
def test_a_singular_affine(make_nifti, flaw):
    affine = np.eye(4)
    if flaw == 'zero column':
        affine[:3, 1] = 0
    elif flaw == 'dependent columns':
        affine[:3, 2] = affine[:3, 0] + affine[:3, 1]
    path = make_nifti('image.nii', qform_code=0)
    image = nib.load(path, mmap=False)
    header = image.header.copy()
    header['srow_x'], header['srow_y'], header['srow_z'] = affine[:3]
    if flaw == 'nan':
        header['srow_y'] = np.nan
    content = bytearray(path.read_bytes())
    content[:348] = header.binaryblock
    path.write_bytes(content)
    refuse(path, 'Singular affine', 'convert the scan again', error=GeometryError)


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


def test_compression_is_recognized_by_content_and_not_by_name(make_nifti, tmp_path):
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


# --- what a header says ---


@pytest.mark.parametrize('shape', [(5, 6, 7), (5, 6, 7, 1), (5, 6, 7, 9), (5, 6, 7, 1, 4)])
@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('kind', [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize('pack', [bytes, gzip.compress])
def test_volumes_are_counted_from_the_header_alone(tmp_path, shape, order, kind, pack):
    header = kind(endianness=order)
    header.set_data_shape(shape)
    header['magic'] = b'n+1' if kind is nib.Nifti1Header else b'n+2'
    path = tmp_path / 'x.nii'
    path.write_bytes(pack(header.binaryblock + bytes(4)))
    assert imaging.volume_count(path) == math.prod(shape[3:])


@pytest.mark.parametrize('data', [b'', b'\x1f\x8b', b'x' * 400, gzip.compress(bytes(400), mtime=0)[:20]])
def test_counting_volumes_refuses_other_files(tmp_path, data):
    path = tmp_path / 'x.nii.gz'
    path.write_bytes(data)
    with pytest.raises(InputError, match='x.nii.gz'):
        imaging.volume_count(path)
    with pytest.raises(InputError, match='not found'):
        imaging.volume_count(tmp_path / 'missing.nii')

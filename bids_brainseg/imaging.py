# SPDX-License-Identifier: Apache-2.0
"""Open and check an image (NIfTI, MGH); save one on exactly another's grid."""

from __future__ import annotations

import gzip
import os
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from bids_brainseg.core import geometry
from bids_brainseg.errors import GeometryError, InputError

#: Disagreement of qform and sform, in mm at a corner of the image, that is worth a note.
FORMS_TOLERANCE = 1.0
#: A head always has air around it, and brain between 0 and 100 HU (at least this fraction of the voxels).
AIR_HU, SOFT_TISSUE_HU, SOFT_TISSUE_FRACTION = -200.0, (0.0, 100.0), 0.02
FETCH_AGAIN = 'Copy or download the file again.'


@dataclass(frozen=True, eq=False)
class Image:
    """One volume with what is known about its grid.

    Attributes
    ----------
    data : (I, J, K) float32 array
        Scaled values, all finite.
    affine : (4, 4) float64 array
        Voxel indices to RAS mm.
    header : nibabel header
        As read.
    path : Path or None
    notes : tuple of str
        What a reader of the report should know about the input.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: nib.spatialimages.SpatialHeader
    path: Path | None = None
    notes: tuple[str, ...] = ()


def load_image(path: str | os.PathLike, volumes: Sequence[int] | None = None) -> Image:
    """Read an image and refuse what cannot be segmented.

    Parameters
    ----------
    path : path-like
        NIfTI (.nii, .nii.gz) or MGH (.mgh, .mgz).
    volumes : sequence of int, optional
        Indices of the volumes of a series to average. Without it the image has to be a single volume.

    Returns
    -------
    Image
        Voxels that were not finite are set to 0, or to the least value if that is negative (air, in CT).

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, not an image, not a single 3D volume, RGB or complex, or has
        no usable values.
    GeometryError
        If the affine is singular.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _open(path) as stream:
            header, affine = _read_header(stream, path)
            shape, chosen = _check_series(header, volumes, path)
            data = _read_mean(stream, header, shape, chosen, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f'Truncated or damaged image, {error}: {path}. {FETCH_AGAIN}') from error
    except OSError as error:
        raise InputError(f'Image cannot be read, {error}: {path}. Check the file.') from error
    if geometry.is_singular(affine):
        raise GeometryError(
            f'Singular affine, found {np.round(affine[:3], 4).tolist()}: {path}. '
            'Convert the scan again from DICOM; its voxels have no volume in space.'
        )
    notes = _check_orientation(header, affine, shape) + _check_values(data, path)
    return Image(data, np.asarray(affine, dtype=np.float64), header, path, tuple(notes))


def load_grid(path: str | os.PathLike) -> Image:
    """Read what an image says about its grid, without its values.

    Parameters
    ----------
    path : path-like
        A single volume that :func:`load_image` has accepted.

    Returns
    -------
    Image
        `data` is 0 everywhere and takes no memory.

    Raises
    ------
    InputError
        If the file is missing, empty or not a single 3D volume.
    """
    path = Path(path)
    _check_file(path)
    with _open(path) as stream:
        header, affine = _read_header(stream, path)
    shape, _ = _check_series(header, None, path)
    return Image(np.broadcast_to(np.float32(0), shape), np.asarray(affine, np.float64), header, path)


def image_on_grid(data: ArrayLike, affine: ArrayLike, code: int = 2) -> Image:
    """Make an image of an array and an affine, for instance on the grid of a reference.

    Parameters
    ----------
    data : (I, J, K) array_like
    affine : (4, 4) array_like
        Voxel indices to RAS mm.
    code : int
        NIfTI code of the space for qform and sform (1 scanner, 2 aligned to another scan, 4 MNI).

    Returns
    -------
    Image
    """
    data = np.asarray(data, dtype=np.float32)
    header = _fresh_header(geometry.as_affine(affine), data.shape, code)
    return Image(data, header.get_best_affine(), header)


def save_like(
    array: ArrayLike,
    image: Image,
    path: str | os.PathLike,
    dtype: DTypeLike | None = None,
    *,
    slope: float | None = None,
    atomic: bool = True,
) -> Path:
    """Save an array on the grid of an image: same affine, same qform and sform with their codes.

    Parameters
    ----------
    array : (I, J, K) or (I, J, K, N) array_like
        On the image's grid.
    image : Image
        Its header is kept, but for what describes its values and for extensions.
    path : path-like
        .nii or .nii.gz; an MGH image is saved as NIfTI.
    dtype : dtype, optional
        On disk; the array's own by default.
    slope : float, optional
        Store round(array / slope) and the slope, a precision of slope / 2 at a fraction of the size.
    atomic : bool
        Write beside the target and move into place, so that the file is whole or absent.

    Returns
    -------
    Path

    Raises
    ------
    GeometryError
        If the array does not have the image's shape.
    ValueError
        If an integer dtype cannot hold the values, or the name is not that of a NIfTI file.
    """
    array, path = np.asarray(array), Path(path)
    if array.shape[:3] != image.data.shape or array.ndim not in (3, 4):
        raise GeometryError(
            f'Array of shape {array.shape} does not fit the grid {image.data.shape} of {image.path}. '
            'Resample it onto that grid first.'
        )
    suffix = '.nii.gz' if path.name.endswith('.nii.gz') else '.nii'
    if not path.name.endswith(suffix):
        raise ValueError(f'Expected a name ending in .nii or .nii.gz, got {path.name}')
    stored = _stored_values(array, np.dtype(dtype or array.dtype), slope)
    header = _plain_header(image, stored)
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # The affine is the header's own, so that nibabel finds nothing to update.
    result = image_class(stored, header.get_best_affine(), header)
    if slope is not None:
        result.header.set_slope_inter(slope, 0)
    target = (
        path.with_name(f'.{path.name[: -len(suffix)]}.{uuid.uuid4().hex}.tmp{suffix}') if atomic else path
    )
    try:
        result.to_filename(target)
        if atomic:
            os.replace(target, path)
    finally:
        if atomic:
            target.unlink(missing_ok=True)
    return path


def check_hounsfield(image: Image) -> None:
    """Refuse a CT whose values are not Hounsfield units.

    Parameters
    ----------
    image : Image

    Raises
    ------
    InputError
        If there is no air (below -200 HU) or hardly anything (2 % of the voxels) between 0 and 100 HU.
    """
    lowest, highest = float(image.data.min()), float(image.data.max())
    soft = float(np.mean((image.data >= SOFT_TISSUE_HU[0]) & (image.data <= SOFT_TISSUE_HU[1])))
    if lowest <= AIR_HU and soft >= SOFT_TISSUE_FRACTION:
        return
    if lowest > AIR_HU:
        found = f'no air: values from {lowest:g} to {highest:g}'
    else:
        found = f'{100 * soft:.1f} % of the voxels between 0 and 100, values from {lowest:g} to {highest:g}'
    raise InputError(
        f'CT is not in Hounsfield units, found {found}: {image.path}. '
        'Convert it again from DICOM with its rescale slope and intercept, and without windowing.'
    )


def header_facts(image: Image) -> dict:
    """Collect what a report says about an image's grid; every value can be written as JSON.

    Parameters
    ----------
    image : Image

    Returns
    -------
    dict
        shape; voxel_size_mm; orientation (such as 'LPS': where each axis points); obliquity_degrees;
        shear_degrees (of the axes away from right angles); value_range (lowest, highest); anisotropy
        (longest edge over shortest); voxel_volume_mm3; datatype; spatial_units; qform_code and sform_code
        (None for MGH); forms_disagreement_mm (None unless both forms are set).
    """
    sizes = geometry.voxel_sizes(image.affine)
    header = image.header
    is_nifti = isinstance(header, nib.Nifti1Header)
    return {
        'shape': [int(n) for n in image.data.shape],
        'voxel_size_mm': [round(float(s), 4) for s in sizes],
        'orientation': ''.join(nib.aff2axcodes(image.affine)),
        'obliquity_degrees': round(geometry.obliquity(image.affine), 2),
        'shear_degrees': round(geometry.shear_angle(image.affine), 2),
        'value_range': [float(f'{value:.6g}') for value in (image.data.min(), image.data.max())],
        'anisotropy': round(float(sizes.max() / sizes.min()), 2),
        'voxel_volume_mm3': round(geometry.voxel_volume(image.affine), 5),
        'datatype': np.dtype(header.get_data_dtype()).name,
        'spatial_units': header.get_xyzt_units()[0] if is_nifti else 'mm',
        'qform_code': int(header['qform_code']) if is_nifti else None,
        'sform_code': int(header['sform_code']) if is_nifti else None,
        'forms_disagreement_mm': _forms_disagreement(header, image.data.shape),
    }


def _check_file(path: Path) -> None:
    """Refuse a path without readable content."""
    if path.is_symlink() and not path.exists():
        raise InputError(f'Image not found, its link leads nowhere: {path}. Fetch its content (datalad get).')
    if not path.is_file():
        raise InputError(f'Image not found: {path}. Check the path.')
    if path.stat().st_size == 0:
        raise InputError(f'Empty file, found 0 bytes: {path}. {FETCH_AGAIN}')


def _open(path: Path) -> BinaryIO:
    """Open a file for reading, through gzip if its content (whatever its name) is compressed."""
    with open(path, 'rb') as raw:
        compressed = raw.read(2) == b'\x1f\x8b'
    return gzip.open(path, 'rb') if compressed else open(path, 'rb')


def _read_header(stream: BinaryIO, path: Path) -> tuple[nib.spatialimages.SpatialHeader, NDArray]:
    """Read the header and the affine, told by their magic numbers; MGH has none and goes by its name."""
    start = stream.read(nib.Nifti2Header.sizeof_hdr)
    stream.seek(0)
    if start[344:348] == b'n+1\0':
        kind = nib.Nifti1Header
    elif start[4:8] == b'n+2\0':
        kind = nib.Nifti2Header
    elif path.name.lower().endswith(('.mgz', '.mgh')):
        kind = nib.freesurfer.mghformat.MGHHeader
    else:
        raise InputError(f'Not an image, no NIfTI header found: {path}. Give a NIfTI or MGH file.')
    try:
        header = kind.from_fileobj(stream)
        affine = header.get_best_affine() if isinstance(header, nib.Nifti1Header) else header.get_affine()
        header.get_data_dtype(), header.get_slope_inter()
    except (EOFError, OSError, zlib.error):
        raise
    except Exception as error:  # nibabel answers a damaged header with half a dozen kinds of exceptions
        raise InputError(f'Damaged header, {error}: {path}. Convert or download the scan again.') from error
    return header, affine


def _check_series(
    header, volumes: Sequence[int] | None, path: Path
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the shape of one volume and the indices of those to average."""
    full = tuple(int(n) for n in header.get_data_shape())
    dtype = header.get_data_dtype()
    if dtype.names or dtype.kind not in 'iuf':
        what = 'complex' if dtype.kind == 'c' else 'RGB' if dtype.names else str(dtype)
        raise InputError(f'Image is not of plain numbers, found {what}: {path}. Give a grey-scale one.')
    if any(n < 1 for n in full):
        raise InputError(f'Image has no voxels, found shape {full}: {path}. Convert the scan again.')
    shape = full[:3]
    if len(shape) < 3 or min(shape) < 2:
        raise InputError(f'Image is not three-dimensional, found shape {full}: {path}. Give a whole volume.')
    count = int(np.prod(full[3:], dtype=np.int64))
    if volumes is None and count > 1:
        raise InputError(
            f'Image has {count} volumes where one is expected, found shape {full}: {path}. '
            'Give a 3D image (one volume, or the mean of the series).'
        )
    chosen = tuple(int(v) for v in volumes) if volumes is not None else (0,)
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise InputError(
            f'Volumes {list(chosen)} were asked for, found {count} in the image: {path}. '
            'Check that the bval file belongs to it.'
        )
    return shape, chosen


def _read_mean(
    stream: BinaryIO, header, shape: tuple, chosen: tuple[int, ...], path: Path
) -> NDArray[np.float32]:
    """Read the chosen volumes one after the other and average them; read on to the end to verify the file."""
    dtype, (slope, inter) = header.get_data_dtype(), header.get_slope_inter()
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    count = int(np.prod(header.get_data_shape()[3:], dtype=np.int64))
    stream.seek(header.get_data_offset())
    total = None
    for index in range(count):
        block = stream.read(size)
        found = index * size + len(block)
        if len(block) < size:
            raise InputError(f'Truncated image, found {found} of {count * size} bytes: {path}. {FETCH_AGAIN}')
        if index in chosen:
            with np.errstate(over='ignore', invalid='ignore'):
                volume = np.frombuffer(block, dtype).reshape(shape, order='F').astype(np.float32)
                # In place, and where there is nothing to add, with no second volume in memory.
                total = volume if total is None else np.add(total, volume, out=total)
    # The checksum of a compressed file is verified only when its end is reached.
    while stream.read(1 << 20):
        pass
    scale = (1.0 if slope is None else slope) / len(set(chosen))
    with np.errstate(over='ignore', invalid='ignore'):
        if scale != 1:
            total *= np.float32(scale)
        if inter:
            total += np.float32(inter)
    return total


def _check_values(data: NDArray[np.float32], path: Path) -> list[str]:
    """Replace what is not finite, in place, and refuse an image without contrast."""
    lowest, highest = data.min(), data.max()  # nan if there is one
    notes = []
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        finite = np.isfinite(data)
        if not finite.any():
            raise InputError(f'No finite voxel, found only NaN or infinity: {path}. Convert the scan again.')
        fill = min(0.0, float(data.min(where=finite, initial=np.inf)))
        data[~finite] = fill
        lowest, highest = data.min(), data.max()
        count = finite.size - np.count_nonzero(finite)
        notes.append(f'{count} voxels were NaN or infinite and were set to {fill:g}.')
    if lowest == highest:
        what = 'zero' if lowest == 0 else f'{lowest:g}'
        raise InputError(f'Image without contrast, every voxel is {what}: {path}. Check or exclude it.')
    return notes


def _check_orientation(header, affine: NDArray, shape: Sequence[int]) -> list[str]:
    """Note what makes the position of the head, or its left and right, doubtful."""
    if not isinstance(header, nib.Nifti1Header):
        return []
    notes = []
    if not int(header['qform_code']) and not int(header['sform_code']):
        axes = ''.join(nib.aff2axcodes(affine))
        notes.append(
            f'No orientation in the header (qform and sform codes 0): {axes} is assumed, check left.'
        )
    apart = _forms_disagreement(header, shape)
    if apart is not None and apart > FORMS_TOLERANCE:
        notes.append(f'qform and sform disagree by up to {apart:.1f} mm; the sform is used.')
    units = header.get_xyzt_units()[0]
    if units not in ('mm', 'unknown'):
        notes.append(f'The header gives its lengths in {units}; they are read as mm.')
    return notes


def _forms_disagreement(header, shape: Sequence[int]) -> float | None:
    """Measure, in mm, how far apart qform and sform put a corner of the image."""
    if not isinstance(header, nib.Nifti1Header) or not (header['qform_code'] and header['sform_code']):
        return None
    try:
        qform = header.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return float('inf')
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    apart = (qform - header.get_sform()) @ np.vstack([corners, np.ones(8)])
    return round(float(np.linalg.norm(apart[:3], axis=0).max()), 3)


def _stored_values(array: NDArray, dtype: np.dtype, slope: float | None) -> NDArray:
    """Convert to the type on disk, and refuse to do so where numbers would change."""
    if slope is not None:
        array = array * np.array(1 / slope, np.result_type(array, np.float32))
        np.rint(array, out=array)
    if array.dtype == dtype:
        return array
    if dtype.kind in 'iu':
        limits = np.iinfo(dtype)
        if not (array.min() >= limits.min and array.max() <= limits.max):  # also if there is a nan
            raise ValueError(f'Values from {array.min()} to {array.max()} do not fit {dtype}')
    stored = array.astype(dtype)
    if dtype.kind in 'iu' and slope is None and not np.array_equal(stored, array):
        raise ValueError(f'Values are not whole numbers and would be cut to {dtype}')
    return stored


def _fresh_header(affine: NDArray, shape: Sequence[int], code: int) -> nib.Nifti1Header:
    """Make a NIfTI header of an affine."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units('mm', 'sec')
    header.set_qform(affine, code)
    header.set_sform(affine, code)
    return header


def _plain_header(image: Image, stored: NDArray) -> nib.Nifti1Header:
    """Copy what a header says about the grid and drop what it says about the values and the person."""
    if not isinstance(image.header, nib.Nifti1Header):
        header = _fresh_header(image.affine, stored.shape, code=1)
    else:
        header = image.header.copy()
        # Extensions may hold the DICOM header, name of the person included.
        header.extensions = type(header.extensions)()
        for field in ('descrip', 'aux_file', 'intent_name', 'db_name'):
            if field in header:
                header[field] = b''
        for field in ('intent_code', 'intent_p1', 'intent_p2', 'intent_p3', 'cal_min', 'cal_max', 'toffset'):
            header[field] = 0
        for field in ('slice_code', 'slice_start', 'slice_end', 'slice_duration', 'vox_offset'):
            header[field] = 0
    header.set_data_shape(stored.shape)
    header.set_data_dtype(stored.dtype)
    header.set_slope_inter(None, None)
    return header

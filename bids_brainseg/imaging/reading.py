# SPDX-License-Identifier: Apache-2.0
"""Read an image (NIfTI, MGH) and refuse what cannot be segmented."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..core.resampling import resample
from ..errors import InputError
from ..files import unfetched
from .checks import check_values
from .headers import Image
from .orientation import settle_grid, settle_mgh

FETCH_AGAIN = 'Copy or download the file again.'
#: Names of the two files of a pair.
PAIR = ('hdr', 'img')
#: Where the magic number of a kind of header lies.
MAGIC = (
    (344, b'n+1\0', nib.Nifti1Header),
    (344, b'ni1\0', nib.nifti1.Nifti1PairHeader),
    (4, b'n+2\0', nib.Nifti2Header),
    (4, b'ni2\0', nib.nifti2.Nifti2PairHeader),
)


def load_image(path: str | os.PathLike, volumes: Sequence[int] | None = None) -> Image:
    """Read an image and refuse what cannot be segmented.

    Parameters
    ----------
    path : path-like
        NIfTI (.nii, .nii.gz, or either file of a pair .hdr and .img) or MGH (.mgh, .mgz).
    volumes : sequence of int, optional
        Indices of the volumes of a series to average. Without it the image has to be a single volume.

    Returns
    -------
    Image
        Voxels that were not finite are set to 0, or to the least value if that is negative (air, in CT). Its
        header holds lengths in mm, and only forms that can be used.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, not an image, not a single 3D volume, RGB or complex, or has
        no usable values.
    GeometryError
        If the header gives no voxel size, or no matrix that can be used.
    """
    path = Path(path)
    header_path, data_path = image_files(path)
    with _open(header_path) as stream:
        source = _read_header(stream, path)
        shape, chosen = _check_series(source.raw, volumes, path)
        if data_path == header_path:
            data = _read_mean(stream, source, shape, chosen, path)
    if data_path != header_path:
        with _open(data_path) as stream:
            data = _read_mean(stream, source, shape, chosen, path)
    grid = settle_grid(source.raw, shape, path)
    notes = [*grid.notes, *check_values(data, path)]
    return Image(data, grid.affine, grid.header, path, tuple(notes), source.doubts + grid.doubts)


def load_grid(path: str | os.PathLike) -> Image:
    """Read the grid of an image without its values.

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
    with _open(image_files(path)[0]) as stream:
        source = _read_header(stream, path)
    shape, _ = _check_series(source.raw, None, path)
    grid = settle_grid(source.raw, shape, path)
    return Image(np.broadcast_to(np.float32(0), shape), grid.affine, grid.header, path)


def image_shape(path: str | os.PathLike) -> tuple[int, ...]:
    """Read the shape of an image from its header.

    Parameters
    ----------
    path : path-like
        NIfTI or MGH.

    Returns
    -------
    tuple of int
        Of all dimensions that the header has.

    Raises
    ------
    InputError
        If the file is missing or empty, or has no header that can be read.
    """
    path = Path(path)
    with _open(image_files(path)[0]) as stream:
        source = _read_header(stream, path)
    return tuple(int(n) for n in source.raw.get_data_shape())


def volume_count(path: str | os.PathLike) -> int:
    """Read from its header how many volumes an image has.

    Parameters
    ----------
    path : path-like
        NIfTI or MGH.

    Returns
    -------
    int
        1 for a three-dimensional image.

    Raises
    ------
    InputError
        If the file is missing or empty, or has no header that can be read.
    """
    return math.prod(max(1, n) for n in image_shape(path)[3:])


def image_files(path: Path) -> tuple[Path, Path]:
    """Find the files that an image consists of.

    Parameters
    ----------
    path : Path
        The image, or either file of a pair .hdr and .img, each of which may be compressed.

    Returns
    -------
    header, data : Path
        One and the same file, unless it is a pair.

    Raises
    ------
    InputError
        If one file of a pair is missing.
    """
    stem, _, extension = path.name.partition('.')
    kind = extension.removesuffix('.gz').lower()
    if kind not in PAIR:
        return path, path
    other = PAIR[1 - PAIR.index(kind)]
    endings = ('.gz', '') if extension.endswith('.gz') else ('', '.gz')
    names = [f'{stem}.{other}{ending}' for ending in endings]
    found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    if not found:
        raise InputError(
            f'Image not whole, there is no {names[0]} beside it: {path}. Copy both files of the pair.'
        )
    return (path, found[0]) if kind == 'hdr' else (found[0], path)


def load_mask(path: str | os.PathLike, shape: Sequence[int], affine: NDArray) -> NDArray[np.bool_]:
    """Read a mask on another grid of the same space.

    Parameters
    ----------
    path : path-like
        A single volume, 0 outside and 1 inside.
    shape : (3,) ints
        Of the grid.
    affine : (4, 4) array
        Its voxel indices to RAS mm.

    Returns
    -------
    `shape` bool array

    Raises
    ------
    InputError
        If the file is missing, empty or not a single 3D volume.
    """
    mask = load_image(path)
    return resample(mask.data, mask.affine, shape, affine, np.eye(4), antialias=False) > 0.5


def _check_file(path: Path) -> None:
    """Refuse a path without readable content."""
    if reason := unfetched(path):
        raise InputError(f'Image cannot be read, {reason}: {path}')
    if not path.is_file():
        raise InputError(f'Image not found: {path}. Check the path.')
    if path.stat().st_size == 0:
        raise InputError(f'Empty file, found 0 bytes: {path}. {FETCH_AGAIN}')


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open an image, through gzip if its content is compressed, whatever its name; name it in errors."""
    _check_file(path)
    try:
        with open(path, 'rb') as raw:
            compressed = raw.read(2) == b'\x1f\x8b'
        with gzip.open(path, 'rb') if compressed else open(path, 'rb') as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f'Truncated or damaged image, {error}: {path}. {FETCH_AGAIN}') from error
    except OSError as error:
        raise InputError(f'Image cannot be read, {error}: {path}. Check the file.') from error


class _Source(NamedTuple):
    """The header of a file as it lies there, where its voxels begin, and what an MGH file leaves open."""

    raw: nib.spatialimages.SpatialHeader
    offset: int
    doubts: tuple[str, ...] = ()


def _read_header(stream: BinaryIO, path: Path) -> _Source:
    """Read a header; NIfTI is recognized by its magic number, MGH, which has none, by its name."""
    start = stream.read(nib.Nifti2Header.sizeof_hdr)
    stream.seek(0)
    kind = next((kind for where, magic, kind in MAGIC if start[where : where + 4] == magic), None)
    if kind is None and path.name.lower().endswith(('.mgz', '.mgh')):
        kind = nib.freesurfer.mghformat.MGHHeader
    if kind is None:
        if path.suffix in ('.hdr', '.img') and len(start) >= 348:
            raise InputError(
                f'ANALYZE 7.5 does not say which side is left, no NIfTI header found: {path}. Convert the '
                'scan again from DICOM to NIfTI.'
            )
        raise InputError(f'Not an image, no NIfTI header found: {path}. Give a NIfTI or MGH file.')
    try:
        if not issubclass(kind, nib.Nifti1Header):
            raw, doubts = settle_mgh(kind.from_fileobj(stream), start)
            return _Source(raw, raw.get_data_offset(), doubts)
        raw = kind.from_fileobj(stream, check=False)
        offset = int(raw['vox_offset'])
        if not kind.is_single:
            raw = _as_single(raw)
        raw.copy().check_fix()
        raw.get_data_dtype(), raw.get_slope_inter()
    except (EOFError, OSError, zlib.error):
        raise
    except Exception as error:  # nibabel answers a damaged header with half a dozen kinds of exceptions
        raise InputError(f'Damaged header, {error}: {path}. Convert or download the scan again.') from error
    return _Source(raw, offset)


def _as_single(raw: nib.Nifti1Header) -> nib.Nifti1Header:
    """Turn the header of a pair into that of one file, as which it is written again."""
    kind = nib.Nifti2Header if isinstance(raw, nib.Nifti2Header) else nib.Nifti1Header
    single = kind(endianness=raw.endianness, check=False)
    for field in raw.keys():
        if field not in ('magic', 'vox_offset'):
            single[field] = raw[field]
    single['vox_offset'] = single.single_vox_offset
    return single


def _check_series(
    header: nib.spatialimages.SpatialHeader, volumes: Sequence[int] | None, path: Path
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the shape of one volume and the indices of those to average."""
    full = tuple(int(n) for n in header.get_data_shape())
    dtype = header.get_data_dtype()
    if dtype.names or dtype.kind not in 'iuf':
        what = 'complex' if dtype.kind == 'c' else 'RGB' if dtype.names else str(dtype)
        raise InputError(f'Image is not grayscale, found {what}: {path}. Give one of plain numbers.')
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
    stream: BinaryIO,
    source: _Source,
    shape: tuple[int, ...],
    chosen: tuple[int, ...],
    path: Path,
) -> NDArray[np.float32]:
    """Read the chosen volumes one after the other and average them; read on to the end to verify the file."""
    header = source.raw
    dtype, (slope, inter) = header.get_data_dtype(), header.get_slope_inter()
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    count = int(np.prod(header.get_data_shape()[3:], dtype=np.int64))
    stream.seek(source.offset)
    total = None
    for index in range(count):
        block = stream.read(size)
        if len(block) < size:
            complete = index * size + len(block)
            raise InputError(
                f'Truncated image, found {complete} of {count * size} bytes: {path}. {FETCH_AGAIN}'
            )
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

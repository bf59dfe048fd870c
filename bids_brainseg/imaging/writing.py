# SPDX-License-Identifier: Apache-2.0
"""Save an array on exactly the grid of an image."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import GeometryError
from ..files import write_whole
from .headers import Image, fresh_header


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
        Its header is kept, except for what describes its values and for extensions.
    path : path-like
        .nii or .nii.gz; an MGH image is saved as NIfTI.
    dtype : dtype, optional
        On disk; the array's own by default.
    slope : float, optional
        Store round(array / slope) and the slope, a precision of slope / 2 at a fraction of the size.
    atomic : bool
        Use :func:`~bids_brainseg.files.write_whole`, so that the file is whole or absent.

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
    with write_whole(path) if atomic else contextlib.nullcontext(path) as target:
        result.to_filename(target)
    return path


def compress(path: str | os.PathLike) -> Path:
    """Compress a file as :func:`save_like` would have done, beside itself.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Path
        Of the new file: `path` with ``.gz`` appended.
    """
    target = Path(f'{os.fspath(path)}.gz')
    with open(path, 'rb') as source, Opener(target, 'wb') as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return target


def _stored_values(array: NDArray, dtype: np.dtype, slope: float | None) -> NDArray:
    """Convert to the type on disk; refuse where numbers would change."""
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


def _plain_header(image: Image, stored: NDArray) -> nib.Nifti1Header:
    """Keep what a header says about the grid; drop what it says about the values and the person."""
    if not isinstance(image.header, nib.Nifti1Header):
        header = fresh_header(image.affine, stored.shape, code=1)
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

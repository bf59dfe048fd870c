# SPDX-License-Identifier: Apache-2.0
"""An image, what its header says about the grid, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import geometry


@dataclass(frozen=True, eq=False)
class Image:
    """One volume with its grid.

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
    doubts : tuple of str
        What was assumed because the file leaves it open; a person has to look.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: nib.spatialimages.SpatialHeader
    path: Path | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


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
    header = fresh_header(geometry.as_affine(affine), data.shape, code)
    return Image(data, header.get_best_affine(), header)


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
        'forms_disagreement_mm': forms_disagreement(header, image.data.shape),
    }


def forms_disagreement(header: nib.spatialimages.SpatialHeader, shape: Sequence[int]) -> float | None:
    """Measure the largest distance, in mm, between a corner by the qform and by the sform.

    Parameters
    ----------
    header : nibabel header
    shape : (3,) ints

    Returns
    -------
    float or None
        None unless both are set.
    """
    if not isinstance(header, nib.Nifti1Header) or not (header['qform_code'] and header['sform_code']):
        return None
    qform = header.get_qform()
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    shifts = (qform - header.get_sform()) @ np.vstack([corners, np.ones(8)])
    return round(float(np.linalg.norm(shifts[:3], axis=0).max()), 3)


def fresh_header(affine: NDArray, shape: Sequence[int], code: int) -> nib.Nifti1Header:
    """Make the NIfTI header of a grid.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel indices to RAS mm.
    shape : sequence of int
    code : int
        NIfTI code of the space for qform and sform.

    Returns
    -------
    nibabel.Nifti1Header
    """
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units('mm', 'sec')
    header.set_qform(affine, code)
    header.set_sform(affine, code)
    return header

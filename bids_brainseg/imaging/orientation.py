# SPDX-License-Identifier: Apache-2.0
"""Settle where the voxels of an image lie: what its header says, what it leaves open, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..core import geometry
from ..errors import GeometryError
from .headers import forms_disagreement

#: Disagreement of qform and sform, in mm at a corner of the image, that is worth a note.
FORMS_TOLERANCE = 1.0
#: Relative difference between the volumes of a voxel by sform and by pixdim that has to be looked at.
VOLUME_TOLERANCE = 0.02
#: A gantry is tilted by 30 degrees at most.
LARGEST_SHEAR = 35.0
#: The longest side of a field of view with a head in it, mm.
FIELD_OF_VIEW = (50.0, 2500.0)
#: Millimeters in a unit of length, by its NIfTI code.
UNITS = {1: ('meters', 1e3), 3: ('micrometers', 1e-3)}
CORRECT = 'Correct the header, or convert the scan again from DICOM.'


class Grid(NamedTuple):
    """Where voxels lie, in mm: the header with the forms that can be used, and the affine that is used.

    `notes` and `doubts` are those of :class:`~bids_brainseg.imaging.headers.Image`.
    """

    header: nib.spatialimages.SpatialHeader
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def settle_grid(raw: nib.spatialimages.SpatialHeader, shape: Sequence[int], path: Path) -> Grid:
    """Find out where the voxels of an image lie.

    Parameters
    ----------
    raw : nibabel header
        As it lies in the file, nothing filled in.
    shape : (3,) ints
        Of one volume.
    path : Path
        Of the image, for errors.

    Returns
    -------
    Grid
        By the sform; by the qform where there is no sform, or none that can be used; by pixdim alone,
        and then in doubt, where neither is set.

    Raises
    ------
    GeometryError
        If the size of the voxels is missing, or the matrices cannot be used.
    """
    if not isinstance(raw, nib.Nifti1Header):
        affine = np.asarray(raw.get_affine(), np.float64)
        if geometry.is_singular(affine):
            raise GeometryError(f'Singular affine, found {affine[:3].tolist()}: {path}. {CORRECT}')
        return Grid(raw, affine)
    header = raw.copy()
    header.check_fix()
    _repair_units(header)
    sizes = raw['pixdim'][1:4].astype(float)
    flaws = {'sform': _sform_flaw(raw), 'qform': _qform_flaw(raw)}
    set_forms = [form for form in flaws if header[f'{form}_code']]
    usable = [form for form in set_forms if not flaws[form]]
    notes, doubts = [], []
    if not usable and not _are_sizes(sizes) and not header['sform_code']:
        raise GeometryError(
            f'The header has no voxel size, found pixdim {sizes.tolist()} and no sform: {path}. {CORRECT}'
        )
    if not usable and set_forms:
        form = set_forms[0]
        raise GeometryError(
            f'Singular affine, {flaws[form]}, found {_numbers(header, form)}: {path}. {CORRECT}'
        )
    if usable:
        for form in set_forms:
            if flaws[form]:
                sentences = notes if 'all zero' in flaws[form] else doubts
                sentences.append(
                    f'The {form} cannot be used ({flaws[form]}); the {usable[0]} gives the position.'
                )
                _drop(header, form)
    if not _are_sizes(sizes):
        header['pixdim'][1:4] = geometry.voxel_sizes(header.get_best_affine())
        found = ', '.join(f'{size:g}' for size in sizes)
        notes.append(f'The header has no voxel size in pixdim ({found}); the sform gives it.')
    doubts += _open_questions(raw, header, usable, sizes)
    if len(usable) == 2:
        distance = forms_disagreement(header, shape)
        if distance > FORMS_TOLERANCE:
            notes.append(f'qform and sform disagree by up to {distance:.1f} mm; the sform is used.')
    _to_millimeters(header, int(raw['xyzt_units']) % 8, shape, path, notes, doubts)
    affine = np.asarray(header.get_best_affine(), np.float64)
    if geometry.shear_angle(affine) > LARGEST_SHEAR:
        doubts.append(
            f'The axes of the voxels are {geometry.shear_angle(affine):.0f} degrees away from right angles, '
            'more than any gantry can be tilted. Check the header.'
        )
    return Grid(header, affine, tuple(notes), tuple(doubts))


def check_field_of_view(shape: Sequence[int], affine: NDArray, path: Path | None) -> None:
    """Refuse a field of view that cannot hold a head.

    Parameters
    ----------
    shape : (3,) ints
    affine : (4, 4) array
        Voxel indices to RAS mm.
    path : Path
        Of the image, for the error.

    Raises
    ------
    GeometryError
        If its longest side is below 50 mm or above 2500 mm.
    """
    sides = geometry.voxel_sizes(affine) * shape
    if not FIELD_OF_VIEW[0] <= sides.max() <= FIELD_OF_VIEW[1]:
        size = ' x '.join(f'{side:.3g}' for side in sides)
        raise GeometryError(
            f'The field of view cannot hold a head, found {size} mm: {path}. Check voxel size and unit in '
            'the header.'
        )


def settle_mgh(
    raw: nib.freesurfer.mghformat.MGHHeader, start: bytes
) -> tuple[nib.freesurfer.mghformat.MGHHeader, tuple[str, ...]]:
    """Fill in what an MGH header leaves open as FreeSurfer does.

    Parameters
    ----------
    raw : MGHHeader
        Filled in by nibabel, which takes the slices upside down.
    start : bytes
        The first 30 bytes of the file at least.

    Returns
    -------
    raw : MGHHeader
    doubts : tuple of str
        What was assumed.
    """
    if int.from_bytes(start[28:30], 'big', signed=True):
        return raw, ()
    raw['Mdc'] = [[-1, 0, 0], [0, 0, -1], [0, 1, 0]]
    return raw, (
        'The header gives neither voxel size nor orientation (goodRASFlag 0): coronal slices of 1 mm are '
        'assumed (LIA), as FreeSurfer does. Check sides and size.',
    )


def _are_sizes(sizes: NDArray) -> bool:
    return bool(np.isfinite(sizes).all() and (sizes != 0).all())


def _sform_flaw(raw: nib.Nifti1Header) -> str:
    """Say why the sform cannot be used; nothing if it can."""
    matrix = np.array([raw['srow_x'], raw['srow_y'], raw['srow_z'], [0, 0, 0, 1]], np.float64)
    if not np.isfinite(matrix).all():
        return 'it holds numbers that are not finite'
    if not matrix[:3, :3].any():
        return 'it is all zero'
    return 'its voxels have no volume' if geometry.is_singular(matrix) else ''


def _qform_flaw(raw: nib.Nifti1Header) -> str:
    """Say why the qform cannot be used; nothing if it can."""
    if not _are_sizes(raw['pixdim'][1:4]):
        return f'the voxel size in pixdim is {raw["pixdim"][1:4].tolist()}'
    numbers = [float(raw[f'{name}']) for name in (*_QUATERNION, *_OFFSETS)]
    if not np.isfinite(numbers).all():
        return 'it holds numbers that are not finite'
    try:
        raw.get_qform_quaternion()
    except ValueError:
        return 'its quaternion is longer than 1'
    return ''


_QUATERNION = ('quatern_b', 'quatern_c', 'quatern_d')
_OFFSETS = ('qoffset_x', 'qoffset_y', 'qoffset_z')


def _numbers(header: nib.Nifti1Header, form: str) -> list:
    """Return what a form is made of."""
    if form == 'sform':
        return np.round(header.get_sform()[:3], 4).tolist()
    return [round(float(header[name]), 4) for name in (*_QUATERNION, *_OFFSETS)]


def _drop(header: nib.Nifti1Header, form: str) -> None:
    """Take away a form that cannot be used, so that no output carries it on."""
    header[f'{form}_code'] = 0
    for name in ('srow_x', 'srow_y', 'srow_z') if form == 'sform' else (*_QUATERNION, *_OFFSETS):
        header[name] = 0


def _open_questions(
    raw: nib.Nifti1Header, header: nib.Nifti1Header, usable: Sequence[str], sizes: NDArray
) -> list[str]:
    """Say what had to be assumed about sides and size of the voxels."""
    axes = ''.join(nib.aff2axcodes(header.get_best_affine()))
    if not usable:
        return [
            f'No orientation in the header (qform and sform codes {raw["qform_code"]} and '
            f'{raw["sform_code"]}): {axes} is assumed, the first voxels on the right side of the head, as '
            'ANALYZE files have them. Left and right may be swapped; check the sides.'
        ]
    doubts, qfac = [], float(raw['pixdim'][0])
    if usable[0] == 'qform' and qfac not in (-1, 0, 1):
        doubts.append(
            f'The sign of the qform (qfac, pixdim[0]) is {qfac:g} instead of 1 or -1: 1 is assumed ({axes}). '
            'Left and right may be swapped; check the sides.'
        )
    if len(usable) == 2 and qfac in (-1, 0, 1):
        turn = header.get_qform()[:3, :3] @ np.linalg.inv(header.get_sform()[:3, :3])
        if np.linalg.det(turn) < 0 or turn[0, 0] < 0:
            other = ''.join(nib.aff2axcodes(header.get_qform()))
            doubts.append(
                f'sform and qform disagree about left and right ({axes} and {other}): the sform is used. '
                'Check the sides.'
            )
    if usable[0] == 'sform' and _are_sizes(sizes):
        ours, other = geometry.voxel_volume(header.get_sform()), float(np.abs(sizes).prod())
        if abs(np.log(other / ours)) > VOLUME_TOLERANCE:
            doubts.append(
                f'A voxel has {ours:.4g} mm3 by the sform and {other:.4g} mm3 by pixdim: the sform is used. '
                f'If pixdim is right, all volumes have to be multiplied by {other / ours:.3g}.'
            )
    return doubts


def _repair_units(header: nib.Nifti1Header) -> None:
    """Replace codes of units that do not exist."""
    code = int(header['xyzt_units'])
    time = code - code % 8
    header['xyzt_units'] = (code % 8 if code % 8 < 4 else 0) + (time if time in range(0, 56, 8) else 0)


def _to_millimeters(
    header: nib.Nifti1Header, unit: int, shape: Sequence[int], path: Path, notes: list, doubts: list
) -> None:
    """Convert the lengths of a header, if a head fits into its field of view then."""
    if unit not in UNITS:
        return
    name, factor = UNITS[unit]
    sides = geometry.voxel_sizes(header.get_best_affine()) * shape
    low, high = FIELD_OF_VIEW
    if low <= sides.max() * factor <= high:
        for field in ('srow_x', 'srow_y', 'srow_z', *_OFFSETS):
            header[field] = header[field] * factor
        header['pixdim'][1:4] *= factor
        notes.append(f'The header gives its lengths in {name}; they were converted to mm.')
    elif low <= sides.max() <= high:
        length = f'{sides.max() * factor:.3g} mm'
        doubts.append(
            f'The header gives its lengths in {name}, and its field of view would be {length} long; they are '
            'read as mm. Check the voxel size.'
        )
    else:
        raise GeometryError(
            f'The field of view cannot hold a head, found {sides.max():.3g} {name}: {path}. Check voxel size '
            'and unit in the header.'
        )
    header.set_xyzt_units('mm', header.get_xyzt_units()[1])

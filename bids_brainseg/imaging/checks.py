# SPDX-License-Identifier: Apache-2.0
"""Check the values of an image, and repair what can be repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import Intensities
from ..core.background import settle_background
from ..core.ct_noise import NOISY, smooth_soft_tissue, soft_tissue_noise
from ..core.hounsfield import AIR, LARGEST_OFFSET, calibrate_hounsfield, find_landmarks
from ..errors import InputError
from .headers import Image
from .orientation import check_field_of_view

#: Values of a CT beyond any tissue, HU: below lies padding, above only metal.
PADDING_BELOW, METAL_ABOVE = -1100.0, 4000.0
#: A voxel so many times as bright as the 99.9th percentile of the image shows nothing of a head.
OUTLIER = 10.0


def check_scan(image: Image, *, hounsfield: bool) -> Image:
    """Refuse what is no scan of a head, and repair values that would mislead registration and scaling.

    Parameters
    ----------
    image : Image
        As :func:`~bids_brainseg.imaging.load_image` returns it.
    hounsfield : bool
        Whether the values must be HU.

    Returns
    -------
    Image
        Outliers are cut, the unit of a CT is settled (:func:`check_hounsfield`) and its noise
        (:func:`settle_noise`), the background of an MR scan is dark. An ordinary scan is returned as it is.

    Raises
    ------
    InputError
        If a CT is not in HU.
    GeometryError
        If the field of view cannot hold a head.
    """
    check_field_of_view(image.data.shape, image.affine, image.path)
    data, note = _cut_outliers(image.data)
    if note is not None:
        image = replace(image, data=data, notes=(*image.notes, note))
    if hounsfield:
        return settle_noise(check_hounsfield(image))
    found = settle_background(image.data, image.affine)
    if found.note is None and found.doubt is None:
        return image
    notes, doubts = ([text] if text else [] for text in (found.note, found.doubt))
    return replace(image, data=found.image, notes=(*image.notes, *notes), doubts=(*image.doubts, *doubts))


def is_hounsfield(image: Image) -> bool:
    """Tell whether an image whose kind is unknown has air and soft tissue where a CT has them.

    Parameters
    ----------
    image : Image

    Returns
    -------
    bool
        False also for a CT without air, which could be anything.
    """
    found = find_landmarks(image.data)
    places = found.constants if found.air is None else (found.air,)
    try:
        calibrate_hounsfield(found)
    except ValueError:
        return False
    return any(abs(place - AIR) <= LARGEST_OFFSET for place in places)


def check_hounsfield(image: Image) -> Image:
    """Refuse a CT whose values are not Hounsfield units, and correct a small offset.

    Parameters
    ----------
    image : Image

    Returns
    -------
    Image
        In HU, with what was found about its unit. Padding is as dark as air, and metal at most 4000 HU:
        beyond, interpolation would carry the values into the head.

    Raises
    ------
    InputError
        If air and soft tissue do not lie where they belong.
    """
    try:
        found = calibrate_hounsfield(find_landmarks(image.data))
    except ValueError as error:
        lowest, highest = float(image.data.min()), float(image.data.max())
        raise InputError(
            f'CT is not in Hounsfield units, found {error} (values from {lowest:g} to {highest:g}): '
            f'{image.path}. Convert it again from DICOM with its rescale slope and intercept, and without '
            'windowing.'
        ) from error
    data, notes = image.data, [*image.notes, *found.notes]
    if found.offset:
        data = data - np.float32(found.offset)
    padding, metal = data < PADDING_BELOW, data > METAL_ABOVE
    if padding.any() or metal.any():
        data = np.where(padding, np.float32(AIR), np.minimum(data, np.float32(METAL_ABOVE)))
        if padding.any():
            notes.append(
                f'Values below {PADDING_BELOW:g} HU, as of padding, were taken for air (voxels: '
                f'{np.count_nonzero(padding)}).'
            )
    return replace(image, data=data, notes=tuple(notes), doubts=(*image.doubts, *found.doubts))


def settle_noise(image: Image) -> Image:
    """Smooth a CT that is far noisier than a reconstruction for soft tissue.

    Parameters
    ----------
    image : Image
        In HU.

    Returns
    -------
    Image
        An ordinary CT as it is; a noisy one smoothed, with a doubt that says so.
    """
    noise = soft_tissue_noise(image.data, image.affine)
    if noise <= NOISY:
        return image
    data, fwhm = smooth_soft_tissue(image.data, image.affine, noise)
    doubt = (
        f'The noise of the CT is {noise:.0f} HU, above {NOISY:g} HU, as with a sharp kernel for bone: its '
        f'soft tissue was smoothed (Gaussian of {fwhm:.1f} mm FWHM). Use the reconstruction for soft tissue '
        'if there is one.'
    )
    return replace(image, data=data, doubts=(*image.doubts, doubt))


def check_values(data: NDArray[np.float32], path: Path) -> list[str]:
    """Replace values that are not finite, in place, and refuse an image without contrast.

    Parameters
    ----------
    data : (I, J, K) float32 array
        Voxels that are not finite become 0, or the least value if that is negative.
    path : Path
        Of the image, for the errors.

    Returns
    -------
    list of str
        Sentences for the report.

    Raises
    ------
    InputError
        If no voxel is finite or all are equal.
    """
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


def _cut_outliers(data: NDArray[np.float32]) -> tuple[NDArray[np.float32], str | None]:
    """Cut values that are ten times as far from 0 as the 99.9th percentile, and say so.

    Interpolation by splines would carry one voxel of 1e9 over the whole head. A scan whose values are nearly
    all zero has no such limit.
    """
    some = data.ravel('K')[:: max(1, data.size // Intensities.ENOUGH)]
    limit = np.float32(OUTLIER * np.percentile(np.abs(some), 99.9))
    highest = max(-float(data.min()), float(data.max()))
    if not limit > 0 or highest <= limit:
        return data, None
    count = np.count_nonzero(np.abs(data) > limit)
    return np.clip(data, -limit, limit), (
        f'Values of up to {highest:.3g} were cut to {limit:.4g}, ten times the 99.9th percentile (voxels: '
        f'{count}).'
    )

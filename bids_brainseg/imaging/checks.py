# SPDX-License-Identifier: Apache-2.0
"""Check the values of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .headers import Image

#: A head always has air around it, and brain between 0 and 100 HU (at least this fraction of the voxels).
AIR_HU, SOFT_TISSUE_HU, SOFT_TISSUE_FRACTION = -200.0, (0.0, 100.0), 0.02


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
        evidence = f'no air: values from {lowest:g} to {highest:g}'
    else:
        evidence = (
            f'{100 * soft:.1f} % of the voxels between 0 and 100, values from {lowest:g} to {highest:g}'
        )
    raise InputError(
        f'CT is not in Hounsfield units, found {evidence}: {image.path}. '
        'Convert it again from DICOM with its rescale slope and intercept, and without windowing.'
    )


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

# SPDX-License-Identifier: Apache-2.0
"""Label images whose numbers have a table become class indices."""

from __future__ import annotations

import numpy as np

from ..core.labels import freesurfer_classes, to_classes
from ..data import freesurfer_rules, structure_pair
from ..imaging import Image
from ..records import ClassTable


def classes_of(labels: Image, table: ClassTable) -> np.ndarray:
    """Turn the numbers of a label image into the 27 classes.

    Parameters
    ----------
    labels : Image
    table : ClassTable
        What the numbers mean.

    Returns
    -------
    uint8 array of class indices, of the same shape

    Raises
    ------
    ValueError
        If a number has no class; names it.
    """
    numbers = np.rint(labels.data).astype(np.int32)
    if not table.mapping:
        return freesurfer_classes(numbers, labels.affine, **freesurfer_rules())
    return to_classes(
        numbers,
        labels.affine,
        table.mapping,
        split=table.split,
        midplane=structure_pair('Cerebral-White-Matter'),
        default=table.default,
    )

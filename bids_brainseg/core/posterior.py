# SPDX-License-Identifier: Apache-2.0
"""How far the labels of Monte-Carlo passes overlap, one pass at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class LabelOverlapAccumulator:
    """Intersection over union of the labels of all passes, without keeping them in memory.

    Parameters
    ----------
    shape : (I, J, K) tuple of int
        Grid.
    classes : int
        Number of classes C, background included; at most 32.

    Raises
    ------
    ValueError
        If there are more classes.

    Notes
    -----
    It keeps the voxel counts of each pass, and for each voxel the classes that it had in any pass and the
    class on which all passes agree so far.
    """

    def __init__(self, shape: Sequence[int], classes: int):
        if classes > 32:
            raise ValueError(f'at most 32 classes fit the bit field. Received instead: {classes}')
        self.shape = tuple(shape)
        self.classes = classes
        self.counts: list[NDArray] = []
        self._agreed: NDArray | None = None
        self._touched = np.zeros(self.shape, np.uint32)

    def update(self, labels: NDArray[np.uint8]) -> None:
        """Add one pass.

        Parameters
        ----------
        labels : (I, J, K) uint8 array
            Most probable class of each voxel.

        Raises
        ------
        ValueError
            If the shape is not that of the grid.
        """
        if np.shape(labels) != self.shape:
            raise ValueError(f'a pass has shape {np.shape(labels)}, expected {self.shape}')
        self.counts.append(np.bincount(np.ravel(labels), minlength=self.classes))
        # one bit per class: which classes a voxel had in any pass
        self._touched |= np.uint32(1) << labels.astype(np.uint32)
        if self._agreed is None:
            self._agreed = labels.astype(np.int16)
        else:
            self._agreed[self._agreed != labels] = -1

    @property
    def passes(self) -> int:
        """Number of passes so far."""
        return len(self.counts)

    def intersection_over_union(self) -> NDArray:
        """Return for each class the voxels common to all passes over those of any pass.

        Returns
        -------
        (C,) float array
            nan for a class that no pass has.
        """
        result = np.full(self.classes, np.nan)
        for c in range(self.classes):
            union = np.count_nonzero(self._touched & (np.uint32(1) << np.uint32(c)))
            if union:
                result[c] = np.count_nonzero(self._agreed == c) / union
        return result

# SPDX-License-Identifier: Apache-2.0
"""How far the labels of Monte-Carlo passes agree, one pass at a time."""

from __future__ import annotations

import numpy as np


class LabelOverlapAccumulator:
    """Gather the labels of passes without holding them.

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
    Kept are each pass' voxel counts, and per voxel the classes that it had in any pass and the class that all
    passes so far agree on.
    """

    def __init__(self, shape, classes: int):
        if classes > 32:
            raise ValueError(f'at most 32 classes fit the bit field. Received instead: {classes}')
        self.shape = tuple(shape)
        self.classes = classes
        self.counts: list[np.ndarray] = []
        self._agreed: np.ndarray | None = None
        self._touched = np.zeros(self.shape, np.uint32)

    def update(self, labels) -> None:
        """Add one pass.

        Parameters
        ----------
        labels : (I, J, K) uint8 array
            Most probable class of each voxel.

        Raises
        ------
        ValueError
            If the shape is another one.
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

    def intersection_over_union(self) -> np.ndarray:
        """Return for each class the voxels that all passes share over those that any pass has.

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

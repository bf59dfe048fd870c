# SPDX-License-Identifier: Apache-2.0
"""Statistics over Monte-Carlo passes, one pass at a time."""

from __future__ import annotations

import numpy as np


class RunningPosterior:
    """Gather passes without holding them.

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
    Besides the sum of the passes it keeps their entropies (for the mutual information between the label and
    the network's weights), each pass' voxel counts, and per voxel the class that all passes so far agree on.
    """

    def __init__(self, shape, classes: int):
        if classes > 32:
            raise ValueError(f'at most 32 classes fit the bit field. Received instead: {classes}')
        self.shape = tuple(shape)
        self.classes = classes
        self.counts: list[np.ndarray] = []
        self._sum = np.zeros((*self.shape, classes), np.float32)
        self._entropy = np.zeros(self.shape, np.float32)
        self._agreed: np.ndarray | None = None
        self._touched = np.zeros(self.shape, np.uint32)

    def update(self, probabilities, labels, entropy) -> None:
        """Add one pass.

        Parameters
        ----------
        probabilities : (I, J, K, C) float array
            Softmax of the pass.
        labels : (I, J, K) uint8 array
            Its argmax.
        entropy : (I, J, K) float array
            Its entropy in nats.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        if np.shape(probabilities) != self._sum.shape:
            raise ValueError(f'a pass has shape {np.shape(probabilities)}, expected {self._sum.shape}')
        self._sum += probabilities
        self._entropy += entropy
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

    def mean(self) -> np.ndarray:
        """Return the mean softmax, (C, I, J, K) float16."""
        # halved before it is turned round: a plane at a time stays in the cache, a class at a time does not
        mean = np.empty((self.classes, *self.shape), np.float16)
        for i in range(self.shape[0]):
            mean[:, i] = np.moveaxis((self._sum[i] / np.float32(self.passes)).astype(np.float16), -1, 0)
        return mean

    def entropy(self) -> np.ndarray:
        """Return the entropy of the mean softmax, (I, J, K) float32 in [0, 1], the unit being log(C)."""
        total = np.zeros(self.shape, np.float32)
        for c in range(self.classes):
            p = self._sum[..., c] / self.passes
            total -= p * np.log(np.maximum(p, np.finfo(np.float32).tiny))
        return np.clip(total / np.float32(np.log(self.classes)), 0, 1)

    def mutual_information(self) -> np.ndarray:
        """Return entropy of the mean minus mean entropy, (I, J, K) float32, the unit being log(C).

        Notes
        -----
        The part of the uncertainty that comes from the weights, doi 10.48550/arXiv.1112.5745.
        """
        mean_entropy = self._entropy / np.float32(self.passes * np.log(self.classes))
        return np.maximum(self.entropy() - mean_entropy, 0)

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

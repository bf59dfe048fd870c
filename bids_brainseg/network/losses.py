# SPDX-License-Identifier: Apache-2.0
"""The published loss: minus the summed soft Dice plus cross-entropy, whose weight can be chosen."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from bids_brainseg.core.arrays import Tensor


@keras.saving.register_keras_serializable('bids_brainseg')
class DiceCrossEntropy(keras.losses.Loss):
    """Minus the soft Dice, summed over the structures, plus the cross-entropy.

    Parameters
    ----------
    class_balance : float
        0: the cross-entropy is the published plain mean over voxels. 1: every class that is present has the
        same share in it, whatever its size; between them, classes weigh as their size to the power
        ``1 - class_balance``. Soft Dice has no gradient where a structure's probability is near 0, so that
        small structures take very long to appear under the plain mean: begin with 1, end with 0.
    cross_entropy_weight : float
        Factor of the cross-entropy; the published value is 1. Dice makes a structure large wherever its
        border is uncertain (a voxel of probability 0.4 adds more overlap than size), the cross-entropy makes
        the probabilities true: more of it brings volumes nearer to the labels'.

    Notes
    -----
    Zopes et al. (doi 10.3389/fneur.2021.653375) weigh both terms alike. A structure that is absent from the
    labels contributes nothing: its soft Dice would be 0 whatever the network does. This loss is no measure of
    agreement; :mod:`bids_brainseg.core.agreement` is.

    Examples
    --------
    Of four voxels two are background and two belong to one structure. A perfect segmentation has a Dice of 1
    and no cross-entropy, probabilities of one half have a Dice of 1/2 and a cross-entropy of log(2).

    >>> labels, perfect = ops.array([[0, 0, 1, 1]]), ops.array([[[1.0, 0], [1, 0], [0, 1], [0, 1]]])
    >>> loss = DiceCrossEntropy()
    >>> [round(float(loss(labels, y)), 3) for y in (perfect, ops.full((1, 4, 2), 0.5))]
    [-1.0, 0.193]
    """

    def __init__(self, class_balance: float = 0.0, cross_entropy_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_balance = class_balance
        self.cross_entropy_weight = cross_entropy_weight

    def get_config(self) -> dict:
        """Return what rebuilds the loss."""
        return super().get_config() | {
            'class_balance': self.class_balance,
            'cross_entropy_weight': self.cross_entropy_weight,
        }

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each scan.

        Parameters
        ----------
        y_true : (batch, I, J, K) integer tensor
            Class indices.
        y_pred : (batch, I, J, K, classes) tensor
            Probabilities.

        Returns
        -------
        (batch,) tensor
        """
        classes = y_pred.shape[-1]
        scans = ops.shape(y_pred)[0]
        predicted = ops.reshape(y_pred, (scans, -1, classes))
        truth = ops.one_hot(ops.reshape(ops.cast(y_true, 'int32'), (scans, -1)), classes, dtype=y_pred.dtype)
        chosen = ops.sum(truth * predicted, -1)
        surprise = -ops.log(ops.clip(chosen, keras.config.epsilon(), 1.0))
        # one product sums all three by the true class of the voxels
        sums = ops.matmul(ops.stack([chosen, surprise, ops.ones_like(chosen)], 1), truth)
        overlap, surprise, size = sums[:, 0], sums[:, 1], sums[:, 2]
        dice = 2 * overlap / ops.maximum(size + ops.sum(predicted, 1), 1.0)
        dice = ops.sum(ops.where(size > 0, dice, 0.0)[:, 1:], -1)
        voxels = ops.sum(size, -1, keepdims=True)
        weight = ops.where(size > 0, ops.maximum(size / voxels, 1e-9) ** -self.class_balance, 0.0)
        weight = weight / ops.sum(weight * size, -1, keepdims=True)
        return self.cross_entropy_weight * ops.sum(weight * surprise, -1) - dice

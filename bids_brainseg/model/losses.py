# SPDX-License-Identifier: Apache-2.0
"""The published loss: minus the summed soft Dice plus cross-entropy."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable('bids_brainseg')
class DiceCrossEntropy(keras.losses.Loss):
    """Minus the soft Dice, summed over the structures, plus the mean cross-entropy over voxels.

    Notes
    -----
    Zopes et al. (doi 10.3389/fneur.2021.653375), both terms unweighted. A structure that is absent from the
    labels contributes nothing: its soft Dice would be 0 whatever the network does. This loss is no measure of
    agreement; :mod:`bids_brainseg.core.agreement` is.
    """

    def call(self, y_true, y_pred):
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
        truth = ops.one_hot(ops.cast(y_true, 'int32'), y_pred.shape[-1], dtype=y_pred.dtype)
        space = (1, 2, 3)
        overlap = ops.sum(truth * y_pred, space)
        size = ops.sum(truth, space)
        dice = 2 * overlap / ops.maximum(size + ops.sum(y_pred, space), 1.0)
        dice = ops.sum(ops.where(size > 0, dice, 0.0)[:, 1:], -1)
        chosen = ops.clip(ops.sum(truth * y_pred, -1), keras.config.epsilon(), 1.0)
        return ops.mean(-ops.log(chosen), space) - dice

# SPDX-License-Identifier: Apache-2.0
"""Layers of the network that Keras lacks."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable('bids_brainseg')
class MonteCarloDropout(keras.layers.Layer):
    """Dropout that is stochastic in training and prediction alike.

    Parameters
    ----------
    rate : float
        Share of units set to zero; the others are divided by ``1 - rate``.
    channelwise : bool
        Drop whole feature maps (doi 10.48550/arXiv.1411.4280) instead of single voxels.
    seed : int, optional
        Two layers with the same seed draw the same masks in the same order.

    Notes
    -----
    Never rely on ``model(x, training=True)`` for Monte-Carlo samples: it also changes the statistics of
    batch normalization. This layer ignores that flag: ``predict`` samples, and nothing else moves.
    """

    def __init__(self, rate: float, *, channelwise: bool = False, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f'`rate` must lie in [0, 1). Received instead: {rate}')
        self.rate = rate
        self.channelwise = channelwise
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs):
        """Apply a fresh mask.

        Parameters
        ----------
        inputs : (batch, I, J, K, channels) tensor

        Returns
        -------
        tensor of the same shape
        """
        noise_shape = None
        if self.channelwise:
            shape = keras.ops.shape(inputs)
            noise_shape = (shape[0], *([1] * (len(shape) - 2)), shape[-1])
        return keras.random.dropout(inputs, self.rate, noise_shape=noise_shape, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return what rebuilds the layer."""
        return super().get_config() | {'rate': self.rate, 'channelwise': self.channelwise, 'seed': self.seed}


class PosteriorAccumulator(keras.layers.Layer):
    """Add up the probabilities of passes, and their entropies, where they are computed.

    Parameters
    ----------
    shape : (I, J, K) tuple of int
        Grid.
    classes : int
        Number of classes C.

    Notes
    -----
    Every call adds to the sums; with a GPU a pass of C volumes never leaves its memory.
    """

    def __init__(self, shape, classes: int, **kwargs):
        super().__init__(**{'dtype': 'float32'} | kwargs)
        self.total = self.add_weight(
            shape=(1, *shape, classes), initializer='zeros', trainable=False, name='total'
        )
        self.entropy = self.add_weight(
            shape=(1, *shape), initializer='zeros', trainable=False, name='entropy'
        )

    def call(self, probabilities):
        """Add one pass and return its labels.

        Parameters
        ----------
        probabilities : (1, I, J, K, C) tensor

        Returns
        -------
        (1, I, J, K) uint8 tensor
        """
        self.total.assign_add(probabilities)
        self.entropy.assign_add(entropy(probabilities))
        # TensorFlow's argmax takes four times as long on a processor.
        _, winner = ops.top_k(probabilities, 1, sorted=False)
        return ops.cast(ops.squeeze(winner, -1), 'uint8')

    def compute_output_spec(self, probabilities):
        """Return shape and type of the labels."""
        return keras.KerasTensor(probabilities.shape[:-1], dtype='uint8')

    def mirror(self, classes) -> None:
        """Turn the sums left to right, as if all passes so far had seen the mirrored scan.

        Parameters
        ----------
        classes : (C,) sequence of int
            Class of the other side, for each class.
        """
        self.total.assign(ops.take(ops.flip(self.total, axis=1), ops.array(classes, 'int32'), axis=-1))
        self.entropy.assign(ops.flip(self.entropy, axis=1))

    def summary(self, passes: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Return mean, its entropy, and the mean mutual information after so many passes.

        Returns
        -------
        mean : (C, I, J, K) float16 array
        entropy : (I, J, K) float32 array in [0, 1], the unit being log(C)
        mutual_information : float
            In the same unit.
        """
        unit = float(np.log(self.total.shape[-1]))
        mean = self.total[0] / passes
        total = ops.clip(entropy(mean) / unit, 0, 1)
        within = ops.mean(self.entropy) / (passes * unit)
        # rounded before it is turned round: half the memory to move
        mean = ops.transpose(ops.cast(mean, 'float16'), (3, 0, 1, 2))
        information = max(float(ops.mean(total) - within), 0.0)
        return ops.convert_to_numpy(mean), ops.convert_to_numpy(total), information


def entropy(probabilities):
    """Return the entropy over the last axis, in nats."""
    return -ops.sum(probabilities * ops.log(ops.maximum(probabilities, 1e-30)), axis=-1)

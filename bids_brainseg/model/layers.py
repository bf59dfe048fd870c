# SPDX-License-Identifier: Apache-2.0
"""Layers of the network that Keras lacks."""

from __future__ import annotations

import keras


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
    batch normalisation. This layer ignores that flag: ``predict`` samples, and nothing else moves.
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

# SPDX-License-Identifier: Apache-2.0
"""Layers of the network that Keras lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from bids_brainseg.core.arrays import Tensor


@keras.saving.register_keras_serializable('bids_brainseg')
class MonteCarloDropout(keras.layers.Layer):
    """Dropout that is stochastic in training and prediction alike.

    Parameters
    ----------
    rate : float
        Share of units set to zero, of single voxels to the nearest 1/65536; the others are divided by
        ``1 - rate``.
    channelwise : bool
        Drop whole feature maps (doi 10.48550/arXiv.1411.4280) instead of single voxels.
    seed : int, optional
        Two layers with the same seed sample the same masks in the same order.

    Notes
    -----
    Never rely on ``model(x, training=True)`` for Monte-Carlo samples: it also changes the statistics of
    batch normalization. This layer ignores that flag: ``predict`` samples, and nothing else moves.
    Drawing random bits is most of the work, so a mask of single voxels takes eight for each of them; the next
    eight, which decide one unit in 256, are those of its neighbor.
    """

    def __init__(
        self, rate: float, *, channelwise: bool = False, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f'`rate` must lie in [0, 1). Received instead: {rate}')
        self.rate = rate
        self.channelwise = channelwise
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs: Tensor) -> Tensor:
        """Apply a fresh mask.

        Parameters
        ----------
        inputs : (batch, I, J, K, channels) tensor

        Returns
        -------
        tensor of the same shape
        """
        shape = ops.shape(inputs)
        if self.channelwise:
            noise_shape = (shape[0], *([1] * (len(shape) - 2)), shape[-1])
            return keras.random.dropout(inputs, self.rate, noise_shape=noise_shape, seed=self.seed_generator)
        dropped = round(self.rate * 2**16)
        kept = ops.reshape(self._kept(dropped, math.prod(shape)), shape)
        return inputs * ops.cast(kept, inputs.dtype) * (2**16 / (2**16 - dropped))

    def _kept(self, dropped: int, count: int) -> Tensor:
        """Draw for each of `count` units whether 16 random bits are at least `dropped`."""
        words = keras.random.randint(
            ((count + 3) // 4,), -(2**31), 2**31 - 1, dtype='int32', seed=self.seed_generator
        )
        high = ops.view(words, 'uint8')
        # one unit in 256 needs its lower bits; they are the upper ones of the unit before it
        low = ops.roll(high, 1)
        first, second = (ops.cast(part, 'uint8') for part in divmod(dropped, 256))
        tied = ops.logical_and(ops.equal(high, first), ops.greater_equal(low, second))
        return ops.logical_or(ops.greater(high, first), tied)[:count]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Return what rebuilds the layer."""
        return super().get_config() | {'rate': self.rate, 'channelwise': self.channelwise, 'seed': self.seed}


@keras.saving.register_keras_serializable('bids_brainseg')
class InstanceNormalization(keras.layers.Layer):
    """Give every feature map of every scan the mean `beta` and the deviation `gamma`.

    Parameters
    ----------
    epsilon : float
        Added to the variance.

    Notes
    -----
    The same as :class:`keras.layers.GroupNormalization` with one map in a group, in half of its time on a
    processor: moments are summed slab by slab, which is quicker and loses fewer digits than one long sum, and
    the maps are scaled by a product with a diagonal matrix, since factors that change along the last, short
    axis are slow.
    """

    def __init__(self, epsilon: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make scale and offset.

        Parameters
        ----------
        input_shape : (batch, I, J, K, channels) tuple
        """
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer='ones', name='gamma')
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer='zeros', name='beta')

    def call(self, inputs: Tensor) -> Tensor:
        """Normalize.

        Parameters
        ----------
        inputs : (batch, I, J, K, channels) tensor

        Returns
        -------
        tensor of the same shape
        """
        shape = ops.shape(inputs)
        slabs = ops.cast(ops.reshape(inputs, (shape[0], shape[1], -1, shape[-1])), 'float32')
        count = ops.cast(shape[1] * shape[2] * shape[3], 'float32')
        mean = ops.sum(ops.sum(slabs, 2), 1) / count
        square = ops.sum(ops.sum(ops.square(slabs), 2), 1) / count
        variance = ops.maximum(square - ops.square(mean), 0.0)
        scale = ops.cast(self.gamma, 'float32') / ops.sqrt(variance + self.epsilon)
        offset = ops.cast(self.beta, 'float32') - mean * scale
        scales = ops.cast(scale[:, None] * ops.eye(shape[-1]), inputs.dtype)
        return self._scaled(inputs, shape, scales, ops.cast(offset, inputs.dtype))

    @staticmethod
    def _scaled(inputs: Tensor, shape: Sequence, scales: Tensor, offset: Tensor) -> Tensor:
        if inputs.shape[0] == 1:
            flat = ops.matmul(ops.reshape(inputs, (-1, shape[-1])), scales[0]) + offset[0]
        else:
            flat = ops.matmul(ops.reshape(inputs, (shape[0], -1, shape[-1])), scales) + offset[:, None]
        return ops.reshape(flat, shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict:
        """Return what rebuilds the layer."""
        return super().get_config() | {'epsilon': self.epsilon}


class PosteriorAccumulator(keras.layers.Layer):
    """Add up the probabilities of passes, and the mean entropies of their voxels, where they are computed.

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

    def __init__(self, shape: Sequence[int], classes: int, **kwargs: Any) -> None:
        super().__init__(**{'dtype': 'float32'} | kwargs)
        self.total = self.add_weight(
            shape=(1, *shape, classes), initializer='zeros', trainable=False, name='total'
        )
        self.entropy = self.add_weight(shape=(), initializer='zeros', trainable=False, name='entropy')

    def call(self, logits: Tensor) -> Tensor:
        """Add one pass and return its labels.

        Parameters
        ----------
        logits : (1, I, J, K, C) tensor
            Logarithms of the probabilities, but for a number that each voxel may choose.

        Returns
        -------
        (1, I, J, K) uint8 tensor
        """
        probabilities = ops.softmax(logits)
        self.total.assign_add(probabilities)
        # TensorFlow's argmax takes four times as long on a processor.
        highest, winner = ops.top_k(logits, 1, sorted=False)
        # -sum(p log p) without a logarithm of every probability
        missing = highest[..., 0] - ops.log(ops.max(probabilities, -1))
        self.entropy.assign_add(ops.mean(missing - ops.sum(probabilities * logits, -1)))
        return ops.cast(ops.squeeze(winner, -1), 'uint8')

    def compute_output_spec(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Return shape and type of the labels.

        Parameters
        ----------
        logits : (1, I, J, K, C) symbolic tensor

        Returns
        -------
        (1, I, J, K) symbolic uint8 tensor
        """
        return keras.KerasTensor(logits.shape[:-1], dtype='uint8')

    def mirror(self, classes: Sequence[int]) -> None:
        """Turn the sums left to right, as if all passes so far had seen the mirrored scan.

        Parameters
        ----------
        classes : (C,) sequence of int
            Class of the other side, for each class.
        """
        self.total.assign(ops.take(ops.flip(self.total, axis=1), ops.array(classes, 'int32'), axis=-1))

    def summary(self, passes: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Return mean, its entropy, and the mean mutual information of the passes so far.

        Parameters
        ----------
        passes : int
            How many have been added up.

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
        within = self.entropy / (passes * unit)
        # rounded before the axes are moved: half the memory to copy
        mean = ops.transpose(ops.cast(mean, 'float16'), (3, 0, 1, 2))
        information = max(float(ops.mean(total) - within), 0.0)
        return ops.convert_to_numpy(mean), ops.convert_to_numpy(total), information


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy over the last axis.

    Parameters
    ----------
    probabilities : (..., C) tensor
        Sum to 1 over the last axis.

    Returns
    -------
    (...) tensor
        Nats, between 0 and log(C).

    Examples
    --------
    >>> [round(float(x), 3) for x in entropy(ops.array([[0.5, 0.5], [0.25, 0.75]]))]
    [0.693, 0.562]
    """
    return -ops.sum(probabilities * ops.log(ops.maximum(probabilities, 1e-30)), axis=-1)

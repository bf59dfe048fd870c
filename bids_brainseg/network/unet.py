# SPDX-License-Identifier: Apache-2.0
"""The 3D U-Net with Monte-Carlo dropout."""

from __future__ import annotations

import keras
from keras import layers

from bids_brainseg.core.arrays import Tensor

from .layers import InstanceNormalization, MonteCarloDropout

NORMALIZATIONS = ('instance', 'group', 'batch')
DROPOUTS = ('element', 'channel')


def build_unet(
    *,
    filters: int = 32,
    depth: int = 4,
    classes: int = 28,
    dropout: float = 0.2,
    dropout_kind: str = 'element',
    normalization: str = 'instance',
    stochastic: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Build the network of Zopes et al. (doi 10.3389/fneur.2021.653375).

    Parameters
    ----------
    filters : int
        Feature maps of the first block, doubled by each of the following.
    depth : int
        Number of poolings; every side of the input is a multiple of ``2**depth``.
    classes : int
        Structures and background.
    dropout : float
        Rate after every encoder and decoder block; none in the bottleneck.
    dropout_kind : {'element', 'channel'}
        What is dropped: single voxels of feature maps, or whole maps.
    normalization : {'instance', 'group', 'batch'}
        After every convolution. 'batch' is the published one; 'instance' uses the statistics of the scan
        itself, in training and prediction alike; 'group' does so for eight groups of feature maps.
    stochastic : bool
        False leaves the dropout out: one deterministic pass. The weights are the same.
    seed : int, optional
        Seed of the dropout masks.

    Returns
    -------
    keras.Model
        (batch, I, J, K, 1) intensities in [0, 100] to (batch, I, J, K, classes) probabilities. The layer
        'encoder_0_out' holds the features that precede the first dropout, equal for all Monte-Carlo passes.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f'`normalization` must be one of {NORMALIZATIONS}. Received instead: {normalization!r}'
        )
    if dropout_kind not in DROPOUTS:
        raise ValueError(f'`dropout_kind` must be one of {DROPOUTS}. Received instead: {dropout_kind!r}')
    if filters < 1 or depth < 1:
        raise ValueError(f'`filters` and `depth` must be positive. Received instead: {filters} and {depth}')

    def block(x: Tensor, maps: int, name: str) -> Tensor:
        for i in range(2):
            x = layers.Conv3D(maps, 3, padding='same', use_bias=False, name=f'{name}_conv_{i}')(x)
            x = _normalization(normalization, f'{name}_norm_{i}')(x)
            x = layers.ReLU(name=f'{name}_out' if i else f'{name}_relu')(x)
        return x

    def drop(x: Tensor, name: str, number: int) -> Tensor:
        if not stochastic or not dropout:
            return x
        # one stream per layer: masks of different layers must not be copies of each other
        layer_seed = None if seed is None else 1000 * seed + number
        return MonteCarloDropout(
            dropout, channelwise=dropout_kind == 'channel', seed=layer_seed, name=f'{name}_drop'
        )(x)

    inputs = keras.Input((None, None, None, 1), name='intensity')
    x = layers.Rescaling(1 / 50, offset=-1, name='center')(inputs)
    skips = []
    for level in range(depth):
        x = block(x, filters * 2**level, f'encoder_{level}')
        x = drop(x, f'encoder_{level}', level)
        skips.append(x)
        x = layers.MaxPooling3D(2, name=f'pool_{level}')(x)
    x = block(x, filters * 2**depth, 'bottleneck')
    for level in reversed(range(depth)):
        x = layers.Conv3DTranspose(filters * 2**level, 2, strides=2, name=f'up_{level}')(x)
        x = layers.Concatenate(name=f'skip_{level}')([skips[level], x])
        x = block(x, filters * 2**level, f'decoder_{level}')
        x = drop(x, f'decoder_{level}', depth + level)
    x = layers.Conv3D(classes, 1, name='logits')(x)
    outputs = layers.Softmax(dtype='float32', name='probabilities')(x)
    return keras.Model(inputs, outputs, name='unet')


def split_first_block(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut the network before its first dropout.

    Parameters
    ----------
    model : keras.Model
        From :func:`build_unet`.

    Returns
    -------
    first, rest : keras.Model
        ``softmax(rest(first(x)))`` is ``model(x)``; `first` is deterministic, so Monte-Carlo passes share its
        result.
    """
    features, logits = (model.get_layer(name).output for name in ('encoder_0_out', 'logits'))
    return keras.Model(model.input, features), keras.Model(features, logits)


def _normalization(kind: str, name: str) -> keras.layers.Layer:
    if kind == 'batch':
        return layers.BatchNormalization(name=name)
    if kind == 'group':
        return layers.GroupNormalization(groups=8, name=name)
    return InstanceNormalization(name=name)

# SPDX-License-Identifier: Apache-2.0
"""Monte-Carlo prediction with the network of a bundle."""

from __future__ import annotations

import time

import keras
import numpy as np
from keras import ops

from bids_brainseg.core.posterior import RunningPosterior

from .bundle import Bundle
from .layers import MonteCarloDropout
from .unet import build_unet, split_first_block
from .weights import load_weights


def predict_samples(
    image, bundle: Bundle, *, mc_samples: int, seed: int = 0
) -> tuple[RunningPosterior, dict]:
    """Segment an image on the network grid.

    Parameters
    ----------
    image : (I, J, K) float32 array in [0, 100]
        On the grid of the bundle.
    bundle : Bundle
        Network and weights.
    mc_samples : int
        Monte-Carlo passes; 0 is one deterministic pass without dropout.
    seed : int
        The same seed gives the same masks.

    Returns
    -------
    posterior : RunningPosterior
        After all passes.
    seconds : dict
        Time of loading, of the first pass (with compilation) and of the mean of the others.

    Raises
    ------
    ValueError
        If the image is not on the grid, or samples are asked of a network without dropout.
    """
    if np.shape(image) != bundle.grid_shape:
        raise ValueError(f'the network grid has shape {bundle.grid_shape}, the image {np.shape(image)}')
    begun = time.perf_counter()
    model = build_unet(**bundle.architecture, stochastic=mc_samples > 0, seed=seed)
    if mc_samples and not any(isinstance(layer, MonteCarloDropout) for layer in model.layers):
        raise ValueError('Monte-Carlo samples need dropout, which this network lacks; use --mc-samples 0')
    load_weights(model, bundle.weights_path)
    first, rest = split_first_block(model)
    sampler = _with_labels_and_entropy(rest)
    seconds = {'load': time.perf_counter() - begun}
    posterior = RunningPosterior(bundle.grid_shape, model.output_shape[-1])
    features = first.predict_on_batch(np.asarray(image, np.float32)[None, ..., None])
    durations = []
    for _ in range(max(mc_samples, 1)):
        begun = time.perf_counter()
        probabilities, labels, entropy = sampler.predict_on_batch(features)
        posterior.update(probabilities[0], labels[0], entropy[0])
        durations.append(time.perf_counter() - begun)
    seconds['first_pass'] = durations[0]
    seconds['pass'] = float(np.mean(durations[1:])) if durations[1:] else durations[0]
    return posterior, seconds


class _Summary(keras.layers.Layer):
    """Argmax and entropy next to the probabilities, computed where the probabilities are."""

    def call(self, p):
        entropy = -ops.sum(p * ops.log(ops.maximum(p, 1e-30)), axis=-1)
        return p, ops.cast(ops.argmax(p, axis=-1), 'uint8'), entropy


def _with_labels_and_entropy(model):
    return keras.Model(model.input, _Summary()(model.output))

# SPDX-License-Identifier: Apache-2.0
"""Monte-Carlo prediction with the network of a bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from bids_brainseg.core.posterior import LabelOverlapAccumulator
from bids_brainseg.data import mirrored_classes

from ..records import Bundle
from .layers import MonteCarloDropout, PosteriorAccumulator
from .unet import build_unet, split_first_block
from .weights import load_weights


class Prediction(NamedTuple):
    """What all passes together say, on the network grid (I, J, K), for C classes.

    Attributes
    ----------
    mean : (C, I, J, K) float16 array
        Mean softmax.
    entropy : (I, J, K) float32 array
        Entropy of the mean softmax in [0, 1], the unit being log(C).
    mutual_information : float
        Entropy of the mean minus mean entropy, mean over the grid, in the same unit: the part of the
        uncertainty that comes from the weights (doi 10.48550/arXiv.1112.5745).
    labels : LabelOverlapAccumulator
        Voxel counts of each pass, and how far the passes overlap.
    """

    mean: np.ndarray
    entropy: np.ndarray
    mutual_information: float
    labels: LabelOverlapAccumulator


def predict_samples(
    image: ArrayLike,
    bundle: Bundle,
    *,
    mc_samples: int,
    mirrored: bool = False,
    seed: int = 0,
    report: Callable[[int], object] | None = None,
) -> tuple[Prediction, dict]:
    """Segment an image on the network grid.

    Parameters
    ----------
    image : (I, J, K) float32 array in [0, 100]
        On the grid of the bundle.
    bundle : Bundle
        Network and weights.
    mc_samples : int
        Monte-Carlo passes; 0 is one deterministic pass without dropout.
    mirrored : bool
        Let half of the passes (with an odd number, one less) see the scan mirrored left to right, and mirror
        back what they say. Nothing changes where there is but one pass.
    seed : int
        The same seed gives the same masks.
    report : callable, optional
        Is told after each pass how many are done.

    Returns
    -------
    prediction : Prediction
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
    classes = model.output_shape[-1]
    sums = PosteriorAccumulator(bundle.grid_shape, classes)
    sampler = keras.Model(rest.input, sums(rest.output))
    seconds = {'load': time.perf_counter() - begun}
    labels = LabelOverlapAccumulator(bundle.grid_shape, classes)
    other_side = np.array(mirrored_classes(), np.uint8)
    image, durations = np.asarray(image, np.float32), []
    turned_passes = mc_samples // 2 if mirrored else 0
    for count, turned in ((max(mc_samples, 1) - turned_passes, False), (turned_passes, True)):
        if not count:
            continue
        if turned:
            image = image[::-1]
            sums.mirror(other_side)
        features = ops.convert_to_tensor(first.predict_on_batch(image[None, ..., None]))
        for _ in range(count):
            begun = time.perf_counter()
            classes_of_pass = sampler.predict_on_batch(features)[0]
            labels.update(other_side[classes_of_pass[::-1]] if turned else classes_of_pass)
            durations.append(time.perf_counter() - begun)
            if report is not None:
                report(len(durations))
    if turned_passes:
        sums.mirror(other_side)
    seconds['first_pass'] = durations[0]
    seconds['pass'] = float(np.mean(durations[1:])) if durations[1:] else durations[0]
    return Prediction(*sums.summary(labels.passes), labels), seconds

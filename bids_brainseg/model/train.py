# SPDX-License-Identifier: Apache-2.0
"""Training from label maps."""

from __future__ import annotations

import json
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import keras
import numpy as np

from bids_brainseg.core.agreement import dice
from bids_brainseg.errors import ModelError

from .losses import DiceCrossEntropy
from .synthesis import Synthesizer
from .weights import save_weights


def stream(synthesizer: Synthesizer, *, start: int, workers: int):
    """Yield pairs in order of their numbers, drawn ahead in threads while the network learns.

    Parameters
    ----------
    synthesizer : Synthesizer
    start : int
        Number of the first pair; the stream is the same for every number of `workers`.
    workers : int
        Threads.

    Yields
    ------
    image : (1, I, J, K, 1) float32 array in [0, 100]
    labels : (1, I, J, K) uint8 array
    """
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(synthesizer.pair, start + i) for i in range(workers + 1))
        number = start + workers + 1
        try:
            while True:
                image, labels = ahead.popleft().result()
                ahead.append(pool.submit(synthesizer.pair, number))
                number += 1
                yield image[None, ..., None], labels[None]
        finally:
            for future in ahead:
                future.cancel()


def score(model, pairs) -> np.ndarray:
    """Return the Dice of each structure, averaged over pairs.

    Parameters
    ----------
    model : keras.Model
    pairs : sequence of (image, labels)
        Network input (I, J, K) in [0, 100] and class indices.

    Returns
    -------
    (27,) float array
    """
    rows = []
    for image, labels in pairs:
        found = np.argmax(model.predict_on_batch(image[None, ..., None])[0], -1)
        rows.append(dice(found, labels, model.output_shape[-1])[1:])
    return np.nanmean(rows, 0)


def train(
    model: keras.Model,
    synthesizer: Synthesizer,
    folder: Path,
    *,
    steps: int,
    check_every: int = 100,
    learning_rate: float = 1e-3,
    balance: float = 0.0,
    validation=None,
    validate_every: int = 500,
    average: float = 0.99,
    start: int = 0,
    workers: int = 1,
) -> None:
    """Train on drawn pairs and leave ``last.safetensors`` and ``log.jsonl`` in a folder.

    Parameters
    ----------
    model : keras.Model
        From :func:`~bids_brainseg.model.unet.build_unet`; changed in place.
    synthesizer : Synthesizer
        Where pairs come from.
    folder : Path
        Made if absent.
    steps, check_every : int
        Batches of one pair in all, and between checkpoints.
    learning_rate : float
        Of Adam at the start; falls to 1 % of it as half a cosine.
    balance : float
        Of :class:`~bids_brainseg.model.losses.DiceCrossEntropy`.
    validation : mapping of str to sequence of (image, labels), optional
        Scored every `validate_every` steps.
    average : float
        Decay of the running average of the weights, which is what is scored and kept.
    start : int
        Number of the first pair.
    workers : int
        Threads that draw pairs.

    Raises
    ------
    ModelError
        If the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=0.01)
    optimizer = keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=average)
    model.compile(optimizer=optimizer, loss=DiceCrossEntropy(balance))
    begun = time.time()
    losses = []
    with closing(stream(synthesizer, start=start, workers=workers)) as pairs:
        for step in range(1, steps + 1):
            losses.append(float(model.train_on_batch(*next(pairs))))
            if not np.isfinite(losses[-1]):
                raise ModelError(
                    f'training diverged: loss {losses[-1]} at step {step}; lower the learning rate'
                )
            if step % check_every and step != steps:
                continue
            record = {
                'step': step,
                'seconds': round(time.time() - begun),
                'loss': round(float(np.mean(losses)), 4),
            }
            losses.clear()
            with averaged(model):
                save_weights(model, folder / 'last.safetensors')
                if step % validate_every == 0 or step == steps:
                    scores = {name: score(model, held_out) for name, held_out in (validation or {}).items()}
                    record |= {f'dice_{name}': round(float(np.nanmean(x)), 4) for name, x in scores.items()}
            with (folder / 'log.jsonl').open('a') as log:
                log.write(json.dumps(record) + '\n')
            print(json.dumps(record), flush=True)


@contextmanager
def averaged(model: keras.Model):
    """Put the running average of the weights in their place for a while."""
    current = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, current, strict=True):
            variable.assign(value)

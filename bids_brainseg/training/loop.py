# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, epochs, validation, early stop, and a checkpoint that resumes exactly.

It is a loop of our own around ``train_on_batch``: ``model.fit`` with pairs drawn in threads stood still in
TensorFlow, and a run has to go on in the middle of an epoch.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from bids_brainseg.core.agreement import dice, dice_average
from bids_brainseg.data import training_defaults
from bids_brainseg.errors import ModelError
from bids_brainseg.files import write_text

from ..network.losses import DiceCrossEntropy
from ..network.optimizers import ConvolutionMuon
from ..network.weights import save_weights
from .checkpoint import load_checkpoint, save_checkpoint

OPTIMIZERS = {'adam': keras.optimizers.Adam, 'muon': ConvolutionMuon}
CHECKPOINT, BEST, LOG = 'checkpoint.safetensors', 'best.safetensors', 'log.csv'


@dataclass(frozen=True)
class Recipe:
    """How to train; :meth:`from_defaults` is the published way.

    Parameters
    ----------
    epochs, patience : int
        At most so many, and the number without a better validation loss after which to stop (0: never).
    steps_per_epoch, batch_size : int
        Batches in an epoch, pairs in a batch.
    optimizer : {'adam', 'muon'}
        'adam' is the published one; 'muon' is
        :class:`~bids_brainseg.network.optimizers.ConvolutionMuon`, whose rate may be ten times higher.
    learning_rate : float
        Of the optimizer.
    schedule : {'constant', 'cosine'}
        'cosine' lets it fall to 1 % over all epochs.
    balance, entropy_weight : float
        Of :class:`~bids_brainseg.network.losses.DiceCrossEntropy`.
    average : float
        Decay of the running average of the weights, which is then what is validated and kept; 0: none.
    seed : int
        Of the first weights, the dropout and the pairs.
    workers : int
        Threads that draw pairs.
    checkpoint_seconds : float
        Time between checkpoints within an epoch.
    """

    epochs: int
    patience: int
    steps_per_epoch: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    balance: float
    entropy_weight: float
    average: float
    seed: int
    workers: int
    checkpoint_seconds: float

    @classmethod
    def from_defaults(cls, **changes) -> Recipe:
        """Take what is not given from ``training.json``."""
        known = training_defaults()['recipe']
        return cls(**{name: changes.get(name, known[name]) for name in cls.__dataclass_fields__})

    def build_optimizer(self) -> keras.optimizers.Optimizer:
        """Return the optimizer with its schedule."""
        rate = self.learning_rate
        if self.schedule == 'cosine':
            steps = self.epochs * self.steps_per_epoch
            rate = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
        average = {'use_ema': True, 'ema_momentum': self.average} if self.average else {}
        return OPTIMIZERS[self.optimizer](rate, **average)


@dataclass
class Progress:
    """Where a run stands; all of it is in the checkpoint."""

    step: int = 0
    losses: list[float] = field(default_factory=list)  # of the epoch that has begun
    best_loss: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    finished: str = ''  # why
    rows: list[dict] = field(default_factory=list)  # of the log, one for each epoch

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return len(self.rows)


def fit(
    model: keras.Model,
    source,
    folder: Path,
    recipe: Recipe,
    *,
    twin: keras.Model | None = None,
    validation: Sequence = (),
    start: int = 0,
    facts: dict | None = None,
    on_epoch: Callable[[Progress, keras.Model], dict | None] | None = None,
) -> Progress:
    """Train until the epochs are over or the validation loss has not fallen for long.

    Parameters
    ----------
    model : keras.Model
        From :func:`~bids_brainseg.network.unet.build_unet`; changed in place.
    source : object with a method ``pair(number)``
        Where pairs come from; see :class:`~bids_brainseg.synthesis.generator.Synthesizer`. One with a method
        ``learner``, too, draws them where the network computes; see
        :class:`~bids_brainseg.synthesis.device.DeviceSource`.
    folder : Path
        Made if absent; gets ``checkpoint.safetensors``, ``best.safetensors`` (by validation loss; without
        validation the last) and ``log.csv``. A run whose checkpoint lies there goes on from it, and ends with
        the weights that it would have had without the interruption.
    recipe : Recipe
        How.
    twin : keras.Model, optional
        The same network without dropout, for validation and for what is kept; the model itself if None.
    validation : sequence of (image, labels)
        Pairs that are never trained on; may load them when asked for one.
    start : int
        Number of the first pair.
    facts : dict, optional
        What else must be the same for a checkpoint to fit (which data ...).
    on_epoch : callable, optional
        Gets progress and the twin, with the weights that would be kept, after each epoch; what it returns is
        added to the log.

    Returns
    -------
    Progress

    Raises
    ------
    ModelError
        If the loss is no longer finite, or the checkpoint comes from other options.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loss = DiceCrossEntropy(recipe.balance, recipe.entropy_weight)
    model.compile(optimizer=recipe.build_optimizer(), loss=loss)
    learner = source.learner(model, loss) if hasattr(source, 'learner') else model
    free = training_defaults()['may_change']
    identity = {**{k: v for k, v in asdict(recipe).items() if k not in free}, 'start': start, **(facts or {})}
    identity |= {'epochs': recipe.epochs} if recipe.schedule == 'cosine' else {}
    progress = _resume(model, folder, identity)
    progress.finished = _over(progress, recipe)
    begun, saved = time.monotonic() - progress.seconds, time.monotonic()
    bar = _Bar(recipe)
    first = start + progress.step * recipe.batch_size
    with closing(stream(source, start=first, workers=recipe.workers, batch=recipe.batch_size)) as batches:
        while not progress.finished:
            learner.reset_metrics()  # or Keras before 3.14 returns the mean over all steps so far
            progress.losses.append(float(learner.train_on_batch(*next(batches))))
            progress.step += 1
            progress.seconds = time.monotonic() - begun
            if not np.isfinite(progress.losses[-1]):
                raise ModelError(
                    f'training diverged: loss {progress.losses[-1]} at step {progress.step}; '
                    'lower the learning rate'
                )
            bar.step(progress)
            complete = len(progress.losses) == recipe.steps_per_epoch
            if complete:
                with kept_weights(model, twin) as keeper:
                    better = _close_epoch(progress, recipe, keeper, validation, loss, on_epoch)
                    if better:
                        save_weights(keeper, folder / BEST)
                bar.epoch(progress)
            if progress.finished or time.monotonic() - saved >= recipe.checkpoint_seconds:
                save_checkpoint(model, {**asdict(progress), 'identity': identity}, folder / CHECKPOINT)
                saved = time.monotonic()
            if complete:
                _write_log(progress, folder / LOG)
    return progress


def _close_epoch(progress, recipe, keeper, validation, loss, on_epoch) -> bool:
    """Validate, write the row of the epoch, decide whether to stop; return whether it is the best so far."""
    number = progress.epoch + 1
    row = {'epoch': number, 'step': progress.step, 'seconds': round(progress.seconds, 1)}
    row['loss'] = float(np.mean(progress.losses))
    if len(validation):
        row['val_loss'], row['val_dice'] = validate(keeper, validation, loss)
    progress.losses.clear()
    progress.rows.append(row)
    row.update((on_epoch(progress, keeper) if on_epoch else None) or {})
    better = 'val_loss' not in row or progress.best_loss is None or row['val_loss'] < progress.best_loss
    if better:
        progress.best_epoch, progress.best_loss = number, row.get('val_loss')
    progress.finished = _over(progress, recipe)
    return better


def _over(progress, recipe) -> str:
    """Say why training is over, or nothing."""
    if progress.epoch >= recipe.epochs:
        return 'epochs'
    waited = progress.epoch - progress.best_epoch
    return 'patience' if recipe.patience and waited >= recipe.patience else ''


def _resume(model, folder, identity) -> Progress:
    if not (folder / CHECKPOINT).is_file():
        return Progress()
    state = load_checkpoint(model, folder / CHECKPOINT)
    before = state.pop('identity')
    wanted = json.loads(json.dumps(identity))
    differs = [name for name in {**before, **wanted} if before.get(name) != wanted.get(name)]
    if differs:
        said = ', '.join(f'{name} {before.get(name)!r} (now {wanted.get(name)!r})' for name in differs[:3])
        raise ModelError(
            f'the training in {folder} was begun with {said}; '
            'use the same options, or begin anew with --clean-workdir or another --work-dir'
        )
    return Progress(**state)


def validate(model, pairs, loss) -> tuple[float, float]:
    """Return loss and mean Dice over the structures, averaged over pairs.

    Parameters
    ----------
    model : keras.Model
    pairs : sequence of (image, labels)
        Network input (I, J, K) in [0, 100] and class indices.
    loss : keras.losses.Loss
    """
    losses, scores = [], []
    for image, labels in pairs:
        found = model.predict_on_batch(image[None, ..., None])
        losses.append(float(loss(labels[None], found)))
        scores.append(dice_average(dice(np.argmax(found[0], -1), labels, found.shape[-1])))
    return float(np.mean(losses)), float(np.nanmean(scores))


@contextmanager
def kept_weights(model, twin=None):
    """Yield the network with the weights that would be kept: averaged if there is an average, no dropout.

    They are copies: in JAX a variable that is assigned another shares its memory, which a step gives away.
    """
    with averaged(model):
        if twin is not None:
            source = {v.path: v for v in model.weights}
            for variable in twin.weights:
                variable.assign(keras.ops.convert_to_numpy(source[variable.path]))
        yield model if twin is None else twin


@contextmanager
def averaged(model: keras.Model):
    """Put the running average of the weights in their place for a while."""
    # with float16 an optimizer that scales the loss is put around the one of the recipe
    if not getattr(model.optimizer, 'inner_optimizer', model.optimizer).use_ema:
        yield
        return
    current = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    for variable in model.trainable_variables:
        variable.assign(keras.ops.convert_to_numpy(variable))
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, current, strict=True):
            variable.assign(value)


def stream(source, *, start: int, workers: int, batch: int = 1):
    """Yield batches of pairs in order of their numbers, drawn ahead in threads while the network learns.

    Parameters
    ----------
    source : object with a method ``pair(number)``
        One with a method ``collate`` makes batches of its own kind.
    start : int
        Number of the first pair; the stream is the same for every number of `workers`.
    workers : int
        Threads.
    batch : int
        Pairs in a batch.

    Yields
    ------
    image : (batch, I, J, K, 1) float32 array in [0, 100]
    labels : (batch, I, J, K) uint8 array
    """
    collate = getattr(source, 'collate', _stacked)
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(source.pair, start + i) for i in range(workers + batch))
        number = start + len(ahead)
        try:
            while True:
                pairs = []
                for _ in range(batch):
                    pairs.append(ahead.popleft().result())
                    ahead.append(pool.submit(source.pair, number))
                    number += 1
                yield collate(pairs)
        finally:
            for future in ahead:
                future.cancel()


def _stacked(pairs):
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    return images[..., None], labels


def set_precision(wanted: str, device: str) -> str:
    """Choose the arithmetic of the networks that are built from now on.

    Parameters
    ----------
    wanted : {'auto', 'float32', 'mixed_bfloat16', 'mixed_float16'}
        'auto': bfloat16 on a GPU. Mixed: weights, probabilities and loss stay in float32.
    device : {'cpu', 'gpu'}

    Returns
    -------
    str
        The policy.

    Raises
    ------
    ModelError
        For float16 without a GPU: TensorFlow lacks it on processors.
    """
    if wanted == 'auto':
        wanted = 'mixed_bfloat16' if device == 'gpu' else 'float32'
    if wanted == 'mixed_float16' and device == 'cpu':
        raise ModelError(
            'float16 needs a GPU, and the network runs on the processor; use --precision float32'
        )
    keras.config.set_dtype_policy(wanted)
    return wanted


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


class _Bar:
    """A progress bar on a terminal, a line for each epoch in a log file."""

    def __init__(self, recipe: Recipe):
        self.recipe, self.bar, self.tty = recipe, None, sys.stdout.isatty()

    def step(self, progress: Progress) -> None:
        if not self.tty:
            return
        if self.bar is None:
            print(f'epoch {progress.epoch + 1} of at most {self.recipe.epochs}', flush=True)
            self.bar = keras.utils.Progbar(self.recipe.steps_per_epoch)
        self.bar.update(len(progress.losses), [('loss', progress.losses[-1])])

    def epoch(self, progress: Progress) -> None:
        self.bar = None
        row = progress.rows[-1]
        numbers = (f'{name} {row[name]:.4g}' for name in row if name not in ('epoch', 'step', 'seconds'))
        best = f'best {progress.best_epoch}'
        print(
            f'epoch {row["epoch"]}, step {row["step"]}, {row["seconds"]:.0f} s:', *numbers, best, flush=True
        )


def _write_log(progress: Progress, path: Path) -> None:
    """Write the whole log anew: after a resumption no row may stand twice."""
    columns = dict.fromkeys(name for row in progress.rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval='n/a', lineterminator='\n')
    writer.writeheader()
    writer.writerows(progress.rows)
    write_text(text.getvalue(), path)

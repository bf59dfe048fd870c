# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, epochs, validation, early stop, and a checkpoint that resumes exactly.

It is a loop of our own around ``train_on_batch``, since a run must resume in the middle of an epoch with the
same next pair, and ``model.fit`` resumes at epochs only.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from bids_brainseg.core.agreement import dice, dice_average
from bids_brainseg.errors import ModelError
from bids_brainseg.files import write_text
from bids_brainseg.records import TrainingStage

from ..network.losses import DiceCrossEntropy
from ..network.optimizers import ConvolutionMuon
from ..network.weights import save_weights
from ..synthesis.device import DeviceSource
from ..synthesis.generator import PairSource
from .checkpoint import load_checkpoint, save_checkpoint

OPTIMIZERS = {'adam': keras.optimizers.Adam, 'muon': ConvolutionMuon}
#: Gets progress and the network with the weights that would be kept; returns what to add to the log.
OnEpoch = Callable[['Progress', keras.Model], dict | None]
CHECKPOINT, BEST, LOG = 'checkpoint.safetensors', 'best.safetensors', 'log.csv'


def build_optimizer(stage: TrainingStage) -> keras.optimizers.Optimizer:
    """Return the optimizer of a stage with its schedule.

    Parameters
    ----------
    stage : TrainingStage

    Returns
    -------
    keras.optimizers.Optimizer
    """
    rate = stage.learning_rate
    if stage.schedule == 'cosine':
        steps = stage.epochs * stage.steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
    average = {'use_ema': True, 'ema_momentum': stage.ema_momentum} if stage.ema_momentum else {}
    return OPTIMIZERS[stage.optimizer](rate, **average)


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
    source: PairSource | DeviceSource,
    folder: Path,
    stage: TrainingStage,
    *,
    identity: Mapping,
    eval_model: keras.Model | None = None,
    validation: Sequence = (),
    on_epoch: OnEpoch | None = None,
) -> Progress:
    """Train until the epochs are over or the validation loss has not fallen for long.

    Parameters
    ----------
    model : keras.Model
        From :func:`~bids_brainseg.network.unet.build_unet`; changed in place.
    source : object with a method ``pair(number)``
        Where pairs come from; see :class:`~bids_brainseg.synthesis.generator.Synthesizer`. One with a method
        ``learner``, too, makes them where the network computes; see
        :class:`~bids_brainseg.synthesis.device.DeviceSource`.
    folder : Path
        Made if absent; gets ``checkpoint.safetensors``, ``best.safetensors`` (by validation loss; without
        validation the last) and ``log.csv``. A run whose checkpoint lies there goes on from it, and ends with
        the weights that it would have had without the interruption.
    stage : TrainingStage
        How.
    identity : mapping
        What must be the same for a checkpoint to fit; see
        :meth:`~bids_brainseg.records.TrainingPlan.identity`.
    eval_model : keras.Model, optional
        The same network without dropout, for validation and for what is kept; the model itself if None.
    validation : sequence of (image, labels)
        Pairs that are never trained on; may load them when asked for one.
    on_epoch : callable, optional
        Gets progress and `eval_model`, with the weights that would be kept, after each epoch; what it returns
        is added to the log.

    Returns
    -------
    Progress

    Raises
    ------
    ModelError
        If the loss is no longer finite, or the checkpoint comes from other options.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loss = DiceCrossEntropy(stage.class_balance, stage.cross_entropy_weight)
    model.compile(optimizer=build_optimizer(stage), loss=loss)
    learner = source.learner(model, loss) if hasattr(source, 'learner') else model
    progress = _resume(model, folder, identity)
    progress.finished = _over(progress, stage)
    begun, saved = time.monotonic() - progress.seconds, time.monotonic()
    bar = _Bar(stage)
    first = progress.step * stage.batch_size
    with closing(stream(source, start=first, workers=stage.workers, batch=stage.batch_size)) as batches:
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
            complete = len(progress.losses) == stage.steps_per_epoch
            if complete:
                with kept_weights(model, eval_model) as kept:
                    if _close_epoch(progress, stage, kept, validation, loss, on_epoch):
                        save_weights(kept, folder / BEST)
                bar.epoch(progress)
            if progress.finished or time.monotonic() - saved >= stage.checkpoint_seconds:
                save_checkpoint(model, {**asdict(progress), 'identity': identity}, folder / CHECKPOINT)
                saved = time.monotonic()
            if complete:
                _write_log(progress, folder / LOG)
    return progress


def _close_epoch(
    progress: Progress,
    stage: TrainingStage,
    kept: keras.Model,
    validation: Sequence,
    loss: keras.losses.Loss,
    on_epoch: OnEpoch | None,
) -> bool:
    """Validate, write the row of the epoch, decide whether to stop; return whether it is the best so far."""
    number = progress.epoch + 1
    row = {'epoch': number, 'step': progress.step, 'seconds': round(progress.seconds, 1)}
    row['loss'] = float(np.mean(progress.losses))
    due = number % stage.validate_every == 0 or number == stage.epochs
    if len(validation) and due:
        row['val_loss'], row['val_dice'] = validate(kept, validation, loss)
    progress.losses.clear()
    progress.rows.append(row)
    row.update((on_epoch(progress, kept) if on_epoch else None) or {})
    better = not len(validation)
    if 'val_loss' in row:
        better = progress.best_loss is None or row['val_loss'] < progress.best_loss
    if better:
        progress.best_epoch, progress.best_loss = number, row.get('val_loss')
    progress.finished = _over(progress, stage)
    return better


def _over(progress: Progress, stage: TrainingStage) -> str:
    """Say why training is over, or nothing."""
    if progress.epoch >= stage.epochs:
        return 'epochs'
    waited = progress.epoch - progress.best_epoch
    return 'patience' if stage.patience and waited >= stage.patience else ''


def _resume(model: keras.Model, folder: Path, identity: Mapping) -> Progress:
    if not (folder / CHECKPOINT).is_file():
        return Progress()
    state = load_checkpoint(model, folder / CHECKPOINT)
    refuse_other(folder, state.pop('identity'), identity)
    return Progress(**state)


def refuse_other(folder: Path, before: Mapping, wanted: Mapping) -> None:
    """Refuse to go on with a training that was begun in another way.

    Parameters
    ----------
    folder : Path
        Where it lies.
    before, wanted : mapping
        Its identity, and the one asked for.

    Raises
    ------
    ModelError
        If they differ; says in what.
    """
    differs = list(_differences(before, json.loads(json.dumps(wanted))))
    if differs:
        said = ', '.join(f'{name} {_short(was)} (now {_short(now)})' for name, was, now in differs[:3])
        raise ModelError(
            f'the training in {folder} was begun with {said}; '
            'use the same options, or begin anew with --clean-workdir or another --work-dir'
        )


def _differences(before: Mapping, wanted: Mapping, within: str = '') -> Iterator[tuple[str, object, object]]:
    """Yield name and both values of what differs, also within tables."""
    for name in {**before, **wanted}:
        was, now = before.get(name), wanted.get(name)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _differences(was, now, f'{within}{name}.')
        elif was != now:
            yield f'{within}{name}', was, now


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def validate(model: keras.Model, pairs: Sequence, loss: keras.losses.Loss) -> tuple[float, float]:
    """Return loss and mean Dice over the structures, averaged over pairs.

    Parameters
    ----------
    model : keras.Model
    pairs : sequence of (image, labels)
        Network input (I, J, K) in [0, 100] and class indices.
    loss : keras.losses.Loss

    Returns
    -------
    loss : float
    dice : float
        nan if no pair has a structure.
    """
    losses, scores = [], []
    for image, labels in pairs:
        predicted = model.predict_on_batch(image[None, ..., None])
        losses.append(float(loss(labels[None], predicted)))
        scores.append(dice_average(dice(np.argmax(predicted[0], -1), labels, predicted.shape[-1])))
    return float(np.mean(losses)), float(np.nanmean(scores))


@contextmanager
def kept_weights(model: keras.Model, eval_model: keras.Model | None = None) -> Iterator[keras.Model]:
    """Yield the network with the weights that would be kept: averaged if there is an average, no dropout.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    eval_model : keras.Model, optional
        The same network without dropout, which gets the weights; the model itself if None.

    Yields
    ------
    keras.Model

    Notes
    -----
    They are copies: in JAX a variable that is assigned another shares its memory, which a step gives away.
    """
    with averaged(model):
        if eval_model is not None:
            source = {v.path: v for v in model.weights}
            for variable in eval_model.weights:
                variable.assign(keras.ops.convert_to_numpy(source[variable.path]))
        yield model if eval_model is None else eval_model


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Replace the weights by their running average for a while.

    Parameters
    ----------
    model : keras.Model
        Compiled; changed in place, and changed back.

    Yields
    ------
    None
    """
    # with float16 an optimizer that scales the loss is put around the one of the stage
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


def stream(source: PairSource | DeviceSource, *, start: int, workers: int, batch: int = 1) -> Iterator[tuple]:
    """Yield batches of pairs in order of their numbers, made ahead in threads while the network learns.

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


def _stacked(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (np.stack(part) for part in zip(*pairs, strict=True))
    return images[..., None], labels


class _Bar:
    """A progress bar on a terminal, a line for each epoch in a log file."""

    def __init__(self, stage: TrainingStage):
        self.stage, self.bar, self.tty = stage, None, sys.stdout.isatty()

    def step(self, progress: Progress) -> None:
        if not self.tty:
            return
        if self.bar is None:
            print(f'epoch {progress.epoch + 1} of at most {self.stage.epochs}', flush=True)
            self.bar = keras.utils.Progbar(self.stage.steps_per_epoch)
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

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import numpy as np
import pytest
from tiny import make_label_map

from bids_brainseg.data import training_defaults
from bids_brainseg.errors import ModelError
from bids_brainseg.network.backend import set_precision
from bids_brainseg.network.unet import build_unet
from bids_brainseg.network.weights import load_weights
from bids_brainseg.records import TrainingStage
from bids_brainseg.synthesis.ranges import AugmentationRanges
from bids_brainseg.training.label_maps import align_label_map
from bids_brainseg.training.loop import (
    BEST,
    CHECKPOINT,
    LOG,
    OPTIMIZERS,
    averaged,
    build_optimizer,
    fit,
    stream,
)
from bids_brainseg.training.references import defaults, grid_affine, packaged_references
from bids_brainseg.training.sources import synthesizer

GRID = {'shape': (32, 32, 32), 'affine': grid_affine((32, 32, 32), 6.0, defaults()['center'])}


@pytest.fixture(scope='module')
def label_maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp('maps')
    paths = [make_label_map(folder / f'map{n}.nii.gz', shift) for n, shift in enumerate((0, 20))]
    return [align_label_map(path, folder / 'aligned', defaults()['centers']) for path in paths]


def test_the_stream_is_in_order_for_any_number_of_threads(label_maps):
    source = small(label_maps, ranges=AugmentationRanges())
    one, three = (stream(source, start=4, workers=n) for n in (1, 3))
    for number, (a, b) in enumerate(itertools.islice(zip(one, three, strict=False), 4)):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1][0], source.pair(4 + number)[1])


def stage(**changes) -> TrainingStage:
    usual = {'name': 'x', 'contrasts': ('T1w',), 'architecture': {}, 'epochs': 3, 'steps_per_epoch': 3,
             'learning_rate': 5e-3}  # fmt: skip
    return TrainingStage(**{**usual, **changes})


EASY = AugmentationRanges(0, 0, 0, 0, 0, 0, 0, 0, 0, False)


def small(label_maps, **changes):
    return synthesizer(
        label_maps, packaged_references(['T1w']), **{**GRID, 'ranges': EASY, 'seed': 5, **changes}
    )


def networks(filters=4, **changes):
    keras.utils.set_random_seed(0)
    build = {'filters': filters, 'depth': 2, **changes}
    return build_unet(**build, dropout=0.1, seed=0), build_unet(**build, stochastic=False)


def test_the_published_way_is_the_default():
    found = stage(**{**training_defaults()['stage'], 'steps_per_epoch': 1})
    assert (found.epochs, found.patience, found.learning_rate) == (400, 100, 1e-3)
    assert (found.schedule, found.ema_momentum) == ('constant', 0)
    assert (found.class_balance, found.cross_entropy_weight) == (0, 1)
    optimizer = build_optimizer(found)
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)


def test_training_learns_and_keeps_the_averaged_weights(label_maps, tmp_path):
    held_out = [small(label_maps).pair(number) for number in (1000, 1001)]  # alike, but never trained on
    model, eval_model = networks()
    seen = []

    def on_epoch(progress, kept):
        seen.append(kept.get_weights()[0])
        return {'extra': progress.epoch if kept is eval_model else 0}

    progress = fit(
        model, small(label_maps), tmp_path,
        stage(steps_per_epoch=20, class_balance=1.0, ema_momentum=0.8, schedule='cosine'), identity={},
        eval_model=eval_model, validation=held_out, on_epoch=on_epoch,
    )  # fmt: skip
    assert [row['step'] for row in progress.rows] == [20, 40, 60]
    assert [row['extra'] for row in progress.rows] == [1, 2, 3]
    assert progress.rows[-1]['loss'] < progress.rows[0]['loss'] - 0.5
    assert progress.rows[-1]['val_loss'] < progress.rows[0]['val_loss']
    best = int(np.argmin([row['val_loss'] for row in progress.rows]))
    assert progress.best_epoch == best + 1 and progress.finished == 'epochs'
    kept = build_unet(filters=4, depth=2, stochastic=False)
    load_weights(kept, tmp_path / BEST)
    np.testing.assert_array_equal(kept.get_weights()[0], seen[best])
    assert not np.array_equal(seen[-1], model.get_weights()[0])
    with averaged(model):
        np.testing.assert_allclose(seen[-1], model.get_weights()[0], atol=1e-6)
    lines = (tmp_path / LOG).read_text().splitlines()
    assert lines[0] == 'epoch,step,seconds,loss,val_loss,val_dice,extra' and len(lines) == 4


class Noise:
    """Small pairs that depend on their number alone, until someone pulls the plug."""

    def __init__(self, last=1_000_000):
        self.last = last

    def pair(self, number):
        if number > self.last:
            raise InterruptedError
        rng = np.random.default_rng(number)
        return rng.uniform(0, 100, (8, 8, 8)).astype(np.float32), rng.integers(0, 28, (8, 8, 8), np.uint8)


def train_on_noise(folder, rules, source=None, **changes):
    keras.utils.set_random_seed(0)
    model = build_unet(filters=1, depth=1, dropout=0.1, normalization='batch', seed=0)
    eval_model = build_unet(filters=1, depth=1, normalization='batch', stochastic=False)
    progress = fit(
        model, source or Noise(), folder, rules, identity=rules.identity(), eval_model=eval_model,
        validation=[Noise().pair(2000)], **changes,
    )  # fmt: skip
    return progress, [*(v for x in model.layers for v in x.variables), *model.optimizer.variables]


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, optimizer):
    """In the middle of an epoch, with dropout, moving statistics, average, schedule and batches of two."""
    rules = stage(
        optimizer=optimizer, ema_momentum=0.9, schedule='cosine', batch_size=2, checkpoint_seconds=0
    )
    whole, expected = train_on_noise(tmp_path / 'whole', rules)
    with pytest.raises(InterruptedError):
        train_on_noise(tmp_path / 'parts', rules, Noise(9))
    assert (tmp_path / 'parts' / CHECKPOINT).is_file()
    resumed, found = train_on_noise(tmp_path / 'parts', rules)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert (tmp_path / 'whole' / BEST).read_bytes() == (tmp_path / 'parts' / BEST).read_bytes()
    assert [{**row, 'seconds': 0} for row in whole.rows] == [{**row, 'seconds': 0} for row in resumed.rows]
    again, _ = train_on_noise(tmp_path / 'parts', rules, Noise(-1))  # nothing is left to do
    assert again.step == whole.step


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:] = {path!r}
import test_loop
from bids_brainseg.training import checkpoint

def half(tensors, path, metadata):
    path.write_bytes(b'half a file')
    os.kill(os.getpid(), signal.SIGKILL)

class Plug(test_loop.Noise):
    def pair(self, number):
        if number == 5:
            checkpoint.save_file = half
        return super().pair(number)

test_loop.train_on_noise(Path({out!r}), test_loop.stage(checkpoint_seconds=0), Plug())
"""


def test_a_process_that_is_killed_while_it_writes_a_checkpoint_loses_nothing_else(tmp_path):
    """Literally: SIGKILL, which no handler sees, with the file half written."""
    script = KILLED.format(path=[str(Path(__file__).parent), *sys.path], out=str(tmp_path / 'parts'))
    killed = subprocess.run([sys.executable, '-c', script], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (partial,) = (tmp_path / 'parts').glob(f'.{Path(CHECKPOINT).stem}.*')
    assert partial.read_bytes() == b'half a file'
    steps = []
    rules = stage(checkpoint_seconds=0)
    train_on_noise(tmp_path / 'parts', rules, on_epoch=lambda p, _: steps.append(p.step))
    train_on_noise(tmp_path / 'whole', rules)
    assert (tmp_path / 'whole' / BEST).read_bytes() == (tmp_path / 'parts' / BEST).read_bytes()
    assert not partial.exists()


def test_training_stops_when_the_validation_loss_no_longer_falls(tmp_path):
    rules = {'epochs': 50, 'steps_per_epoch': 1, 'learning_rate': 0.0}
    keras.utils.set_random_seed(0)
    model, eval_model = networks(filters=1)

    def train(**changes):
        chosen = stage(**rules, **changes)
        return fit(
            model, Noise(), tmp_path, chosen, identity=chosen.identity(), eval_model=eval_model,
            validation=[Noise().pair(2000)],
        )  # fmt: skip

    progress = train(patience=2)
    assert (progress.best_epoch, progress.epoch, progress.finished) == (1, 3, 'patience')
    more = train(patience=4)
    assert (more.epoch, more.finished) == (5, 'patience')


def test_only_every_so_many_epochs_are_validated_and_the_last(tmp_path):
    rules = stage(epochs=5, steps_per_epoch=1, validate_every=2)
    progress, _ = train_on_noise(tmp_path, rules)
    assert [row['epoch'] for row in progress.rows if 'val_loss' in row] == [2, 4, 5]
    assert progress.best_epoch in (2, 4, 5)


def test_a_checkpoint_of_other_options_is_not_gone_on_from(tmp_path):
    model = build_unet(filters=1, depth=1)
    one, other = stage(epochs=1), stage(learning_rate=0.1)
    data = {'data': {'train': 'a', 'rest': 'c'}}
    fit(model, Noise(), tmp_path, one, identity=one.identity() | data)
    data = {'data': {'train': 'b', 'rest': 'c'}}
    with pytest.raises(ModelError, match=r"learning_rate 0\.005 \(now 0\.1\), data\.train 'a' \(now 'b'\);"):
        fit(
            model, Noise(), tmp_path, other, identity=other.identity() | {'data': {'train': 'b', 'rest': 'c'}}
        )
    with pytest.raises(ModelError, match='another network'):
        fit(build_unet(filters=2, depth=1), Noise(), tmp_path, one, identity=one.identity())
    (tmp_path / CHECKPOINT).write_bytes(b'damaged')
    with pytest.raises(ModelError, match='cannot be read'):
        fit(model, Noise(), tmp_path, one, identity=one.identity())


def test_the_average_is_found_where_float16_scales_the_loss():
    try:
        assert set_precision('mixed_float16', 'gpu') == 'mixed_float16'
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer=build_optimizer(stage(ema_momentum=0.9)), loss='mse')
        for _ in range(3):
            model.train_on_batch(np.ones((1, 2), np.float32), np.ones((1, 1), np.float32))
    finally:
        set_precision('float32', 'gpu')
    assert hasattr(model.optimizer, 'inner_optimizer')
    now = model.get_weights()[0]
    with averaged(model):
        assert not np.array_equal(model.get_weights()[0], now)
    np.testing.assert_array_equal(model.get_weights()[0], now)
    with pytest.raises(ModelError, match='float16 needs a GPU'):
        set_precision('mixed_float16', 'cpu')


def test_divergence_is_an_error(label_maps, tmp_path):
    model = build_unet(filters=2, depth=1)
    model.get_layer('logits').bias.assign(np.full(28, np.nan, np.float32))
    with pytest.raises(ModelError, match='diverged'):
        fit(model, small(label_maps), tmp_path, stage(), identity={})

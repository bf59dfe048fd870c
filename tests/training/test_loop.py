# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import nibabel as nib
import numpy as np
import pytest
from tiny import make_label_map

from bids_brainseg.data import label_table
from bids_brainseg.errors import InputError, ModelError
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.network.unet import build_unet
from bids_brainseg.network.weights import load_weights
from bids_brainseg.synthesis.ranges import AugmentationRanges
from bids_brainseg.training.build import (
    defaults,
    grid_affine,
    held_out_pairs,
    load_heads,
    prepare,
    synthesizer,
)
from bids_brainseg.training.loop import (
    BEST,
    CHECKPOINT,
    LOG,
    OPTIMIZERS,
    Recipe,
    averaged,
    fit,
    score,
    set_precision,
    stream,
)

GRID = {'shape': (32, 32, 32), 'spacing': 6.0}


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp('maps')
    maps = [make_label_map(folder / f'map{n}.nii.gz', shift) for n, shift in enumerate((0, 20, -60))]
    prepare(maps[:2], maps[2:], folder / 'prepared')
    return folder / 'prepared'


def test_prepared_heads_meet_in_the_common_space(prepared):
    heads = [*load_heads(prepared, 'train'), *load_heads(prepared, 'validate')]
    assert len(heads) == 3
    affine = grid_affine((60, 64, 60), 3.0, defaults()['center'])
    classes = [head.class_of[head.sample((60, 64, 60), affine)] for head in heads]
    for index in range(1, 28):
        middles = [np.argwhere(c == index).mean(0) for c in classes]
        assert np.ptp(middles, axis=0).max() < 1, label_table()[index].name


def test_references_are_heads_in_their_contrast(prepared):
    mask = nib.load(prepared / 'mask.nii.gz')
    ct = nib.load(prepared / 'reference_ct.nii.gz')
    assert ct.shape == mask.shape and np.allclose(ct.affine, mask.affine)
    inside = np.asarray(ct.dataobj)[np.asarray(mask.dataobj) > 0]
    assert -5 < np.median(inside) < 45
    assert np.asarray(ct.dataobj).min() == -1000 and np.asarray(ct.dataobj).max() > 500


def test_heads_of_other_tissues_are_refused(prepared, tmp_path):
    (tmp_path / 'heads').mkdir()
    for path in (prepared / 'heads').glob('train_*.npz'):
        with np.load(path) as arrays:
            older = {**arrays, 'tissue_names': arrays['tissue_names'][:-1]}
        np.savez(tmp_path / 'heads' / path.name, **older)
    with pytest.raises(InputError, match='other tissues or layers; run prepare again'):
        load_heads(tmp_path, 'train')


def test_a_label_map_without_structures_is_refused(tmp_path):
    path = tmp_path / 'map.nii.gz'
    nib.Nifti1Image(np.tile(np.int16([2, 0]), (4, 4, 4)), np.eye(4)).to_filename(path)
    with pytest.raises(InputError, match='absent'):
        prepare([path], [], tmp_path)
    with pytest.raises(InputError, match='run prepare first'):
        load_heads(tmp_path, 'train')


def test_the_stream_is_in_order_for_any_number_of_threads(prepared):
    source = synthesizer(
        load_heads(prepared, 'train'),
        ['T1w'],
        **GRID,
        ranges=AugmentationRanges(),
        seed=5,
        mask=prepared / 'mask.nii.gz',
    )
    one, three = (stream(source, start=4, workers=n) for n in (1, 3))
    for number, (a, b) in enumerate(itertools.islice(zip(one, three, strict=False), 4)):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1][0], source.pair(4 + number)[1])


def recipe(**changes):
    usual = {'epochs': 3, 'patience': 0, 'steps_per_epoch': 3, 'learning_rate': 5e-3, 'seed': 0}
    return Recipe.from_defaults(**{**usual, **changes})


EASY = AugmentationRanges(0, 0, 0, 0, 0, 0, 0, 0, 0, False)


def small(prepared, **changes):
    heads = load_heads(prepared, 'train')
    return synthesizer(
        heads, ['T1w'], **{**GRID, 'ranges': EASY, 'seed': 5, 'mask': prepared / 'mask.nii.gz', **changes}
    )


def networks(filters=4, **changes):
    keras.utils.set_random_seed(0)
    build = {'filters': filters, 'depth': 2, **changes}
    return build_unet(**build, dropout=0.1, seed=0), build_unet(**build, stochastic=False)


def test_the_published_recipe_is_the_default():
    found = Recipe.from_defaults(steps_per_epoch=1)
    assert (found.epochs, found.patience, found.learning_rate) == (400, 100, 1e-3)
    assert (found.schedule, found.average, found.balance, found.entropy_weight) == ('constant', 0, 0, 1)
    assert isinstance(found.build_optimizer(), keras.optimizers.Adam)
    assert float(found.build_optimizer().learning_rate) == pytest.approx(1e-3)


def test_training_learns_and_keeps_the_averaged_weights(prepared, tmp_path):
    held_out = held_out_pairs(
        load_heads(prepared, 'validate'), ['T1w'], **GRID, count=1, mask=prepared / 'mask.nii.gz'
    )['T1w']
    model, twin = networks()
    seen = []
    progress = fit(
        model, small(prepared), tmp_path,
        recipe(steps_per_epoch=20, balance=1.0, average=0.8, schedule='cosine'),
        twin=twin, validation=held_out, on_epoch=lambda p, m: seen.append(m) or {'extra': p.epoch},
    )  # fmt: skip
    assert [row['step'] for row in progress.rows] == [20, 40, 60]
    assert [row['extra'] for row in progress.rows] == [1, 2, 3] and seen == [twin] * 3
    assert progress.rows[-1]['loss'] < progress.rows[0]['loss'] - 0.5
    assert progress.rows[-1]['val_loss'] < progress.rows[0]['val_loss']
    assert progress.best_epoch == 3 and progress.finished == 'epochs'
    kept = build_unet(filters=4, depth=2, stochastic=False)
    load_weights(kept, tmp_path / BEST)
    assert not np.array_equal(kept.get_weights()[0], model.get_weights()[0])
    with averaged(model):
        np.testing.assert_allclose(kept.get_weights()[0], model.get_weights()[0], atol=1e-6)
    assert score(kept, held_out).shape == (27,)
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
    twin = build_unet(filters=1, depth=1, normalization='batch', stochastic=False)
    progress = fit(
        model, source or Noise(), folder, rules, twin=twin, validation=[Noise().pair(2000)], **changes
    )
    return progress, [*(v for x in model.layers for v in x.variables), *model.optimizer.variables]


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, optimizer):
    """In the middle of an epoch, with dropout, moving statistics, average, schedule and batches of two."""
    rules = recipe(optimizer=optimizer, average=0.9, schedule='cosine', batch_size=2, checkpoint_seconds=0)
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

test_loop.train_on_noise(Path({out!r}), test_loop.recipe(checkpoint_seconds=0), Plug())
"""


def test_a_process_that_is_killed_while_it_writes_a_checkpoint_loses_nothing_else(tmp_path):
    """Literally: SIGKILL, which no handler sees, with the file half written."""
    script = KILLED.format(path=[str(Path(__file__).parent), *sys.path], out=str(tmp_path / 'parts'))
    killed = subprocess.run([sys.executable, '-c', script], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (partial,) = (tmp_path / 'parts').glob(f'.{Path(CHECKPOINT).stem}.*')
    assert partial.read_bytes() == b'half a file'
    steps = []
    rules = recipe(checkpoint_seconds=0)
    train_on_noise(tmp_path / 'parts', rules, on_epoch=lambda p, _: steps.append(p.step))
    train_on_noise(tmp_path / 'whole', rules)
    assert (tmp_path / 'whole' / BEST).read_bytes() == (tmp_path / 'parts' / BEST).read_bytes()
    assert not partial.exists()


def test_training_stops_when_the_validation_loss_no_longer_falls(tmp_path):
    rules = {'epochs': 50, 'steps_per_epoch': 1, 'learning_rate': 0.0}
    keras.utils.set_random_seed(0)
    model, twin = networks(filters=1)
    pairs = [Noise().pair(2000)]
    progress = fit(model, Noise(), tmp_path, recipe(**rules, patience=2), twin=twin, validation=pairs)
    assert (progress.best_epoch, progress.epoch, progress.finished) == (1, 3, 'patience')
    more = fit(model, Noise(), tmp_path, recipe(**rules, patience=4), twin=twin, validation=pairs)
    assert (more.epoch, more.finished) == (5, 'patience')


def test_a_checkpoint_of_other_options_is_not_gone_on_from(tmp_path):
    model = build_unet(filters=1, depth=1)
    fit(model, Noise(), tmp_path, recipe(epochs=1), facts={'data': 'a'})
    with pytest.raises(ModelError, match=r"begun with learning_rate 0\.005 \(now 0\.1\), data 'a'"):
        fit(model, Noise(), tmp_path, recipe(learning_rate=0.1), facts={'data': 'b'})
    with pytest.raises(ModelError, match='another network'):
        fit(build_unet(filters=2, depth=1), Noise(), tmp_path, recipe(), facts={'data': 'a'})
    (tmp_path / CHECKPOINT).write_bytes(b'damaged')
    with pytest.raises(ModelError, match='cannot be read'):
        fit(model, Noise(), tmp_path, recipe(), facts={'data': 'a'})


def test_the_average_is_found_where_float16_scales_the_loss():
    try:
        assert set_precision('mixed_float16', 'gpu') == 'mixed_float16'
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer=recipe(average=0.9).build_optimizer(), loss='mse')
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


def test_divergence_is_an_error(prepared, tmp_path):
    model = build_unet(filters=2, depth=1)
    model.get_layer('logits').bias.assign(np.full(28, np.nan, np.float32))
    with pytest.raises(ModelError, match='diverged'):
        fit(model, small(prepared), tmp_path, recipe())


def test_the_commands_end_with_a_bundle(prepared, tmp_path):
    def run(*words):
        command = [sys.executable, '-m', 'bids_brainseg.process', *map(str, words), '--device', 'cpu']
        return subprocess.run(command, check=True, capture_output=True, text=True)

    card = tmp_path / 'card.json'
    card.write_text(json.dumps({'training': 'a test', 'limits': 'good for nothing'}))
    run('train', '--prepared', prepared, '--out-dir', tmp_path / 'run',
        '--shape', 32, 32, 32, '--spacing', 6, '--steps', 2, '--check-every', 1,
        '--filters', 1, '--contrasts', 'ct', '--range', 'random_contrast=0', 'rotation=1')  # fmt: skip
    run('pack', '--prepared', prepared, '--trained', tmp_path / 'run', '--modality', 'ct',
        '--model-version', '7', '--card', card, '--pairs', 1, '--out-dir', tmp_path / 'bundle')  # fmt: skip
    bundle = load_bundle(tmp_path / 'bundle')
    assert (bundle.modality, bundle.version, bundle.card['training']) == ('ct', '7', 'a test')
    assert 0 <= bundle.card['dice']['held_out_label_maps']['average'] <= 1
    assert bundle.architecture['filters'] == 1
    assert 'dice_ct' in (tmp_path / 'run' / 'log.csv').read_text().splitlines()[0]

# SPDX-License-Identifier: Apache-2.0
"""From the plan of the train level to a bundle: data, network, loop, scores, card."""

from __future__ import annotations

import fcntl
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from bids_brainseg import __version__
from bids_brainseg.core.agreement import dice, dice_average
from bids_brainseg.core.statistics import pearson
from bids_brainseg.core.volumes import mc_statistics, mean_cv
from bids_brainseg.data import label_table, training_defaults
from bids_brainseg.errors import ModelError

from ..network.bundle import load_bundle, on_grid
from ..network.predict import predict_samples
from ..network.unet import build_unet
from ..network.weights import load_weights, save_weights
from ..records import Bundle
from ..synthesis.device import DeviceSource, sampled_on
from ..synthesis.ranges import AugmentationRanges
from .build import align_head, bundle_like, held_out_pairs, synthesizer
from .loop import BEST, Progress, Recipe, fit, set_precision
from .sources import Mixture, PreprocessedScan, ScanPairs

#: Fewer scans than this say nothing about a correlation.
LEAST_FOR_CORRELATION = 4


def run(plan: Mapping, work_dir: Path, *, device: str) -> Bundle:
    """Train as planned and write the bundle.

    Parameters
    ----------
    plan : mapping
        Written by the train level: ``base`` (folder of the bundle whose reference is used), ``grid_spacing``
        (mm, null: as that bundle has it), ``init`` (begin with its weights), ``modality``, ``architecture``,
        ``recipe``, ``augmentation``, ``ranges``, ``scans`` and ``label_maps`` (each with ``train`` and
        ``validate``), ``share`` (of synthetic pairs), ``mc_samples``, ``bundle_dir``, ``name``, ``license``,
        ``card``.
    work_dir : Path
        Gets the checkpoint, the log and the aligned label maps.
    device : {'cpu', 'gpu'}
        What the network runs on.

    Returns
    -------
    Bundle

    Raises
    ------
    ModelError
        If training diverges, or a checkpoint does not fit the plan.
    InputError
        If a label map or a prepared scan cannot be used.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with _alone(work_dir):
        return _run(plan, work_dir, device)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second process: it would outlive a killed parent, and both would write one checkpoint."""
    with (folder / 'lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ModelError(
                f'another training is running in {folder}; wait for it, or use another --work-dir'
            ) from error
        yield


def _run(plan, work_dir, device) -> Bundle:
    base = load_bundle(plan['base'])
    if plan['grid_spacing']:
        base = on_grid(base, plan['grid_spacing'])
    recipe = Recipe.from_defaults(**plan['recipe'])
    precision = set_precision(plan['recipe']['precision'], device)
    keras.utils.set_random_seed(recipe.seed)
    model = build_unet(**plan['architecture'], seed=recipe.seed)
    twin = build_unet(**plan['architecture'], stochastic=False)
    if plan['init']:
        load_weights(model, base.weights_path)
    source, validation = _data(plan, base, work_dir)
    source = sampled_on(plan['recipe'].get('sample_on', 'auto'), device, source)
    where = {'sample_on': 'device'} if isinstance(source, DeviceSource) else {}
    progress = fit(
        model,
        source,
        work_dir,
        recipe,
        twin=twin,
        validation=validation,
        facts={name: plan[name] for name in ('architecture', 'augmentation', 'ranges', 'scans', 'label_maps',
                                             'share', 'init', 'grid_spacing')}
        | {'window': plan['recipe']['window'], 'precision': precision, 'base': base.weights_sha256} | where,
        on_epoch=_tensorboard(Path(plan['bundle_dir']).parent / 'tensorboard'),
    )  # fmt: skip
    keras.config.set_dtype_policy('float32')  # the scores are those of inference
    half = work_dir / 'half.safetensors'
    load_weights(twin, work_dir / BEST)
    save_weights(twin, half, dtype='float16')
    card = dict(plan['card']) | {'training': _history(plan, progress, device, precision)}
    finish = partial(
        bundle_like, base, Path(plan['bundle_dir']), half, name=plan['name'],
        architecture=plan['architecture'], license=plan['license'], mirrored_passes=_mirrors(plan),
    )  # fmt: skip
    bundle = finish(card=card)
    bundle = finish(card=card | score_bundle(bundle, validation, plan['mc_samples'], recipe.seed))
    _tell(bundle, progress)
    return bundle


def _mirrors(plan) -> bool:
    """Say whether every kind of pair was mirrored at random."""
    moved = [plan['augmentation'] or {'flip': False}] if plan['scans']['train'] else []
    drawn = [plan['ranges']] if plan['label_maps']['train'] else []
    return all(AugmentationRanges.from_mapping(ranges).flip for ranges in (*moved, *drawn))


def _data(plan, base, work_dir):
    """Return the source of pairs and the validation pairs."""
    shape, affine = base.grid_shape, np.array(base.grid_affine)
    recipe, modality = plan['recipe'], plan['modality']
    common = {'seed': recipe['seed'], 'window': recipe['window'] and tuple(recipe['window'])}
    heads = {
        role: [align_head(Path(path), work_dir / 'heads') for path in plan['label_maps'][role]]
        for role in ('train', 'validate')
    }
    scans = {
        role: [PreprocessedScan(Path(x['image']), Path(x['labels']), x['name']) for x in plan['scans'][role]]
        for role in ('train', 'validate')
    }
    real = drawn = None
    if scans['train']:
        asked = plan['augmentation']
        moved = None if asked is None else AugmentationRanges.from_mapping(asked)
        real = ScanPairs(scans['train'], shape, affine, moved, **common)
    grid = {'shape': shape, 'affine': affine, 'mask': base.mask_path, 'rules': {modality: base.intensity}}
    if heads['train']:
        drawn = synthesizer(
            heads['train'],
            [modality],
            **grid,
            **common,
            ranges=AugmentationRanges.from_mapping(plan['ranges']),
        )
    source = Mixture(real, drawn, plan['share'], recipe['seed']) if real and drawn else real or drawn
    if scans['validate'] or not heads['validate']:
        return source, _Loaded(scans['validate'], shape)
    count = training_defaults()['synthetic']['validation_pairs'] * len(heads['validate'])
    pairs = held_out_pairs(heads['validate'], [modality], count=count, **grid)
    return source, pairs[modality]


class _Loaded(Sequence):
    """Validation scans, read when they are asked for: hundreds of them would fill the memory."""

    def __init__(self, scans: Sequence[PreprocessedScan], shape: tuple[int, int, int]):
        self.scans, self.shape = scans, shape

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index):
        return self.scans[index].load(self.shape)


def score_bundle(bundle: Bundle, validation: Sequence, mc_samples: int | None, seed: int) -> dict:
    """Measure a bundle on pairs that it was not trained on, as inference uses it.

    Parameters
    ----------
    bundle : Bundle
    validation : sequence of (image, labels)
        On the network grid.
    mc_samples : int, optional
        Monte-Carlo passes; None: as the bundle says.
    seed : int
        Of the passes.

    Returns
    -------
    dict
        ``dice`` by structure and on average, ``cv_and_dice``: the correlation of the mean Dice with the mean
        CV over the scans, or why there is none.
    """
    if not len(validation):
        return {
            'dice': {'validation': 'n/a: no scan was held out'},
            'cv_and_dice': 'n/a: no scan was held out',
        }
    count = bundle.mc_samples if mc_samples is None else mc_samples
    rows, spread = [], []
    for image, labels in validation:
        prediction, _ = predict_samples(
            image, bundle, mc_samples=count, mirrored=bundle.mirrored_passes, seed=seed
        )
        rows.append(dice(prediction.mean.argmax(0), labels))
        spread.append(mean_cv(mc_statistics(np.array(prediction.labels.counts, float)).cv))
    names = [label.name for label in label_table()]
    averages = [dice_average(row) for row in rows]
    by_structure = {
        name: round(float(np.nanmean([row[i] for row in rows])), 4)
        for i, name in enumerate(names)
        if i and not np.isnan([row[i] for row in rows]).all()
    }
    passes = f'mean of {count} passes' if count else 'one pass without dropout'
    what = f'{len(rows)} held-out scans, network grid, {passes}'
    return {
        'dice': {
            'validation': {'what': what, 'average': round(float(np.nanmean(averages)), 4), **by_structure}
        },
        'cv_and_dice': _correlation(averages, spread),
    }


def _correlation(averages: Sequence[float], spread: Sequence[float]) -> dict | str:
    found = np.array([averages, spread])
    found = found[:, np.isfinite(found).all(0)]
    r, low, high, count = pearson(*found)
    if count < LEAST_FOR_CORRELATION:
        return (
            f'n/a: {count} held-out scans with a CV, {LEAST_FOR_CORRELATION} are needed; '
            'the evaluate level measures it on more'
        )
    if np.isnan(r):
        return 'n/a: all held-out scans have the same mean Dice or CV'
    return {
        'what': 'Pearson correlation of mean Dice and mean CV over held-out scans, with its 95 % interval',
        'pearson_r': round(r, 3),
        'interval': [round(low, 3), round(high, 3)],
        'scans': count,
        'cv_percent': [round(float(x), 3) for x in found[1]],
        'mean_dice': [round(float(x), 4) for x in found[0]],
    }


def _history(plan: Mapping, progress: Progress, device: str, precision: str) -> dict:
    """Say how the weights came about; what the data were, the plan knows."""
    reasons = {
        'epochs': 'all epochs were run',
        'patience': f'no better validation loss for {plan["recipe"]["patience"]} epochs',
    }
    return {
        **plan['card'].get('training', {}),
        'init': plan['card_init'],
        'recipe': plan['recipe'],
        'augmentation': plan['augmentation'] or 'none',
        'synthetic_share': plan['share'],
        'steps': progress.step,
        'epochs': progress.epoch,
        'kept_epoch': progress.best_epoch,
        'stopped': reasons[progress.finished],
        'validation_loss': progress.best_loss if progress.best_loss is not None else 'n/a',
        'hours': round(progress.seconds / 3600, 3),
        'device': device,
        'precision': precision,
        'backend': keras.backend.backend(),
        'versions': {'bids_brainseg': __version__, 'keras': keras.__version__, **_backend_version()},
    }


def _backend_version() -> dict:
    from importlib.metadata import version

    name = keras.backend.backend()
    return {name: version(name)}


def _tensorboard(folder: Path):
    """Return what writes a row of the log for TensorBoard, if that is installed."""
    if importlib.util.find_spec('tensorboard') is None:
        return None
    callback = keras.callbacks.TensorBoard(folder, write_graph=False)
    callback.set_model(SimpleNamespace(optimizer=None))  # of a model it would want more than there is

    def write(progress: Progress, model) -> None:
        row = progress.rows[-1]
        callback.on_epoch_end(row['epoch'], {k: v for k, v in row.items() if k not in ('epoch', 'step')})

    return write


def _tell(bundle: Bundle, progress: Progress) -> None:
    found = bundle.card['dice']['validation']
    said = f', mean Dice {found["average"]}' if isinstance(found, dict) else ''
    print(f'{progress.epoch} epochs, {progress.step} steps, kept epoch {progress.best_epoch}{said}')

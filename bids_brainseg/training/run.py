# SPDX-License-Identifier: Apache-2.0
"""From a plan to bundles: the stages in turn, each with a folder that a later run goes on from."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import keras
from filelock import FileLock, Timeout

from bids_brainseg import __version__
from bids_brainseg.data import training_defaults
from bids_brainseg.errors import InputError, ModelError
from bids_brainseg.files import write_json
from bids_brainseg.records import Bundle, PlannedBundle, TrainingPlan, TrainingStage, plain_values
from bids_brainseg.synthesis.label_map import LabelMap

from ..network.backend import set_precision
from ..network.bundle import load_bundle, write_volume_errors
from ..network.unet import build_unet
from ..network.weights import load_weights, save_weights
from ..synthesis.device import DeviceSource, sampled_on
from ..synthesis.generator import PairSource
from ..synthesis.ranges import AugmentationRanges
from .label_maps import align_label_map
from .loop import BEST, Progress, fit, refuse_other
from .references import Reference, make_references, pack
from .scores import calibrate_bundle, measure_copies, score_bundle
from .sources import Mixture, ScanPairs, ScanSequence, held_out_pairs, load_pair, synthesizer
from .volume_calibration import volume_errors

FINISHED = 'finished.json'
#: Voxels along the shortest side of the bottleneck: on 2 x 2 x 2, TensorFlow 2.21 with oneDNN computes wrong
#: gradients of kernels of 128 channels and more in bfloat16, and right ones from 3 x 3 x 3 on.
LEAST_BFLOAT16 = 3
ROLES = ('train', 'validate')


def run(plan: TrainingPlan, work_dir: Path, *, device: str) -> list[Bundle]:
    """Train as planned and write the bundles.

    Parameters
    ----------
    plan : TrainingPlan
    work_dir : Path
        Gets ``stages/<name>`` with checkpoint, best weights and log, the aligned label maps, and the
        references that are made. What lies there from the same plan is not done again.
    device : {'cpu', 'gpu'}
        What the network runs on.

    Returns
    -------
    list of Bundle

    Raises
    ------
    ModelError
        If training diverges, or what lies in the folder does not fit the plan.
    InputError
        If a label map or a prepared scan cannot be used.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with _alone(work_dir):
        material = Material(plan, work_dir)
        check_plan(plan, material, device)
        histories = {}
        for stage in plan.stages:
            histories[stage.name] = train_stage(plan, stage, material, device)
        return [make_bundle(plan, planned, material, histories) for planned in plan.bundles]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second process: it would outlive a killed parent, and both would write one checkpoint."""
    try:
        with FileLock(folder / 'lock', timeout=0):
            yield
    except Timeout as error:
        raise ModelError(
            f'another training is running in {folder}; wait for it, or use another --work-dir'
        ) from error


class Material:
    """The label maps and references of a plan, read when a stage first needs them.

    Parameters
    ----------
    plan : TrainingPlan
    work_dir : Path
    """

    def __init__(self, plan: TrainingPlan, work_dir: Path):
        self.plan, self.work_dir = plan, work_dir

    @cached_property
    def references(self) -> dict[str, Reference]:
        """What networks are trained for, by modality."""
        if self.plan.bases:
            return {m: Reference.of_bundle(load_bundle(path)) for m, path in self.plan.bases.items()}
        names = dict.fromkeys(name for stage in self.plan.stages for name in stage.contrasts)
        return make_references(
            [Path(path) for path in self.plan.label_maps['train']],
            names,
            self.work_dir / 'reference',
            space=self.plan.reference_name,
            hashes=self.plan.hashes,
        )

    @cached_property
    def label_maps(self) -> dict[str, list[LabelMap]]:
        """Aligned label maps that ``train`` and that ``validate``."""
        centers = next(iter(self.references.values())).centers
        folder = self.work_dir / ('heads' if self.plan.bases else 'reference')
        return {
            role: [align_label_map(Path(x), folder, centers) for x in self.plan.label_maps.get(role, ())]
            for role in ROLES
        }

    def folder(self, stage: str) -> Path:
        """Return the folder of a stage.

        Parameters
        ----------
        stage : str
            Its name.

        Returns
        -------
        Path
        """
        return self.work_dir / 'stages' / stage

    def pairs(self, stage: TrainingStage, count: int) -> dict[str, list]:
        """Return synthetic pairs of the held-out label maps in each contrast of a stage.

        Parameters
        ----------
        stage : TrainingStage
        count : int
            Pairs of each contrast.

        Returns
        -------
        dict of str to list of (image, labels)
        """
        references = {name: self.references[name] for name in stage.contrasts}
        shape, affine = next(iter(references.values())).grid_of(stage)
        maps = self.label_maps['validate']
        return held_out_pairs(maps, references, shape=shape, affine=affine, count=count)


def check_plan(plan: TrainingPlan, material: Material, device: str) -> None:
    """Refuse, before anything runs, a plan that does not fit the folder, or stages that cannot run.

    Parameters
    ----------
    plan : TrainingPlan
    material : Material
    device : {'cpu', 'gpu'}

    Raises
    ------
    ModelError
        If a stage of the folder ended in another way, or a grid or window has sides that do not fit.
    InputError
        If real scans lie on another grid than that of a stage that takes them.
    """
    for stage in plan.stages:
        if ended := _finished(material.folder(stage.name)):
            refuse_other(material.folder(stage.name), ended['identity'], plan.identity(stage.name))
    for stage in plan.stages:
        grids = [material.references[name].grid_of(stage)[0] for name in stage.contrasts]
        if len(set(grids)) > 1:
            raise ModelError(f'stage {stage.name}: its modalities have references of different grids')
        least = min(stage.window or grids[0]) // 2 ** stage.architecture['depth']
        if (stage.precision, device) == ('mixed_bfloat16', 'cpu') and least < LEAST_BFLOAT16:
            raise ModelError(
                f'stage {stage.name}: a side of {least} at the bottleneck is too small for bfloat16 on the '
                f'processor, whose gradients are wrong below {LEAST_BFLOAT16}; use a larger window or grid, '
                'or --precision float32'
            )
        scans = [scan for scan in plan.scans.get('train', ()) if scan.modality in stage.contrasts]
        if scans and stage.synthetic_share < 1:
            load_pair(scans[0], grids[0])


def _finished(folder: Path) -> dict | None:
    path = folder / FINISHED
    try:
        return json.loads(path.read_text()) if path.is_file() and (folder / BEST).is_file() else None
    except ValueError as error:
        raise ModelError(f'{path} cannot be read ({error}); remove it, and the stage goes on') from error


def train_stage(plan: TrainingPlan, stage: TrainingStage, material: Material, device: str) -> dict:
    """Run a stage, or take over what an earlier run made of it.

    Parameters
    ----------
    plan : TrainingPlan
    stage : TrainingStage
    material : Material
    device : {'cpu', 'gpu'}

    Returns
    -------
    dict
        How it went, for the card.
    """
    folder, identity = material.folder(stage.name), plan.identity(stage.name)
    complete = stage.identity(complete=True)
    before = _finished(folder)
    if before and before['complete'] == complete:
        print(f'stage {stage.name}: finished before', flush=True)
        return before['history']
    if len(plan.stages) > 1:
        print(f'stage {stage.name}: {", ".join(stage.contrasts)}', flush=True)
    keras.backend.clear_session()
    precision = set_precision(stage.precision, device)
    keras.utils.set_random_seed(stage.seed)
    model = build_unet(**stage.architecture, seed=stage.seed)
    eval_model = build_unet(**stage.architecture, stochastic=False)
    if stage.after is not None:
        load_weights(model, material.folder(stage.after) / BEST)
    elif stage.init is not None:
        load_weights(model, initial_weights(stage.init))
    source, validation = stage_data(plan, stage, material)
    source = sampled_on(stage.sample_on, device, source)
    where = {'sample_on': 'device'} if isinstance(source, DeviceSource) else {}
    boards = Path(plan.folder) / 'tensorboard' / (stage.name if len(plan.stages) > 1 else '')
    progress = fit(
        model,
        source,
        folder,
        stage,
        eval_model=eval_model,
        validation=validation,
        identity=identity | {'precision': precision} | where,
        on_epoch=_tensorboard(boards),
    )
    keras.config.set_dtype_policy('float32')
    history = _history(stage, progress, device, precision)
    write_json({'identity': identity, 'complete': complete, 'history': history}, folder / FINISHED)
    return history


def initial_weights(path: str) -> Path:
    """Return the weights of a bundle, or the file itself.

    Parameters
    ----------
    path : str
        Folder of a bundle, or ``*.safetensors``.

    Returns
    -------
    Path
    """
    return load_bundle(path).weights_path if Path(path).is_dir() else Path(path)


def stage_data(plan: TrainingPlan, stage: TrainingStage, material: Material) -> tuple[PairSource, Sequence]:
    """Return the source of the pairs of a stage, and the pairs that validate it.

    Parameters
    ----------
    plan : TrainingPlan
    stage : TrainingStage
    material : Material

    Returns
    -------
    source : Synthesizer, ScanPairs or Mixture
    validation : sequence of (image, labels)
        Scans if any are held out, else synthetic pairs of held-out label maps.

    Raises
    ------
    InputError
        If there is nothing to train on.
    """
    references = {name: material.references[name] for name in stage.contrasts}
    shape, affine = next(iter(references.values())).grid_of(stage)
    common = {'seed': stage.seed, 'window': stage.window and tuple(stage.window)}
    scans = {role: [x for x in plan.scans.get(role, ()) if x.modality in stage.contrasts] for role in ROLES}
    real = synthetic = None
    if scans['train'] and stage.synthetic_share < 1:
        asked = stage.augmentation
        moved = None if asked is None else AugmentationRanges.from_mapping(asked)
        real = ScanPairs(scans['train'], shape, affine, moved, **common)
    if material.label_maps['train'] and stage.synthetic_share > 0:
        ranges = AugmentationRanges.from_mapping(stage.ranges)
        synthetic = synthesizer(
            material.label_maps['train'], references, shape=shape, affine=affine, ranges=ranges, **common
        )
    source = real or synthetic
    if source is None:
        raise InputError(f'stage {stage.name}: there is nothing to train on; give label maps or scans')
    if real and synthetic:
        source = Mixture(real, synthetic, stage.synthetic_share, stage.seed)
    if scans['validate'] or not material.label_maps['validate']:
        return source, ScanSequence(scans['validate'], shape)
    count = training_defaults()['synthetic']['validation_pairs'] * len(material.label_maps['validate'])
    return source, [pair for pairs in material.pairs(stage, count).values() for pair in pairs]


def make_bundle(
    plan: TrainingPlan, planned: PlannedBundle, material: Material, histories: Mapping[str, dict]
) -> Bundle:
    """Pack the weights of a stage, score and calibrate them; leave a bundle alone that was made of the same.

    Parameters
    ----------
    plan : TrainingPlan
    planned : PlannedBundle
    material : Material
    histories : mapping of str to dict
        From :func:`train_stage`, by stage.

    Returns
    -------
    Bundle
    """
    stage = plan.stage(planned.stage)
    settings = (plan.mc_samples, plan.evaluation_pairs, plan.calibration_copies, plan.acceptable_dice)
    made_of = plain_values(
        {
            'stage': plan.identity(stage.name) | stage.identity(complete=True),
            'bundle': asdict(planned),
            'scored': settings,
        }
    )
    record = material.work_dir / 'bundles' / f'{planned.name}.json'
    if record.is_file() and json.loads(record.read_text()) == made_of:
        try:
            return load_bundle(planned.folder)
        except ModelError:
            pass  # removed or damaged: it is made anew
    # scores and intervals are to be those of a segmentation
    keras.config.set_dtype_policy('float32')
    reference = material.references[planned.modality]
    half = material.folder(stage.name) / 'half.safetensors'
    network = build_unet(**stage.architecture, stochastic=False)
    load_weights(network, material.folder(stage.name) / BEST)
    save_weights(network, half, dtype='float16')
    facts = {'stage': stage, 'mirrored_passes': mirrors(plan, stage)}
    draft = pack(reference, half, planned, record.with_suffix(''), **facts, card={})
    pairs = evaluation_pairs(plan, planned.modality, stage, material)
    lineage = _lineage(plan, stage, histories)
    card = dict(planned.card) | {'training': {**planned.card.get('training', {}), **lineage}}
    card |= score_bundle(draft, pairs, plan.mc_samples, stage.seed)
    threshold, errors, intervals = None, {}, ''
    if plan.calibration_copies and len(pairs):
        measured = measure_copies(
            draft, pairs, copies=plan.calibration_copies, mc_samples=plan.mc_samples, seed=stage.seed
        )
        threshold, card['threshold'] = calibrate_bundle(measured, plan.acceptable_dice)
        errors, intervals = volume_errors({str(number): own for number, own in enumerate(measured)})
    bundle = pack(reference, half, planned, Path(planned.folder), **facts, card=card, cv_threshold=threshold)
    if errors:
        bundle = write_volume_errors(bundle, errors, intervals)
    write_json(made_of, record)
    _print_result(bundle, histories[stage.name])
    return bundle


def evaluation_pairs(plan: TrainingPlan, modality: str, stage: TrainingStage, material: Material) -> Sequence:
    """Return the pairs that a bundle is scored on.

    Parameters
    ----------
    plan : TrainingPlan
    modality : str
    stage : TrainingStage
        Gives the grid.
    material : Material

    Returns
    -------
    sequence of (image, labels)
        The synthetic pairs that the plan asks for, else those that validated.
    """
    if plan.evaluation_pairs and material.label_maps['validate']:
        return material.pairs(stage, plan.evaluation_pairs)[modality]
    scans = [scan for scan in plan.scans.get('validate', ()) if scan.modality == modality]
    if scans or not material.label_maps['validate']:
        return ScanSequence(scans, material.references[modality].grid_of(stage)[0])
    count = training_defaults()['synthetic']['validation_pairs'] * len(material.label_maps['validate'])
    return material.pairs(stage, count)[modality]


def mirrors(plan: TrainingPlan, stage: TrainingStage) -> bool:
    """Return whether every kind of pair of a stage is mirrored at random.

    Parameters
    ----------
    plan : TrainingPlan
    stage : TrainingStage

    Returns
    -------
    bool
    """
    real = any(scan.modality in stage.contrasts for scan in plan.scans.get('train', ()))
    kinds = []
    if real and stage.synthetic_share < 1:
        kinds.append({'flip': False} if stage.augmentation is None else stage.augmentation)
    if plan.label_maps.get('train') and stage.synthetic_share > 0:
        kinds.append(stage.ranges)
    return all(AugmentationRanges.from_mapping(ranges).flip for ranges in kinds)


def _history(stage: TrainingStage, progress: Progress, device: str, precision: str) -> dict:
    """Say how a stage went."""
    reasons = {
        'epochs': 'all epochs were run',
        'patience': f'no better validation loss for {stage.patience} epochs',
    }
    backend = keras.backend.backend()
    return {
        'stage': plain_values(asdict(stage)),
        'steps': progress.step,
        'epochs': progress.epoch,
        'kept_epoch': progress.best_epoch,
        'stopped': reasons[progress.finished],
        'validation_loss': progress.best_loss if progress.best_loss is not None else 'n/a',
        'hours': round(progress.seconds / 3600, 3),
        'device': device,
        'precision': precision,
        'backend': backend,
        'versions': {'bids_brainseg': __version__, 'keras': keras.__version__, backend: version(backend)},
    }


def _lineage(plan: TrainingPlan, stage: TrainingStage, histories: Mapping[str, dict]) -> dict:
    """Say how the weights came about: the last stage, and those before it."""
    history = dict(histories[stage.name])
    lineage = {'recipe': history.pop('stage'), **history}
    earlier = []
    while stage.after is not None:
        stage = plan.stage(stage.after)
        earlier.insert(0, histories[stage.name])
    if earlier:
        lineage['earlier_stages'] = earlier
        lineage['hours'] = round(sum(one['hours'] for one in (*earlier, history)), 3)
        lineage['steps'] = sum(one['steps'] for one in (*earlier, history))
    return lineage


def _tensorboard(folder: Path) -> Callable[[Progress, keras.Model], None] | None:
    """Return what writes a row of the log for TensorBoard, if that is installed."""
    if importlib.util.find_spec('tensorboard') is None:
        return None
    callback = keras.callbacks.TensorBoard(folder, write_graph=False)
    callback.set_model(SimpleNamespace(optimizer=None))  # of a model it would want more than there is

    def write(progress: Progress, model: keras.Model) -> None:
        row = progress.rows[-1]
        callback.on_epoch_end(row['epoch'], {k: v for k, v in row.items() if k not in ('epoch', 'step')})

    return write


def _print_result(bundle: Bundle, history: Mapping) -> None:
    scores = bundle.card['dice']['validation']
    dice = f', mean Dice {scores["average"]}' if isinstance(scores, dict) else ''
    print(
        f'{bundle.name}: {history["epochs"]} epochs, {history["steps"]} steps, '
        f'kept epoch {history["kept_epoch"]}{dice}',
        flush=True,
    )

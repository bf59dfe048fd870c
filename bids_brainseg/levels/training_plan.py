# SPDX-License-Identifier: Apache-2.0
"""Decide who trains and who validates, and write down all that the network process needs."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bids.training_cases import split_subjects, subject_of
from ..data import training_defaults
from ..errors import BidsError
from ..network.bundle import file_sha256
from ..records import Bundle, PlannedBundle, TrainingPlan, TrainingScan, TrainingStage, plain_values
from ..settings import Settings
from .recipe import Recipe

LOGGER = logging.getLogger('bids_brainseg')
#: Of the only stage of a training without a recipe.
STAGE = 'training'
ROLES = ('train', 'validate')


@dataclass(frozen=True)
class Data:
    """What there is to train on.

    Attributes
    ----------
    rows : list of dict
        The cases of real scans; :func:`split` gives those that are kept their part as status.
    scans, label_maps : dict
        ``train`` and ``validate`` to scans and paths.
    """

    rows: list[dict]
    scans: dict[str, tuple[TrainingScan, ...]]
    label_maps: dict[str, tuple[str, ...]]

    @property
    def share(self) -> float | None:
        """Share of synthetic pairs where only one kind is there."""
        return 1.0 if not self.scans['train'] else 0.0 if not self.label_maps['train'] else None


def split(
    settings: Settings, rows: list[dict], maps: Sequence[Path], *, chosen: Sequence[str], share: float
) -> Data:
    """Divide participants into those that train and those that validate.

    Parameters
    ----------
    settings : Settings
    rows : list of dict
        The cases; their status becomes ``train`` or ``validate``.
    maps : sequence of Path
        Label maps.
    chosen : sequence of str
        Participants held out; empty: a fraction chosen at random.
    share : float
        Fraction of the participants held out for validation.

    Returns
    -------
    Data
    """
    rule = {'share': share, 'seed': settings.random_seed, 'chosen': chosen}
    kept = [row for row in rows if row['status'] == 'kept']
    train, validate = split_subjects((row['subject'] for row in kept), **rule)
    subjects = {path: subject_of(path) for path in maps}
    if not validate:  # a label map can stand in, but not one of somebody whose scans are trained on
        _, validate = split_subjects(set(subjects.values()) - set(train), **rule)
    validate = {*validate, *(name for name in subjects.values() if name in chosen)}
    for row in kept:
        row['status'] = 'validate' if row['subject'] in validate else 'train'
    scans = {role: tuple(_scan(row) for row in kept if row['status'] == role) for role in ROLES}
    label_maps = {
        'train': tuple(str(path) for path, subject in subjects.items() if subject not in validate),
        'validate': tuple(str(path) for path, subject in subjects.items() if subject in validate),
    }
    if (kept or subjects) and not validate:
        LOGGER.warning('No validation data: all epochs run, and the bundle gets no scores')
    return Data(rows, scans, label_maps)


def _scan(row: Mapping) -> TrainingScan:
    files = row['files']
    return TrainingScan(str(files['image']), str(files['labels']), row['scan'], row['modality'])


def plan_network(settings: Settings, base: Bundle, data: Data, folder: Path) -> TrainingPlan:
    """Plan one network of one modality, as the options say.

    Parameters
    ----------
    settings : Settings
    base : Bundle
        Whose reference is used.
    data : Data
    folder : Path
        Gets the bundle.

    Returns
    -------
    TrainingPlan
    """
    request, known = settings.training, training_defaults()
    share = data.share
    if share is None:
        share = known['synthetic']['share'] if request.synthetic_share is None else request.synthetic_share
    architecture = dict(base.architecture) if request.init else dict(known['architecture'])
    if request.filters is not None:
        architecture['filters'] = request.filters
    options = {**known['stage'], **request.stage}
    options['steps_per_epoch'] = options['steps_per_epoch'] or epoch_length(
        len(data.scans['train']), share, options['batch_size']
    )
    ranges = {**known['augmentation'], **request.ranges}
    try:
        stage = TrainingStage(
            name=STAGE,
            contrasts=(base.modality,),
            architecture=architecture,
            init=str(base.weights_path) if request.init else None,
            ranges=dict(request.ranges),
            augmentation=None if request.no_augmentation else ranges,
            synthetic_share=share,
            seed=settings.random_seed,
            **options,
        )
    except ValueError as error:
        raise BidsError(f'these options of training make no sense: {error}', 2) from error
    label_maps = data.label_maps
    if data.scans['validate']:
        label_maps = {**label_maps, 'validate': ()}
    about = card(settings, data, f'the bundle {base.name}', base.cv_threshold)
    about['training']['init'] = (
        f'{base.name} {base.version} ({base.weights_sha256[:12]})' if request.init else 'none'
    )
    bundle = PlannedBundle(
        modality=base.modality,
        stage=STAGE,
        folder=str(folder / 'bundle'),
        name=request.bundle_name or f'own{base.modality}',
        version='1',
        license=request.license or known['license'],
        card=about,
    )
    bases = {base.modality: base}
    return TrainingPlan(
        stages=(stage,),
        folder=str(folder),
        bundles=(bundle,),
        bases={modality: str(found.path) for modality, found in bases.items()},
        label_maps=label_maps,
        scans=data.scans,
        hashes=hashes((stage,), label_maps, bases),
        mc_samples=settings.mc_samples,
    )


def plan_recipe(
    settings: Settings, recipe: Recipe, bases: Mapping[str, Bundle], data: Data, folder: Path
) -> TrainingPlan:
    """Plan the stages and bundles of a recipe.

    Parameters
    ----------
    settings : Settings
    recipe : Recipe
    bases : mapping of str to Bundle
        Modality to the bundle whose reference is used; empty: references are made.
    data : Data
    folder : Path
        Gets the bundles.

    Returns
    -------
    TrainingPlan

    Raises
    ------
    BidsError
        With exit code 2 if a stage makes no sense, or needs scans that are not there.
    """
    request = settings.training
    stages = recipe.stages_for(
        seed=settings.random_seed, beside=request.stage, init=request.init, share=data.share
    )
    known = training_defaults()
    bundles = []
    for modality in recipe.contrasts:
        base = bases.get(modality)
        source = f'the bundle {base.name}' if base else 'the modality'
        threshold = base.cv_threshold if base else recipe.cv_threshold(modality)
        about = card(settings, data, source, threshold)
        about['training'] |= {'recipe_name': recipe.name, 'init': stages[0].init or 'none'}
        bundles.append(
            PlannedBundle(
                modality=modality,
                stage=recipe.last_stage(modality),
                folder=str(folder / 'bundles' / recipe.bundle_name(modality)),
                name=recipe.bundle_name(modality),
                version=str(recipe.bundles.get('version', '1')),
                license=recipe.bundles.get('license', known['license']),
                card={**about, **recipe.bundles.get('card', {})},
            )
        )
    try:
        return TrainingPlan(
            stages=stages,
            folder=str(folder),
            bundles=tuple(bundles),
            bases={modality: str(bundle.path) for modality, bundle in bases.items()},
            reference_name=recipe.reference_name,
            label_maps=data.label_maps,
            scans=data.scans,
            hashes=hashes(stages, data.label_maps, bases),
            mc_samples=recipe.evaluation.get('mc_samples', settings.mc_samples),
            evaluation_pairs=recipe.evaluation.get('pairs', 0),
            calibration_copies=recipe.calibration.get('copies', 0),
            acceptable_dice=recipe.calibration.get('acceptable_dice'),
        )
    except ValueError as error:
        raise BidsError(f'--recipe {recipe.path}: {error}', 2) from error


def hashes(
    stages: Sequence[TrainingStage], label_maps: Mapping, bases: Mapping[str, Bundle]
) -> dict[str, str]:
    """Return the contents of label maps, initial weights and bases by their path."""
    files = {path for paths in label_maps.values() for path in paths}
    files |= {stage.init for stage in stages if stage.init is not None}
    contents = {path: file_sha256(Path(path)) for path in sorted(files)}
    for base in bases.values():
        parts = [*base.reference_sha256, base.grid_shape, base.grid_affine, dict(base.intensity)]
        contents[str(base.path)] = hashlib.sha256(json.dumps(plain_values(parts)).encode()).hexdigest()
    return contents


def epoch_length(scans: int, share: float, batch: int) -> int:
    """Return the steps in which each scan is seen about once.

    >>> epoch_length(30, 0.0, 1), epoch_length(30, 0.5, 2), epoch_length(0, 1.0, 1)
    (30, 30, 100)
    """
    if not scans or share >= 1:
        return training_defaults()['synthetic']['steps_per_epoch']
    return math.ceil(scans / (1 - share) / batch)


def card(settings: Settings, data: Data, source: str, threshold: float) -> dict:
    """Say what is known of the new weights before they exist."""
    subjects = {role: len({row['subject'] for row in data.rows if row['status'] == role}) for role in ROLES}
    counts = {
        role: {
            'scans': len(data.scans[role]),
            'subjects': subjects[role],
            'label_maps': 0 if role == 'validate' and data.scans[role] else len(data.label_maps[role]),
        }
        for role in ROLES
    }
    counts['left_out'] = sum(row['status'] not in ROLES for row in data.rows)
    counts['labels'] = label_origin({row['labels'] for row in data.rows if row['status'] in ROLES})
    return {
        'training': {'dataset': settings.bids_dir.name, 'data': counts},
        'threshold': f'mean CV above {threshold} %: taken over from {source}, not '
        'calibrated on these weights; the evaluate level does that',
        'limits': [
            'Measured on the held-out scans named above only: scanners, protocols, ages and diseases that '
            'were not among the training data are unknown territory.',
            'Labels made by a program are learned with their errors; the scores measure agreement with them.',
            'For research. Not a medical device.',
        ],
    }


def label_origin(sources: Collection[str]) -> str:
    """Say on the card where labels come from.

    >>> label_origin({'brainseg', 'freesurfer'})
    'FreeSurfer, or this program from the T1w; carried by this program'
    >>> label_origin(set())
    'label maps'
    """
    names = {'freesurfer': 'FreeSurfer', 'brainseg': 'this program from the T1w'}
    found = ', or '.join(text for source, text in names.items() if source in sources)
    return f'{found}; carried by this program' if found else 'label maps'


def refuse_overwrite(plan: TrainingPlan, folder: Path) -> None:
    """Keep bundles that were trained in another way from being overwritten.

    Raises
    ------
    BidsError
        With exit code 2; says what differs.
    """
    path = folder / 'plan.json'
    made = [bundle for bundle in plan.bundles if (Path(bundle.folder) / 'model.json').is_file()]
    if not made or not path.is_file():
        return
    try:
        before = TrainingPlan.from_json(json.loads(path.read_text()))
    except ValueError as error:
        raise BidsError(
            f'{path} was written by another version ({error}), and {made[0].folder} would be overwritten; '
            'choose another OUTPUT_DIR and --work-dir, or begin anew with --clean-workdir',
            2,
        ) from error
    for bundle in made:
        old = next((x for x in before.bundles if x.folder == bundle.folder), None)
        if old is None:
            continue
        was, now = before.identity(old.stage), plan.identity(bundle.stage)
        differs = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        if differs:
            said = ', '.join(f'{name} {shortened(was.get(name))}' for name in differs[:3])
            raise BidsError(
                f'{bundle.folder} was trained with other options: {said}, and would be overwritten; choose '
                'another OUTPUT_DIR and --work-dir, or begin anew with --clean-workdir',
                2,
            )


def shortened(value: object) -> str:
    """Spell a value of a plan in an error.

    >>> shortened(8), shortened({'train': list(range(90))})
    ('8', "{'train': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, ...")
    """
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'

# SPDX-License-Identifier: Apache-2.0
"""Recipes: files that say how to train, from label maps to finished bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from ..data import modalities, training_defaults
from ..errors import BidsError
from ..files import read_text
from ..records import TrainingStage, from_mapping

#: Keys of the parts of a recipe.
PARTS = {
    'reference': {'name'},
    'validation': {'labels', 'share'},
    'specialization': None,  # a stage, and `modalities`
    'evaluation': {'pairs', 'mc_samples'},
    'calibration': {'copies', 'acceptable_dice'},
    'bundles': {'version', 'license', 'names', 'card'},
}
#: Parts of the architecture that a stage may change: the weights are the same.
OF_DROPOUT = ('dropout', 'dropout_kind')


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe file says; see docs/training.rst.

    Attributes
    ----------
    path : Path
        The file.
    name : str
        Names the folders of results.
    contrasts : tuple of str
        Modalities that bundles are made for.
    description : str
    reference : mapping, optional
        ``name`` of references that are made from the label maps; None: those of the packaged bundles.
    validation : mapping
        ``labels`` of those who validate, or their ``share``.
    architecture, training : mapping
        What differs from the defaults in all stages.
    stages : tuple of mapping
        What differs in each; a stage begins with the weights of the one before.
    specialization : mapping, optional
        A stage that every modality has for itself after them; ``modalities`` says what differs in one.
    evaluation, calibration, bundles : mapping
        How bundles are scored, how their threshold is found, what they are called.
    """

    path: Path
    name: str
    contrasts: tuple[str, ...]
    stages: tuple[Mapping, ...]
    description: str = ''
    reference: Mapping | None = None
    validation: Mapping = field(default_factory=dict)
    architecture: Mapping = field(default_factory=dict)
    training: Mapping = field(default_factory=dict)
    specialization: Mapping | None = None
    evaluation: Mapping = field(default_factory=dict)
    calibration: Mapping = field(default_factory=dict)
    bundles: Mapping = field(default_factory=dict)

    @property
    def reference_name(self) -> str:
        """Name of the references that are made; empty: none are."""
        return self.reference['name'] if self.reference else ''

    def cv_threshold(self, modality: str) -> float:
        """Return the threshold of a modality before calibration, per cent."""
        return modalities()[modality].cv_threshold

    def bundle_name(self, modality: str) -> str:
        """Return letters and digits."""
        name = self.bundles.get('names', {}).get(modality, f'{self.name}{modality}')
        return ''.join(letter for letter in name if letter.isalnum())

    def last_stage(self, modality: str) -> str:
        """Name the stage whose weights the bundle of a modality gets."""
        return modality if self.specialization is not None else str(self.stages[-1]['name'])

    def stages_for(
        self, *, seed: int, beside: Mapping, init: Path | None, share: float | None
    ) -> tuple[TrainingStage, ...]:
        """Spell out all stages.

        Parameters
        ----------
        seed : int
            Of the first stage; each next one has the next.
        beside : mapping
            Fields of all stages that the recipe leaves to the command.
        init : Path, optional
            Weights or bundle that the first stage begins with, instead of what it says.
        share : float, optional
            Share of synthetic pairs, where only one kind is there.

        Raises
        ------
        BidsError
            With exit code 2 if a stage makes no sense; names stage and key.
        """
        stages, previous = [], None
        for values in self.stages:
            first = {'init': str(init)} if init is not None and not stages else {}
            stage = self._stage({**values, **first}, previous, seed + len(stages), beside, share)
            stages.append(stage)
            previous = stage.name
        if self.specialization is not None:
            common = {k: v for k, v in self.specialization.items() if k != 'modalities'}
            for modality in self.contrasts:
                specific = self.specialization.get('modalities', {}).get(modality, {})
                values = {**common, **specific, 'name': modality, 'contrasts': [modality]}
                stages.append(self._stage(values, previous, seed + len(stages), beside, share))
        return tuple(stages)

    def _stage(
        self, values: Mapping, previous: str | None, seed: int, beside: Mapping, share: float | None
    ) -> TrainingStage:
        known = training_defaults()
        values = {**known['stage'], 'seed': seed, **self.training, **values, **beside}
        architecture = {**known['architecture'], **self.architecture}
        architecture |= {name: values.pop(name) for name in OF_DROPOUT if name in values}
        values.setdefault('contrasts', self.contrasts)
        values['steps_per_epoch'] = values['steps_per_epoch'] or known['synthetic']['steps_per_epoch']
        if values.get('init') is None:
            values.setdefault('after', previous)
        else:
            values['init'] = self._weights(values)
        asked = values.get('synthetic_share')
        if share == 1.0 and asked is not None and asked < 1:
            raise self._error(
                f'stage {values.get("name")}: synthetic_share {asked} needs real scans; give --derivatives '
                'freesurfer=DIR or brainseg=DIR, or leave it out'
            )
        if asked is None:
            values['synthetic_share'] = known['synthetic']['share'] if share is None else share
        if 'augmentation' not in values:
            values['augmentation'] = {**known['augmentation'], **values.get('ranges', {})}
        try:
            return from_mapping(TrainingStage, {**values, 'architecture': architecture}, 'a stage')
        except ValueError as error:
            raise self._error(str(error)) from error

    def _weights(self, values: Mapping) -> str:
        """Return the file of weights that a stage begins with: that of a bundle, or the one that is named."""
        path = self.path.parent / values['init']
        path = path / 'weights.safetensors' if path.is_dir() else path
        if not path.is_file():
            raise self._error(f'stage {values.get("name")}: init {path} is neither weights nor a bundle')
        return str(path)

    def _error(self, text: str) -> BidsError:
        return BidsError(f'--recipe {self.path}: {text}', 2)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : Path
        JSON, or YAML if the name ends with ``.yaml`` or ``.yml``.

    Returns
    -------
    Recipe

    Raises
    ------
    BidsError
        With exit code 2; says what is wrong, and what is possible.
    """
    try:
        text = read_text(path)
        content = yaml.safe_load(text) if path.suffix in ('.yaml', '.yml') else json.loads(text)
    except OSError as error:
        packaged = ', '.join(sorted(p.stem for p in path.parents[0].glob('*.json'))) or 'none'
        raise BidsError(
            f'--recipe {path} cannot be read: {error.strerror}; recipes in that folder: {packaged}', 2
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise BidsError(f'--recipe {path} is neither JSON nor YAML: {error}', 2) from error
    try:
        recipe = from_mapping(Recipe, _with_defaults(content, path), 'the recipe')
        _check(recipe)
    except ValueError as error:
        raise BidsError(f'--recipe {path}: {error}', 2) from error
    return recipe


def _with_defaults(content: object, path: Path) -> Mapping:
    if not isinstance(content, Mapping):
        return content
    return {'contrasts': tuple(modalities()), 'name': path.name.partition('.')[0], **content, 'path': path}


def _check(recipe: Recipe) -> None:
    """Refuse what no stage would notice."""
    if not recipe.stages or not all(
        isinstance(stage, Mapping) and 'name' in stage for stage in recipe.stages
    ):
        raise ValueError('it needs "stages": a list, each with a "name"')
    if unknown := [name for name in recipe.contrasts if name not in modalities()]:
        raise ValueError(f'contrasts {", ".join(unknown)} are unknown; known: {", ".join(modalities())}')
    for name, keys in PARTS.items():
        part = getattr(recipe, name)
        if part is None:
            continue
        if not isinstance(part, Mapping):
            raise ValueError(f'{name} must be a table of names and values, not {part!r}')
        if keys is not None and (extra := sorted(set(part) - keys)):
            raise ValueError(
                f'{name} holds {", ".join(extra)}, which nothing reads; known: {", ".join(sorted(keys))}'
            )
    if recipe.reference is not None and not str(recipe.reference.get('name', '')).isalnum():
        raise ValueError(
            'reference needs a "name" of letters and digits; leave it out to use the packaged ones'
        )
    known = {item.name for item in fields(TrainingStage)} | set(OF_DROPOUT)
    if extra := sorted(set(recipe.training) - known):
        raise ValueError(f'training holds {", ".join(extra)}, which no stage has')
    names = [str(stage['name']) for stage in recipe.stages]
    names += list(recipe.contrasts) if recipe.specialization is not None else []
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f'stages are named twice: {", ".join(doubled)}; specialized stages have the name '
                         'of their modality')  # fmt: skip

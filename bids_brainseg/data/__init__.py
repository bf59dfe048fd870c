# SPDX-License-Identifier: Apache-2.0
"""Packaged data: the class table, modality rules, elastix parameters and model bundles."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..errors import BrainsegError

#: Units of intensities.
UNITS = ('arbitrary', 'HU')
#: Annotation of a field to what JSON holds, and its name.
JSON_TYPES = {
    'str': ((str,), 'a text'),
    'int': ((int,), 'a whole number'),
    'float': ((int, float), 'a number'),
    'bool': ((bool,), 'true or false'),
    'tuple': ((list,), 'a list'),
    'Mapping': ((dict,), 'a table of names and values'),
}
#: Keys of ``contrast``, ``diffusion`` and ``acquisition`` of a modality.
CONTRAST_KEYS = {'unit', 'background', 'texture', 'variation', 'rim', 'jitter', 'means'}
DIFFUSION_KEYS = {'b_range', 'fallback_range', 'b0_below', 'trace_words', 'b0_words'}
ACQUISITION_KEYS = {'slab', 'thickness', 'in_plane', 'noise', 'bias', 'strip'}


class Label(NamedTuple):
    """One row of the class table (``labels.tsv``)."""

    index: int
    name: str
    abbreviation: str
    hemisphere: str
    freesurfer: int
    mapping: int
    color: str
    folded_in: str


def resource(name: str) -> Path:
    """Return the path of a file or folder of the packaged data.

    Parameters
    ----------
    name : str
        Path relative to the data folder, e.g. ``'labels.tsv'``.

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        If the installation lacks it.
    """
    path = Path(__file__).parent / name
    if not path.exists():
        raise FileNotFoundError(f'packaged data not found: {path}; reinstall bids_brainseg')
    return path


@cache
def label_table() -> tuple[Label, ...]:
    """Return the background and the 27 structures, ordered by index."""
    with resource('labels.tsv').open(newline='') as stream:
        rows = csv.DictReader(stream, delimiter='\t')
        return tuple(
            Label(int(r['index']), r['name'], r['abbreviation'], r['hemisphere'], int(r['freesurfer']),
                  int(r['mapping']), r['color'], r['folded_in'])
            for r in rows
        )  # fmt: skip


def label_table_hash() -> str:
    """Return the SHA-256 of what the class indices mean.

    Colors and abbreviations may change without touching weights; index, name and FreeSurfer number may not.
    """
    text = ''.join(f'{x.index}\t{x.name}\t{x.freesurfer}\t{x.folded_in}\n' for x in label_table())
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def structure_pair(name: str) -> tuple[int, int]:
    """Return the class indices of a paired structure, left and right.

    Parameters
    ----------
    name : str
        Without its side.

    Returns
    -------
    left, right : int

    Examples
    --------
    >>> structure_pair('Cerebral-Cortex')
    (2, 4)
    """
    index = {label.name: label.index for label in label_table()}
    return index[f'Left-{name}'], index[f'Right-{name}']


@cache
def ventricles() -> tuple[int, ...]:
    """Return the class indices of the ventricles.

    Examples
    --------
    >>> ventricles()
    (5, 12, 13, 18)
    """
    return tuple(label.index for label in label_table() if label.name.endswith('Ventricle'))


@cache
def mirrored_classes() -> tuple[int, ...]:
    """Return for each class index that of the other hemisphere; the mapping is its own inverse.

    Examples
    --------
    >>> mirrored_classes()[:5]
    (0, 3, 4, 1, 2)
    """
    index = {label.name: label.index for label in label_table()}
    swap = {'L': ('Left-', 'Right-'), 'R': ('Right-', 'Left-')}
    return tuple(
        index[x.name.replace(*swap[x.hemisphere])] if x.hemisphere in swap else x.index for x in label_table()
    )


@cache
def structure_pairs() -> tuple[tuple[int, int], ...]:
    """Return the class indices of all paired structures, left and right.

    Examples
    --------
    >>> structure_pairs()[:2]
    ((1, 3), (2, 4))
    """
    return tuple((x.index, mirrored_classes()[x.index]) for x in label_table() if x.hemisphere == 'L')


def freesurfer_to_index() -> dict[int, int]:
    """Return the class index of each known FreeSurfer number.

    Returns
    -------
    dict
        Without numbers that are divided between the hemispheres (the corpus callosum): see
        :func:`bids_brainseg.core.labels.split_midline`.
    """
    mapping = {}
    for label in label_table():
        mapping[label.freesurfer] = label.index
        for token in label.folded_in.split():
            if ':' in token:
                continue
            first, _, last = token.partition('-')
            mapping.update(dict.fromkeys(range(int(first), int(last or first) + 1), label.index))
    return mapping


@cache
def freesurfer_rules() -> dict:
    """Return the rules from FreeSurfer segmentations to classes (``labels.tsv`` and ``freesurfer.json``).

    Returns
    -------
    dict
        The arguments of :func:`bids_brainseg.core.labels.freesurfer_classes` beside the image.
    """
    rules = json.loads(resource('freesurfer.json').read_text())
    index = {label.name: label.index for label in label_table()}
    mapping = freesurfer_to_index()
    for name, tokens in rules['classes'].items():
        mapping.update(dict.fromkeys(_numbers(tokens), index[name]))
    unpaired = {name: _numbers(rules[name]) for name in ('midline', 'nearest')}
    for numbers in unpaired.values():
        for number in numbers:
            mapping.pop(number, None)
    left, right = (index[name] for name in rules['white_matter'])
    return {'mapping': mapping, **unpaired, 'left': left, 'right': right}


def _numbers(tokens: list[str]) -> tuple[int, ...]:
    numbers = []
    for token in tokens:
        first, _, last = token.partition('-')
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


class AsegMeasure(NamedTuple):
    """One row of ``aseg_measures.tsv``: a global measure of FreeSurfer's ``aseg.stats``.

    `column` is its name in the tables of ``asegstats2table``, empty where these leave it out.
    """

    measure: str
    field: str
    description: str
    unit: str
    column: str


@cache
def aseg_measures() -> tuple[AsegMeasure, ...]:
    """Return the global measures of ``aseg.stats``, in FreeSurfer's order but for the first.

    The reader of the package freesurfer-stats takes no notice of the first measure of a file, so the one
    comes first that ``asegstats2table`` leaves out as well.

    Examples
    --------
    >>> aseg_measures()[0].field, aseg_measures()[1].column
    ('VentricleChoroidVol', 'BrainSegVol')
    """
    with resource('aseg_measures.tsv').open(newline='') as stream:
        return tuple(AsegMeasure(**row) for row in csv.DictReader(stream, delimiter='\t'))


@cache
def training_defaults() -> dict:
    """Return the recipe of training and everything else that has a default there (``training.json``)."""
    return json.loads(resource('training.json').read_text())


@cache
def augmentation_names() -> tuple[str, ...]:
    """Return what says how far training pairs are changed: ``augmentation`` and the optional effects.

    Examples
    --------
    >>> augmentation_names()[:2], 'hyperintensities' in augmentation_names()
    (('rotation', 'shear'), True)
    """
    effects = json.loads(resource('synthesis.json').read_text())['effects']
    return (*training_defaults()['augmentation'], *effects)


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What the program knows about one kind of scan: the file ``modalities/<name>.json``.

    Parameters
    ----------
    name : str
        Name of the file: the value of ``--modalities`` and of ``modality`` in the outputs.
    order : int
        Position in lists, tables and pages.
    title : str
        Name in running text.
    color : str
        Of charts, ``#rrggbb``.
    bundle : str
        Folder of the packaged model in ``models``.
    datatypes : tuple of str
        Folders of a dataset that hold such scans; derivatives lie in the first.
    suffixes : tuple of str
        BIDS suffixes.
    excluded_words, excluded_values : tuple of str
        Scans are left out whose ``acq``, ``rec`` or ``desc`` holds such a word (see
        :func:`bids_brainseg.bids.words.has_word`), or is such a value, alone or beside words that are usual
        in labels; lower case.
    scan_words : tuple of str
        Words in names of scans that are given without BIDS, beside the suffixes; lower case.
    bidsignore : tuple of str
        Patterns that keep the BIDS validator from folders that are not part of BIDS.
    diffusion : mapping, optional
        Scans are diffusion series, of which :func:`bids_brainseg.bids.diffusion.choose_volumes` takes volumes
        by these rules.
    units : {'arbitrary', 'HU'}
        Of the intensities: magnitudes, or Hounsfield units.
    anatomical : bool
        FreeSurfer's labels and the templates belong to this modality; true for exactly one.
    intensity : mapping
        Rule of :func:`bids_brainseg.core.intensity.normalize` for new bundles.
    cv_threshold : float
        Mean coefficient of variation above which new bundles flag a scan, per cent.
    reference_scale : float
        Factor from the unit of `contrast` to the integers of the reference image.
    agreement_threshold : float
        Training leaves out scans whose labels agree less with their edges.
    corruptions : mapping of str to mapping
        Kinds of :func:`bids_brainseg.core.corruption.corrupt` to their parameters; calibration takes them in
        turn.
    qc_thresholds : mapping
        Quality number to rules, beside those for all modalities in ``qc_thresholds.json``.
    contrast : mapping
        Intensities of synthetic scans: mean and standard deviation of each tissue of ``synthesis.json``.
    acquisition : mapping
        Slices, noise and bias of synthetic scans.
    """

    name: str
    order: int
    title: str
    color: str
    bundle: str
    datatypes: tuple[str, ...]
    suffixes: tuple[str, ...]
    units: str
    intensity: Mapping
    cv_threshold: float
    reference_scale: float
    agreement_threshold: float
    corruptions: Mapping[str, Mapping[str, float]]
    qc_thresholds: Mapping
    contrast: Mapping
    acquisition: Mapping
    diffusion: Mapping | None = None
    scan_words: tuple[str, ...] = ()
    excluded_words: tuple[str, ...] = ()
    excluded_values: tuple[str, ...] = ()
    bidsignore: tuple[str, ...] = ()
    anatomical: bool = False

    @property
    def hounsfield(self) -> bool:
        """Whether intensities are Hounsfield units: comparable between scans, and negative in air."""
        return self.units == 'HU'


@cache
def modalities() -> dict[str, Modality]:
    """Return every modality by its name, in their order (``modalities/*.json``).

    Raises
    ------
    BrainsegError
        If a file lacks a key or holds one that is not known, or not exactly one modality is anatomical.

    Examples
    --------
    >>> modalities()['ct'].units
    'HU'
    """
    entries = [_read_modality(path) for path in sorted(resource('modalities').glob('*.json'))]
    anatomical = [modality.name for modality in entries if modality.anatomical]
    if len(anatomical) != 1:
        raise BrainsegError(
            f'exactly one modality must be anatomical, found {", ".join(anatomical) or "none"}: correct '
            f'{resource("modalities")}'
        )
    return {modality.name: modality for modality in sorted(entries, key=lambda m: (m.order, m.name))}


def anatomical_modality() -> str:
    """Return the modality that FreeSurfer's labels and the templates belong to.

    >>> anatomical_modality()
    'T1w'
    """
    return next(name for name, modality in modalities().items() if modality.anatomical)


def datatypes() -> tuple[str, ...]:
    """Return the folders that scans of all modalities lie in.

    >>> datatypes()[:3]
    ('anat', 'dwi', 'ct')
    """
    return tuple(dict.fromkeys(folder for modality in modalities().values() for folder in modality.datatypes))


def _read_modality(path: Path) -> Modality:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise BrainsegError(f'{path} is not JSON: {error}; correct it') from error
    kinds = {item.name: item for item in fields(Modality) if item.name != 'name'}
    required = {name for name, item in kinds.items() if item.default is MISSING}
    _check_keys(path, content, required, set(kinds))
    for name, value in content.items():
        _check_type(f'{path}: {name}', value, kinds[name].type)
    parts = {'contrast': CONTRAST_KEYS, 'acquisition': ACQUISITION_KEYS, 'diffusion': DIFFUSION_KEYS}
    for name in parts.keys() & content.keys():
        _check_keys(f'{path}: {name}', content[name], parts[name], parts[name])
    tissues = set(json.loads(resource('synthesis.json').read_text())['tissues'])
    _check_keys(f'{path}: means', content['contrast']['means'], tissues, tissues)
    if content['units'] not in UNITS:
        raise BrainsegError(f'{path}: units is {content["units"]!r}; it must be one of {", ".join(UNITS)}')
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return Modality(name=path.stem, **values)


def _check_type(where: str, value: object, annotation: str) -> None:
    """Refuse what JSON spells in another way than the field of a modality is annotated."""
    types, words = JSON_TYPES[annotation.partition('[')[0].partition(' ')[0]]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise BrainsegError(f'{where} must be {words}, found {json.dumps(value)}')


def _check_keys(where: object, content: Mapping, required: Set[str], known: Set[str]) -> None:
    """Name the keys that are missing and those that nothing reads."""
    if missing := sorted(required - content.keys()):
        raise BrainsegError(f'{where} lacks {", ".join(missing)}; add what is missing')
    if extra := sorted(content.keys() - known):
        raise BrainsegError(f'{where} holds {", ".join(extra)}, which nothing reads; remove it')

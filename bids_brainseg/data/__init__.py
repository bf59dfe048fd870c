# SPDX-License-Identifier: Apache-2.0
"""Packaged data: the class table, modality rules, elastix parameters and model bundles."""

from __future__ import annotations

import csv
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Label(NamedTuple):
    """One row of the class table (``labels.tsv``)."""

    index: int
    name: str
    abbreviation: str
    hemisphere: str
    freesurfer: int
    color: str
    folded_in: str


def resource(name: str) -> Path:
    """Return the path of a file or folder of the packaged data.

    Parameters
    ----------
    name : str
        Path relative to the data folder, e.g. ``'labels.tsv'``.

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
                  r['color'], r['folded_in'])
            for r in rows
        )  # fmt: skip


def label_table_hash() -> str:
    """Return the SHA-256 of what the class indices mean.

    Colors and abbreviations may change without touching weights; index, name and FreeSurfer number may not.
    """
    text = ''.join(f'{x.index}\t{x.name}\t{x.freesurfer}\t{x.folded_in}\n' for x in label_table())
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def mirrored_classes() -> tuple[int, ...]:
    """Return for each class index the one of the other side; it is its own inverse.

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


def freesurfer_to_index() -> dict[int, int]:
    """Return the FreeSurfer numbers that are known, each with its class index.

    Returns
    -------
    dict
        Without numbers that are split between the hemispheres (the corpus callosum): see
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
    """Return how a FreeSurfer segmentation becomes the classes (``labels.tsv`` and ``freesurfer.json``).

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
    found = []
    for token in tokens:
        first, _, last = token.partition('-')
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


@cache
def training_defaults() -> dict:
    """Return the recipe of training and everything else that has a default there (``training.json``)."""
    return json.loads(resource('training.json').read_text())


@cache
def modalities() -> dict:
    """Return the rules of each modality (``modalities.json``)."""
    return json.loads(resource('modalities.json').read_text())

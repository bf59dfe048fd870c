# SPDX-License-Identifier: Apache-2.0
"""What the quality numbers mean, where they become suspicious, and the population they are compared with."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from ..errors import BrainsegError
from . import label_table, modalities, resource

RULES = ('review_below', 'review_above', 'fail_below', 'fail_above', 'required')
ALL = 'all'


class Population(NamedTuple):
    """Volume of each class over the intracranial volume in the label maps of the training.

    From ``population.tsv``: one value per class, nan for the background; `n` is the number of people.
    """

    n: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    log_mean: tuple[float, ...]
    log_sd: tuple[float, ...]


@cache
def population() -> Population:
    """Return how large the structures of the training population are."""
    with resource('population.tsv').open(newline='') as stream:
        rows = [row for row in csv.DictReader(stream, delimiter='\t') if row['name'] != 'Intracranial']
    if [int(row['index']) for row in rows] != list(range(1, len(label_table()))):
        raise ValueError('population.tsv does not hold the structures of labels.tsv')
    columns = ((math.nan, *(float(row[name]) for row in rows)) for name in Population._fields[1:])
    return Population(int(rows[0]['n']), *columns)


@cache
def qc_numbers() -> dict[str, dict]:
    """Return ``label``, ``unit``, ``range`` and ``description`` of each quality number (``qc_numbers.tsv``).

    The unit of what has none is ''; a range ends with None where there is no limit.
    """
    with resource('qc_numbers.tsv').open(newline='', encoding='utf-8') as stream:
        return {
            row['number']: {
                'label': row['label'],
                'unit': '' if row['unit'] == '1' else row['unit'],
                'range': [None if row[end] == 'n/a' else float(row[end]) for end in ('lowest', 'highest')],
                'description': row['description'],
            }
            for row in csv.DictReader(stream, delimiter='\t')
        }


def qc_rules(modality: str, bundle: Mapping | None = None, user: Mapping | None = None) -> dict[str, dict]:
    """Return the thresholds that a scan is judged by.

    Parameters
    ----------
    modality : str
        Name of ``data/modalities``.
    bundle : mapping, optional
        Number to rules, of a model bundle: they win over the packaged ones (``qc_thresholds.json``).
    user : mapping, optional
        ``all`` or a modality to such mappings: they win over everything. None in the place of a number's
        rules takes them all away, None in the place of a bound takes that one away.

    Returns
    -------
    dict of str to dict
        As :func:`bids_brainseg.core.quality.verdict` takes them, label and unit included.
    """
    packaged = json.loads(resource('qc_thresholds.json').read_text(encoding='utf-8'))[ALL]
    user = user or {}
    sources = [
        packaged,
        modalities()[modality].qc_thresholds if modality in modalities() else {},
        bundle or {},
        user.get(ALL, {}),
        user.get(modality, {}),
    ]
    merged: dict[str, dict] = {}
    for rules_of in sources:
        for name, rules in rules_of.items():
            merged[name] = {} if rules is None else {**merged.get(name, {}), **rules}
    result = {}
    for name, rules in merged.items():
        bounds = {rule: bound for rule, bound in rules.items() if bound is not None}
        if any(rule in RULES for rule in bounds):
            known = qc_numbers().get(name, {})
            result[name] = {'label': known.get('label', name), 'unit': known.get('unit', ''), **bounds}
    return result


def check_rules(content: object) -> dict:
    """Check thresholds that a user wrote.

    Parameters
    ----------
    content : object
        What the JSON file holds.

    Returns
    -------
    dict
        The same.

    Raises
    ------
    BrainsegError
        Names the section, number or rule that does not exist, and those that do.
    """
    sections = (ALL, *modalities())
    if not isinstance(content, dict) or not all(isinstance(rules, dict) for rules in content.values()):
        raise BrainsegError('must hold {"all" or MODALITY: {NUMBER: {RULE: BOUND}}}')
    for section, numbers in content.items():
        _known('section', section, sections)
        for number, rules in numbers.items():
            _known('number', number, qc_numbers())
            if rules is not None and not isinstance(rules, dict):
                raise BrainsegError(f'{number} must hold {{RULE: BOUND}} or null, found {rules!r}')
            for rule, bound in (rules or {}).items():
                _known('rule', rule, RULES)
                good = bound in ('review', 'fail') if rule == 'required' else isinstance(bound, int | float)
                if bound is not None and not good:
                    raise BrainsegError(f'{rule} of {number} cannot be {bound!r}')
    return content


def _known(what: str, name: str, known) -> None:
    if name not in known:
        raise BrainsegError(f'there is no {what} {name!r}; known: {", ".join(known)}')

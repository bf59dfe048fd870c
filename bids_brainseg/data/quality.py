# SPDX-License-Identifier: Apache-2.0
"""Load the meaning and the thresholds of the quality numbers, and the population of the training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from . import label_table, modalities, resource


class Population(NamedTuple):
    """Volume of each class over the intracranial volume in the label maps of the training, and asymmetry.

    From ``population.tsv``: one value per class, nan for the background; `n` is the number of heads. The
    asymmetry, per cent, is that of the pair, positive where the left structure is larger; nan for a class
    without pair.
    """

    n: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    log_mean: tuple[float, ...]
    log_sd: tuple[float, ...]
    asymmetry_mean: tuple[float, ...]
    asymmetry_sd: tuple[float, ...]


@cache
def population() -> Population:
    """Return the volumes of the structures in the training population.

    Returns
    -------
    Population

    Raises
    ------
    ValueError
        If the table does not fit ``labels.tsv``.
    """
    rows = _population_rows()
    columns = ((math.nan, *(_number(row[name]) for row in rows)) for name in Population._fields[1:])
    return Population(int(rows[0]['n']), *columns)


def _population_rows() -> list[dict[str, str]]:
    with resource('population.tsv').open(newline='') as stream:
        rows = [row for row in csv.DictReader(stream, delimiter='\t') if row['name'] != 'Intracranial']
    if [int(row['index']) for row in rows] != list(range(1, len(label_table()))):
        raise ValueError('population.tsv does not hold the structures of labels.tsv')
    return rows


def _number(cell: str) -> float:
    return math.nan if cell == 'n/a' else float(cell)


@cache
def reference_centers() -> list[tuple[float, float, float]]:
    """Return where the common space of the packaged references has each structure (``population.tsv``).

    Returns
    -------
    list of 28 (float, float, float)
        Mean center of mass over the training population, RAS mm; nan for the background.
    """
    rows = _population_rows()
    nothing = (math.nan,) * 3
    return [nothing, *(tuple(float(row[axis]) for axis in ('right', 'anterior', 'superior')) for row in rows)]


@cache
def qc_numbers() -> dict[str, dict]:
    """Return ``label``, ``unit``, ``range`` and ``description`` of each quality number (``qc_numbers.tsv``).

    Returns
    -------
    dict of str to dict
        A number without unit has the unit ''; a range ends with None where there is no limit.
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


def packaged_rules(modality: str) -> tuple[Mapping, Mapping]:
    """Return the thresholds of every modality (``qc_thresholds.json``) and those of one.

    Parameters
    ----------
    modality : str
        Name of ``data/modalities``.

    Returns
    -------
    pair of mappings
        Number to rules, for :func:`bids_brainseg.core.quality.merge_rules`.
    """
    packaged = json.loads(resource('qc_thresholds.json').read_text(encoding='utf-8'))['all']
    return packaged, modalities()[modality].qc_thresholds if modality in modalities() else {}

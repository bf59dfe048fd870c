# SPDX-License-Identifier: Apache-2.0
"""What the page shows of the models behind the results: their cards and the versions of the software."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .formats import MISSING, number, plain
from .methods import model_key


class Card(NamedTuple):
    """The card of one model."""

    name: str
    facts: list[tuple[str, str]]
    trained_on: str
    intervals: str
    usual: str  # on which scans the usual uncertainty was measured
    scores: list[tuple[str, str]]
    limits: list[str]


def used_cards(qcs: Iterable[Mapping], cards: Mapping[tuple[str, str], Mapping]) -> list[Card]:
    """Return the card of each model that the scans were segmented with."""
    used = dict.fromkeys(model_key(qc) for qc in qcs)
    return [_card(cards[key]) for key in used if key in cards]


def software(qcs: Iterable[Mapping]) -> list[tuple[str, str]]:
    """Return the versions behind the results, all that occur."""
    versions: dict[str, set[str]] = {}
    for qc in qcs:
        for name, version in (qc.get('Versions') or {}).items():
            versions.setdefault(name, set()).add(str(version))
    return [(name, ', '.join(sorted(several))) for name, several in versions.items()]


def _card(model: Mapping) -> Card:
    card = model.get('card') or {}
    training = card.get('training') or {}
    facts = [
        ('Version', model.get('version')),
        ('Modality', model.get('modality')),
        ('License', model.get('license')),
        ('Feature maps', (model.get('architecture') or {}).get('filters')),
        ('Network grid', plain(list(model.get('grid_shape') or ()))),
        ('Held out', training.get('held_out')),
        ('Training pairs', training.get('pairs_seen')),
    ]
    scores = [
        (str(entry.get('what')), number(_mean_dice(entry), 2))
        for entry in (card.get('dice') or {}).values()
        if isinstance(entry, Mapping) and _mean_dice(entry) is not None
    ]
    return Card(
        name=str(model.get('name')),
        facts=[(name, str(value)) for name, value in facts if value not in (None, '', MISSING)],
        trained_on=str(training.get('data') or ''),
        intervals=str(card.get('intervals') or ''),
        usual=str((model.get('usual_entropy') or {}).get('what') or ''),
        scores=scores,
        limits=[str(limit) for limit in card.get('limits') or ()],
    )


def _mean_dice(entry: Mapping) -> float | None:
    """Return the average that a card gives, or that of its numbers (one for each structure or scan)."""
    numbers = [value for value in entry.values() if isinstance(value, int | float)]
    return entry.get('average', statistics.fmean(numbers) if numbers else None)

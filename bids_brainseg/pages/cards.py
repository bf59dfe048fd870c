# SPDX-License-Identifier: Apache-2.0
"""What surrounds the scans on a page: the dataset's validation, the models' cards, and the other scans."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from . import fragments
from .methods import model_key


def alignments(output_dir: Path) -> dict[str, list[float]]:
    """Collect the quality of every alignment below a folder: modality to sorted numbers."""
    found: dict[str, list[float]] = {}
    for path in sorted(Path(output_dir).glob('sub-*/**/*_qc.json')):
        try:
            qc = json.loads(path.read_text(encoding='utf-8'))
            value = float((qc.get('numbers') or {}).get('alignment'))
        except (OSError, ValueError, TypeError):
            continue
        bisect.insort(found.setdefault(str(qc.get('modality')), []), value)
    return found


def rank_html(qc: Mapping, peers: Mapping[str, Sequence[float]]) -> str:
    """Say where the alignment of a scan lies among all scans of its modality."""
    value = (qc.get('numbers') or {}).get('alignment')
    modality = str(qc.get('modality'))
    others = sorted(peers.get(modality, ()))
    if not isinstance(value, int | float):
        return ''
    told = f'<p class="note">Alignment {fragments.number(value, 2)}'
    limits = (qc.get('Rules') or {}).get('alignment') or {}
    bounds = [
        f'{word} below {limits[rule]:g}'
        for rule, word in (('review_below', 'review'), ('fail_below', 'fail'))
        if rule in limits
    ]
    told += f' ({", ".join(bounds)})' if bounds else ''
    if len(others) > 1:
        below, middle = bisect.bisect_left(others, value), others[len(others) // 2]
        told += (
            f'; {below} of the {len(others)} {escape(modality)} scans in these outputs so far have a lower '
            f'one (lowest {others[0]:.2f}, median {middle:.2f}, highest {others[-1]:.2f})'
        )
    return f'{told}. 1 is perfect agreement; unrelated images have about 0.2.</p>'


def read_cards(output_dir: Path) -> dict[tuple[str, str], dict]:
    """Read the descriptions of the models behind the outputs: their name and hash to ``model.json``."""
    cards = {}
    for path in sorted((Path(output_dir) / 'logs' / 'models').glob('*.json')):
        try:
            card = json.loads(path.read_text(encoding='utf-8'))
            cards[str(card['name']), str(card['sha256']['weights.safetensors'])] = card
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return cards


def cards_html(qcs: Iterable[Mapping], cards: Mapping[tuple[str, str], Mapping]) -> str:
    """Show the card of each model that the scans were segmented with."""
    used = dict.fromkeys(model_key(qc) for qc in qcs)
    return ''.join(_card(cards[key]) for key in used if key in cards)


def _card(model: Mapping) -> str:
    card = model.get('card') or {}
    training = card.get('training') or {}
    architecture = model.get('architecture') or {}
    facts = [
        ('Version', model.get('version')),
        ('Modality', model.get('modality')),
        ('License', model.get('license')),
        ('Feature maps', architecture.get('filters')),
        ('Network grid', fragments.plain(list(model.get('grid_shape') or ()))),
        ('Held out', training.get('held_out')),
        ('Pairs seen', training.get('pairs_seen')),
    ]
    scores = [
        (entry.get('what'), entry.get('average'))
        for entry in (card.get('dice') or {}).values()
        if isinstance(entry, Mapping)
    ]
    rows = ''.join(
        f'<tr><td>{escape(str(what))}</td><td class="n">{fragments.number(value, 2)}</td></tr>'
        for what, value in scores
    )
    limits = ''.join(f'<li>{escape(str(limit))}</li>' for limit in card.get('limits') or ())
    learned = training.get('data')
    return (
        f'<div class="card"><h4>Model {escape(str(model.get("name")))}</h4>'
        + fragments.pairs_html([(name, str(value)) for name, value in facts if value not in (None, '')])
        + (f'<p>Trained on: {escape(str(learned))}.</p>' if learned else '')
        + (f'<table><thead><tr><th>Mean Dice</th><th></th></tr></thead>{rows}</table>' if rows else '')
        + (f'<p>Limits:</p><ul>{limits}</ul>' if limits else '')
        + '</div>'
    )


def read_validation(output_dir: Path) -> dict | None:
    """Read what the BIDS validator said in the last run that asked it; None if there was none."""
    try:
        return json.loads((Path(output_dir) / 'logs' / 'bids_validation.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def validation_html(findings: Mapping | None) -> str:
    """Count the validator's findings; '' if it was not asked."""
    if not findings:
        return ''
    codes = ''.join(
        f'<tr><td><code>{escape(str(code))}</code></td><td class="n">{fragments.number(count)}</td></tr>'
        for code, count in (findings.get('codes') or {}).items()
    )
    said = (
        f'BIDS validator on the whole dataset: {_count(findings, "error")}, {_count(findings, "warning")} '
        f'({escape(str(findings.get("validator")))}).'
    )
    table = f'<details><summary>Findings by code</summary><table>{codes}</table></details>' if codes else ''
    return f'<div class="validation"><p class="note">{said}</p>{table}</div>'


def _count(findings: Mapping, what: str) -> str:
    number = int(findings.get(f'{what}s') or 0)
    return f'{number} {what}{"" if number == 1 else "s"}'

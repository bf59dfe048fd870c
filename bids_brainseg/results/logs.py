# SPDX-License-Identifier: Apache-2.0
"""What runs leave of a dataset below ``logs``: cards of the models, methods, findings of the validator."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..data import modalities
from ..files import read_text, write_json


def read_cards(output_dir: Path) -> dict[tuple[str, str], dict]:
    """Read the descriptions of the models behind the derivatives.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.

    Returns
    -------
    dict
        Name of a model and hash of its weights to its ``model.json``. A file that cannot be read is left out.
    """
    cards = {}
    for path in sorted((Path(output_dir) / 'logs' / 'models').glob('*.json')):
        try:
            card = json.loads(read_text(path))
            cards[str(card['name']), str(card['sha256']['weights.safetensors'])] = card
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return cards


def keep_methods(qcs: Iterable[Mapping], output_dir: Path, *, complete: bool) -> None:
    """Keep the methods texts of results, each once, however many results have it.

    Parameters
    ----------
    qcs : iterable of mapping
        QC documents.
    output_dir : Path
        Root of the derivatives.
    complete : bool
        Remove the texts of other results.
    """
    folder, kept = Path(output_dir) / 'logs' / 'methods', set()
    for modality, text in dict.fromkeys((qc.get('modality'), qc.get('Methods')) for qc in qcs):
        if modality in modalities() and text:
            name = f'{modality}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json'
            kept.add(write_json({'modality': modality, 'Methods': text}, folder / name))
    for path in folder.glob('*.json') if complete and kept else ():
        if path not in kept:
            path.unlink(missing_ok=True)


def read_methods(output_dir: Path) -> list[dict]:
    """Read what :func:`keep_methods` kept, by modality; a file that cannot be read is left out."""
    found = []
    for path in sorted((Path(output_dir) / 'logs' / 'methods').glob('*.json')):
        try:
            content = json.loads(read_text(path))
            found.append({key: str(content[key]) for key in ('modality', 'Methods')})
        except (OSError, ValueError, LookupError, TypeError):
            continue
    order = list(modalities())
    return sorted((c for c in found if c['modality'] in order), key=lambda c: order.index(c['modality']))


def unread_logs(output_dir: Path, subjects: Iterable[str]) -> list[str]:
    """Name what runs left below ``logs``, and of subjects in their ``log``, that cannot be read.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    subjects : iterable of str
        Labels.

    Returns
    -------
    list of str
        Sentences without a full stop.
    """
    logs = Path(output_dir) / 'logs'
    paths = [*logs.glob('m*/*.json'), logs / 'bids_validation.json']
    for subject in subjects:
        top = Path(output_dir) / f'sub-{subject}'
        runs = (*top.glob('log/*'), *top.glob('ses-*/log/*'))
        paths += [run / 'outcomes.json' for run in runs]  # a pattern would leave out a link to nothing
    lines = []
    for path in sorted(path for path in paths if os.path.lexists(path)):
        try:
            dict(json.loads(read_text(path)))
        except (OSError, ValueError, TypeError) as error:
            lines.append(f'{path.relative_to(output_dir)} cannot be read and is left out: {error}')
    return lines


def read_validation(output_dir: Path) -> dict | None:
    """Read the findings of the BIDS validator in the last run that called it; None without any."""
    try:
        return dict(json.loads(read_text(Path(output_dir) / 'logs' / 'bids_validation.json')))
    except (OSError, ValueError, TypeError):
        return None

# SPDX-License-Identifier: Apache-2.0
"""What runs leave of a dataset below ``logs``: cards of the models and the findings of the BIDS validator."""

from __future__ import annotations

import json
from pathlib import Path


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
            card = json.loads(path.read_text(encoding='utf-8'))
            cards[str(card['name']), str(card['sha256']['weights.safetensors'])] = card
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return cards


def read_validation(output_dir: Path) -> dict | None:
    """Read the findings of the BIDS validator in the last run that called it; None without any."""
    try:
        return json.loads((Path(output_dir) / 'logs' / 'bids_validation.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None

# SPDX-License-Identifier: Apache-2.0
"""What pages read of OUTPUT_DIR: scans, the validation of the dataset, model cards, and all alignments."""

from __future__ import annotations

import bisect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..data import modalities
from ..files import read_rows

KINDS = ('alignment', 'contours', 'viewer', 'uncertainty')


class Scan(NamedTuple):
    """One scan of the page: its name without extension, its numbers, table and figures."""

    name: str
    qc: dict
    rows: list[dict]
    figures: dict[str, Path]

    @property
    def title(self) -> str:
        """The entities that tell scans of one subject apart, and the suffix."""
        *pairs, suffix = self.name.split('_')
        return ' '.join([pair for pair in pairs if not pair.startswith('sub-')] + [suffix])

    @property
    def order(self) -> tuple:
        """Sort key: session, then the order of the modalities, then the name."""
        *pairs, suffix = self.name.split('_')
        session = next((pair for pair in pairs if pair.startswith('ses-')), '')
        known = [name for modality in modalities().values() for name in modality.suffixes]
        return session, known.index(suffix) if suffix in known else len(known), self.name


def find_scans(output_dir: Path, label: str, failures: Sequence[Mapping] = ()) -> list[Scan]:
    """Collect what is on disk about each scan of a subject, and what failed, in the order of the page."""
    root = output_dir / f'sub-{label}'
    figures = _figures_by_scan(root)
    scans = {}
    for path in sorted(root.rglob('*_qc.json')):
        name = _scan_name(path.name)
        qc = json.loads(path.read_text(encoding='utf-8'))
        stem = path.name.removesuffix('_qc.json').replace('_desc-', '_seg-brainseg_desc-')
        table = path.with_name(f'{stem}_morph.tsv')
        scans[name] = Scan(name, qc, read_rows(table) if table.exists() else [], figures.get(name, {}))
    for failure in failures:
        name = Path(str(failure['scan'])).name.removesuffix('.gz').removesuffix('.nii')
        known = scans.get(name, Scan(name, {}, [], figures.get(name, {})))
        reasons = [failure.get('reason') or 'no reason given']
        if known.qc or known.figures:
            reasons.append('what is shown below is from an earlier run')
        crash = failure.get('crashfile')
        if crash and Path(crash).is_relative_to(output_dir):
            crash = Path(crash).relative_to(output_dir)
        qc = known.qc | {
            'verdict': failure.get('status') or 'failed',
            'reasons': reasons,
            'crashfile': crash,
            'command': failure.get('command'),
            'Sources': [str(failure['scan'])],
        }
        scans[name] = known._replace(qc=qc)
    return sorted(scans.values(), key=lambda scan: scan.order)


def alignments(output_dir: Path) -> dict[str, list[float]]:
    """Collect the quality of every alignment below a folder: modality to sorted numbers."""
    collected: dict[str, list[float]] = {}
    for path in sorted(Path(output_dir).glob('sub-*/**/*_qc.json')):
        try:
            qc = json.loads(path.read_text(encoding='utf-8'))
            value = float((qc.get('numbers') or {}).get('alignment'))
        except (OSError, ValueError, TypeError):
            continue
        bisect.insort(collected.setdefault(str(qc.get('modality')), []), value)
    return collected


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


def read_validation(output_dir: Path) -> dict | None:
    """Read what the BIDS validator said in the last run that asked it; None if there was none."""
    try:
        return json.loads((Path(output_dir) / 'logs' / 'bids_validation.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def _scan_name(derivative: str) -> str:
    """Return the name of the scan behind ``<entities>_desc-<scan>_<suffix>.<extension>``.

    >>> _scan_name('sub-01_acq-2D_desc-T1w_qc.json')
    'sub-01_acq-2D_T1w'
    """
    entities, _, rest = derivative.partition('_desc-')
    return f'{entities}_{rest.split("_")[0]}'


def _figures_by_scan(root: Path) -> dict[str, dict[str, Path]]:
    """Return name of the scan -> kind of figure -> path."""
    figures: dict[str, dict[str, Path]] = {}
    for path in sorted((root / 'figures').glob('*_desc-*')):
        entities, _, rest = path.stem.partition('_desc-')
        kind, _, suffix = rest.partition('_')
        if kind in KINDS and path.suffix == ('.json' if kind == 'viewer' else '.svg'):
            figures.setdefault(f'{entities}_{suffix}', {})[kind] = path
    return figures

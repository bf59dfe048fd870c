# SPDX-License-Identifier: Apache-2.0
"""Text files that are either whole or absent, and the same bytes from every job."""

from __future__ import annotations

import csv
import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_text(text: str, path: Path) -> Path:
    """Write a text file aside and move it into place; leave it alone if it holds that text already."""
    path = Path(path)
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    # Same folder: only there a move is one step. Hidden: no query takes it for an output meanwhile.
    aside = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.part')
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def write_json(content: Mapping, path: Path) -> Path:
    """Write a mapping as JSON; numbers that do not exist become ``"n/a"``."""
    return write_text(json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + '\n', path)


def write_tsv(table, path: Path) -> Path:
    """Write a pandas DataFrame as BIDS wants tables: tabs, no index column, ``n/a`` where nothing is."""
    text = table.to_csv(sep='\t', index=False, na_rep='n/a', float_format='%.8g', lineterminator='\n')
    return write_text(text, path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated table as text, one mapping per row; a missing cell is None."""
    with Path(path).open(newline='', encoding='utf-8-sig') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))


def plain(value: object) -> object:
    """Return what JSON can hold: numpy numbers and paths become plain ones, nan and inf become ``'n/a'``.

    >>> plain({'cv': float('nan'), 'files': (Path('a'),)})
    {'cv': 'n/a', 'files': ['a']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, 'tolist'):  # numpy, which this room does without
        return plain(value.tolist())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return 'n/a'
    return value

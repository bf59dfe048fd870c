# SPDX-License-Identifier: Apache-2.0
"""One word for one thing: names that the glossary replaced do not come back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Words in identifiers, and what the glossary of docs/developers.rst calls the thing.
REPLACED = {
    'spoil': 'corrupt',
    'spoiled': 'corrupted',
    'told': 'outcome',
    'drawn': 'synthetic, sampled',
    'carry': 'resample',
    'carried': 'resampled',
    'twin': 'eval_model',
    'keeper': 'eval_model',
    'heads': 'label_maps',
    'remember': 'previous_outcome',
    'judge': 'assess_outcome',
    'unlike': 'refuse_overwrite',
    'people': 'participants',
    'colour': 'color',
    'grey': 'gray',
    'centre': 'center',
    'licence': 'license',
}


def identifiers(source: str) -> list[tuple[int, str]]:
    """Line and name of every definition, argument and assigned variable."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            names.append((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.lineno, node.id))
    return names


def words(name: str) -> list[str]:
    """Words of a name in snake or camel case, small."""
    return re.findall(r'[a-z]+', re.sub(r'([A-Z])', r'_\1', name).lower())


def replaced_words(folder: Path) -> list[str]:
    return [
        f'{path.relative_to(folder)}:{line}: {name}; say {REPLACED[word]}'
        for path in sorted(folder.rglob('*.py'))
        for line, name in identifiers(path.read_text(encoding='utf-8'))
        for word in words(name)
        if word in REPLACED
    ]


def test_no_name_is_a_word_that_was_replaced():
    assert replaced_words(ROOT / 'bids_brainseg') + replaced_words(ROOT / 'workflows') == []


def test_the_search_finds_what_it_should(tmp_path):
    (tmp_path / 'a.py').write_text('def spoil_scan(told, kept):\n    drawnPairs = twin = 1\n')
    lines = replaced_words(tmp_path)
    assert [line.split(';')[0] for line in lines] == [
        'a.py:1: spoil_scan', 'a.py:1: told', 'a.py:2: drawnPairs', 'a.py:2: twin'
    ]  # fmt: skip

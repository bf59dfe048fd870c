# SPDX-License-Identifier: Apache-2.0
"""Gather the messages that a user may meet from the code, for the page ``messages``.

    python docs/_ext/error_messages.py        # prints the table that docs/messages.tsv holds

A message is the text of an error of ``errors.py`` or of ``parser.error``, with ``…`` for what it names.
"""

from __future__ import annotations

import ast
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Errors whose text reaches the user, with the exit code where it is always the same one.
ERRORS = {
    'BidsError': '2, 16 or 18',
    'InputError': '1',
    'GeometryError': '1',
    'RegistrationError': '1',
    'ModelError': '1',
    'BrainsegError': '1',
}


def messages(root: Path = ROOT) -> list[tuple[str, str, str]]:
    """List room, exit code and text of each message, in the order of the rooms."""
    found = set()
    for path in sorted((root / 'bids_brainseg').rglob('*.py')):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        room = path.relative_to(root / 'bids_brainseg').parts[0].removesuffix('.py')
        found.update((room, code, text) for code, text in _messages(tree) if len(text.strip('… ')) > 8)
    return sorted(found)


def _messages(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, 'id', None)
            if name in ERRORS and node.exc.args:
                code = ERRORS[name]
                if len(node.exc.args) > 1 and isinstance(node.exc.args[1], ast.Constant):
                    code = str(node.exc.args[1].value)
                elif name == 'BidsError' and len(node.exc.args) == 1 and not node.exc.keywords:
                    code = '16'
                yield code, template(node.exc.args[0])
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', None) == 'error' and node.args:
            if getattr(node.func.value, 'id', None) == 'parser':
                yield '2', template(node.args[0])


def template(node: ast.AST) -> str:
    """Write a string of the code as text, with … where it is filled in.

    >>> template(ast.parse('f"{path} is " + "empty, " f"found {n} bytes"', mode='eval').body)
    '… is empty, found … bytes'
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return ''.join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return '…'


if __name__ == '__main__':
    writer = csv.writer(sys.stdout, delimiter='\t', lineterminator='\n')
    writer.writerow(('where', 'exit code', 'message'))
    writer.writerows((room, code, f'``{text}``') for room, code, text in messages())

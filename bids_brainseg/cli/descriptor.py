# SPDX-License-Identifier: Apache-2.0
"""Describe the command for programs that run it (Boutiques), from the parser alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import __version__
from ..machine import container_image
from . import words
from .parser import EXIT_CODES, LEVELS, PROG, STUDY, flag_of, get_parser

SCHEMA_VERSION = '0.5'
#: How a word is read -> type of Boutiques, and what a number may be.
NUMBERS = {
    words.positive: {'integer': True, 'minimum': 1},
    words.count: {'integer': True, 'minimum': 0},
    words.share: {'minimum': 0, 'maximum': 1},
    words.rate: {'minimum': 0, 'maximum': 1, 'exclusive-minimum': True, 'exclusive-maximum': True},
    words.factor: {'minimum': 0},
    words.millimeters: {'minimum': 0.5, 'maximum': 8},
    float: {},
}
PATHS = (words.path, words.file)
#: In place of a name of a level, which a descriptor of Boutiques lists like any other input.
LEVEL = 'analysis_level'


def describe(level: str = 'participant') -> dict:
    """Describe one level of the command as a descriptor of Boutiques.

    Parameters
    ----------
    level : str
        Whose options are described.

    Returns
    -------
    dict
        See https://boutiques.github.io.

    Examples
    --------
    >>> described = describe('group')
    >>> described['command-line'].split()[:4]
    ['bids_brainseg', '[BIDS_DIR]', '[OUTPUT_DIR]', '[ANALYSIS_LEVEL]']
    """
    parser = get_parser(level)
    inputs = [_positional('bids_dir', 'Root of the dataset; only read'),
              _positional('output_dir', 'Folder for the derivatives'),
              _input(LEVEL, 'String', 'Level of the analysis') | {'value-choices': [level]}]  # fmt: skip
    here = {level, STUDY} if level == 'evaluate' else {level}
    seen = set()
    for action in parser._actions:
        if here & {*getattr(action, 'levels', ())} and action.dest not in seen:
            seen.add(action.dest)
            inputs.append(_option(action, parser))
    described = {
        'name': PROG,
        'description': parser.description,
        'author': 'The bids_brainseg developers',
        'tool-version': __version__,
        'schema-version': SCHEMA_VERSION,
        'command-line': ' '.join([PROG, *(one['value-key'] for one in inputs)]),
        'inputs': inputs,
        'output-files': [
            {
                'id': 'outputs',
                'name': 'Derivatives',
                'description': 'BIDS derivatives with pages (HTML), labels, tables and logs',
                'path-template': '[OUTPUT_DIR]',
            }
        ],
        'error-codes': [
            {'code': code, 'description': meaning} for code, meaning in EXIT_CODES.items() if code
        ],
        'tags': {'domain': ['neuroinformatics', 'bids', 'bids-app', 'mri', 'ct']},
    }
    if image := container_image():
        described['container-image'] = {'type': 'docker', 'image': image}
    return described


def level_among(argv: Sequence[str]) -> str:
    """Return the level that is named among words, or participant."""
    return next((word for word in argv if word in LEVELS), 'participant')


def _input(name: str, kind: str, description: str) -> dict:
    return {
        'id': name,
        'name': name.replace('_', ' '),
        'type': kind,
        'description': description,
        'optional': False,
        'value-key': f'[{name.upper()}]',
    }


def _positional(name: str, description: str) -> dict:
    return _input(name, 'File', description)


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> dict:
    """Describe one option: its type, how often it takes a value, and what values it takes."""
    numbers = NUMBERS.get(action.type)
    kind = (
        'Flag' if action.nargs == 0
        else 'Number' if numbers is not None
        else 'File' if action.type in PATHS
        else 'String'
    )  # fmt: skip
    text = parser._get_formatter()._expand_help(action)
    described = _input(action.dest, kind, text) | {'optional': True, 'command-line-flag': flag_of(action)}
    if kind == 'Number':
        described |= numbers
    if isinstance(action.nargs, int) and action.nargs > 1:
        described |= {'list': True, 'min-list-entries': action.nargs, 'max-list-entries': action.nargs}
    elif action.nargs == '+':
        described['list'] = True
    if action.choices:
        described['value-choices'] = list(action.choices)
    return described

# SPDX-License-Identifier: Apache-2.0
"""Read the settings of an earlier run back, as words of a command line."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path

from ..files import read_text
from ..settings import Settings
from .parser import EVERYWHERE, STUDY, Parser, flag_of
from .words import Gigabytes, spell

#: Name in the file -> destination of the option, where they differ.
RENAMED = {'mem_gb': 'mem', 'models': 'model', 'scans_modality': 'modality'}
#: Names in the file that no option holds, or that the command gives itself.
LEFT_OUT = {'bids_dir', 'output_dir', 'level', 'run_uuid', 'options', 'scans'}
#: Contents of other files, by the option that names such a file.
CONTENTS = {'bids_filters': 'bids_filter_file', 'qc_thresholds': 'qc_thresholds', 'plugin': 'use_plugin'}


def read_config(parser: Parser, path: Path) -> dict[str, object]:
    """Read a ``settings.toml``; what is nested for training is laid flat.

    Raises
    ------
    SystemExit
        With code 2 if the file cannot be read, or holds what is no setting.
    """
    try:
        content = tomllib.loads(read_text(path))
    except OSError as error:
        parser.error(f'--config-file {path} cannot be read: {error.strerror or error}')
    except ValueError as error:
        parser.error(f'--config-file {path} cannot be read as TOML: {error}')
    names = {item.name for item in fields(Settings)}
    if unknown := sorted(content.keys() - names):
        parser.error(
            f'--config-file {path}: {", ".join(unknown)}: no such setting; give the settings.toml that a run '
            'of this version wrote into OUTPUT_DIR/sub-LABEL/log'
        )
    training = dict(content.pop('training', {}))
    return {**content, **training.pop('stage', {}), **training}


def config_words(content: Mapping, parser: Parser, typed: Collection[str], level: str) -> list[str]:
    """Write settings as words of a command line.

    Parameters
    ----------
    content : mapping
        From :func:`read_config`.
    parser : Parser
        That reads the words.
    typed : collection of str
        Destinations of the options on the command line, which go first.
    level : str
        Options of other levels are left out.
    """
    options = {action.dest: action for action in reversed(parser._actions) if action.option_strings}
    words = []
    for name, value in content.items():
        dest = RENAMED.get(name, name)
        action = options.get(dest)
        if action is None or dest in typed or name in LEFT_OUT or name in CONTENTS:
            continue
        if {level, STUDY if level == 'evaluate' else level} & {*getattr(action, 'levels', EVERYWHERE)}:
            words += _words(action, Gigabytes(value) if dest == 'mem' else value)
    return words


def config_contents(content: Mapping, typed: Collection[str]) -> dict[str, object]:
    """Return what a run read from other files: destination of the option -> content."""
    held = {dest: _with_none(content[name]) for name, dest in CONTENTS.items() if content.get(name)}
    if 'use_plugin' in held:
        held['use_plugin'] = {'plugin': held['use_plugin'], 'plugin_args': content.get('plugin_args')}
    return {dest: value for dest, value in held.items() if dest not in typed}


def _words(action: argparse.Action, value: object) -> list[str]:
    """Write one setting: a switch, a count, a table of names, a list or a single value.

    >>> from .parser import get_parser
    >>> actions = {action.dest: action for action in get_parser()._actions}
    >>> _words(actions['model'], [['T1w', '/a'], ['', '/b']]), _words(actions['verbosity'], 2)
    (['--model', 'T1w=/a', '/b'], ['--verbose', '--verbose'])
    """
    flag = flag_of(action)
    if action.nargs == 0:
        return [flag] * int(value)
    if isinstance(value, Mapping):
        value = [f'{key}={spell(item)}' for key, item in value.items()]
    if isinstance(value, list):
        items = ['='.join(filter(None, item)) if isinstance(item, list) else spell(item) for item in value]
        return [flag, *items] if items else []
    return [flag, spell(value)]


def _with_none(value: object) -> object:
    """Restore what TOML has no word for."""
    if isinstance(value, Mapping):
        return {key: _with_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_none(item) for item in value]
    return None if value == 'null' else value

# SPDX-License-Identifier: Apache-2.0
"""How one word of the command line is read, and how a value is written as a word."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple

from ..data import modalities, resource

LABEL_TABLES = ('auto', 'freesurfer', 'brainseg')


def spell_number(number: float) -> str:
    """Return the shortest text that is read as the same number.

    >>> spell_number(80.0), spell_number(0.25), spell_number(1e-4)
    ('80', '0.25', '0.0001')
    """
    text = f'{number:g}'
    return text if float(text) == number else repr(float(number))


def spell(value: object) -> str:
    """Write a value as one word of a command line."""
    return spell_number(value) if type(value) is float else str(value)


class Gigabytes(float):
    """An amount of memory; as text it is what ``--mem`` reads.

    >>> str(Gigabytes(16)), str(Gigabytes(0.1 + 0.2))
    ('16G', '0.30000000000000004G')
    """

    def __str__(self) -> str:
        return f'{spell_number(self)}G'


class NamedPath(NamedTuple):
    """A file or folder with a name, ``NAME=PATH``; the name may be empty."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f'{self.name}={self.path}' if self.name else str(self.path)


def path(text: str) -> Path:
    return _home(text).resolve()


def file(text: str) -> Path:
    return _home(text).absolute()  # not resolved: it may be a pipe of the shell, <(command)


def _home(text: str) -> Path:
    """Read ``~`` also where the shell leaves it alone: ``--work-dir=~/work``, ``T1w=~/model``."""
    return Path(os.path.expanduser(text))


def named_path(text: str) -> NamedPath:
    """Read ``NAME=PATH`` or ``PATH``.

    >>> str(named_path('T1w=/models/a=1')), str(named_path('/models/a=1'))
    ('T1w=/models/a=1', '/models/a=1')
    """
    name, equals, where = text.partition('=')
    named = equals and '/' not in name
    return NamedPath(name, path(where)) if named else NamedPath('', path(text))


def recipe(text: str) -> Path:
    packaged = resource('recipes') / f'{text}.json'
    return packaged if packaged.is_file() and not Path(text).exists() else path(text)


def table(text: str) -> str | Path:
    return text if text in LABEL_TABLES else path(text)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number') from None


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no number') from None


def positive(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise argparse.ArgumentTypeError(f'{number} is less than 1')
    return number


def count(text: str) -> int:
    if (number := _whole(text)) < 0:
        raise argparse.ArgumentTypeError(f'{number} is negative')
    return number


def share(text: str) -> float:
    if not 0 <= (number := _decimal(text)) <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number


def rate(text: str) -> float:
    if not 0 < (number := _decimal(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number


def factor(text: str) -> float:
    if not 0 <= (number := _decimal(text)) < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number of 0 or more')
    return number


def name(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(f'{text!r} holds more than letters and digits')
    return text


def millimeters(text: str) -> float:
    if not 0.5 <= (number := _decimal(text)) <= 8:
        raise argparse.ArgumentTypeError(f'{text} mm is not between 0.5 and 8')
    return number


def percentage(text: str) -> float:
    if not (number := _decimal(text.removesuffix('%'))) > 0:
        raise argparse.ArgumentTypeError(f'{text} is not above 0')
    return number


def memory(text: str, unit: str = 'M') -> Gigabytes:
    """Read an amount of memory; a bare number is in megabytes, or in the unit that is given.

    >>> memory('16G'), memory('16000'), memory('0.5 TB'), memory('16', 'G')
    (16.0, 16.0, 500.0, 16.0)
    """
    digits = text.strip().upper().removesuffix('B').removesuffix('I').strip()
    given = digits[-1:] if digits[-1:] in tuple('KMGT') else ''
    number = _decimal(digits.removesuffix(given)) * {'K': 1e-6, 'M': 1e-3, 'G': 1.0, 'T': 1e3}[given or unit]
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is {number:g} GB, less than one; write e.g. 16G')
    return Gigabytes(number)


def gigabytes(text: str) -> Gigabytes:
    """Read an amount of memory; a bare number is in gigabytes."""
    return memory(text, 'G')


def labels(text: str) -> list[str]:
    """Read labels separated by commas; no label of BIDS holds one.

    >>> labels('01,sub-02')
    ['01', 'sub-02']
    """
    return [label for part in text.split(',') if (label := part.strip())]


def modality_names(text: str) -> list[str]:
    """Read names of modalities separated by commas, in any case.

    >>> modality_names('t1w,CT')
    ['T1w', 'ct']
    """
    return [modality_name(label) for label in labels(text)]


def modality_name(text: str) -> str:
    """Read the name of a modality, in any case."""
    names = {name.casefold(): name for name in modalities()}
    if text.casefold() not in names:
        raise argparse.ArgumentTypeError(f'unknown modality {text!r}; known: {", ".join(names.values())}')
    return names[text.casefold()]


def device(text: str) -> str:
    """Read a device; cuda is what other programs call the GPU."""
    return {'cuda': 'gpu'}.get(text.lower(), text.lower())

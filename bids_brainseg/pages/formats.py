# SPDX-License-Identifier: Apache-2.0
"""Values as the text of a page: numbers with units, ``n/a`` where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.quality import BOUNDS

MISSING = 'n/a'


class Paragraph(NamedTuple):
    """A block of text: its heading ('' if it has none) and its words ('' if it is only a heading)."""

    heading: str
    text: str


def number(value: Any, digits: int = 0, unit: str = '') -> str:
    """Write a number, with thin spaces between thousands from 10 000 on.

    Parameters
    ----------
    value : object
        A number or its text.
    digits : int
        Digits after the point.
    unit : str
        Appended if given.

    Returns
    -------
    str
        ``'n/a'`` for what is not a finite number.

    Examples
    --------
    >>> number(12345.6), number(1234.5, 1), number('n/a'), number(1.25, 1, '%'), number(-0.04, 1)
    ('12\\u2009346', '1234.5', 'n/a', '1.2\\u2009%', '0.0')
    """
    try:
        value = float(value)
    except (TypeError, ValueError):
        return MISSING
    if not math.isfinite(value):
        return MISSING
    thousands = ',' if round(abs(value), digits) >= 10_000 else ''
    text = f'{value:z{thousands}.{digits}f}'.replace(',', '\N{THIN SPACE}').replace('-', '\N{MINUS SIGN}')
    return f'{text}\N{THIN SPACE}{unit}' if unit else text


def milliliters(mm3: Any, unit: str = 'ml') -> str:
    """Write a volume given in mm3 as ml: every volume on a page.

    Parameters
    ----------
    mm3 : object
        A number or its text.
    unit : str
        Appended; '' in a column whose title names it.

    Returns
    -------
    str
        Two digits after the point below 100 ml, else one.

    Examples
    --------
    >>> milliliters(1250000), milliliters('3456.7', ''), milliliters('n/a')
    ('1250.0\\u2009ml', '3.46', 'n/a')
    """
    try:
        value = float(mm3) / 1000
    except (TypeError, ValueError):
        return MISSING
    return number(value, 1 if abs(value) >= 100 else 2, unit)


def plain(value: Any) -> str:
    """Write a value of a JSON file as text.

    >>> plain(['R', 'A', 'S']), plain([1.0, 1.25]), plain(1234567.8), plain(0.66666), plain(True)
    ('RAS', '1 × 1.25', '1234568', '0.667', 'yes')
    """
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'
    if isinstance(value, list | tuple):
        letters = all(isinstance(item, str) and len(item) == 1 for item in value)
        return ('' if letters else ' \N{MULTIPLICATION SIGN} ').join(plain(item) for item in value)
    return str(value)


def bounds(rules: Mapping | None, divisor: float = 1) -> str:
    """Write the rules of a number in words, its bounds divided by what the number is divided by.

    >>> bounds({'review_below': 0.45, 'fail_below': 0.33, 'label': 'agreement'})
    'review below 0.45, fail below 0.33'
    """
    kinds = sorted(BOUNDS, key=lambda rule: rule.startswith('fail'))
    return ', '.join(
        f'{kind.replace("_", " ")} {rules[kind] / divisor:g}' for kind in kinds if kind in (rules or {})
    )


def spread(summary: Mapping, digits: int) -> str:
    """Write mean and standard deviation.

    >>> spread({'mean': 0.5, 'sd': 0.125}, 2), spread({'mean': 0.5, 'sd': float('nan')}, 2)
    ('0.50 ± 0.12', '0.50')
    """
    mean, sd = number(summary['mean'], digits), number(summary['sd'], digits)
    return mean if MISSING in (mean, sd) else f'{mean} ± {sd}'


def quartiles(summary: Mapping, digits: int) -> str:
    """Write the first and the third quartile.

    >>> quartiles({'q1': 0.4, 'q3': 0.6}, 1)
    '0.4 to 0.6'
    """
    low, high = number(summary['q1'], digits), number(summary['q3'], digits)
    return MISSING if low == MISSING else f'{low} to {high}'


def correlation(statistics: Mapping) -> str:
    """Write a correlation with its interval.

    >>> correlation({'r': -0.5, 'low': -0.75, 'high': 0.25})
    '−0.50 [−0.75, 0.25]'
    """
    r, low, high = (number(statistics[key], 2) for key in ('r', 'low', 'high'))
    return r if MISSING in (r, low) else f'{r} [{low}, {high}]'


def paragraphs(text: str) -> list[Paragraph]:
    r"""Take text with ``#`` headings and blank lines between its parts to pieces.

    >>> paragraphs('One.\n\n# Two\nThree.')
    [Paragraph(heading='', text='One.'), Paragraph(heading='Two', text='Three.')]
    """
    parts = []
    for block in filter(None, (block.strip() for block in text.split('\n\n'))):
        first, _, rest = block.partition('\n')
        parts.append(
            Paragraph(first.lstrip('# '), rest.strip()) if block.startswith('#') else Paragraph('', block)
        )
    return parts

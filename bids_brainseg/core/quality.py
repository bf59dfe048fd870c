# SPDX-License-Identifier: Apache-2.0
"""Answer the first question about a scan, whether its result can be trusted, from numbers and thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

LEVELS = ('pass', 'review', 'fail')
#: Rules of a threshold: the level it leads to, and whether it guards the upper side.
RULES = {
    'fail_below': ('fail', False),
    'fail_above': ('fail', True),
    'review_below': ('review', False),
    'review_above': ('review', True),
}


class Verdict(NamedTuple):
    """'pass', 'review' or 'fail', and a sentence for each number that led there."""

    verdict: str
    reasons: list[str]


def verdict(numbers: Mapping[str, float | None], thresholds: Mapping[str, Mapping]) -> Verdict:
    """Judge a scan's numbers.

    Parameters
    ----------
    numbers : mapping of str to float
        Measured values; None or nan where something could not be measured.
    thresholds : mapping of str to mapping
        For each number to be judged any of `fail_below`, `fail_above`, `review_below`, `review_above` (bounds
        in the number's unit, themselves still good), and optionally `label` (its name in a sentence), `unit`,
        and `required` ('review' or 'fail': the level if it was not measured; without it that is no fault).

    Returns
    -------
    Verdict
        The worst level of all numbers, and the reasons, the gravest first; none for 'pass'.

    Raises
    ------
    ValueError
        If a threshold holds a rule that does not exist.

    Examples
    --------
    >>> verdict({'cv': 3.0}, {'cv': {'review_above': 2.5, 'label': 'mean CV', 'unit': '%'}})
    Verdict(verdict='review', reasons=['mean CV is 3 %, above 2.5 %'])
    """
    found = []
    for name, rules in thresholds.items():
        unknown = set(rules) - set(RULES) - {'label', 'unit', 'required'}
        if unknown or rules.get('required', 'review') not in LEVELS[1:]:
            raise ValueError(f'Threshold {name!r} holds a rule that does not exist: {dict(rules)}')
        outcome = _judge(numbers.get(name), rules, rules.get('label', name))
        if outcome is not None:
            found.append(outcome)
    found.sort(key=lambda outcome: -LEVELS.index(outcome[0]))
    return Verdict(found[0][0] if found else 'pass', [reason for _, reason in found])


def _judge(value: float | None, rules: Mapping, label: str) -> tuple[str, str] | None:
    """Give the level and the reason of the gravest rule that a number breaks."""
    if value is None or math.isnan(value):
        return (rules['required'], f'{label} could not be measured') if 'required' in rules else None
    unit = f' {rules["unit"]}' if rules.get('unit') else ''
    for rule, (level, above) in RULES.items():
        bound = rules.get(rule)
        if bound is not None and (value > bound if above else value < bound):
            side = 'above' if above else 'below'
            return level, f'{label} is {_plain(value)}{unit}, {side} {_plain(bound)}{unit}'
    return None


def _plain(value: float) -> str:
    """Write a number with four significant digits and no exponent."""
    if not math.isfinite(value):
        return str(value)
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f'{round(value, digits):,.{max(digits, 0)}f}'
    return text.rstrip('0').rstrip('.') if '.' in text else text

# SPDX-License-Identifier: Apache-2.0
"""Judge a scan by its quality numbers: rules, how they are combined and checked, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

LEVELS = ('pass', 'review', 'fail')
#: Rules that hold a bound: the level that they lead to, and whether they guard the upper side.
BOUNDS = {
    'fail_below': ('fail', False),
    'fail_above': ('fail', True),
    'review_below': ('review', False),
    'review_above': ('review', True),
}
#: The rule that holds the level of a number that could not be measured.
REQUIRED = 'required'
RULES = (*BOUNDS, REQUIRED)
#: Section of a file of thresholds that applies to every modality.
ALL = 'all'


class Verdict(NamedTuple):
    """'pass', 'review' or 'fail', and a sentence for each number or doubt that led there."""

    verdict: str
    reasons: list[str]


def verdict(
    numbers: Mapping[str, float | None], thresholds: Mapping[str, Mapping], doubts: Sequence[str] = ()
) -> Verdict:
    """Judge a scan by its numbers, and by what its file leaves open.

    Parameters
    ----------
    numbers : mapping of str to float
        Measured values; None or nan where something could not be measured.
    thresholds : mapping of str to mapping
        For each number to be judged any of `fail_below`, `fail_above`, `review_below`, `review_above` (bounds
        in the number's unit, themselves still good), and optionally `label` (its name in a sentence), `unit`,
        and `required` ('review' or 'fail': the level if it was not measured; without it that is no fault).
    doubts : sequence of str
        Sentences, each of which asks for review.

    Returns
    -------
    Verdict
        The worst level of all numbers, and the reasons, the gravest first; none for 'pass'.

    Raises
    ------
    ValueError
        If a threshold holds an unknown rule.

    Examples
    --------
    >>> verdict({'cv': 3.0}, {'cv': {'review_above': 2.5, 'label': 'mean CV', 'unit': '%'}})
    Verdict(verdict='review', reasons=['mean CV is 3 %, above 2.5 %'])
    """
    outcomes = [('review', doubt) for doubt in doubts]
    for name, rules in thresholds.items():
        unknown = set(rules) - {*RULES, 'label', 'unit'}
        if unknown or rules.get(REQUIRED, 'review') not in LEVELS[1:]:
            raise ValueError(f'thresholds of {name!r} hold an unknown rule: {dict(rules)}')
        outcome = _worst_level(numbers.get(name), rules, rules.get('label', name))
        if outcome is not None:
            outcomes.append(outcome)
    outcomes.sort(key=lambda outcome: -LEVELS.index(outcome[0]))
    return Verdict(outcomes[0][0] if outcomes else 'pass', [reason for _, reason in outcomes])


def merge_rules(sources: Iterable[Mapping[str, Mapping | None]], numbers: Mapping[str, Mapping]) -> dict:
    """Combine rules of several sources.

    Parameters
    ----------
    sources : iterable of mapping
        Number to rules; later sources win over earlier ones. None in the place of a number's rules takes them
        all away, None in the place of a bound takes that bound away.
    numbers : mapping of str to mapping
        `label` and `unit` of each number.

    Returns
    -------
    dict of str to dict
        As :func:`verdict` takes them, label and unit included; without numbers that have no rule left.

    Examples
    --------
    >>> packaged = {'cv': {'review_above': 2.5}, 'snr': {'fail_below': 1}}
    >>> user = {'cv': {'fail_above': 9}, 'snr': None}
    >>> merge_rules([packaged, user], {'cv': {'label': 'mean CV', 'unit': '%'}})
    {'cv': {'label': 'mean CV', 'unit': '%', 'review_above': 2.5, 'fail_above': 9}}
    """
    merged: dict[str, dict] = {}
    for source in sources:
        for name, rules in source.items():
            merged[name] = {} if rules is None else {**merged.get(name, {}), **rules}
    result = {}
    for name, rules in merged.items():
        bounds = {rule: bound for rule, bound in rules.items() if bound is not None}
        if any(rule in RULES for rule in bounds):
            entry = numbers.get(name, {})
            result[name] = {'label': entry.get('label', name), 'unit': entry.get('unit', ''), **bounds}
    return result


def with_default(rules: Mapping[str, Mapping], number: str, bounds: Mapping, entry: Mapping) -> dict:
    """Give a number bounds that hold where its rules have none.

    Parameters
    ----------
    rules : mapping of str to mapping
        As :func:`verdict` takes them.
    number : str
    bounds : mapping
        Rule to bound.
    entry : mapping
        `label` and `unit` of the number.

    Returns
    -------
    dict of str to dict

    Examples
    --------
    >>> entry = {'label': 'CV', 'unit': '%'}
    >>> with_default({'cv': {'review_above': 9}}, 'cv', {'review_above': 2, 'fail_above': 20}, entry)
    {'cv': {'review_above': 9, 'fail_above': 20, 'label': 'CV', 'unit': '%'}}
    """
    default = {**bounds, 'label': entry['label'], 'unit': entry['unit']}
    return {**rules, number: {**default, **rules.get(number, {})}}


def check_rules(content: Any, modalities: Iterable[str], numbers: Collection[str]) -> dict:
    """Check thresholds that a user wrote.

    Parameters
    ----------
    content : object
        What the file holds: :data:`ALL` or a modality to number to rules.
    modalities, numbers : iterable of str
        Names that may stand there.

    Returns
    -------
    dict
        The same.

    Raises
    ------
    ValueError
        Names the unknown section, number or rule, and those that are known.

    Examples
    --------
    >>> check_rules({'all': {'cv': {'above': 1}}}, ['T1w'], ['cv'])
    Traceback (most recent call last):
    ValueError: unknown rule 'above'; known: fail_below, fail_above, review_below, review_above, required
    """
    if not isinstance(content, dict) or not all(isinstance(rules, dict) for rules in content.values()):
        raise ValueError('must hold {"all" or MODALITY: {NUMBER: {RULE: BOUND}}}')
    for section, rules_of in content.items():
        _require_known('section', section, (ALL, *modalities))
        for number, rules in rules_of.items():
            _require_known('number', number, numbers)
            if rules is not None and not isinstance(rules, dict):
                raise ValueError(f'{number} must hold {{RULE: BOUND}} or null, found {rules!r}')
            for rule, bound in (rules or {}).items():
                _require_known('rule', rule, RULES)
                good = bound in LEVELS[1:] if rule == REQUIRED else isinstance(bound, int | float)
                if bound is not None and not good:
                    raise ValueError(f'{rule} of {number} cannot be {bound!r}')
    return content


def _require_known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f'unknown {what} {name!r}; known: {", ".join(known)}')


def _worst_level(value: float | None, rules: Mapping, label: str) -> tuple[str, str] | None:
    """Give the level and the reason of the gravest rule that a number breaks."""
    if value is None or math.isnan(value):
        return (rules['required'], f'{label} could not be measured') if 'required' in rules else None
    for rule, (level, above) in BOUNDS.items():
        bound = rules.get(rule)
        if bound is not None and (value > bound if above else value < bound):
            side, unit = 'above' if above else 'below', rules.get('unit', '')
            return level, f'{label} is {_in_words(value, unit)}, {side} {_in_words(bound, unit)}'
    return None


def _in_words(value: float, unit: str) -> str:
    """Write a number with its unit; a volume in ml, as on pages.

    >>> _in_words(1735123.4, 'mm3'), _in_words(0.5, ''), _in_words(2.25, '%')
    ('1735 ml', '0.5', '2.25 %')
    """
    if unit == 'mm3':
        value, unit = value / 1000, 'ml'
    return f'{_plain(value)} {unit}'.rstrip()


def _plain(value: float) -> str:
    """Write a number with four significant digits and no exponent."""
    if not math.isfinite(value):
        return str(value)
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f'{round(value, digits):.{max(digits, 0)}f}'
    return text.rstrip('0').rstrip('.') if '.' in text else text

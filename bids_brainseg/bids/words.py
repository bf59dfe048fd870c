# SPDX-License-Identifier: Apache-2.0
"""Find words in labels of names, where nothing separates them: ``headCTA``, ``b1000ADC``, ``famap``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from ..data import modalities, resource

#: Words of fewer letters are parts of others too often: CTA of CTAxial, ADC of headc, CTP of ctplain.
LONG_WORD = 5


def has_word(labels: Iterable[str], words: Sequence[str]) -> bool:
    """Check whether a label holds one of the words, in any case.

    Parameters
    ----------
    labels : iterable of str
        Letters and digits.
    words : sequence of str
        Lower case. A word of five letters or more may begin or end a label. A shorter one must stand by
        itself, between digits or where the case changes, or beside words that are usual in such labels
        (``name_words.txt``).

    Returns
    -------
    bool

    Examples
    --------
    >>> has_word(['b1000ADC'], ['adc']), has_word(['headcta'], ['cta'])
    (True, True)
    >>> has_word(['headc'], ['adc']), has_word(['CTAxial'], ['cta'])
    (False, False)
    """
    return any(
        _stands_alone(label, word) or is_composed([label], [word]) for label in labels for word in words
    )


def is_composed(labels: Iterable[str], words: Sequence[str]) -> bool:
    """Check whether a label is one of the words, alone or beside words that are usual in labels.

    Parameters
    ----------
    labels : iterable of str
    words : sequence of str
        Lower case.

    Returns
    -------
    bool
        False with digits, and where the usual words alone make up the label: CT and axial in CTAxial.

    Examples
    --------
    >>> is_composed(['FAmap'], ['fa']), is_composed(['FA90'], ['fa']), is_composed(['fat'], ['fa'])
    (True, False, False)
    """
    usual = _usual_words().difference(words)
    return any(
        _consists_of(plain, usual.union(words)) and not _consists_of(plain, usual)
        for plain in map(str.casefold, labels)
    )


@cache
def _usual_words() -> frozenset[str]:
    """Return words that labels are often put together from, the suffixes of all modalities among them."""
    suffixes = (suffix.casefold() for rule in modalities().values() for suffix in rule.suffixes)
    return frozenset([*resource('name_words.txt').read_text(encoding='utf-8').split(), *suffixes])


def _consists_of(text: str, words: Iterable[str]) -> bool:
    """Tell whether words that follow each other make up a text."""
    ends = {0}
    for start in range(len(text)):
        if start in ends:
            ends.update(start + len(word) for word in words if text.startswith(word, start))
    return len(text) in ends


def _stands_alone(label: str, word: str) -> bool:
    plain = label.casefold()
    if len(word) >= LONG_WORD and (plain.startswith(word) or plain.endswith(word)):
        return True
    starts = (match.start() for match in re.finditer(f'(?={re.escape(word)})', plain))
    return any(_is_boundary(label, i) and _is_boundary(label, i + len(word)) for i in starts)


def _is_boundary(label: str, position: int) -> bool:
    """Tell whether a word can end before a character and another begin with it."""
    if position in (0, len(label)):
        return True
    before, after = label[position - 1], label[position]
    return before.isdigit() or after.isdigit() or (before.islower() and after.isupper())

# SPDX-License-Identifier: Apache-2.0
"""The options: each is explained, and a word that makes no sense is refused."""

from __future__ import annotations

import argparse

import pytest

from bids_brainseg.cli import parser, words


def test_every_option_is_explained():
    actions = parser.get_parser()._actions
    assert [action.dest for action in actions if not action.help] == []


@pytest.mark.parametrize(
    ('text', 'gigabytes'),
    [('16G', 16), ('16GB', 16), ('16 gb', 16), ('16000', 16), ('16000M', 16), ('0.5T', 500)],
)
def test_memory_has_units(text, gigabytes):
    assert words.memory(text) == pytest.approx(gigabytes)
    assert words.memory(str(words.memory(text))) == words.memory(text)


@pytest.mark.parametrize(
    ('kind', 'text', 'phrase'),
    [
        (words.positive, '0', '0 is less than 1'),
        (words.count, '-1', '-1 is negative'),
        (words.share, '1.5', '1.5 is not between 0 and 1'),
        (words.rate, '0', '0 is not between 0 and 1'),
        (words.factor, 'inf', 'inf is not a number of 0 or more'),
        (words.name, 'my net', 'holds more than letters and digits'),
        (words.millimeters, '0.1', '0.1 mm is not between 0.5 and 8'),
        (words.percentage, '0%', '0% is not above 0'),
        (words.memory, '16', '16 is 0.016 GB, less than one'),
    ],
)
def test_a_word_that_makes_no_sense_is_refused(kind, text, phrase):
    with pytest.raises(argparse.ArgumentTypeError, match=phrase):
        kind(text)


def test_paths_are_absolute_and_may_have_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words.named_path('T1w=a') == ('T1w', tmp_path / 'a')
    assert words.named_path('a') == ('', tmp_path / 'a')
    assert words.named_path('b/n=1') == ('', tmp_path / 'b' / 'n=1')
    assert str(words.named_path('T1w=a')) == f'T1w={tmp_path}/a'

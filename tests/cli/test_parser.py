# SPDX-License-Identifier: Apache-2.0
"""The options: each is explained, and a word that makes no sense is refused."""

from __future__ import annotations

import argparse

import pytest

from bids_brainseg.cli import parser


def test_every_option_is_explained():
    actions = parser.get_parser()._actions
    assert [action.dest for action in actions if not action.help] == []


@pytest.mark.parametrize(
    ('text', 'gigabytes'),
    [('16G', 16), ('16GB', 16), ('16 gb', 16), ('16000', 16), ('16000M', 16), ('0.5T', 500)],
)
def test_memory_has_units(text, gigabytes):
    assert parser._gigabytes(text) == pytest.approx(gigabytes)
    assert parser._gigabytes(str(parser._gigabytes(text))) == parser._gigabytes(text)


@pytest.mark.parametrize(
    ('kind', 'text', 'phrase'),
    [
        (parser._positive, '0', '0 is less than 1'),
        (parser._count, '-1', '-1 is negative'),
        (parser._share, '1.5', '1.5 is not between 0 and 1'),
        (parser._rate, '0', '0 is not between 0 and 1'),
        (parser._factor, 'inf', 'inf is not a number of 0 or more'),
        (parser._name, 'my net', 'holds more than letters and digits'),
        (parser._millimeters, '0.1', '0.1 mm is not between 0.5 and 8'),
        (parser._percentage, '0%', '0% is not above 0'),
        (parser._gigabytes, '16', '16 is 0.016 GB, less than one'),
    ],
)
def test_a_word_that_makes_no_sense_is_refused(kind, text, phrase):
    with pytest.raises(argparse.ArgumentTypeError, match=phrase):
        kind(text)


def test_paths_are_absolute_and_may_have_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parser._named_path('T1w=a') == ('T1w', tmp_path / 'a')
    assert parser._named_path('a') == ('', tmp_path / 'a')
    assert parser._named_path('b/n=1') == ('', tmp_path / 'b' / 'n=1')
    assert str(parser._named_path('T1w=a')) == f'T1w={tmp_path}/a'

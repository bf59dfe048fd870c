# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.results.scanners import scanner_names


def named(*told):
    keys = ('manufacturer', 'scanner_model', 'field_strength')
    return scanner_names([dict(zip(keys, one, strict=True)) for one in told])


@pytest.mark.parametrize(
    ('told', 'name'),
    [
        (
            [
                ('SIEMENS', 'Prisma', '3'),
                ('Siemens', 'Prisma', '2.89'),
                ('Siemens Healthineers', 'MAGNETOM Prisma', '2.8936'),
                ('Siemens', 'SIEMENS MAGNETOM_Prisma 3T', ''),
                ('', 'MAGNETOM Prisma', 3),
            ],
            'Siemens Prisma, 3 T',
        ),
        (
            [
                ('GE MEDICAL SYSTEMS', 'DISCOVERY MR750', 3),
                ('GE_MEDICAL_SYSTEMS', 'DISCOVERY MR750', '3.0'),
                ('G.E. Medical Systems', 'GE Discovery MR750', 30000),
            ],
            'GE DISCOVERY MR750, 3 T',
        ),
        (
            [
                ('Philips Medical Systems', 'Intera 1.5T', ''),
                ('Philips', 'Philips Medical Systems Intera', 1.5),
            ],
            'Philips Intera, 1.5 T',
        ),
        ([('Unheard Of', 'UNHEARD OF Model 1', 0.4), ('unheard of', 'Model 1', 0.4)], None),
    ],
)
def test_spellings_of_one_scanner_are_one(told, name):
    found = set(named(*told))
    assert len(found) == 1
    assert name is None or found == {name}


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        (('Siemens', 'Prisma', 3), ('Siemens', 'Prisma_fit', 3)),  # an upgrade is another scanner
        (('Siemens', 'Trio', 3), ('Siemens', 'TrioTim', 3)),
        (('GE', 'Signa HDxt', 1.5), ('GE', 'Signa HDxt', 3)),
        (('Siemens', 'Vida', 3), ('Siemens', 'Vida', '')),
        (('Geo', 'X', 1), ('GE', 'X', 1)),  # a name within a word is no name
        (('Philips', '', ''), ('Siemens', '', '')),
    ],
)
def test_what_differs_stays_apart(one, other):
    assert len(set(named(one, other))) == 2


def test_the_most_frequent_spelling_is_shown():
    told = [('GE', 'SIGNA Premier', 3), ('GE', 'Signa Premier', 3), ('GE', 'Signa Premier', 3)]
    assert named(*told) == ['GE Signa Premier, 3 T'] * 3


def test_little_or_nothing_is_known():
    assert named(('', '', ''), ('', '', 'n/a'), ('', '', 0), ('', '', 'inf'), (None, None, None)) == [''] * 5
    assert named(('', '', 6.98), ('Canon', '', ''), ('', 'Swoop', '0.064'), ('', '', 2.0)) == [
        '7 T', 'Canon', 'Swoop, 0.064 T', '2 T',
    ]  # fmt: skip

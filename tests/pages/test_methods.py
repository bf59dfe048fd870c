# SPDX-License-Identifier: Apache-2.0
"""The methods section from the texts of the scans."""

from __future__ import annotations

import pytest

from bids_brainseg.pages.methods import bibliography, methods_text, references, write_citations

FIRST = {'Methods': 'By a program, after @zopes2021.\n\nT1w: aligned [@klein2010].'}
SECOND = {'Methods': 'By a program, after @zopes2021.\n\nFLAIR: aligned [with elastix, @klein2010].'}


def test_what_scans_share_is_said_once():
    assert methods_text([FIRST, {}, SECOND, FIRST]).split('\n\n')[:4] == [
        'By a program, after Zopes et al. (2021).',
        'T1w: aligned (Klein et al., 2010).',
        'FLAIR: aligned (with elastix, Klein et al., 2010).',
        '# References',
    ]
    assert methods_text([{}]) == bibliography([{}]) == ''


def test_what_is_cited_is_listed_and_nothing_else():
    listed = methods_text([FIRST]).partition('# References')[2]
    bib = bibliography([FIRST])
    for key, fields in references().items():
        cited = key in ('zopes2021', 'klein2010')
        assert (f'doi:{fields["doi"]}' in listed) is cited
        assert (f'{{{key},' in bib) is cited


def test_unknown_citations_do_not_pass():
    with pytest.raises(KeyError, match='nobody1999'):
        write_citations('As @nobody1999 did.')


def test_the_bibliography_is_bibtex():
    bib = bibliography([{'Methods': '[@zopes2021] [@klein2010] [@gal2016]'}])
    assert bib.count('{') == bib.count('}')
    assert 'author = {Zopes, J and Platscher, M and' in bib
    assert 'pages = {196--205}' in bib
    assert 'booktitle = {Proceedings' in bib

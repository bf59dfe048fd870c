# SPDX-License-Identifier: Apache-2.0
"""The methods section from the texts of the scans."""

from __future__ import annotations

import pytest

from bids_brainseg.pages.methods import bibliography, methods_text, references, write_citations

PROGRAM = 'By a program, after @zopes2021.'
T1W = {'modality': 'T1w', 'Methods': f'{PROGRAM}\nAligned [@klein2010].\nModel a.\nMeasured.\n'}
FLAIR = {'modality': 'FLAIR', 'Methods': f'{PROGRAM}\nAligned [@klein2010].\nModel b.\nMeasured.\n'}
TEMPLATE = {'modality': 'T1w', 'Methods': T1W['Methods'] + 'To a template.\n'}


def paragraphs(*qcs: dict) -> list[str]:
    before, _, _ = methods_text(qcs).partition('\n\n# References')
    return before.split('\n\n')


def test_what_scans_share_is_said_once():
    program = 'By a program, after Zopes et al. (2021).'
    assert paragraphs(T1W, {}, T1W) == [program, 'T1w: Aligned (Klein et al., 2010). Model a. Measured.']
    assert paragraphs(T1W, FLAIR, {}, T1W) == [
        program,
        'T1w, FLAIR: Aligned (Klein et al., 2010). Measured.',
        'T1w: Model a.',
        'FLAIR: Model b.',
    ]
    assert paragraphs(T1W, TEMPLATE) == [
        program,
        'T1w: Aligned (Klein et al., 2010). Model a. Measured.',
        'T1w: To a template.',
    ]
    assert methods_text([{}]) == bibliography([{}]) == ''


def test_versions_stay_apart():
    older = {'modality': 'T1w', 'Methods': T1W['Methods'].replace('a program', 'an older one')}
    assert paragraphs(T1W, older)[:2] == [
        'By a program, after Zopes et al. (2021).',
        'By an older one, after Zopes et al. (2021).',
    ]


def test_what_is_cited_is_listed_and_nothing_else():
    listed = methods_text([T1W]).partition('# References')[2]
    bib = bibliography([T1W])
    for key, fields in references().items():
        cited = key in ('zopes2021', 'klein2010')
        assert (f'doi:{fields["doi"]}' in listed) is cited
        assert (f'{{{key},' in bib) is cited


def test_unknown_citations_do_not_pass():
    with pytest.raises(KeyError, match='nobody1999'):
        write_citations('As @nobody1999 did.')


def test_the_bibliography_is_bibtex():
    bib = bibliography([{'modality': 'T1w', 'Methods': '[@zopes2021] [@klein2010] [@gal2016]'}])
    assert bib.count('{') == bib.count('}')
    assert 'author = {Zopes, J and Platscher, M and' in bib
    assert 'pages = {196--205}' in bib
    assert 'booktitle = {Proceedings' in bib

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
    alone = f'{program} Aligned (Klein et al., 2010). Model a. Measured.'
    assert paragraphs(T1W, {}, T1W) == [alone]
    assert paragraphs(T1W, FLAIR, {}, T1W) == [
        f'{program} Aligned (Klein et al., 2010). Model a (T1w), b (FLAIR). Measured.'
    ]
    assert paragraphs(T1W, TEMPLATE) == [f'{alone} For some scans of T1w: To a template.']
    assert methods_text([{}]) == bibliography([{}]) == ''


def test_versions_stay_apart():
    older = {'modality': 'T1w', 'Methods': T1W['Methods'].replace('a program', 'an older one')}
    (text,) = paragraphs(T1W, older)
    assert text.startswith(
        'For some scans of T1w: By an older one, after Zopes et al. (2021). For some scans of T1w: By a'
    )
    other = {'modality': 'T1w', 'Methods': T1W['Methods'].replace('a program', 'b program')}
    assert paragraphs(T1W, other)[0].startswith('By a or b (T1w) program, after Zopes et al. (2021).')


def test_a_value_of_several_words_is_named_once():
    models = [
        {'modality': name, 'Methods': f'The model {name} 1.0 (hash {n}), trained on maps.\n'}
        for n, name in enumerate(('T1w', 'ct'))
    ]
    assert (
        'The model T1w 1.0 (hash 0) (T1w), ct 1.0 (hash 1) (ct), trained on maps.' in paragraphs(*models)[0]
    )


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

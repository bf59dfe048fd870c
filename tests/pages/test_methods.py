# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.pages import methods


def test_methods_are_true_to_the_parameters():
    qc = {
        'modality': 'T1w', 'Model': {'Name': 't1w', 'SHA256': 'ab' * 32, 'Reference': 'BrainsegAdult'},
        'MonteCarloSamples': 7, 'RandomSeed': 3, 'LabelResampling': 'posterior',
        'Thresholds': {'cv_percent': 1.0}, 'Versions': {'bids_brainseg': '9.8'},
    }  # fmt: skip
    text = methods.methods_text(
        [
            qc,
            qc,
            {},
            qc | {'modality': 'ct'},
            qc | {'modality': 'dwi', 'MonteCarloSamples': 0, 'LabelResampling': 'nearest'},
        ]
    )
    first, second, *_ = text.split('\n\n')
    assert first.startswith('T1w, ct scans were segmented')
    for phrase in (
        '9.8',
        'model t1w',
        'abababababab',
        '7 passes',
        'seed 3',
        'above 1 %',
        'interpolated linearly',
    ):
        assert phrase in first
    assert second.startswith('dwi scans')
    assert 'applied once' in second and 'nearest' in second
    assert 'mirrored' not in text
    assert 'half of which saw' in methods.methods_text([qc | {'MirroredPasses': True}])
    assert methods.methods_text([{}]) == methods.bibliography([{}]) == ''


QC = {'modality': 'T1w', 'Model': {'Name': 't1w', 'SHA256': 'ab'}, 'MonteCarloSamples': 7}
CARD = {
    ('t1w', 'ab'): {'card': {'training': {'data': 'label maps, turned into scans by the generative model'}}}
}


@pytest.mark.parametrize(
    ('qc', 'cards', 'there', 'absent'),
    [
        (QC, {}, {'zopes2021', 'gal2016', 'klein2010'}, {'billot2023'}),
        (QC | {'MonteCarloSamples': 0}, {}, {'zopes2021'}, {'gal2016', 'billot2023'}),
        (QC, CARD, {'gal2016', 'billot2023'}, set()),
    ],
)
def test_only_what_was_used_is_cited(qc, cards, there, absent):
    bib, text = methods.bibliography([qc], cards), methods.methods_text([qc], cards)
    keys = set(methods.references())
    assert there <= keys and absent <= keys
    for key in keys:
        author, doi = methods.references()[key]['author'].split()[0], methods.references()[key]['doi']
        cited = f'{{{key},' in bib
        assert cited == (f'doi = {{{doi}}}' in bib) == (f'doi:{doi}' in text)
        body = text.partition('# References')[0]
        assert cited == any(f'{author} {rest}' in body for rest in ('et al.', 'and Ghahramani')), key
        assert key not in there or cited
        assert key not in absent or not cited


def test_the_bibliography_is_bibtex():
    bib = methods.bibliography([QC])
    assert bib.count('{') == bib.count('}')
    assert 'author = {Zopes, J and Platscher, M and' in bib
    assert 'pages = {196--205}' in bib
    assert 'booktitle = {Proceedings' in bib

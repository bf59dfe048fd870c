# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import doctest
from xml.etree import ElementTree

import pytest

from bids_brainseg.data import label_table
from bids_brainseg.pages import fragments, methods

TOTALS = {'brain': 1.2e6, 'ventricles': 2.5e4, 'eTIV': 1.5e6}


def parse(html):
    """Read a fragment as XML: it has to be well formed."""
    return ElementTree.fromstring(f'<div>{html}</div>')


def words(html):
    return ' '.join(' '.join(parse(html).itertext()).split())


def rows(**changes):
    """Rows of a table of volumes; `changes` by name of the structure."""
    usual = {
        'volume_mm3': '1000.0',
        'mc_mean_mm3': '1010.0',
        'mc_std_mm3': '5.0',
        'cv_mc': '0.5',
        'flag': 'n/a',
    }
    table = [
        {
            'index': str(label.index),
            'name': label.name,
            **usual,
            **changes.get(label.name.replace('-', '_'), {}),
        }
        for label in label_table()[1:]
    ]
    empty = dict.fromkeys(usual, 'n/a')
    return table + [
        {'index': 'n/a', 'name': name, **empty, 'volume_mm3': str(value)} for name, value in TOTALS.items()
    ]


def row_of(html, name):
    for row in parse(html).iter('tr'):
        cells = [' '.join(cell.itertext()) for cell in row]
        if cells and cells[0] == name:
            return cells[1:]
    raise AssertionError(f'no row {name}')


@pytest.mark.parametrize('module', [fragments, methods])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_volumes_put_left_beside_right():
    html = fragments.volumes_html(
        rows(Left_Hippocampus={'volume_mm3': '3600.4'}, Right_Hippocampus={'volume_mm3': '4400.0'}),
        cv_threshold=1.0,
    )
    assert row_of(html, 'Hippocampus') == [
        '3\u2009600', '1\u2009010 ± 5', '0.50', '4\u2009400', '1\u2009010 ± 5', '0.50', '\u221220.0'
    ]  # fmt: skip
    assert row_of(html, 'Brain Stem') == ['1\u2009000', '1\u2009010 ± 5', '0.50']
    structures = [row for row in parse(html).iter('tr') if len(row) and row[0].find('i') is not None]
    assert len(structures) == 12 + 3


def test_a_spread_above_the_threshold_is_marked():
    table = rows(
        Left_Caudate={'cv_mc': '1.01'},
        Right_Caudate={'cv_mc': '1.0'},
        Left_Putamen={'flag': 'touches <edge>'},
    )
    marked = [(mark.text, mark.get('title')) for mark in parse(fragments.volumes_html(table, cv_threshold=1.0)).iter('span') if mark.get('class') == 'flag']  # fmt: skip # noqa: E501
    assert marked == [('1.01', 'above the threshold'), ('1\u2009000', 'touches <edge>')]
    assert [item.text for item in parse(fragments.volumes_html(table)).iter('li')] == [
        'Left Putamen: touches <edge>'
    ]


def test_absent_numbers_are_said_to_be_absent():
    table = rows(Left_Amygdala={'volume_mm3': '0.0', 'mc_mean_mm3': '0', 'cv_mc': 'n/a'})
    table = [row for row in table if row['name'] != 'Right-Amygdala']
    assert row_of(fragments.volumes_html(table, cv_threshold=1.0), 'Amygdala') == [
        '0', '0 ± 5', 'n/a', 'n/a', 'n/a', 'n/a', 'n/a'
    ]  # fmt: skip


def test_totals_are_given_in_millilitres():
    text = words(fragments.volumes_html(rows()))  # thin spaces become spaces
    assert text.startswith('1 200.0 ml Brain without ventricles 25.0 ml Ventricles 1 500.0 ml eTIV')


@pytest.mark.parametrize(
    ('verdict', 'word'), [('pass', 'Pass'), ('review', 'Review'), ('fail', 'Fail'), ('odd', 'No verdict')]
)
def test_verdicts_come_with_their_reasons(verdict, word):
    html = fragments.verdict_html({'verdict': verdict, 'reasons': ['alignment is 0.2, <below> 0.4']})
    assert words(html).startswith(word)
    assert 'alignment is 0.2, <below> 0.4' in words(html)


def test_a_crash_file_is_named():
    assert 'log/crash-1.txt' in words(
        fragments.verdict_html({'verdict': 'failed', 'crashfile': 'log/crash-1.txt'})
    )


def test_the_command_that_failed_can_be_copied():
    html = fragments.verdict_html({'verdict': 'failed', 'command': "bids_brainseg '/a <b>' /out participant"})
    assert parse(html).find('.//pre').text == "bids_brainseg '/a <b>' /out participant"


def test_stages_are_timed():
    text = words(fragments.run_html({'Seconds': {'registration': 12.34, 'network_pass': 1.5}}))
    assert text == 'Registration 12.3 s Network, each further pass 1.5 s'


def test_overview_has_a_line_for_each_scan():
    good = {'verdict': 'pass', 'numbers': {'brain_mm3': 1.25e6, 'cv_mean': 0.71, 'alignment': 0.9}}
    html = fragments.overview_html([('T1w', 'scan-1', good), ('dwi', 'scan-2', {'verdict': 'skipped'})])
    assert row_of(html, 'T1w') == ['Pass', '1\u2009250.0\u2009ml', 'n/a', '0.71\u2009%', '0.90']
    assert row_of(html, 'dwi')[0] == 'Skipped'
    assert [link.get('href') for link in parse(html).iter('a')] == ['#scan-1', '#scan-2']


def test_facts_of_the_header_and_warnings():
    header = {
        'shape': [256, 256, 35],
        'voxel_size_mm': [1.0, 1.0, 4.8],
        'orientation': 'IPR',
        'qform_code': None,
        'new_fact': 3,
        'value_range': [-1024.0, 3071.0],
    }
    text = words(fragments.facts_html({'header': header, 'warnings': ['a & b', 'a & b']}))
    assert 'Voxels 256 × 256 × 35' in text
    assert 'Voxel size 1 × 1 × 4.8 mm' in text
    assert 'Orientation IPR' in text
    assert 'New fact 3' in text
    assert 'Values -1024 to 3071' in text
    assert 'qform' not in text
    assert text.count('a & b') == 1


def test_numbers_keep_their_units():
    html = fragments.numbers_html(
        {'numbers': {'cv_mean': 1.234, 'etiv_mm3': 1.5e6}, 'Units': {'cv_mean': '%'}}
    )
    assert row_of(html, 'cv_mean') == ['1.23', '%', '', '']
    assert row_of(html, 'etiv_mm3') == ['1500000', '', '', '']
    html = fragments.numbers_html(
        {
            'numbers': {'fov_truncation': 0.1},
            'Rules': {'fov_truncation': {'review_above': 0.3, 'label': 'cut', 'unit': ''}},
            'Meaning': {'fov_truncation': {'Description': 'how <much>'}},
        }
    )
    assert row_of(html, 'fov_truncation') == ['0.1', '', 'review above 0.3', 'how <much>']
    assert fragments.numbers_html({}) == ''


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


def test_methods_become_headings_and_paragraphs():
    html = methods.methods_html('One.\n\n# Two\nThree & <four>.\n\n\n')
    assert [(part.tag, part.text) for part in parse(html)[0]] == [
        ('p', 'One.'), ('h4', 'Two'), ('p', 'Three & <four>.')
    ]  # fmt: skip

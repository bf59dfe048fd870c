# SPDX-License-Identifier: Apache-2.0
"""Figures of matplotlib as parts of a page."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from bids_brainseg.figures.theme import INK, SVG, svg_element, theme


@pytest.fixture(scope='module')
def element():
    with theme('example'):
        figure = Figure((5, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color='#ff0000')
        axes.set_title('a & <b>')
        axes.set_xlabel('$D_A$')
        return svg_element(figure, 'An <example>')


def test_it_takes_its_place_in_a_page(element):
    root = ElementTree.fromstring(element)
    assert root.tag == f'{{{SVG}}}svg'
    assert root.get('class') == 'chart'
    assert root.get('width') is None and root.get('height') is None and root.get('viewBox')
    assert '--width: 480px' in root.get('style')
    assert root[0].tag == f'{{{SVG}}}title' and root[0].text == 'An <example>'


def test_it_leaves_the_rest_of_the_page_alone(element):
    root = ElementTree.fromstring(element)
    assert root.find(f'.//{{{SVG}}}style') is None, 'a style sheet would hold for the whole page'
    assert not [group for group in root.iter(f'{{{SVG}}}g') if group.get('id')]


def test_ink_and_font_are_those_of_the_page(element):
    assert INK not in element and 'currentColor' in element and '#ff0000' in element
    root = ElementTree.fromstring(element)
    words = {
        text.text.strip(): text.get('style') for text in root.iter(f'{{{SVG}}}text') if text.get('style')
    }
    assert set(words) >= {'0.0', '1.0', 'a & <b>'}
    assert all('font-size: 9.5px' in style and 'family' not in style for style in words.values())


def test_formulas_keep_the_font_that_placed_their_letters(element):
    root = ElementTree.fromstring(element)
    letters = {letter.text: letter.get('style') for letter in root.iter(f'{{{SVG}}}tspan')}
    assert set(letters) == {'D', 'A'}
    assert all('DejaVu' in style for style in letters.values())

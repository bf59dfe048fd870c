# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from bids_brainseg.data import label_table
from bids_brainseg.figures import theme, volumes_chart

SVG = '{http://www.w3.org/2000/svg}'


def table(**changes):
    ends = {'volume_low_mm3': '1400.0', 'volume_high_mm3': '1650.0'}
    usual = {'volume_mm3': '1500.0', **ends, 'cv_mc': '1.0'}
    rows = [
        {'index': str(label.index), 'name': label.name, **usual, **changes.get(label.name, {})}
        for label in label_table()[1:]
    ]
    return [*rows, {'index': 'n/a', 'name': 'eTIV', 'volume_mm3': '1500000', 'cv_mc': 'n/a'}]


def texts(svg):
    return [''.join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f'{SVG}text')]


def test_every_structure_has_a_line_with_its_sides():
    lines = volumes_chart._chart_rows(table())
    assert len(lines) == 12 + 3
    by_name = {line.name: line for line in lines}
    assert [side[0] for side in by_name['Hippocampus'].sides] == [15, 25]
    assert [side[0] for side in by_name['Brain Stem'].sides] == [14]
    assert {line.name for line in lines} <= set(texts(volumes_chart.volumes_chart(table())))


def test_without_an_intracranial_volume_there_is_a_chart_too():
    rows = [*table()[:-1], {'index': 'n/a', 'name': 'eTIV', 'volume_mm3': 'n/a', 'cv_mc': 'n/a'}]
    assert 'Hippocampus' in texts(volumes_chart.volumes_chart(rows))


def test_the_ink_is_that_of_the_page():
    svg = volumes_chart.volumes_chart(table(), cv_threshold=2.5)
    root = ElementTree.fromstring(svg)
    assert theme.INK not in svg and 'currentColor' in svg
    assert root.get('class') == 'chart'
    assert root.get('width') is None and root.get('height') is None
    assert 'threshold 2.5 %' in ' '.join(texts(svg))
    assert theme.ALERT in svg
    assert theme.ALERT not in volumes_chart.volumes_chart(table())


def test_two_charts_of_a_page_do_not_clash():
    first, other = (
        volumes_chart.volumes_chart(table()),
        volumes_chart.volumes_chart(table(**{'Brain-Stem': {'cv_mc': '9'}})),
    )
    pieces = [
        dict(re.findall(r'<(?:path|clipPath) id="(\w+)"[^>]*?(?: d="([^"]*)")?[^>]*>', svg))
        for svg in (first, other)
    ]  # noqa: E501
    ids = [re.findall(r' id="([^"]*)"', svg) for svg in (first, other)]
    for name in set(ids[0]) & set(ids[1]):  # the same name may only stand for the same thing
        assert pieces[0].get(name) == pieces[1].get(name)
    assert all(len(names) == len(set(names)) for names in ids)


def test_the_same_table_gives_the_same_bytes():
    assert volumes_chart.volumes_chart(table()) == volumes_chart.volumes_chart(table())


@pytest.mark.parametrize('value', ['0.0', 'n/a'])
def test_absent_structures_leave_a_gap(value):
    absent = dict.fromkeys(('volume_mm3', 'volume_low_mm3', 'volume_high_mm3', 'cv_mc'), value)
    svg = volumes_chart.volumes_chart(table(**{'Left-Amygdala': absent, 'Brain-Stem': absent}))
    assert 'nan' not in svg
    assert 'Amygdala' in texts(svg)


def test_asymmetry_is_positive_where_the_left_is_larger():
    rows = table(**{'Left-Caudate': {'volume_mm3': '1100'}, 'Right-Caudate': {'volume_mm3': '900'}})
    (line,) = [line for line in volumes_chart._chart_rows(rows) if line.name == 'Caudate']
    assert volumes_chart._asymmetry(line) == pytest.approx(20)


def test_a_table_without_structures_has_no_chart():
    assert volumes_chart.volumes_chart([]) == ''
    assert volumes_chart.volumes_chart([{'index': 'n/a', 'name': 'Brain', 'volume_mm3': '1'}]) == ''

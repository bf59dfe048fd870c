# SPDX-License-Identifier: Apache-2.0
"""The one way to make a page: nothing escapes its place, nothing is missing in silence."""

from __future__ import annotations

import json
import re

import jinja2
import pytest

from bids_brainseg.pages import render as module
from bids_brainseg.pages.render import FOLDER, render

EVIL = '</script><img src=x onerror=alert(1)> & "\u2028'


def training_page(**changes):
    context = {'columns': ['scan'], 'rows': [[EVIL]], 'figures': [], 'unused': []}
    return render('training.html', **(context | changes))


def test_text_is_escaped():
    page = training_page()
    assert '<img src=x' not in page
    assert '&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt; &amp; &#34;' in page


def test_data_cannot_end_its_script_and_keeps_its_order():
    written = str(module._environment().from_string('{{ data | tojson }}').render(data={'b': EVIL, 'a': 1}))
    assert '<' not in written and '>' not in written
    assert list(json.loads(written).items()) == [('b', EVIL), ('a', 1)]


def test_numbers_that_are_no_json_are_refused():
    with pytest.raises(ValueError, match='JSON'):
        module._environment().from_string('{{ data | tojson }}').render(data=float('nan'))


def test_a_name_that_is_not_given_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match='rows'):
        render('training.html', columns=['scan'], figures=[])


def test_missing_values_are_set_apart():
    assert '<td><span class="none">n/a</span></td>' in training_page(rows=[['n/a']])


def test_every_page_has_the_same_style_and_fetches_nothing():
    page = training_page()
    assert (FOLDER / 'assets' / 'page.css').read_text() in page
    assert re.findall(r'(?:src|href)="(?!#|data:)', page) == []


def test_templates_hold_all_markup():
    """No module writes HTML: the templates do."""
    package = FOLDER.parent
    tags = re.compile(r'</?(?:div|section|table|t[dhr]|ul|li|p|span|a|h\d|dl|html|body|script)\b[^>]*>')
    sources = [*package.rglob('*.py'), *(package.parent / 'workflows').rglob('*.py')]
    found = [
        f'{path.relative_to(package.parent)}: {match[0]}'
        for path in sources
        for match in tags.finditer(path.read_text(encoding='utf-8'))
    ]
    assert found == []

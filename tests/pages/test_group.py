# SPDX-License-Identifier: Apache-2.0
"""The page of a group: what is in it, and what a browser makes of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from simulated import LABELS, describe, simulate, write_scan

from bids_brainseg.pages.group import levels_of, write_group_page
from bids_brainseg.results.group import collect_group
from bids_brainseg.results.group_measures import measure_group
from bids_brainseg.results.group_tables import make_tables

CHROMIUM = next((p for p in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')) if p), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason='chromium is not installed')
VOLUMES = [1000.0 + label.index for label in LABELS]


def write_page(out: Path) -> Path:
    group = collect_group(out)
    measures = measure_group(group.scans)
    return write_group_page(group, measures, make_tables(group, measures), out)


def data_of(page: Path) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """Of 60 participants; sub-0050 is badly asymmetric, sub-0001 has lost its page."""
    out = tmp_path_factory.mktemp('crowd')
    simulate(out, 60)
    (out / 'sub-0001.html').unlink()
    (out / 'sub-0061' / 'log' / '1').mkdir(parents=True)
    return write_page(out)


def test_the_page_is_complete_in_itself(page):
    text = page.read_text()
    assert text.count('plotly.js v') == 1
    assert not re.search(r'<(?:script|img|iframe)[^>]*\bsrc=', text)
    assert re.findall(r'<link[^>]*href="([^"]*)"', text) == ['data:,']
    tables = set(re.findall(r'href="(group_\w+\.tsv)"', text))
    assert tables == {f'group_{name}.tsv' for name in make_tables(*_group(page))}


def _group(page):
    group = collect_group(page.parent)
    return group, measure_group(group.scans)


def test_data_of_the_page(page):
    data = data_of(page)
    measures = _group(page)[1]
    assert data['scan'] == [scan.name for scan in measures.scans]
    stem = data['keys'].index('Brain-Stem')
    assert data['values']['volume'][stem] == pytest.approx(measures.volume[:, stem], rel=1e-4)
    assert data['values']['asymmetry'][stem] is None
    assert data['page'][data['scan'].index('sub-0001_T1w')] == ''
    assert data['page'][data['scan'].index('sub-0002_T1w')] == 'sub-0002.html'
    assert data['scan'][data['outliers'][0][0]].startswith('sub-0050')
    assert set(data['groups']) == {'verdict', 'scanner', 'session', 'sex', 'site'}
    assert list(data['axes'])[0] == 'age'
    assert data['missing'] == [
        ['sub-0061', 'missing', 'run 1 began and left no result: it was stopped or still runs']
    ]


def test_text_from_files_cannot_leave_its_place(tmp_path):
    evil = '</script><img src=x onerror=alert(1)>'
    describe(tmp_path)
    write_scan(tmp_path, '01', None, 'T1w', VOLUMES, 1.5e6)
    (tmp_path / 'participants.tsv').write_text(
        f'participant_id\tnote\nsub-01\t{evil}\nsub-01\t1\nsub-02\t{evil}\n'
    )
    text = write_page(tmp_path).read_text()
    assert evil not in text
    assert evil in json.dumps(data_of(tmp_path / 'group.html'))


def test_a_column_of_many_values_is_no_legend(tmp_path):
    simulate(tmp_path, 20, pages=False)
    people = [f'sub-{n:04d}\tcode{n}\t{"ab"[n % 2]}' for n in range(1, 21)]
    (tmp_path / 'participants.tsv').write_text('participant_id\tcode\tgroup\n' + '\n'.join(people))
    group = collect_group(tmp_path)
    assert 'code' not in levels_of(group, group.scans)
    assert levels_of(group, group.scans)['group']['levels'] == ['a', 'b']


# === In a browser ===


def browse(address: str, profile: Path, *options: str, act: str = '--dump-dom') -> tuple[str, list[str]]:
    """Return the page as drawn, and what the console said."""
    run = subprocess.run(
        [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--window-size=1400,4000',
         f'--user-data-dir={profile}', '--enable-logging=stderr', '--virtual-time-budget=5000', act, *options,
         address],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return run.stdout, [line for line in run.stderr.splitlines() if 'CONSOLE' in line]


def chart(dom: str, name: str) -> str:
    """The part of a drawn page that belongs to one chart."""
    return (
        dom.partition(f'<div id="{name}"')[2].partition('</section>')[0].partition('<p class="controls">')[0]
    )


@pytest.mark.integration
@needs_chromium
def test_in_a_browser_all_is_drawn_without_a_complaint(page, tmp_path):
    dom, complaints = browse(
        f'{page.as_uri()}#structure=Left-Thalamus&measure=asymmetry&modality=T1w', tmp_path
    )
    assert complaints == []
    data = data_of(page)
    t1w = [place for place, modality in enumerate(data['modality']) if modality == 'T1w']
    thalamus = data['keys'].index('Left-Thalamus')
    rings = sum(row in t1w and column == thalamus and bool(why[2]) for row, column, why in data['outliers'])
    assert rings > 0
    for name in ('distribution', 'trend'):
        assert chart(dom, name).count('<path class="point ') == len(t1w) + rings, name
        assert 'Left Thalamus' in chart(dom, name)
    assert chart(dom, 'pairs').count('<path class="point ') >= 3
    assert '3 pairs' in dom
    rows = re.search(r'<table id="scan-table".*?</table>', dom, re.DOTALL)[0]
    assert rows.count('<tr') == 1 + 25  # the head and the first of several sheets
    links = re.findall(r'<a href="([^"]+)">sub-', rows)
    assert len(links) == 24  # all but sub-0001
    assert all((page.parent / html.unescape(link)).is_file() for link in links)
    assert 'began and left no result' in dom


@pytest.mark.integration
@needs_chromium
def test_a_click_on_a_point_opens_the_participant(page, tmp_path):
    click = """
    <script>addEventListener('load', () => setTimeout(() => {
      const chart = document.getElementById('distribution');
      const trace = chart.data.find((one) => one.customdata);
      chart.emit('plotly_click', { points: [{ customdata: trace.customdata.at(-1) }], event: {} });
    }, 2000));</script></body>"""
    clicked = page.with_name('clicked.html')
    clicked.write_text(page.read_text().replace('</body>', click))
    dom, complaints = browse(clicked.as_uri(), tmp_path)
    assert complaints == []
    assert re.search(r'<title>sub-00\d\d</title>', dom)


@pytest.mark.integration
@needs_chromium
def test_the_browser_tells_of_errors(tmp_path):
    """The two tests above would pass with a browser that keeps quiet."""
    (tmp_path / 'bad.html').write_text('<script>throw new Error("seen")</script>')
    assert 'seen' in browse((tmp_path / 'bad.html').as_uri(), tmp_path / 'profile')[1][0]


@pytest.mark.integration
@needs_chromium
def test_on_paper_it_is_light_whole_and_as_before_afterwards(page, tmp_path):
    probe = """
    <script>addEventListener('load', () => setTimeout(() => {
      const look = () => ({
        ink: document.querySelector('#trend').layout.font.color,
        width: document.querySelector('#trend').layout.width ?? null,
        rows: document.querySelectorAll('#scan-table tbody tr').length,
        chosen: document.getElementById('chosen').textContent,
      });
      const told = [look()];
      for (const kind of ['beforeprint', 'afterprint']) { dispatchEvent(new Event(kind)); told.push(look()); }
      document.body.dataset.told = JSON.stringify(told);
    }, 2000));</script></body>"""
    printed = page.with_name('printed.html')
    printed.write_text(page.read_text().replace('</body>', probe))
    dom, complaints = browse(
        f'{printed.as_uri()}#modality=T1w', tmp_path, '--blink-settings=preferredColorScheme=0'
    )
    assert complaints == []
    before, paper, after = json.loads(html.unescape(re.search(r'data-told="([^"]*)"', dom)[1]))
    scans = len(data_of(page)['rows']['rows'])
    assert (before['rows'], paper['rows'], after['rows']) == (25, scans, 25)
    assert before['ink'] == after['ink'] == '#e3e6e9'  # the browser is dark
    assert paper['ink'] == '#1d2126'
    assert 600 < paper['width'] < 960  # across, a letter's width less the margins
    assert after['width'] is None
    assert 'Modality: T1w.' in paper['chosen']


@pytest.mark.integration
@needs_chromium
def test_it_prints_across(page, tmp_path):
    target = tmp_path / 'group.pdf'
    browse(page.as_uri(), tmp_path / 'profile', act=f'--print-to-pdf={target}')
    boxes = re.findall(rb'/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]', target.read_bytes())
    assert 3 <= len(boxes) <= 12
    assert all(float(width) > float(height) for width, height in boxes)

# SPDX-License-Identifier: Apache-2.0
"""The page of a group: what is in it, and what a browser makes of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from simulated import LABELS, describe, simulate, write_picture, write_scan

from bids_brainseg.pages.group import write_group_page
from bids_brainseg.pages.group_data import contact_sheet, levels_of, quality_charts
from bids_brainseg.results.group import collect_group
from bids_brainseg.results.group_measures import measure_group
from bids_brainseg.results.group_tables import make_tables
from bids_brainseg.results.outcomes import write_outcomes

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
    assert text.count('Chart.js v') == text.count('DataTables 3') == 1
    assert re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="(.*?)"', text) == ['${escape(encodeURI(picture))}']
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
    assert data['values']['volume_mm3'][stem] == pytest.approx(measures.volume[:, stem] / 1000, rel=1e-4)
    assert data['values']['volume_soft_mm3'][stem] == data['values']['volume_mm3'][stem]  # as simulated
    assert {entry['unit'] for entry in data['measures'].values()} == {'ml', '%'}
    assert data['values']['asymmetry'][stem] is None
    assert data['page'][data['scan'].index('sub-0001_T1w')] == ''
    assert data['page'][data['scan'].index('sub-0002_T1w')] == 'sub-0002.html#sub-0002_T1w'
    assert set(data['groups']) == {'verdict', 'scanner', 'session', 'sex', 'site'}
    assert list(data['axes'])[0] == 'age'
    assert data['missing'] == [
        ['sub-0061', 'missing', 'run 1 began and left no result: it was stopped or still runs']
    ]


def test_outliers_are_rolled_up_by_scan(page):
    data, measures = data_of(page), _group(page)[1]
    outlying = (measures.outlier != '').sum(axis=1)
    assert {scan: len(entries) for scan, entries in data['outliers']} == {
        scan: n for scan, n in enumerate(outlying.tolist()) if n
    }
    worst, entries = data['outliers'][0]
    assert data['scan'][worst].startswith('sub-0050')
    farthest = np.max([np.abs(np.nan_to_num(z[worst])) for z in measures.z.values()], axis=0)
    assert [column for column, _ in entries] == sorted(
        np.flatnonzero(farthest > 3.5), key=lambda column: -farthest[column]
    )
    assert ' ml, ' in entries[0][1][0] + entries[0][1][1] + entries[1][1][0] + ' ml, '
    counts = [len(entries) for _, entries in data['outliers']]
    assert counts == sorted(counts, reverse=True)


def test_quality_charts_have_the_thresholds_of_their_modality(tmp_path):
    def rules(bound):
        return {
            'brain_mm3': {'review_above': bound, 'label': 'brain'},
            'odd': {'fail_below': 1, 'label': 'odd'},
        }

    describe(tmp_path)
    for subject, bound in (('01', 1.7e6), ('02', 1.7e6), ('03', 1e6)):
        write_scan(tmp_path, subject, None, 'T1w', VOLUMES, 1.5e6, Rules=rules(bound))
    write_scan(
        tmp_path, '01', None, 'ct', VOLUMES, 1.5e6, Rules={}, numbers={'snr_wm': 7, 'brain_mm3': 'n/a'}
    )
    charts = {chart['key']: chart for chart in quality_charts(collect_group(tmp_path).scans)}
    assert list(charts) == ['brain_mm3', 'alignment', 'cv_mean', 'snr_wm']  # those with a threshold first
    brain = charts['brain_mm3']
    assert (brain['title'], brain['unit']) == ('Brain volume', 'ml')
    assert brain['bounds'] == {'T1w': [['review', 1700.0]], 'ct': []}  # of most of the scans
    assert brain['words'] == {'T1w': 'review above 1700'}
    measured = sum(VOLUMES) / 1000
    assert [value is None for value in brain['values']] == [False, True, False, False]
    assert 0 < brain['values'][0] < measured
    assert charts['snr_wm']['values'] == [None, 7, None, None]


def test_contact_sheet_shows_the_worst_first_and_says_what_is_absent(tmp_path):
    describe(tmp_path)
    for subject, qc in (
        ('01', {'verdict': 'pass', 'numbers': {'alignment': 0.7}}),
        ('02', {'verdict': 'pass', 'numbers': {'alignment': 0.5}}),
        ('03', {'verdict': 'review', 'reasons': ['a']}),
        ('04', {'verdict': 'review', 'reasons': ['a', 'b']}),
        ('05', {'verdict': 'fail', 'reasons': ['no brain']}),
    ):
        write_scan(tmp_path, subject, None, 'T1w', VOLUMES, 1.5e6, **qc)
    lost = {'sub-06/anat/sub-06_T1w.nii.gz': {'status': 'failed', 'reason': 'empty'}}
    write_outcomes(tmp_path / 'sub-06' / 'log' / '1', run='1', version='1', scans=lost)
    figures = tmp_path / 'sub-01' / 'figures'
    write_picture(figures / 'sub-01_desc-thumbnail_T1w.jpg', np.random.default_rng(0))
    (figures / 'sub-01_desc-contours_T1w.svg').write_text('<svg></svg>')
    (tmp_path / 'sub-02' / 'figures').mkdir()
    (tmp_path / 'sub-02' / 'figures' / 'sub-02_desc-contours_T1w.svg').write_text('<svg></svg>')
    (tmp_path / 'sub-03' / 'figures').mkdir()
    (tmp_path / 'sub-03' / 'figures' / 'sub-03_desc-thumbnail_T1w.jpg').symlink_to('.git/annex/objects/x')
    (tmp_path / 'sub-05.html').touch()
    sheet = contact_sheet(collect_group(tmp_path), tmp_path)
    assert [tile[0][:6] for tile in sheet] == ['sub-05', 'sub-06', 'sub-04', 'sub-03', 'sub-02', 'sub-01']
    assert sheet[0][:5] == ['sub-05_T1w', 'T1w', 'fail', 'no brain', 'sub-05.html#sub-05_T1w']
    assert sheet[1][2:5] == ['failed', 'empty', '']
    assert sheet[5][5:] == ['sub-01/figures/sub-01_desc-thumbnail_T1w.jpg', 'thumbnail']
    assert sheet[4][5:] == ['sub-02/figures/sub-02_desc-contours_T1w.svg', 'contours']
    lost, none, no_result = sheet[3], sheet[2], sheet[1]
    assert lost[5] == none[5] == no_result[5] == ''
    assert lost[6].startswith('sub-03/figures/sub-03_desc-thumbnail_T1w.jpg: ')
    assert 'fetch its content' in lost[6]
    assert none[6] == 'sub-04/figures holds no picture of this scan.'
    assert no_result[6] == 'No result, so no picture.'


def test_reasons_and_ratings_stand_in_the_table_of_scans(tmp_path):
    describe(tmp_path)
    write_scan(tmp_path, '01', None, 'T1w', VOLUMES, 1.5e6, cv=3)
    write_scan(tmp_path, '02', None, 'T1w', VOLUMES, 1.5e6)
    plain = data_of(write_page(tmp_path))
    assert 'Ratings' not in plain['rows']['titles']
    assert 'Session' not in plain['rows']['titles']
    assert 'None yet.' in (tmp_path / 'group.html').read_text()
    said = [
        {
            'scan': 'sub-02_T1w',
            'verdict': 'fail',
            'rater': 'Ann <b>',
            'note': 'dark',
            'bids_brainseg_verdict': 'review',
        }
    ]
    (tmp_path / 'a_rating.json').write_text(json.dumps(said))
    data = data_of(write_page(tmp_path))
    rows = [dict(zip(data['rows']['titles'], row, strict=False)) for row in data['rows']['rows']]
    assert [row['Reasons'] for row in rows] == ['mean CV is 3.00 %, above 2 %', '']
    assert [row['Ratings'] for row in rows] == ['', 'Ann <b>: fail']
    assert data['disagreeing'] == [['sub-02_T1w', 'T1w', 'pass', [['Ann <b>', 'fail', 'dark', True]], '']]
    text = (tmp_path / 'group.html').read_text()
    assert '<td>Ann &lt;b&gt;</td>' in text
    assert '<td>1 pass against fail</td>' in text


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


def browse(
    address: str, profile: Path, *options: str, act: str = '--dump-dom', height: int = 4000
) -> tuple[str, list[str]]:
    """Return the page as drawn, and what the console said."""
    run = subprocess.run(
        [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', f'--window-size=1400,{height}',
         f'--user-data-dir={profile}', '--enable-logging=stderr', '--virtual-time-budget=5000', act, *options,
         address],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return run.stdout, [line for line in run.stderr.splitlines() if 'CONSOLE' in line]


def points(dom: str, name: str) -> int:
    """How many points a chart of a drawn page has."""
    return int(re.search(rf'<div id="{name}"[^>]*data-points="(\d+)"', dom)[1])


@pytest.mark.integration
@needs_chromium
def test_in_a_browser_all_is_drawn_without_a_complaint(page, tmp_path):
    dom, complaints = browse(
        f'{page.as_uri()}#structure=Left-Thalamus&measure=asymmetry&modality=T1w', tmp_path, height=9000
    )
    assert complaints == []
    data = data_of(page)
    t1w = [place for place, modality in enumerate(data['modality']) if modality == 'T1w']
    thalamus = data['keys'].index('Left-Thalamus')
    rings = sum(
        column == thalamus and bool(why[2])
        for row, entries in data['outliers']
        for column, why in entries
        if row in t1w
    )
    assert rings > 0
    for name in ('distribution', 'trend'):
        assert points(dom, name) == len(t1w) + rings, name
    assert points(dom, 'pairs') >= 3
    assert '3 pairs' in dom
    for place, chart in enumerate(data['qc']):
        assert points(dom, f'qc-{place}') == sum(value is not None for value in chart['values'])
    sheet = re.search(r'<div id="sheet">(.*?)<p class="controls more">', dom, re.DOTALL)[1]
    assert sheet.count('class="tile"') == 24
    assert f'24 of {len(data["sheet"])} scans.' in dom
    rows = re.search(r'<table id="scan-table".*?</table>', dom, re.DOTALL)[0]
    assert rows.count('<tr') == 1 + 25  # the head and the first of several sheets
    links = re.findall(r'<a href="([^"]+)">sub-', rows)
    assert len(links) == 24  # all but sub-0001
    assert all((page.parent / html.unescape(link).partition('#')[0]).is_file() for link in links)
    outliers = re.search(r'<table id="outlier-table".*?</table>', dom, re.DOTALL)[0]
    assert outliers.count('>sub-0050_T1w</a>') == 1  # one row for its many structures
    assert '<summary>' in outliers
    assert 'began and left no result' in dom


@pytest.mark.integration
@needs_chromium
def test_one_scan_makes_no_empty_chart(tmp_path):
    simulate(tmp_path / 'out', 1)
    dom, complaints = browse(write_page(tmp_path / 'out').as_uri(), tmp_path / 'profile')
    assert complaints == []
    assert '<canvas' not in dom
    assert 'One scan makes no chart.' in dom
    assert 'With one scan there is nothing to compare' in dom


@pytest.mark.integration
@needs_chromium
def test_the_sheet_is_filtered_and_grows(page, tmp_path):
    script = """
    <script>addEventListener('load', () => setTimeout(() => {
      const tiles = () => document.querySelectorAll('#sheet .tile').length;
      const seen = [tiles()];
      document.getElementById('sheet-more').click(); seen.push(tiles());
      const select = document.getElementById('sheet-modality');
      select.value = 'ct'; select.dispatchEvent(new Event('change')); seen.push(tiles());
      document.body.dataset.seen = JSON.stringify(seen);
    }, 1000));</script></body>"""
    changed = page.with_name('filtered.html')
    changed.write_text(page.read_text().replace('</body>', script))
    dom, complaints = browse(changed.as_uri(), tmp_path)
    assert complaints == []
    sheet = data_of(page)['sheet']
    assert json.loads(re.search(r'data-seen="([^"]*)"', dom)[1]) == [
        24, min(144, len(sheet)), sum(tile[1] == 'ct' for tile in sheet)
    ]  # fmt: skip


@pytest.mark.stress  # the browser's clock decides: on a busy machine the page may not open in time
@needs_chromium
def test_a_click_on_a_point_opens_the_participant(page, tmp_path):
    click = """
    <script>addEventListener('load', () => setInterval(() => {
      const chart = Chart.getChart(document.querySelector('#distribution canvas'));
      const at = chart.getDatasetMeta(0).data.at(-1).getProps(['x', 'y']);
      const box = chart.canvas.getBoundingClientRect();
      const where = { clientX: box.left + at.x, clientY: box.top + at.y, bubbles: true };
      chart.canvas.dispatchEvent(new MouseEvent('click', where));  // the chart answers with its next frame
    }, 300));</script></body>"""
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
        ink: Chart.getChart(document.querySelector('#trend canvas')).options.scales.y.ticks.color,
        width: document.querySelector('#trend canvas').clientWidth,
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
    assert after['width'] == before['width'] > 960
    assert 'Modality: T1w.' in paper['chosen']


@pytest.mark.integration
@needs_chromium
def test_it_prints_across(page, tmp_path):
    target = tmp_path / 'group.pdf'
    browse(page.as_uri(), tmp_path / 'profile', act=f'--print-to-pdf={target}')
    boxes = re.findall(rb'/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]', target.read_bytes())
    assert 3 <= len(boxes) <= 12
    assert all(float(width) > float(height) for width, height in boxes)

# SPDX-License-Identifier: Apache-2.0
"""The page of a subject in a real browser: it draws, it answers, it complains of nothing."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from bids_brainseg.bids.sidecars import morph_table
from bids_brainseg.figures.slices import alignment_figure, contours_figure, uncertainty_figure
from bids_brainseg.figures.viewer import viewer_figure
from bids_brainseg.files import write_tsv
from bids_brainseg.pages.participant import write_participant_page
from bids_brainseg.results.scans import read_scans

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(BROWSER is None, reason='no chromium on the path to look at pages with'),
]
#: Run in the page when its viewer stands: what the canvas holds, before and after each control is used.
PROBE = """<script>
window.addEventListener('load', () => {
  const root = document.querySelector('.viewer'), told = {};
  root.scrollIntoView();
  const canvas = root.querySelector('canvas.slices');
  const wait = setInterval(() => {
    if (!root.dataset.ready) return;
    clearInterval(wait);
    const grab = () => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const colors = (data) => {
      const seen = new Set();
      for (let i = 0; i < data.length; i += 4) seen.add(data[i] * 65536 + data[i + 1] * 256 + data[i + 2]);
      return seen.size;
    };
    const differ = (a, b) => { let n = 0; for (let i = 0; i < a.length; i++) n += a[i] !== b[i]; return n; };
    const use = (name, kind, change) => {
      const before = grab(), control = root.querySelector(name);
      change(control);
      control.dispatchEvent(new Event(kind));
      told[name] = Math.max(told[name] || 0, differ(before, grab()));
    };
    told.colors = colors(grab());
    told.size = [canvas.width, canvas.height];
    const readout = () => root.querySelector('output').textContent;
    const frame = canvas.getBoundingClientRect();
    const point = (kind, across, down, more) => {
      const event = { clientX: frame.left + frame.width * across, clientY: frame.top + frame.height * down };
      const type = kind === 'wheel' ? WheelEvent : PointerEvent;
      canvas.dispatchEvent(new type(kind, { ...event, bubbles: true, cancelable: true, ...more }));
    };
    use('.opacity', 'input', (x) => { x.value = 1; });
    use('.uncertainty', 'change', (x) => { x.checked = true; });
    use('.structures', 'change', (x) => { x.checked = false; });
    use('.structures', 'change', (x) => { x.checked = true; });
    use('.high', 'change', (x) => { x.value = Number(root.querySelector('.low').value) + 1; });
    use('.radiological', 'change', (x) => { x.checked = true; });
    use('.none', 'click', () => {});
    use('.all', 'click', () => {});
    use('.closer', 'click', () => {});
    use('.reset', 'click', () => {});
    use('.radiological', 'change', (x) => { x.checked = false; });
    const names = new Set();
    for (let i = 0.5; i < 60; i++) for (let j = 0.5; j < 20; j++) {
      point('pointermove', i / 60, j / 20);
      names.add(canvas.title);
    }
    told.names = [...names];
    const before = readout();
    point('pointerdown', 1 / 12, 1 / 2);
    point('pointerup', 1 / 12, 1 / 2);
    told.clicked = [before, readout()];
    point('wheel', 1 / 12, 1 / 2, { deltaY: -1 });
    told.wheel = readout();
    root.querySelector('.list li:nth-child(15) button').click();
    told.went = readout();

    const dialog = document.querySelector('dialog.enlarged');
    const figure = [...document.querySelectorAll('.figure')][1];
    figure.focus();
    figure.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }));
    const label = dialog.querySelector('output');
    told.enlarged = [dialog.open, label.textContent, dialog.querySelector('svg').viewBox.baseVal.width];
    dialog.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));
    told.next = dialog.querySelector('output').textContent;
    dialog.querySelector('.close').click();
    told.closed = !dialog.open;
    const picture = figure.querySelectorAll('.bb-scan image')[3].getBoundingClientRect();
    figure.querySelector('svg').dispatchEvent(new MouseEvent('click', {
      clientX: picture.left + picture.width / 2, clientY: picture.top + picture.height / 2, bubbles: true }));
    told.byClick = dialog.querySelector('output').textContent;
    dialog.close();

    const form = document.querySelector('.rating');
    form.querySelector('input[value=fail]').click();
    form.querySelector('textarea').value = ['a', 'tab and', 'a line'].join(String.fromCharCode(10));
    form.dispatchEvent(new Event('input', { bubbles: true }));
    told.kept = Object.values(localStorage);
    const saved = [];
    URL.createObjectURL = (blob) => { saved.push(blob); return 'data:,'; };
    HTMLAnchorElement.prototype.click = function() { saved.push(this.download); };
    document.querySelectorAll('#ratings button').forEach((button) => button.click());
    told.after = Object.values(localStorage);
    told.status = document.querySelector('#ratings output').textContent;
    Promise.all([saved[0].text(), saved[2].text()]).then((texts) => {
      told.saved = [saved[1], texts[0], saved[3], texts[1]];
    fetch('http://127.0.0.1:PORT/', { method: 'POST', mode: 'no-cors', body: JSON.stringify(told) });
    });
  }, 50);
});
</script></body>"""


@pytest.fixture(scope='module')
def page(phantom27, tmp_path_factory) -> Path:
    """Write what a scan leaves behind, and its page; the phantom plays the brain."""
    folder = tmp_path_factory.mktemp('derivatives')
    labels, affine = phantom27.labels, phantom27.affine
    image = np.float32(labels * 20 + 100 + 10 * np.random.default_rng(0).normal(size=labels.shape))
    entropy = np.where(labels > 0, 0.6, 0.0)
    drawings = folder / 'sub-01' / 'figures'
    drawings.mkdir(parents=True)
    alignment_figure(
        image, image, labels > 0, affine, drawings / 'sub-01_desc-alignment_T1w.svg', quality=0.6
    )
    contours_figure(image, labels, affine, drawings / 'sub-01_desc-contours_T1w.svg')
    uncertainty_figure(image, entropy, labels, affine, drawings / 'sub-01_desc-uncertainty_T1w.svg')
    viewer_figure(image, labels, entropy, affine, drawings / 'sub-01_desc-viewer_T1w.json')
    anat = folder / 'sub-01' / 'anat'
    values = phantom27.volumes_mm3
    columns = {
        'volume_mm3': values, 'volume_soft_mm3': values, 'mc_mean_mm3': values,
        'mc_std_mm3': 0.02 * values, 'cv_mc': [2.0] * 28,
    }  # fmt: skip
    table = morph_table(columns, totals={'Brain': 1e6, 'Ventricles': 3e4, 'eTIV': 1.5e6})
    write_tsv(table, anat / 'sub-01_seg-brainseg_desc-T1w_morph.tsv')
    qc = {'verdict': 'review', 'reasons': ['a reason'], 'modality': 'T1w', 'numbers': {'alignment': 0.6}}
    (anat / 'sub-01_desc-T1w_qc.json').write_text(json.dumps(qc | {'Thresholds': {'cv_percent': 1.0}}))
    return write_participant_page(folder, '01', read_scans(folder))


def command(page: Path, tmp_path: Path, *options: str) -> list[str]:
    words = ['--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}/profile',
             '--enable-logging=stderr', *options, page.as_uri()]  # fmt: skip
    return [BROWSER, *words]


def browse(page: Path, tmp_path: Path, *options: str) -> str:
    """Let the browser do one thing with a page; returns its log."""
    words = command(page, tmp_path, *options)
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120).stderr


def interrogate(page: Path, tmp_path: Path) -> tuple[dict, str]:
    """Open a page with the probe in it and wait until it reports; returns the report and the log."""
    reports = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            reports.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(('127.0.0.1', 0), Receiver) as server:
        server.timeout = 90
        probe = PROBE.replace('PORT', str(server.server_port))
        page.write_text(page.read_text().replace('</body>', probe))
        words = command(page, tmp_path, '--window-size=1300,1000', '--remote-debugging-port=0')
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as browser:
            server.handle_request()
            browser.terminate()
            log = browser.stderr.read()
    assert reports, f'the page did not report: {complaints(log)}'
    return reports[0], log


def complaints(log: str) -> list[str]:
    """What the page wrote to the console, but for a hint that the probe reads the canvas often."""
    lines = [line for line in log.splitlines() if 'CONSOLE' in line]
    return [line for line in lines if 'willReadFrequently' not in line]


@pytest.fixture(scope='module')
def told(page, tmp_path_factory) -> dict:
    """What the page answered to all that the probe did; it complained of nothing."""
    copy = tmp_path_factory.mktemp('moved') / page.name  # a page is often read elsewhere
    copy.write_bytes(page.read_bytes())
    told, log = interrogate(copy, copy.parent)
    assert complaints(log) == []
    return told


def test_the_viewer_draws_and_answers(told):
    assert told['colors'] > 100, 'the canvas is blank'
    assert told['size'][0] > 600
    changed = told['size'][0] * told['size'][1] * 0.02
    controls = (
        '.opacity',
        '.uncertainty',
        '.structures',
        '.high',
        '.radiological',
        '.none',
        '.all',
        '.closer',
    )
    for control in controls:
        assert told[control] > changed, f'{control} changes nothing'
    # what the phantom has in its middle, where the slices are at first
    assert set(told['names']) >= {'', '3rd Ventricle', '4th Ventricle', 'Brain Stem'}
    assert told['clicked'][0] != told['clicked'][1]
    words = r'uncertainty \d\.\d × usual · intensity \S+ · x (\S+), y (\S+), z (\S+) mm'
    clicked, turned = (re.search(words, text) for text in (told['clicked'][1], told['wheel']))
    assert clicked[1] != turned[1] and clicked.groups()[1:] == turned.groups()[1:], 'the wheel leafs in x'
    assert told['went'].startswith('Left Hippocampus ·')


def test_slices_are_enlarged_by_click_and_keyboard(told):
    is_open, label, width = told['enlarged']
    assert is_open and 100 < width < 700
    assert re.fullmatch(r'z \S+ mm · slice 1 of \d+', label)
    assert ' slice 2 of ' in told['next'] and ' slice 4 of ' in told['byClick']
    assert told['closed']


def test_a_rating_is_kept_until_it_is_downloaded(told):
    (kept,) = told['kept']
    assert json.loads(kept)['scans']['sub-01_T1w']['verdict'] == 'fail'
    assert told['after'] == []
    name, text, table_name, table = told['saved']
    assert (name, table_name) == ('sub-01_rating.json', 'sub-01_rating.tsv')
    (row,) = json.loads(text)
    (line,) = csv.DictReader(table.splitlines(), delimiter='\t')
    assert list(row) == list(line)
    assert {**line, 'note': '', 'rater': ''} == {**row, 'note': '', 'rater': ''}
    assert (line['note'], line['rater']) == ('a tab and a line', 'n/a')
    assert (row['scan'], row['verdict'], row['bids_brainseg_verdict']) == ('sub-01_T1w', 'fail', 'review')
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', row['rated_at'])
    assert told['status'].startswith('1 of 1 scans rated; downloaded as')


def test_console_errors_would_be_seen(page, tmp_path):
    """The test above can fail: a page with an error says so in the log."""
    broken = tmp_path / 'broken.html'
    broken.write_text(page.read_text().replace('</body>', '<script>nonsense();</script></body>'))
    assert [
        'nonsense is not defined' in line for line in complaints(browse(broken, tmp_path, '--dump-dom'))
    ] == [True]


def test_links_lead_somewhere(page):
    text = page.read_text()
    targets = re.findall(r'<a\b[^>]*href="([^"]*)"', text)
    assert len(targets) > 4
    for target in targets:
        if target.startswith('#'):
            assert f'id="{target[1:]}"' in text, target
        else:
            assert (page.parent / unescape(target)).is_file(), target
    assert re.findall(r'(?:src|href)="(?:https?:)?//', text) == []


def test_it_prints(page, tmp_path):
    target = tmp_path / 'page.pdf'
    browse(page, tmp_path, f'--print-to-pdf={target}')
    content = target.read_bytes()
    assert content.startswith(b'%PDF')
    assert 2 <= len(re.findall(rb'/Type\s*/Page\b', content)) <= 8

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from bids_brainseg.pages import participant

FIGURE = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><title>{}</title></svg>\n'
VOID = {'meta', 'input', 'img', 'br', 'link'}


class Page(HTMLParser):
    """Sections of a page with their titles and text, and what it would fetch."""

    def __init__(self, path):
        super().__init__()
        self.sections, self.open, self.fetched = {}, [], []
        self.name = None
        self.feed(path.read_text(encoding='utf-8'))
        assert self.open == [], 'every element is closed'

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'section':
            self.name = attrs['id']
            self.sections[self.name] = ''
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [attrs[key] for key in ('src', 'data') if key in attrs]
        self.fetched += [attrs['href']] if tag == 'link' else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.name:
            self.sections[self.name] += data


def make_viewer(folder, scan='T1w', size=0):
    content = {'spacing_mm': 1.5, 'scan': 'x' * size, 'note': '</script><b>'}
    (folder / 'figures' / f'{folder.name}_desc-viewer_{scan}.json').write_text(json.dumps(content))


@pytest.fixture
def make_scan(tmp_path):
    """Write the derivatives of a scan below OUTPUT_DIR; entities without `sub-01`."""

    def make(entities, scan, *, folder='anat', figures=('alignment', 'contours', 'uncertainty'), **qc):
        stem = '_'.join(['sub-01', *entities])
        where = tmp_path / 'sub-01' / folder
        where.mkdir(parents=True, exist_ok=True)
        qc = {
            'verdict': 'pass',
            'reasons': [],
            'numbers': {},
            'Sources': [f'bids:raw:{stem}_{scan}.nii.gz'],
            **qc,
        }
        (where / f'{stem}_desc-{scan}_qc.json').write_text(json.dumps(qc))
        table = f'index\tname\tvolume_mm3\tmc_mean_mm3\tmc_std_mm3\tcv_mc\tflag\n17\tx\t1\t1\t1\t1\tn/a\nn/a\t{stem}_total\t1000\tn/a\tn/a\tn/a\tn/a\n'  # noqa: E501
        (where / f'{stem}_seg-brainseg_desc-{scan}_morph.tsv').write_text(table)
        drawings = tmp_path / 'sub-01' / 'figures'
        drawings.mkdir(exist_ok=True)
        for kind in figures:
            (drawings / f'{stem}_desc-{kind}_{scan}.svg').write_text(FIGURE.format(f'{stem} {scan} {kind}'))

    return make


def test_every_scan_has_its_own_numbers_and_figures(tmp_path, make_scan):
    make_scan([], 'T1w')
    make_scan(['acq-2D'], 'T1w')
    make_scan([], 'FLAIR')
    make_scan(['run-1'], 'ct', folder='ct')
    page = Page(participant.write_subject_report(tmp_path, '01'))
    assert list(page.sections) == ['overview', 'scan-1', 'scan-2', 'scan-3', 'scan-4']
    expected = [('sub-01', 'T1w'), ('sub-01_acq-2D', 'T1w'), ('sub-01', 'FLAIR'), ('sub-01_run-1', 'ct')]
    for number, (stem, scan) in enumerate(expected, 1):
        text = page.sections[f'scan-{number}']
        found = re.findall(r'(sub-\S+) (\S+) (alignment|contours|uncertainty)\b', text)
        assert found == [(stem, scan, kind) for kind in ('alignment', 'contours', 'uncertainty')]
        assert re.findall(r'sub-\S+_total', text) == [f'{stem}_total']


def test_sessions_come_in_order(tmp_path, make_scan):
    make_scan(['ses-2'], 'T1w', folder='ses-2/anat')
    make_scan(['ses-1'], 'dwi', folder='ses-1/dwi')
    make_scan(['ses-1'], 'FLAIR', folder='ses-1/anat')
    titles = [scan.title for scan in participant.find_scans(tmp_path, '01')]
    assert titles == ['ses-1 FLAIR', 'ses-1 dwi', 'ses-2 T1w']


def test_the_page_is_one_file(tmp_path, make_scan):
    make_scan([], 'T1w')
    path = participant.write_subject_report(tmp_path, 'sub-01')
    assert path == tmp_path / 'sub-01.html'
    page = path.read_text()
    assert Page(path).fetched == []
    assert '@import' not in page and 'url(' not in page and '<script' not in page
    links = [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith('#')]
    assert links == [
        f'sub-01/figures/sub-01_desc-{kind}_T1w.svg' for kind in ('alignment', 'contours', 'uncertainty')
    ]
    assert all((tmp_path / link).exists() for link in links)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ['sub-01', 'sub-01.html']


def test_failed_and_skipped_scans_are_there_with_their_reason(tmp_path, make_scan):
    make_scan([], 'T1w')
    crash = tmp_path / 'sub-01' / 'log' / 'crash-1.txt'
    failures = [
        {'scan': 'sub-01/anat/sub-01_FLAIR.nii.gz', 'reason': 'it is <empty>', 'crashfile': crash},
        {'scan': 'sub-01/dwi/sub-01_dwi.nii.gz', 'reason': 'only b = 0', 'status': 'skipped'},
    ]
    page = Page(participant.write_subject_report(tmp_path, '01', failures=failures))
    assert list(page.sections) == ['overview', 'scan-1', 'scan-2', 'scan-3']
    assert 'Pass' in page.sections['scan-1']
    assert 'Failed' in page.sections['scan-2'] and 'it is <empty>' in page.sections['scan-2']
    assert 'sub-01/log/crash-1.txt' in page.sections['scan-2']
    assert str(tmp_path) not in page.sections['scan-2']
    assert 'Skipped' in page.sections['scan-3'] and 'only b = 0' in page.sections['scan-3']


def test_a_scan_that_failed_this_time_is_not_passed(tmp_path, make_scan):
    make_scan([], 'T1w')
    failures = [{'scan': 'sub-01/anat/sub-01_T1w.nii.gz', 'reason': 'no space left'}]
    (scan,) = participant.find_scans(tmp_path, '01', failures)
    assert scan.qc['verdict'] == 'failed'
    assert scan.qc['reasons'] == ['no space left', 'what is shown below was there before this run']


def test_a_subject_without_any_result_has_a_page(tmp_path):
    failures = [{'scan': 'sub-02_T1w.nii.gz', 'reason': 'truncated', 'crashfile': None}]
    page = Page(participant.write_subject_report(tmp_path, '02', failures=failures))
    assert 'truncated' in page.sections['scan-1']


def test_methods_come_from_the_results_or_the_citation_file(tmp_path, make_scan):
    make_scan([], 'T1w', modality='T1w', Model={'Name': 'made-up'}, Versions={'keras': '3.99'})
    page = Page(participant.write_subject_report(tmp_path, '01'))
    assert 'T1w scans were segmented' in page.sections['methods']
    assert 'made-up' in page.sections['methods'] and '3.99' in page.sections['methods']
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / 'CITATION.md').write_text('As written.')
    assert 'As written.' in Page(participant.write_subject_report(tmp_path, '01')).sections['methods']


def test_entities_in_the_folders_above_do_not_matter(tmp_path, make_scan, monkeypatch):
    make_scan([], 'T1w')
    scratch = tmp_path / 'scratch' / 'sub-99' / 'ses-7' / 'anat' / 'run-5'
    scratch.mkdir(parents=True)
    monkeypatch.setattr(participant.tempfile, 'tempdir', str(scratch))
    page = Page(participant.write_subject_report(tmp_path, '01'))
    assert 'sub-01 T1w contours' in page.sections['scan-1']
    assert list(scratch.iterdir()) == []


def test_the_specification_names_every_part_once(tmp_path, make_scan):
    numbers = {'cv_mean': 1.0, 'alignment': 0.5}
    make_scan([], 'T1w', header={'shape': [1, 2, 3]}, numbers=numbers, Model={'Name': 'm'})
    make_viewer(tmp_path / 'sub-01')
    (scan,) = participant.find_scans(tmp_path, '01')
    spec = participant.yaml.safe_load(participant.resource('report.yml').read_text())
    assert [reportlet['bids']['desc'] for reportlet in spec['scan']] == [
        'verdict', 'alignment', 'rank', 'contours', 'viewer', 'uncertainty', 'chart', 'volumes', 'facts',
        'numbers', 'run',
    ]  # fmt: skip
    assert set(participant.scan_parts(scan)) == {reportlet['bids']['desc'] for reportlet in spec['scan']}


def test_viewers_bring_their_library_once(tmp_path, make_scan):
    for scan in ('T1w', 'FLAIR'):
        make_scan([], scan)
        make_viewer(tmp_path / 'sub-01', scan)
    text = participant.write_subject_report(tmp_path, '01').read_text()
    assert text.count('class="viewer"') == 2
    assert text.count('function brainsprite(') == text.count('id="viewer-tables"') == 1
    assert '</script><b>' not in text, 'what a volume holds cannot end its element'
    page = Page(tmp_path / 'sub-01.html')
    assert page.fetched == []
    assert '1.5 mm' in page.sections['scan-1']


def test_a_page_without_viewers_has_no_script(tmp_path, make_scan):
    make_scan([], 'T1w')
    assert '<script' not in participant.write_subject_report(tmp_path, '01').read_text()


def test_viewers_that_would_make_the_page_heavy_are_left_out(tmp_path, make_scan):
    for number in range(4):
        make_scan([f'run-{number}'], 'T1w')
        content = {'spacing_mm': 1.5, 'scan': 'x' * 3_000_000}
        name = f'sub-01_run-{number}_desc-viewer_T1w.json'
        (tmp_path / 'sub-01' / 'figures' / name).write_text(json.dumps(content))
    path = participant.write_subject_report(tmp_path, '01')
    assert path.stat().st_size < 10_000_000
    assert path.read_text().count('class="viewer"') == 3
    assert 'page would become too large' in Page(path).sections['scan-4']


def test_without_brainsprite_the_page_says_so(tmp_path, make_scan, monkeypatch):
    make_scan([], 'T1w')
    make_viewer(tmp_path / 'sub-01')
    monkeypatch.setattr(participant.viewer, 'library', lambda: None)
    page = Page(participant.write_subject_report(tmp_path, '01'))
    assert 'does not bring brainsprite along' in page.sections['scan-1']


def test_what_surrounds_the_scans_is_told(tmp_path, make_scan):
    make_scan([], 'T1w', modality='T1w', numbers={'alignment': 0.5}, Model={'SHA256': 'ab', 'Name': 't1w'})
    other = tmp_path / 'sub-02' / 'anat' / 'sub-02_desc-T1w_qc.json'
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({'modality': 'T1w', 'numbers': {'alignment': 0.4}}))
    (tmp_path / 'logs' / 'models').mkdir(parents=True)
    card = {'name': 't1w', 'sha256': {'weights.safetensors': 'ab'}, 'card': {'limits': ['adults <only>']}}
    (tmp_path / 'logs' / 'models' / 't1w-ab.json').write_text(json.dumps(card))
    findings = {'errors': 1, 'warnings': 2, 'codes': {'EMPTY_FILE': 1}, 'validator': 'validator 2'}
    (tmp_path / 'logs' / 'bids_validation.json').write_text(json.dumps(findings))
    page = Page(participant.write_subject_report(tmp_path, '01'))
    assert '1 of the 2 T1w scans' in page.sections['scan-1']
    assert 'adults <only>' in page.sections['methods']
    assert '1 error, 2 warnings' in page.sections['overview'] and 'EMPTY_FILE' in page.sections['overview']

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from bids_brainseg.data import label_table
from bids_brainseg.pages import participant
from bids_brainseg.pages.drawings import VIEWER_KEYS
from bids_brainseg.results.outcomes import write_outcomes
from bids_brainseg.results.scans import MEASURES, TOTALS, read_scans

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
        self.sections = {name: ' '.join(text.split()) for name, text in self.sections.items()}

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'section':
            self.name = attrs['id']
            self.sections[self.name] = ''
        if tag in ('td', 'th', 'li', 'p', 'h4', 'dt', 'dd', 'pre') and self.name:
            self.sections[self.name] += ' '
        if tag not in VOID:
            self.open.append(tag)
        addresses = [attrs[key] for key in ('src', 'data') if key in attrs]
        addresses += [attrs['href']] if tag == 'link' else []
        self.fetched += [address for address in addresses if not address.startswith('data:')]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.name:
            self.sections[self.name] += data


def make_viewer(folder, scan='T1w', size=0):
    content = dict.fromkeys(VIEWER_KEYS, '') | {'spacing_mm': 1.5, 'scan': 'x' * size, 'unit': '</script><b>'}
    (folder / 'figures' / f'{folder.name}_desc-viewer_{scan}.json').write_text(json.dumps(content))


def write_page(output_dir, subject='01', **options):
    scans = read_scans(output_dir)
    own = [scan for scan in scans if scan.subject == subject.removeprefix('sub-')]
    return participant.write_participant_page(
        output_dir, subject, own, peers=participant.alignments(scans), **options
    )


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
        columns = ('index', 'name', 'hemisphere', *MEASURES, 'flag')
        table = [
            columns,
            *((str(x.index), x.name, x.hemisphere, *['1'] * 5, 'n/a') for x in label_table()[1:]),
        ]
        number = 1 + len(list(tmp_path.rglob('*_morph.tsv')))  # tells the tables apart
        table += [('n/a', name, 'n/a', f'{number}000', *['n/a'] * 5) for name in TOTALS]
        text = ''.join('\t'.join(row) + '\n' for row in table)
        (where / f'{stem}_seg-brainseg_desc-{scan}_morph.tsv').write_text(text)
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
    page = Page(write_page(tmp_path))
    assert list(page.sections) == ['overview', 'scan-1', 'scan-2', 'scan-3', 'scan-4']
    expected = [('sub-01', 'T1w'), ('sub-01_acq-2D', 'T1w'), ('sub-01', 'FLAIR'), ('sub-01_run-1', 'ct')]
    for number, (stem, scan) in enumerate(expected, 1):
        text = page.sections[f'scan-{number}']
        found = re.findall(r'(sub-\S+) (\S+) (alignment|contours|uncertainty)\b', text)
        assert found == [(stem, scan, kind) for kind in ('alignment', 'contours', 'uncertainty')]
        assert re.findall(r'(\d)\.00 ml', text) == [str(number)] * 3


def test_sessions_come_in_order(tmp_path, make_scan):
    make_scan(['ses-2'], 'T1w', folder='ses-2/anat')
    make_scan(['ses-1'], 'dwi', folder='ses-1/dwi')
    make_scan(['ses-1'], 'FLAIR', folder='ses-1/anat')
    titles = re.findall('<h2>(.*?)</h2>', write_page(tmp_path).read_text())
    assert titles == ['Overview', 'ses-1 FLAIR', 'ses-1 dwi', 'ses-2 T1w']


def test_the_page_is_one_file(tmp_path, make_scan):
    make_scan([], 'T1w')
    path = write_page(tmp_path, 'sub-01')
    assert path == tmp_path / 'sub-01.html'
    page = path.read_text()
    assert Page(path).fetched == []
    assert '@import' not in page and not re.search(r'url\((?!#)', page)
    links = re.findall(r'<a href="([^"#][^"]*)"', page)
    assert links == [
        f'sub-01/figures/sub-01_desc-{kind}_T1w.svg' for kind in ('alignment', 'contours', 'uncertainty')
    ]
    assert all((tmp_path / link).exists() for link in links)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ['sub-01', 'sub-01.html']


def test_failed_and_skipped_scans_are_there_with_their_reason(tmp_path, make_scan):
    make_scan([], 'T1w')
    make_scan([], 'ct', folder='ct')
    crash = tmp_path / 'sub-01' / 'log' / 'crash-1.txt'
    failures = [
        {
            'scan': 'sub-01/anat/sub-01_FLAIR.nii.gz',
            'reason': 'it is <empty>',
            'crashfile': crash,
            'command': 'again <x>',
        },
        {'scan': 'sub-01/dwi/sub-01_dwi.nii.gz', 'reason': 'only b = 0', 'status': 'skipped'},
    ]
    page = Page(write_page(tmp_path, '01', failures=failures))
    assert list(page.sections) == ['overview', 'scan-1', 'scan-2', 'scan-3', 'scan-4']
    assert 'Pass' in page.sections['scan-1'] and 'Pass' in page.sections['scan-4']
    assert 'Failed' in page.sections['scan-2'] and 'it is <empty>' in page.sections['scan-2']
    assert 'sub-01/log/crash-1.txt To reproduce: again <x>' in page.sections['scan-2']
    assert str(tmp_path) not in page.sections['scan-2']
    assert 'Skipped' in page.sections['scan-3'] and 'only b = 0' in page.sections['scan-3']


def test_a_scan_that_failed_this_time_is_not_passed(tmp_path, make_scan):
    make_scan([], 'T1w')
    failures = [{'scan': 'sub-01/anat/sub-01_T1w.nii.gz', 'reason': 'no space left'}]
    text = Page(write_page(tmp_path, failures=failures)).sections['scan-1']
    assert 'Failed This scan could not be processed. no space left what is shown below is from an' in text
    assert 'Structures' in text


def test_a_scan_that_failed_in_the_last_run_is_not_passed(tmp_path, make_scan):
    make_scan([], 'T1w', Sources=['bids:raw:sub-01/anat/sub-01_T1w.nii.gz'])
    crash = tmp_path / 'sub-01' / 'log' / 'r' / 'crash-1.txt'
    outcome = {'status': 'failed', 'reason': 'no space left', 'crashfile': str(crash)}
    scans = {'sub-01/anat/sub-01_T1w.nii.gz': outcome, 'sub-01/ct/sub-01_ct.nii.gz': outcome}
    write_outcomes(crash.parent, run='r', version='1', scans=scans)
    sections = Page(write_page(tmp_path)).sections
    assert 'Outdated' in sections['scan-1'] and 'the last one failed: no space left' in sections['scan-1']
    assert 'Failed' in sections['scan-2'] and 'crash-1.txt' in sections['scan-2']


def test_a_result_that_cannot_be_read_is_broken(tmp_path, make_scan):
    make_scan([], 'T1w')
    (tmp_path / 'sub-01' / 'anat' / 'sub-01_desc-T1w_qc.json').write_text('{"numbers')
    text = Page(write_page(tmp_path)).sections['scan-1']
    assert 'Broken' in text and 'sub-01_desc-T1w_qc.json cannot be read as JSON' in text


def test_a_subject_without_any_result_has_a_page(tmp_path):
    failures = [{'scan': 'sub-02_T1w.nii.gz', 'reason': 'truncated', 'crashfile': None}]
    page = Page(write_page(tmp_path, '02', failures=failures))
    assert 'truncated' in page.sections['scan-1']


def test_methods_and_versions(tmp_path, make_scan):
    make_scan([], 'T1w', modality='T1w', Model={'Name': 'made-up'}, Versions={'keras': '3.99'})
    page = Page(write_page(tmp_path, methods='How <it> was done.\n\n# References\n\nA paper.'))
    text = page.sections['methods']
    assert text.startswith('Methods copy How <it> was done. References A paper. ')
    assert 'Made with keras 3.99.' in page.sections['overview']


def test_who_was_scanned_and_when_stand_at_the_top(tmp_path, make_scan):
    make_scan([], 'T1w')
    make_scan([], 'ct', folder='ct')
    page = Page(write_page(tmp_path, facts=[('Age', '34 <years>')], dates={'sub-01_T1w': '2020-02-03'}))
    assert 'Age 34 <years>' in page.sections['overview']
    assert 'T1w 2020-02-03' in page.sections['overview']
    assert 'of 2020-02-03' in page.sections['scan-1'] and ' of 20' not in page.sections['scan-2']


def test_a_damaged_figure_or_viewer_is_named_in_its_place(tmp_path, make_scan):
    make_scan([], 'T1w')
    figures = tmp_path / 'sub-01' / 'figures'
    (figures / 'sub-01_desc-alignment_T1w.svg').write_bytes(b'\xff\xfe</svg>')
    (figures / 'sub-01_desc-contours_T1w.svg').write_text('<svg><path d="M1')
    (figures / 'sub-01_desc-viewer_T1w.json').write_text('{"shape": [1}')
    text = Page(write_page(tmp_path)).sections['scan-1']
    assert 'figure sub-01_desc-alignment_T1w.svg is not shown: ' in text
    assert 'figure sub-01_desc-contours_T1w.svg is not shown: it is cut short' in text
    assert 'viewer sub-01_desc-viewer_T1w.json is not shown: ' in text
    assert 'sub-01 T1w uncertainty' in text


def test_every_scan_can_be_rated(tmp_path, make_scan):
    make_scan(['acq-2D'], 'T1w', verdict='review', Versions={'bids_brainseg': '0.0.9'})
    text = write_page(tmp_path).read_text()
    assert (
        '<form class="rating" data-scan="sub-01_acq-2D_T1w" data-verdict="review" data-version="0.0.9">'
        in text
    )
    assert 'id="ratings" data-participant="sub-01"' in text


def test_the_parts_of_a_scan_come_in_order(tmp_path, make_scan):
    make_scan(
        [], 'T1w', header={'shape': [1, 2, 3]}, numbers={'cv_mean': 1.0, 'alignment': 0.5},
        Model={'Name': 'm'}, Seconds={'registration': 1.0}, verdict='review', reasons=['odd'],
    )  # fmt: skip
    make_viewer(tmp_path / 'sub-01')
    text = Page(write_page(tmp_path)).sections['scan-1']
    end = 0
    for words in (
        'Review', 'odd', 'Alignment to the reference',
        'Alignment 0.50', 'Structures', 'Slice by slice', 'Uncertainty', 'Volumes', 'Header', '1 × 2 × 3',
        'Quality numbers', 'cv_mean', 'Run', 'Registration',
    ):  # fmt: skip
        end = text.index(words, end) + len(words)


def test_the_overview_says_why(tmp_path, make_scan):
    numbers = {'brain_mm3': 1.25e6, 'cv_mean': 0.71, 'alignment': 0.9}
    make_scan([], 'T1w', verdict='review', reasons=['a <reason>', 'another'], numbers=numbers)
    make_scan([], 'dwi', folder='dwi', verdict='odd')
    text = Page(write_page(tmp_path)).sections['overview']
    assert 'T1w Review a <reason>; another 1250.0 ml n/a 0.71 % 0.90' in text
    assert 'dwi No verdict' in text


def test_marks_are_explained(tmp_path, make_scan):
    make_scan([], 'T1w', Thresholds={'cv_percent': 1.0})
    table = tmp_path / 'sub-01' / 'anat' / 'sub-01_seg-brainseg_desc-T1w_morph.tsv'
    usual, marked = (
        'Left-Caudate\tL' + '\t1' * 5 + '\tn/a',
        'Left-Caudate\tL\t4\t4\t4\t1\t1.2\tcv above 1; touches <edge>',
    )
    assert usual in table.read_text()
    table.write_text(table.read_text().replace(usual, marked))
    page = write_page(tmp_path)
    assert '<span class="flag" title="touches &lt;edge&gt;">0.00</span>' in page.read_text()
    assert '<span class="flag" title="above the threshold">1.20</span>' in page.read_text()
    text = Page(page).sections['scan-1']
    assert 'Left Caudate: touches <edge>' in text
    assert 'A CV above 1 % is marked.' in text


def test_viewers_bring_their_library_once(tmp_path, make_scan):
    for scan in ('T1w', 'FLAIR'):
        make_scan([], scan)
        make_viewer(tmp_path / 'sub-01', scan)
    text = write_page(tmp_path).read_text()
    assert text.count('class="viewer"') == 2
    assert text.count('Slice viewers:') == text.count('id="viewer-tables"') == 1
    assert '</script><b>' not in text, 'what a volume holds cannot end its element'
    page = Page(tmp_path / 'sub-01.html')
    assert page.fetched == []
    assert '1.5 mm' in page.sections['scan-1']


def test_a_page_without_viewers_does_without_their_script(tmp_path, make_scan):
    make_scan([], 'T1w')
    assert 'Slice viewers:' not in write_page(tmp_path).read_text()


def test_viewers_that_would_make_the_page_heavy_are_left_out(tmp_path, make_scan):
    for number in range(4):
        make_scan([f'run-{number}'], 'T1w')
        content = dict.fromkeys(VIEWER_KEYS, '') | {'spacing_mm': 1.5, 'scan': 'x' * 3_000_000}
        name = f'sub-01_run-{number}_desc-viewer_T1w.json'
        (tmp_path / 'sub-01' / 'figures' / name).write_text(json.dumps(content))
    path = write_page(tmp_path)
    assert path.stat().st_size < 10_000_000
    assert path.read_text().count('class="viewer"') == 3
    assert 'left out to keep the page small' in Page(path).sections['scan-4']


def test_what_surrounds_the_scans_is_shown(tmp_path, make_scan):
    make_scan([], 'T1w', modality='T1w', numbers={'alignment': 0.5}, Model={'SHA256': 'ab', 'Name': 't1w'})
    other = tmp_path / 'sub-02' / 'anat' / 'sub-02_desc-T1w_qc.json'
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({'modality': 'T1w', 'numbers': {'alignment': 0.4}}))
    (tmp_path / 'logs' / 'models').mkdir(parents=True)
    card = {'name': 't1w', 'sha256': {'weights.safetensors': 'ab'}, 'card': {'limits': ['adults <only>']}}
    (tmp_path / 'logs' / 'models' / 't1w-ab.json').write_text(json.dumps(card))
    findings = {'errors': 1, 'warnings': 2, 'codes': {'EMPTY_FILE': 1}, 'validator': 'validator 2'}
    (tmp_path / 'logs' / 'bids_validation.json').write_text(json.dumps(findings))
    page = Page(write_page(tmp_path))
    assert 'Of the 2 T1w scans of this run, 1 is lower' in page.sections['scan-1']
    assert 'adults <only>' in page.sections['methods']
    assert '1 error, 2 warnings' in page.sections['overview'] and 'EMPTY_FILE' in page.sections['overview']

# SPDX-License-Identifier: Apache-2.0
"""Summary, plots and page of an evaluation, from tables whose answers are known."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from bids_brainseg.data import label_table
from bids_brainseg.figures import evaluation_plots as plots
from bids_brainseg.figures.theme import INK
from bids_brainseg.pages.evaluation import write_evaluation_page
from bids_brainseg.results.evaluation import choose_examples, summarize_evaluation

CV = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
DICE = [0.9, 0.85, 0.8, 0.6, 0.5, 0.4]
KIND = [None, None, None, 'noise', 'crop', 'bias']


@pytest.fixture
def tables():
    scans, rows = [], []
    for number, (cv, dice, kind) in enumerate(zip(CV, DICE, KIND, strict=True)):
        about = {
            'scan': f'sub-{number}_T1w', 'participant_id': f'sub-{number}', 'session_id': None,
            'modality': 'T1w', 'corrupted': kind, 'severity': np.nan if kind is None else 0.5,
        }  # fmt: skip
        scans.append(
            about
            | {'D_A': dice, 'D_V': dice + 0.05, 'ASSD_mm': 2 - dice, 'structures_missed': 0.0}
            | {'cv_mean': cv, 'alignment': 0.6, 'entropy_mean': 10 - cv}
        )
        for label in label_table()[1:]:
            truth = 1000.0 * (1 + number)
            rows.append(
                about
                | {'index': label.index, 'name': label.name, 'hemisphere': label.hemisphere}
                | {'dice': dice, 'assd_mm': 1.0, 'volume_mm3': 1.1 * truth, 'reference_volume_mm3': truth}
                | {'volume_low_mm3': (0.9 if number else 1.05) * truth, 'volume_high_mm3': 1.2 * truth}
            )
    return pd.DataFrame(rows), pd.DataFrame(scans)


def summarized(tables, **options):
    bundles = {'T1w': {'Name': 'm', 'SHA256': 'f' * 64, 'cv_threshold': 1.0}}
    return summarize_evaluation(*tables, bundles=bundles, labels='/labels', **options)


def test_averages_are_over_scans_as_they_are(tables):
    part = summarized(tables)['modalities']['T1w']
    assert part['scans'] == 3
    assert part['D_A']['median'] == 0.85
    assert part['D_A_against_CV']['r'] == pytest.approx(-1)
    stem = part['structures']['Brain-Stem']
    assert stem['dice']['q1'] == pytest.approx(0.825)
    assert stem['volume_bias_mm3'] == pytest.approx(200)
    assert stem['volume_bias_percent'] == pytest.approx(10)
    assert stem['volume_correlation']['r'] == pytest.approx(1)


def test_calibration_is_over_all_scans(tables):
    found = summarized(tables)['modalities']['T1w']['calibration']
    assert found['acceptable_D_A'] == pytest.approx(0.9 * 0.85)
    assert (found['scans'], found['scans_as_they_are'], found['bad']) == (6, 3, 3)
    assert found['best'] == 'cv_mean'
    cv = found['predictors']['cv_mean']
    assert cv['auc'] == 1
    assert cv['youden'] == {'value': 3.5, 'sensitivity': 1, 'specificity': 1}
    assert cv['correlation_with_D_A']['n'] == 6
    assert found['predictors']['entropy_mean']['auc'] == 0  # made to fall where Dice falls
    assert summarized(tables, acceptable=0.45)['modalities']['T1w']['calibration']['bad'] == 1


def test_without_spoiled_scans_there_is_no_calibration(tables):
    clean = [table[table['corrupted'].isna()] for table in tables]
    assert 'calibration' not in summarized(clean)['modalities']['T1w']


def test_examples_are_the_best_the_median_and_the_worst(tables, tmp_path):
    figures = {name: tmp_path / f'{name}.svg' for name in tables[1]['scan']}
    for path in figures.values():
        path.write_text('<svg/>')
    picked = choose_examples(tables[1], figures)
    assert [(title, scan) for title, scan, _, _ in picked] == [
        ('T1w, best', 'sub-0_T1w'),
        ('T1w, median', 'sub-1_T1w'),
        ('T1w, worst', 'sub-2_T1w'),
    ]
    figures['sub-1_T1w'].unlink()
    assert len(choose_examples(tables[1], figures)) == 2


def test_plots_are_drawings_in_the_ink_of_the_page(tables):
    structures, scans = tables
    summary = summarized(tables)['modalities']
    calibrations = {'T1w': summary['T1w']['calibration']}
    runs = [
        {'modality': 'T1w', 'training_scans': n, 'D_A': {'median': d, 'q1': d - 0.1, 'q3': d + 0.1},
         'test_scans': [{'D_A': d}, {'D_A': 'n/a'}]}
        for n, d in ((4, 0.4), (8, 0.6))
    ]  # fmt: skip
    drawn = {
        'dice': plots.dice_plot(structures),
        'uncertainty': plots.uncertainty_plot(scans, summary),
        'roc': plots.roc_plot(scans, calibrations),
        'study': plots.study_plot(runs),
        'equal': plots.study_plot(runs, 'equal-size'),
    }
    for name, drawing in drawn.items():
        assert drawing.startswith('<svg'), name
        assert INK not in drawing and 'currentColor' in drawing, name
    assert 'Left Pallidum' in drawn['dice']
    assert 'r = -0.9' in drawn['uncertainty'].replace('\N{MINUS SIGN}', '-')
    assert 'cv_mean, AUC 1.00' in drawn['roc']
    assert '4 training scans' in drawn['equal'] and '4 training scans' not in drawn['study']
    assert drawn['dice'] == plots.dice_plot(structures)  # the same bytes every time


def test_nothing_to_draw(tables):
    assert plots.uncertainty_plot(tables[1].assign(cv_mean=np.nan), {}) == ''
    assert plots.roc_plot(tables[1], {'T1w': {'predictors': {'cv_mean': {'youden': None}}}}) == ''
    assert plots.study_plot([]) == ''


class Balanced(HTMLParser):
    """Checks that every element that needs it is closed."""

    VOID = {'meta', 'img', 'br', 'input', 'link'}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page(tables, tmp_path):
    study = {
        'study': 'scaling',
        'failed': [{'modality': 'ct', 'participants': 8, 'reason': 'it <diverged>'}],
        'runs': [{
            'modality': 'T1w', 'participants': 5, 'training_scans': 4, 'steps': 77,
            'test_scans': [{'D_A': 0.5}],
            **{name: {'n': 3, 'mean': 0.5, 'sd': 0.1, 'q1': 0.4, 'median': 0.5, 'q3': 0.6}
               for name in ('D_A', 'ASSD_mm')},
        }],
    }  # fmt: skip
    figure = tmp_path / 'sub-0' / 'figures' / 'a.svg'
    figure.parent.mkdir(parents=True)
    figure.write_text('<?xml version="1.0"?><svg id="example"></svg>')
    (damaged := figure.with_name('b.svg')).write_text('<svg id="cut">')
    failures = [{'scan': 'sub-9/anat/sub-9_T1w.nii.gz', 'status': 'skipped', 'reason': 'no <labels>'}]
    page = write_evaluation_page(
        tmp_path,
        *tables,
        summarized(tables),
        figures={'sub-0_T1w': figure, 'sub-1_T1w': damaged},
        study=study,
        failures=failures,
        unread=['table <x> is cut short'],
        methods='How.',
    ).read_text()
    titles = re.findall('<h2>(.*?)</h2>', page)
    assert titles == ['Overview', 'Structures', 'Uncertainty', 'Calibration', 'Training set size', 'Examples',
                      'Scans', 'Methods']  # fmt: skip
    assert 'no &lt;labels&gt;' in page and 'it &lt;diverged&gt;' in page
    assert '<td class="n">5</td><td class="n">4</td><td class="n">77</td>' in page
    assert '<svg id="example">' in page and 'href="sub-0/figures/a.svg"' in page
    assert 'figure b.svg is not shown: it holds no whole drawing' in page and 'table &lt;x&gt;' in page
    assert '<svg id="cut">' not in page
    assert '0.850 [0.825 to 0.875]' in page
    assert '&gt; 3.500' in page
    assert 'n/a (' not in page  # a threshold that separates nothing
    assert '<td class="n">0.20</td><td class="n">10.0</td>' in page  # bias in ml and per cent
    assert 'Of 81 reference volumes, 67\u2009% lie' in page and '<td class="n">67\u2009%</td></tr>' in page
    assert 'noise, 0.50' in page
    parser = Balanced()
    parser.feed(re.sub(r'<svg.*?</svg>', '', page, flags=re.DOTALL))
    assert parser.open == []
    assert [path.name for path in tmp_path.glob('.*')] == []

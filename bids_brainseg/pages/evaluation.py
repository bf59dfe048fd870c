# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation, laid out by nireports like those of the participants."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import yaml
from nireports.assembler.report import Report

from ..data import label_table, resource
from ..figures.evaluation_plots import dice_plot, roc_plot, study_plot, uncertainty_plot
from ..figures.slices import legible
from ..files import write_text
from ..results.evaluation import chosen_examples
from .fragments import MISSING, badge, number
from .methods import methods_html

LABEL = 'evaluation'
STUDY = 'evaluation_study.json'
DA, DV = 'D<sub>A</sub>', 'D<sub>V</sub>'
PREDICTOR_NAMES = {
    'cv_mean': ('mean CV of the volumes over the passes', '%'),
    'mc_iou_mean': ('mean overlap (IoU) of the passes', ''),
    'entropy_mean': ('mean entropy inside the structures', ''),
    'mutual_information_mean': ('mean mutual information', ''),
    'alignment': ('agreement with the reference after alignment', ''),
}


def build_page(
    output_dir: Path,
    structures,
    scans,
    summary: Mapping,
    *,
    examples: Sequence[tuple],
    failures: Sequence[Mapping],
    methods: str,
) -> Path:
    """Write ``evaluation.html`` whole; see :func:`write_evaluation_page`."""
    study = output_dir / STUDY
    found = json.loads(study.read_text(encoding='utf-8')) if study.exists() else {}
    parts = summary['modalities']
    clean = structures[structures['corrupted'].isna()]
    calibrations = {name: part['calibration'] for name, part in parts.items() if 'calibration' in part}
    sections = [
        ('overview', 'Overview', {'': overview_html(summary) + failures_html(failures)}),
        (
            'structures',
            'Structures',
            {'Dice by structure': _figure(dice_plot(clean)), 'Numbers': structures_html(parts)},
        ),
        (
            'uncertainty',
            'Uncertainty',
            {'Mean Dice against the spread of the volumes': _figure(uncertainty_plot(scans, parts))},
        ),
        (
            'calibration',
            'Calibration',
            {'': calibration_html(calibrations), 'ROC': _figure(roc_plot(scans, calibrations))},
        ),
        ('study', 'Training scans', {'': study_section(found) if found else ''}),
        ('examples', 'Examples', {title_of(e): example_html(e, output_dir) for e in examples}),
        ('scans', 'Scans', {'': scans_html(scans)}),
        ('methods', 'Methods', {'': methods_html(methods)}),
    ]
    with tempfile.TemporaryDirectory(prefix='brainseg_evaluation_') as folder:
        stage(Path(folder), sections)
        report = Report(
            folder,
            None,
            bootstrap_file=Path(folder) / 'spec.yml',
            out_filename='page.html',
            metadata={'template': str(resource('report.html')), 'subject': LABEL},
        )
        report.generate_report()
        page = (Path(folder) / 'page.html').read_text(encoding='utf-8')
    return write_text(page, output_dir / 'evaluation.html')


def stage(folder: Path, sections: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
    """Lay the parts that have content out for nireports: HTML files and the specification."""
    figures = folder / f'sub-{LABEL}' / 'figures'
    figures.mkdir(parents=True)
    laid = []
    for name, title, parts in sections:
        reportlets = []
        for place, (subtitle, content) in enumerate(parts.items()):
            if content:
                desc = f'{name}{place}'
                (figures / f'sub-{LABEL}_desc-{desc}_report.html').write_text(content, encoding='utf-8')
                reportlets.append({'bids': {'desc': desc}} | ({'subtitle': subtitle} if subtitle else {}))
        if reportlets:
            laid.append({'name': name, 'title': title, 'reportlets': reportlets})
    spec = {'title': 'Evaluation', 'template_path': str(resource('report.html')), 'sections': laid}
    (folder / 'spec.yml').write_text(yaml.safe_dump(spec, sort_keys=False, width=10**6), encoding='utf-8')


def overview_html(summary: Mapping) -> str:
    """Tabulate the averages of each modality."""
    rows = [
        [
            f'<th>{escape(name)}</th>',
            f'<td>{escape(str(part["Model"].get("Name", "")))} '
            f'<code>{escape(str(part["Model"].get("SHA256", ""))[:12])}</code></td>',
            _cell(part['scans']),
            _cell(_spread(part['D_A'], 3)),
            _cell(_quartiles(part['D_A'], 3)),
            _cell(_spread(part['D_V'], 3)),
            _cell(_spread(part['ASSD_mm'], 2)),
            _cell(number(part['structures_missed'], 1)),
            _cell(_correlation(part['D_A_against_CV'])),
        ]
        for name, part in summary['modalities'].items()
    ]
    head = ['Modality', 'Model', '#Scans', f'#{DA}, mean ± SD', f'#{DA}, median [quartiles]',
            f'#{DV}, mean ± SD', '#ASSD, mm', '#Missed', f'#r, {DA} against CV']  # fmt: skip
    return (
        f'<p class="path">Reference labels: <code>{escape(str(summary["ReferenceLabels"]))}</code></p>'
        f'{_table(head, rows, "overview")}<p class="note">{DA}: mean Dice over the structures. {DV}: '
        'weighted by volume. ASSD: average symmetric surface distance over the structures that both '
        'segmentations have. Missed: structures that only one of them has, a mean over scans. CV: spread of '
        'the volumes over the Monte-Carlo passes; r with its 95 % interval, over the scans as they are.</p>'
    )


def structures_html(parts: Mapping) -> str:
    """Tabulate each structure: overlap, distance, volume against the reference."""
    head = ['Structure', '#Dice, median', '#quartiles', '#ASSD mm, median', '#quartiles', '#Volume bias mm³',
            '#%', '#Volume r']  # fmt: skip
    tables = []
    for modality, part in parts.items():
        rows = []
        for label in label_table()[1:]:
            found = part['structures'][label.name]
            swatch = f'<i style="background:{legible(label.color)}"></i>'
            rows.append(
                [
                    f'<th>{swatch}{escape(label.name.replace("-", " "))}</th>',
                    f'<td class="n v">{number(found["dice"]["median"], 3)}</td>',
                    _cell(_range(found['dice'], 3)),
                    _cell(number(found['assd_mm']['median'], 2)),
                    _cell(_range(found['assd_mm'], 2)),
                    _cell(number(found['volume_bias_mm3'])),
                    _cell(number(found['volume_bias_percent'], 1)),
                    _cell(_correlation(found['volume_correlation'])),
                ]
            )
        tables.append(f'<h4>{escape(modality)}</h4>{_table(head, rows, "volumes")}')
    return ''.join(tables) + (
        '<p class="note">Volume bias: found minus reference, mean over scans; in per cent of the reference. '
        'Volume r: Pearson correlation of found and reference volume over scans.</p>'
    )


def calibration_html(calibrations: Mapping) -> str:
    """Tabulate how each quality number tells bad segmentations, and the thresholds."""
    head = ['Number', f'#r against {DA}', '#AUC', '#Threshold, Youden', '#Threshold, conservative']
    tables = []
    for modality, entry in calibrations.items():
        rows = []
        for name, found in entry['predictors'].items():
            told, unit = PREDICTOR_NAMES[name]
            rows.append(
                [
                    f'<th>{escape(told)} <code>{escape(name)}</code></th>',
                    _cell(_correlation(found['correlation_with_D_A'])),
                    f'<td class="n v">{number(found["auc"], 3)}</td>',
                    _cell(_threshold(found, 'youden', unit)),
                    _cell(_threshold(found, 'conservative', unit)),
                ]
            )
        tables.append(
            f'<h4>{escape(modality)}</h4><p>{entry["bad"]} of {entry["scans"]} scans '
            f'({entry["scans_as_they_are"]} as they are, the others corrupted on purpose) have a {DA} below '
            f'{number(entry["acceptable_D_A"], 3)}. Best: <code>{escape(str(entry["best"]))}</code>. '
            f'CV threshold in use: {number(entry["cv_threshold_in_use"], 2, "%")}.</p>{_table(head, rows)}'
        )
    note = (
        '<p class="note">In brackets: bad scans that the threshold flags, good scans that it does not. '
        'Conservative: at least 95 % of the bad scans are flagged. evaluation.json holds the same.</p>'
    )
    return ''.join(tables) + note if tables else ''


STUDIES = {
    'scaling': 'Networks trained on more and more people, each set within the next one, and scored on the '
    'same test scans: medians with quartiles, a dash for each scan.',
    'equal-size': 'Networks of different modalities trained on equally many people: quartiles over the test '
    'scans, a point for each scan.',
}


def study_section(found: Mapping) -> str:
    """Show what came out of a study: the figure, the table, and the networks that failed."""
    runs = found['runs']
    rows = [
        [f'<th>{escape(run["modality"])}</th>', _cell(run['people']), f'<td>{escape(run["reason"])}</td>']
        for run in found['failed']
    ]
    failed = f'<h3>Networks that failed</h3>{_table(["Modality", "#People", "Why"], rows)}' if rows else ''
    note = f'<p class="note">{STUDIES[found["study"]]} Nobody who is tested is trained on.</p>'
    return _figure(study_plot(runs, found['study'])) + note + study_html(runs) + failed


def study_html(runs: Sequence[Mapping]) -> str:
    """Tabulate the networks that were trained for the study."""
    head = [
        'Modality',
        '#People',
        '#Training scans',
        '#Steps',
        '#Test scans',
        f'#{DA}, mean ± SD',
        '#median [quartiles]',
        '#ASSD, mm',
    ]
    rows = [
        [
            f'<th>{escape(run["modality"])}</th>',
            _cell(run['people']),
            _cell(run['training_scans']),
            _cell(run['steps']),
            _cell(run['D_A']['n']),
            _cell(_spread(run['D_A'], 3)),
            _cell(_quartiles(run['D_A'], 3)),
            _cell(_spread(run['ASSD_mm'], 2)),
        ]
        for run in runs
    ]
    return _table(head, rows) if rows else ''


def scans_html(scans) -> str:
    """Tabulate every scan, the worst first."""
    head = ['Scan', 'corrupted by', f'#{DA}', f'#{DV}', '#ASSD, mm', '#Missed', '#Mean CV, %', '#Alignment']
    rows = []
    for row in scans.sort_values('D_A', kind='stable').to_dict('records'):
        corrupted = isinstance(row['corrupted'], str)
        rows.append(
            [
                f'<td>{escape(row["scan"])}</td>',
                f'<td>{escape(row["corrupted"])}, {row["severity"]:.2f}</td>' if corrupted else '<td></td>',
                f'<td class="n v">{number(row["D_A"], 3)}</td>',
                _cell(number(row['D_V'], 3)),
                _cell(number(row['ASSD_mm'], 2)),
                _cell(number(row['structures_missed'])),
                _cell(number(row['cv_mean'], 2)),
                _cell(number(row['alignment'], 2)),
            ]
        )
    return _table(head, rows, 'overview')


def failures_html(failures: Sequence[Mapping]) -> str:
    """List the scans that were not compared, and why."""
    rows = [
        [
            f'<td>{badge(str(failure["status"]))}</td>',
            f'<td><code>{escape(str(failure["scan"]))}</code></td>',
            f'<td>{escape(str(failure["reason"]))}</td>',
        ]
        for failure in failures
    ]
    return f'<h3>Not compared</h3>{_table(["", "Scan", "Why"], rows)}' if rows else ''


def title_of(example: tuple) -> str:
    """Write the heading of an example."""
    title, scan, dice, _ = example
    return f'{title}: {scan}, D_A {dice:.3f}'


def example_html(example: tuple, output_dir: Path) -> str:
    """Put the figure of a scan into the page, with a link to its file."""
    path = Path(example[3])
    drawing = path.read_text(encoding='utf-8')
    link = escape(os.path.relpath(path, output_dir))
    return (
        f'<div class="reportlet">{drawing[drawing.index("<svg") :]}</div>'
        f'<small><a href="{link}">figure file</a></small>'
    )


def _figure(drawing: str) -> str:
    """Show a plot at its own size; the style of the page stretches drawings to its width."""
    size = re.search(r'width="([\d.]+)pt"', drawing)
    width = f' style="max-width:{4 / 3 * float(size[1]):.0f}px"' if size else ''
    return f'<div class="reportlet"{width}>{drawing}</div>' if drawing else ''


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = '') -> str:
    """Lay cells out; a heading that begins with # stands over numbers."""
    cells = ''.join(f'<th class="n">{h[1:]}</th>' if h.startswith('#') else f'<th>{h}</th>' for h in head)
    body = ''.join(f'<tr>{"".join(row)}</tr>' for row in rows)
    table = f'<table class="{kind}"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _cell(content: object) -> str:
    return f'<td class="n">{content}</td>'


def _spread(found: Mapping, digits: int) -> str:
    middle, sd = number(found['mean'], digits), number(found['sd'], digits)
    return middle if MISSING in (middle, sd) else f'{middle} ± {sd}'


def _range(found: Mapping, digits: int) -> str:
    low, high = number(found['q1'], digits), number(found['q3'], digits)
    return MISSING if low == MISSING else f'{low} to {high}'


def _quartiles(found: Mapping, digits: int) -> str:
    middle = number(found['median'], digits)
    return middle if middle == MISSING else f'{middle} [{_range(found, digits)}]'


def _correlation(found: Mapping) -> str:
    r, low, high = (number(found[key], 2) for key in ('r', 'low', 'high'))
    return r if MISSING in (r, low) else f'{r} [{low}, {high}]'


def _threshold(found: Mapping, kind: str, unit: str) -> str:
    point = found[kind]
    if not point:
        return MISSING
    side = '&gt;' if found['bad_when'] == 'above' else '&lt;'
    rates = f'{number(100 * point["sensitivity"])} / {number(100 * point["specificity"], 0, "%")}'
    return f'{side} {number(point["value"], 3, unit)} ({rates})'


def write_evaluation_page(
    output_dir: Path,
    structures,
    scans,
    summary: Mapping,
    *,
    figures: Mapping[str, Path],
    failures: Sequence[Mapping] = (),
    methods: str = '',
) -> Path:
    """Write ``evaluation.html``.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives; ``evaluation_study.json`` in it is shown as well.
    structures, scans : pandas.DataFrame
        The long tables.
    summary : mapping
        Of :func:`~bids_brainseg.results.evaluation.summarise_evaluation`.
    figures : mapping of Path
        Scan to its figure.
    failures : sequence of mapping
        ``scan``, ``status`` and ``reason`` of scans that were not compared.
    methods : str
        Text of the methods section.

    Returns
    -------
    Path
    """
    return build_page(
        Path(output_dir),
        structures,
        scans,
        summary,
        examples=chosen_examples(scans, figures),
        failures=failures,
        methods=methods,
    )

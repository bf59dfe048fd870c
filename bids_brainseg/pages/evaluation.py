# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation: agreement with reference labels, uncertainty, calibration and studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data import label_table
from ..data.quality import qc_numbers
from ..figures.evaluation_plots import dice_plot, roc_plot, study_plot, uncertainty_plot
from ..figures.slices import legible
from ..files import write_text
from ..results.evaluation import choose_examples
from .drawings import read_drawings
from .render import render


def write_evaluation_page(
    output_dir: Path,
    structures,
    scans,
    summary: Mapping,
    *,
    figures: Mapping[str, Path],
    study: Mapping | None = None,
    failures: Sequence[Mapping] = (),
    unread: Sequence[str] = (),
    methods: str = '',
) -> Path:
    """Write ``evaluation.html``.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    structures, scans : pandas.DataFrame
        The long tables.
    summary : mapping
        Of :func:`~bids_brainseg.results.evaluation.summarize_evaluation`.
    figures : mapping of Path
        Scan to its figure.
    study : mapping, optional
        Of :func:`~bids_brainseg.results.evaluation_tables.read_study`.
    failures : sequence of mapping
        ``scan``, ``status`` and ``reason`` of scans that were not compared.
    unread : sequence of str
        What could not be read of the outputs.
    methods : str
        Text of the methods section.

    Returns
    -------
    Path
    """
    output_dir = Path(output_dir)
    parts = summary['modalities']
    calibrations = {name: part['calibration'] for name, part in parts.items() if 'calibration' in part}
    examples = choose_examples(scans, figures)
    drawings, faults = read_drawings({scan: path for _, scan, _, path in examples}, output_dir)
    page = render(
        'evaluation.html',
        reference_labels=str(summary['ReferenceLabels']),
        modalities=parts,
        labels=[{'name': label.name, 'color': legible(label.color)} for label in label_table()[1:]],
        failures=failures,
        unread=[*unread, *faults.values()],
        calibrations={
            name: {**entry, 'predictors': _predictors(entry)} for name, entry in calibrations.items()
        },
        study=study,
        plots={
            'dice': dice_plot(structures[structures['corrupted'].isna()]),
            'uncertainty': uncertainty_plot(scans, parts),
            'roc': roc_plot(scans, calibrations),
            'study': study_plot(study['runs'], study['study']) if study else '',
        },
        examples=[
            {'title': title, 'scan': scan, 'dice': dice, 'drawing': drawings[scan]}
            for title, scan, dice, _ in examples
            if scan in drawings
        ],
        scans=scans.sort_values('D_A', kind='stable').to_dict('records'),
        methods=methods,
    )
    return write_text(page, output_dir / 'evaluation.html')


def _predictors(entry: Mapping) -> list[dict]:
    """Name each quality number of a calibration; only per cent is written beside a value."""
    named = []
    for name, numbers in entry['predictors'].items():
        known = qc_numbers()[name]
        unit = known['unit'] if known['unit'] == '%' else ''
        named.append({'name': name, 'meaning': known['label'], 'unit': unit, **numbers})
    return named

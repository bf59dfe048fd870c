# SPDX-License-Identifier: Apache-2.0
"""List what a run would do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..bids.paths import figure_path, output_path, xfm_path
from ..records import Bundle, ImageRecord, Outcome, Template
from ..settings import Settings

FIGURES = {'alignment': '.svg', 'contours': '.svg', 'viewer': '.json', 'uncertainty': '.svg'}


def planned_files(
    record: ImageRecord, settings: Settings, bundle: Bundle, templates: Sequence[Template] = ()
) -> list[Path]:
    """List the files that a scan gets, without their sidecars.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    settings : Settings
        Of the run.
    bundle : Bundle
        Model of its modality.
    templates : sequence of Template
        Further spaces.
    """
    out = settings.output_dir
    images = ['dseg', *(['probseg'] if settings.save_probseg else []), 'uncertainty']
    files = [output_path(record, out, suffix=suffix, extension='.nii.gz') for suffix in images]
    files += [
        output_path(record, out, suffix='dseg', extension='.nii.gz', **template.entities)
        for template in templates
    ]
    files.append(output_path(record, out, suffix='morph', extension='.tsv'))
    files.append(output_path(record, out, suffix='qc', extension='.json'))
    for name in (bundle.reference_name, *(template.label for template in templates)):
        files += [
            xfm_path(record, out, reference=name),
            xfm_path(record, out, reference=name, inverse=True),
            xfm_path(record, out, reference=name, extension='.lta'),
        ]
    figures = FIGURES.items()
    return files + [figure_path(record, out, kind=kind, extension=end) for kind, end in figures]


def format_dry_run(
    settings: Settings,
    records: Iterable[ImageRecord],
    bundles: Mapping[str, Bundle],
    templates: Mapping[str, Sequence[Template]],
    outcomes: Iterable[Outcome],
) -> str:
    """List which scans would run, with which model and which outputs, and which would not, and why."""
    lines, pages = [], []
    for record in records:
        bundle = bundles[record.modality]
        passes = f'{bundle.mc_samples} passes' if bundle.mc_samples else 'one pass without dropout'
        lines.append(f'{record.relative_path}: model {bundle.name}, {passes}')
        for path in planned_files(record, settings, bundle, templates.get(record.modality, ())):
            note = ' (exists)' if path.exists() else ''
            lines.append(f'  {path.relative_to(settings.output_dir)}{note}')
        pages.append(f'sub-{record.subject}.html')
    for outcome in outcomes:
        lines.append(f'{outcome.record.relative_path}: {outcome.status}: {outcome.reason}')
        pages.append(f'sub-{outcome.record.subject}.html')
    lines += [f'page: {name}' for name in dict.fromkeys(pages)]
    return '\n'.join(lines)

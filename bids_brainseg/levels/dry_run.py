# SPDX-License-Identifier: Apache-2.0
"""List what a run would do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..bids.query import Selection
from ..errors import counted
from ..records import Bundle, ImageRecord, Outcome, Template
from ..results.expected import expected_files
from ..settings import Settings
from .outcome import account_for_others


def format_dry_run(
    settings: Settings,
    records: Iterable[ImageRecord],
    bundles: Mapping[str, Bundle],
    templates: Mapping[str, Sequence[Template]],
    outcomes: Iterable[Outcome],
    selection: Selection,
) -> str:
    """List which scans would run, with which model and which outputs, and which images would not, and why."""
    lines, pages = [], []
    for record in records:
        bundle = bundles[record.modality]
        passes = counted(bundle.mc_samples, 'pass') if bundle.mc_samples else 'one pass without dropout'
        lines.append(f'{record.relative_path}: model {bundle.name}, {passes}')
        files = expected_files(
            record,
            settings.output_dir,
            reference_name=bundle.reference_name,
            templates=templates.get(record.modality, ()),
            save_probseg=settings.save_probseg,
        )
        for path in files:
            note = ' (exists)' if path.exists() else ''
            lines.append(f'  {path.relative_to(settings.output_dir)}{note}')
        pages.append(f'sub-{record.subject}.html')
    for outcome in outcomes:
        lines.append(f'{outcome.record.relative_path}: {outcome.status}: {outcome.reason}')
        pages.append(f'sub-{outcome.record.subject}.html')
    lines += format_others(selection)
    lines += [f'page: {name}' for name in dict.fromkeys(pages)]
    return '\n'.join(lines)


def format_others(selection: Selection) -> list[str]:
    """List the images that would not be used, with the reasons, and count what options leave out."""
    unused = [f'{image.path.as_posix()}: not used: {image.reason}' for image in selection.unused]
    return unused + [line.strip() for line in account_for_others(selection)]

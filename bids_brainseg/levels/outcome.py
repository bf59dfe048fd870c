# SPDX-License-Identifier: Apache-2.0
"""What became of each scan: read from crash files and outputs, saved, summarized; how to run it again."""

from __future__ import annotations

import json
import os
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import __version__
from ..bids.paths import output_path
from ..bids.query import Selection, summarize_unused
from ..core.quality import LEVELS
from ..records import ImageRecord, Outcome, UnusedImage
from ..results import outcomes as outcome_files
from ..results.expected import result_files
from ..results.outcomes import reason_of
from ..results.scans import match_results
from ..settings import Settings
from ..workflows.base import scan_wf_name, subject_wf_name
from .folders import tolerated


def assess_outcome(
    record: ImageRecord, settings: Settings, expected: Sequence[Path], complaint: str | None
) -> Outcome:
    """Find out from the crash files and the outputs what became of a scan that ran.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    settings : Settings
        Of the run.
    expected : sequence of Path
        Files that a scan has if it went through.
    complaint : str, optional
        The reason that nipype gave if the run ended early.
    """
    node = f'.{subject_wf_name(record.subject)}.{scan_wf_name(record)}.'
    for crash in sorted(settings.log_dir(record.subject, record.session).glob('crash-*'), key=_age):
        text = crash.read_text(errors='replace')
        if node in text.partition('\n')[0]:
            return Outcome(record, 'failed', reason_of(text), crash)
    if missing := [path for path in expected if not path.exists()]:
        reason = f'was not written: {missing[0].name}'
        return Outcome(record, 'failed', f'{reason} ({complaint})' if complaint else reason)
    try:
        qc = json.loads(output_path(record, settings.output_dir, suffix='qc').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        qc = {}  # whoever reads it next says what is wrong with it
    return _done(record, qc)


def _done(record: ImageRecord, qc: Mapping) -> Outcome:
    """Return the outcome of a scan that has all its files, with what its quality document says."""
    return Outcome(record, 'done', verdict=qc.get('verdict', ''), findings=tuple(qc.get('reasons') or ()))


def previous_outcomes(
    records: Iterable[ImageRecord], output_dir: Path, *, compared: bool = False
) -> list[Outcome]:
    """Find out from the outputs alone what became of scans in the last run.

    Parameters
    ----------
    records : iterable of ImageRecord
        The scans.
    output_dir : Path
        Root of the derivatives.
    compared : bool
        Whether a scan is done only if it was compared with reference labels as well.
    """
    outcomes = []
    for record, scan in match_results(records, output_dir):
        if scan is None or (compared and not scan.agreement and not scan.broken):
            outcomes.append(
                Outcome(record, 'skipped', 'not compared yet' if compared else 'not processed yet')
            )
        elif scan.status == 'done':
            missing = [p for p in result_files(record, output_dir) if not os.path.lexists(p)]
            if missing:
                outcomes.append(Outcome(record, 'failed', f'was not written: {missing[0].name}'))
            else:
                outcomes.append(_done(record, scan.qc))
        elif scan.broken:
            outcomes.append(Outcome(record, 'failed', scan.reason))
        else:
            last, crash = scan.outcome, scan.outcome.crashfile
            outcomes.append(Outcome(record, last.status, last.reason, crash and output_dir / crash))
    return outcomes


def _age(path: Path) -> float:
    return path.stat().st_mtime


def write_outcomes(
    outcomes: Iterable[Outcome], settings: Settings, unused: Iterable[UnusedImage] = ()
) -> bool:
    """Write what became of the scans beside the log of each subject and session, for pages and group level.

    Parameters
    ----------
    outcomes : iterable of Outcome
        Of the scans.
    settings : Settings
        Of the run.
    unused : iterable of UnusedImage
        The other images.

    Returns
    -------
    bool
        Whether all were written; what was not is told.
    """
    complete = True
    logs: dict[Path, dict] = defaultdict(dict)
    others: dict[Path, list] = defaultdict(list)
    for image in unused:
        others[settings.log_dir(image.subject, image.session)].append(image)
    for outcome in outcomes:
        record, crash = outcome.record, outcome.crashfile
        scans = logs[settings.log_dir(record.subject, record.session)]
        inside = crash is not None and crash.is_relative_to(settings.output_dir)
        scans[record.relative_path.as_posix()] = {
            'status': outcome.status,
            'reason': outcome.reason,
            'crashfile': crash.relative_to(settings.output_dir) if inside else crash,
        }
    for folder in dict.fromkeys([*logs, *others]):
        with tolerated(f'the outcomes in {folder}') as problems:
            outcome_files.write_outcomes(
                folder, run=settings.run_uuid, version=__version__, scans=logs[folder], unused=others[folder]
            )
        complete = complete and not problems
    return complete


def account_for_others(selection: Selection) -> list[str]:
    """Return a line for each reason why images were seen and not used, and one for what options leave out."""
    lines = [f'  unused  {line}' for line in summarize_unused(selection.unused)]
    if selection.left_out:
        parts = ', '.join(f'{count} by {option}' for option, count in selection.left_out.items())
        lines.append(f'  left out {parts}')
    return lines


#: Options that the command for one scan sets itself, or that would keep it from running the scan.
REPLACED = (
    '--participant-label', '--session-label', '--modalities', '--work-dir', '--verbose', '--clean-workdir',
    '--reports-only', '--dry-run',
)  # fmt: skip


def reproduce(record: ImageRecord, settings: Settings) -> str:
    """Return the command that runs one scan again, with the same options and with the log shown.

    >>> scan = ImageRecord(Path('sub-01_ct.nii.gz'), 'ct', '01', '2', {'sub': '01'}, 'ct')
    >>> settings = Settings(Path('/in'), Path('/out dir'), Path('/w'), options=(('--mc-samples', '2'),))
    >>> print(reproduce(scan, settings))
    bids_brainseg /in '/out dir' participant --participant-label 01 --session-label 2 --modalities ct
        --work-dir /w --mc-samples 2 -v
    """
    words = [settings.bids_dir, settings.output_dir, settings.level, '--participant-label', record.subject]
    words += ['--session-label', record.session] if record.session else []
    words += ['--modalities', record.modality, '--work-dir', settings.work_dir]
    for flag, *values in settings.options:
        if flag not in REPLACED:
            words += [flag, *values]
    return shlex.join(['bids_brainseg', *(str(word) for word in words), '-v'])


def format_summary(
    outcomes: Iterable[Outcome],
    output_dir: Path,
    seconds: float,
    *,
    others: Sequence[str] = (),
    unread: Sequence[str] = (),
) -> str:
    """Return a few lines on how the run ended.

    Parameters
    ----------
    outcomes : iterable of Outcome
        Of the scans.
    output_dir : Path
        Root of the derivatives.
    seconds : float
        That the run took.
    others : sequence of str
        What became of the other images, of :func:`account_for_others`.
    unread : sequence of str
        What could not be read of the outputs of the participants.
    """
    outcomes = list(outcomes)
    count = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ('done', 'failed', 'skipped')
    }
    lines = [
        f'{count["done"]} of {len(outcomes)} scans segmented, {count["failed"]} failed, '
        f'{count["skipped"]} skipped ({seconds:.0f} s)'
    ]
    for outcome in sorted(outcomes, key=lambda outcome: outcome.status):
        if outcome.status != 'done':
            lines.append(f'  {outcome.status:7} {outcome.record.relative_path}: {outcome.reason}')
            lines += [f'          details: {outcome.crashfile}'] if outcome.crashfile else []
        elif outcome.verdict in LEVELS[1:]:
            found = '; '.join(outcome.findings)
            lines.append(f'  {outcome.verdict:7} {outcome.record.relative_path}: {found}')
    lines += [f'  unread  {line}' for line in unread]
    lines += others
    for subject in dict.fromkeys(outcome.record.subject for outcome in outcomes):
        page = output_dir / f'sub-{subject}.html'
        lines += [f'  report  {page}'] if page.exists() else []
    return '\n'.join(lines)

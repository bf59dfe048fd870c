# SPDX-License-Identifier: Apache-2.0
"""What became of each scan: read from crash files and outputs, saved, summarized; how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from .. import __version__
from ..records import ImageRecord, Outcome
from ..results import outcomes as outcome_files
from ..results.outcomes import reason_of
from ..settings import Settings
from ..workflows.base import scan_wf_name, subject_wf_name


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
    return Outcome(record, 'done')


def _age(path: Path) -> float:
    return path.stat().st_mtime


def write_outcomes(outcomes: Iterable[Outcome], settings: Settings) -> None:
    """Write what became of the scans beside the log of each subject and session, for the group level."""
    logs: dict[Path, dict] = {}
    for outcome in outcomes:
        record, crash = outcome.record, outcome.crashfile
        scans = logs.setdefault(settings.log_dir(record.subject, record.session), {})
        inside = crash is not None and crash.is_relative_to(settings.output_dir)
        scans[record.relative_path.as_posix()] = {
            'status': outcome.status,
            'reason': outcome.reason,
            'crashfile': crash.relative_to(settings.output_dir) if inside else crash,
        }
    for folder, scans in logs.items():
        outcome_files.write_outcomes(folder, run=settings.run_uuid, version=__version__, scans=scans)


def reproduce(record: ImageRecord, settings: Settings) -> str:
    """Spell the command that runs one scan's participant again, alone and telling what goes on.

    >>> from types import SimpleNamespace
    >>> scan = SimpleNamespace(subject='01', session='2', modality='ct')
    >>> reproduce(scan, Settings(Path('/in'), Path('/out dir'), Path('/w'), mc_samples=2, ct_window=(0.0, 80.0)))
    "bids_brainseg /in '/out dir' participant --participant-label 01 --session-label 2 --modalities ct -w /w --mc-samples 2 --ct-window 0 80 -v"
    """  # noqa: E501
    words = [settings.bids_dir, settings.output_dir, 'participant', '--participant-label', record.subject]
    words += ['--session-label', record.session] if record.session else []
    words += ['--modalities', record.modality, '-w', settings.work_dir]
    words += [flag for name, flag in SWITCHES.items() if getattr(settings, name)]
    for name, flag in VALUES.items():
        value = getattr(settings, name)
        if value != getattr(Settings, name):
            values = [f'{x:g}' for x in value] if isinstance(value, tuple) else [value]
            words += [flag, *values]
    models = [f'{modality}={path}' if modality else path for modality, path in settings.models]
    words += ['--model', *models] if models else []
    return shlex.join(['bids_brainseg', *(str(word) for word in words), '-v'])


#: Settings that change what becomes of a scan, and their flags.
SWITCHES = {'save_probseg': '--save-probseg', 'low_mem': '--low-mem'}
VALUES = {
    'mc_samples': '--mc-samples',
    'random_seed': '--random-seed',
    'cv_threshold': '--cv-threshold',
    'ct_window': '--ct-window',
    'label_resampling': '--label-resampling',
    'omp_nthreads': '--omp-nthreads',
}


def format_summary(outcomes: Iterable[Outcome], output_dir: Path, seconds: float) -> str:
    """Return a few lines on how the run ended."""
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
    for subject in dict.fromkeys(outcome.record.subject for outcome in outcomes):
        page = output_dir / f'sub-{subject}.html'
        lines += [f'  report  {page}'] if page.exists() else []
    return '\n'.join(lines)

# SPDX-License-Identifier: Apache-2.0
"""Outcomes of runs on disk, scan by scan: ``sub-01/[ses-1/]log/<run>/outcomes.json``.

Each run has a folder of its own, so that jobs may share an output folder and even a subject.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..bids.names import strip_prefix
from ..files import read_text, unfetched, write_json
from ..records import RunOutcome, UnusedImage

_FILE_NAME = 'outcomes.json'
_STATUSES = ('done', 'failed', 'skipped')
_LAST_ERROR = re.compile(
    r'^\s*(?P<kind>(?:\w+\.)*\w*(?:Error|Exception|Warning|Interrupt|Exit))(?:: (?P<text>.*))?$'
)
_NODE = re.compile(r'^Node: \w+\.sub_\w+?_wf\.(?P<key>\w+)_wf\.')


def write_outcomes(
    folder: Path,
    *,
    run: str,
    version: str,
    scans: Mapping[str, Mapping],
    unused: Iterable[UnusedImage] = (),
) -> Path:
    """Write the outcomes of a run.

    Parameters
    ----------
    folder : Path
        Log folder of the run.
    run, version : str
        Its identifier, and the version of this program.
    scans : mapping
        Path of a scan below the root of its dataset -> ``status``, ``reason`` and ``crashfile``.
    unused : iterable of UnusedImage
        The other images of the subject and session.
    """
    reasons = {image.path.as_posix(): image.reason for image in unused}
    content = {'Run': run, 'Version': version, 'Scans': scans, 'Unused': reasons}
    return write_json(content, Path(folder) / _FILE_NAME)


def read_unused(output_dir: Path, subject: str) -> list[UnusedImage]:
    """Read which images of a subject were seen by the last run and not used.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    subject : str
        Label, with or without ``sub-``.

    Returns
    -------
    list of UnusedImage
        By path; of each session those of the last run that looked at it.
    """
    top = Path(output_dir) / f'sub-{strip_prefix(subject, "sub")}'
    unused: dict[Path, UnusedImage] = {}
    for log in (top / 'log', *top.glob('ses-*/log')):
        for path in sorted(log.glob(f'*/{_FILE_NAME}'), key=lambda path: path.parent.name, reverse=True):
            try:
                reasons = json.loads(read_text(path))['Unused']
                found = [UnusedImage(Path(image), str(reason)) for image, reason in reasons.items()]
            except (OSError, ValueError, LookupError, TypeError, AttributeError):  # damaged, or older
                continue
            unused |= {image.path: image for image in found}
            break
    return [unused[path] for path in sorted(unused)]


def read_outcomes(output_dir: Path, subject: str) -> tuple[dict[str, RunOutcome], str | None]:
    """Read the outcomes of the scans of a subject.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    subject : str
        Label, with or without ``sub-``.

    Returns
    -------
    outcomes : dict of RunOutcome
        By the path of the scan below the root of its dataset; of each scan that of its latest run. Where a
        run left only crash files, the key is the name of the scan without folder and extension.
    unfinished : str or None
        The latest run, if it left neither outcomes nor a crash file: it was killed, or still goes on.
    """
    output_dir = Path(output_dir)
    top = output_dir / f'sub-{strip_prefix(subject, "sub")}'
    outcomes: dict[str, RunOutcome] = {}
    unfinished = None
    folders = [folder for folder in (*top.glob('log/*'), *top.glob('ses-*/log/*')) if folder.is_dir()]
    for folder in sorted(folders, key=lambda path: path.name):  # names begin with date and time
        of_run = _from_file(folder)
        if of_run is None:
            of_run = _from_crashes(folder, output_dir)
            unfinished = None if of_run or unfetched(folder / _FILE_NAME) else folder.name
        else:
            unfinished = None
        outcomes.update(of_run)
    return outcomes, unfinished


def _from_file(folder: Path) -> dict[str, RunOutcome] | None:
    try:
        scans = json.loads(read_text(folder / _FILE_NAME))['Scans']
        return {
            str(scan): RunOutcome(
                entry['status'],
                str(entry.get('reason') or ''),
                folder.name,
                Path(entry['crashfile']) if entry.get('crashfile') else None,
            )
            for scan, entry in scans.items()
            if entry['status'] in _STATUSES
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or damaged
        return None


def _from_crashes(folder: Path, output_dir: Path) -> dict[str, RunOutcome]:
    """Read what the crash files say; the first one of a scan is the cause of the others."""
    outcomes: dict[str, RunOutcome] = {}
    subject = next(part for part in reversed(folder.parts) if part.startswith('sub-'))
    crashes = [path for path in folder.glob('crash-*.txt') if path.is_file()]  # fetched, if it is a link
    for path in sorted(crashes, key=lambda path: path.stat().st_mtime):
        text = path.read_text(encoding='utf-8', errors='replace')
        if match := _NODE.match(text):
            name = f'{subject}_{_unkey(match["key"])}'
            outcome = RunOutcome('failed', reason_of(text), folder.name, path.relative_to(output_dir))
            outcomes.setdefault(name, outcome)
    return outcomes


def _unkey(key: str) -> str:
    """Turn the key of a record into its name in files.

    >>> _unkey('ses_1_run_02_T1w')
    'ses-1_run-02_T1w'
    """
    *words, suffix = key.split('_')
    pairs = [f'{entity}-{label}' for entity, label in zip(words[::2], words[1::2], strict=False)]
    return '_'.join([*pairs, suffix])


def reason_of(crash: str) -> str:
    """Find the error message in a crash file.

    >>> reason_of('Node: a\\nTraceback:\\n\\tbids_brainseg.errors.InputError: the file is empty\\n\\n')
    'the file is empty'
    >>> reason_of('ValueError: found 2 dimensions\\n')
    'ValueError: found 2 dimensions'
    """
    matches = [match for match in map(_LAST_ERROR.match, crash.splitlines()) if match]
    if not matches:
        lines = [line.strip() for line in crash.splitlines() if line.strip()]
        return lines[-1] if lines else 'no reason was recorded'
    kind, text = matches[-1]['kind'], matches[-1]['text'] or ''
    if kind.startswith('bids_brainseg.errors.'):
        return text
    return f'{kind.rpartition(".")[2]}: {text}'.rstrip(': ')

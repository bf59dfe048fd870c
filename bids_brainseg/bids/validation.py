# SPDX-License-Identifier: Apache-2.0
"""Run the BIDS validator; its findings are reported and never stop a run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ..lifetime import bound

LOGGER = logging.getLogger('bids_brainseg')
COMMAND = 'bids-validator-deno'


def validation_findings(bids_dir: Path, *, timeout: float = 600) -> dict | None:
    """Run the BIDS validator, if it is installed.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    timeout : float
        Seconds after which the validator is stopped.

    Returns
    -------
    dict or None
        ``errors`` and ``warnings`` (numbers of findings), ``codes`` (finding to number, errors first) and
        ``validator`` (its version). None without a validator, or if it did not finish.
    """
    # First beside the interpreter: the programs of a virtual environment need not be on the path.
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', os.defpath)])
    program = shutil.which(COMMAND, path=folders)
    if program is None:
        return None
    try:
        run = subprocess.run(
            bound([program, '--no-color', '--format', 'json', str(bids_dir)]),
            capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        report = json.loads(run.stdout)
        issues = report['issues']['issues']
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        LOGGER.info('The BIDS validator did not finish: %s', error)
        return None
    by_severity = {
        severity: Counter(str(issue.get('code')) for issue in issues if issue.get('severity') == severity)
        for severity in ('error', 'warning')
    }
    codes = {}
    for severity in ('error', 'warning'):
        codes.update(sorted(by_severity[severity].items(), key=lambda item: (-item[1], item[0])))
    return {
        'errors': by_severity['error'].total(),
        'warnings': by_severity['warning'].total(),
        'codes': codes,
        'validator': _version(),
    }


def log_findings(findings: dict | None) -> None:
    """Log the findings in one line.

    Parameters
    ----------
    findings : dict, optional
        Of :func:`validation_findings`.
    """
    if findings is None:
        LOGGER.info('The BIDS validator is not installed; the dataset was not validated')
        return
    level = logging.WARNING if findings['errors'] else logging.INFO
    codes = ', '.join(f'{code} ({count})' for code, count in findings['codes'].items())
    LOGGER.log(
        level, 'BIDS validator: %d errors, %d warnings%s; the run continues',
        findings['errors'], findings['warnings'], f': {codes}' if codes else '',
    )  # fmt: skip


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f'{COMMAND} {version(COMMAND)}'
    except PackageNotFoundError:
        return COMMAND

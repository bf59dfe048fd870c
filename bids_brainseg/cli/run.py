# SPDX-License-Identifier: Apache-2.0
"""The command: parse, run the level that was asked for, return the exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib import import_module

from ..errors import BrainsegError
from ..levels.workers import warm_up
from ..settings import Settings
from .options import parse

LOGGER = logging.getLogger('bids_brainseg')


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code (see ``--help``)."""
    try:
        settings = parse(argv)
    except SystemExit as stop:  # argparse: usage, --help, --version, an unknown level
        return stop.code or 0
    set_up_logging(settings.verbosity)
    # Nipype would otherwise ask its server for news, and TemplateFlow fetch what it lacks.
    os.environ.update(NIPYPE_NO_ET='1', NO_ET='1')
    os.environ.setdefault('TEMPLATEFLOW_AUTOUPDATE', 'off')
    try:
        return run_level(settings)
    except BrainsegError as error:
        if settings.verbosity:
            traceback.print_exc()
        print(f'bids_brainseg: error: {error}', file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print('bids_brainseg: interrupted; the same command continues where it stopped', file=sys.stderr)
        return 130


def set_up_logging(verbosity: int) -> None:
    """Show the log of this program; nipype has handlers of its own."""
    if not LOGGER.handlers:
        LOGGER.addHandler(logging.StreamHandler())
    LOGGER.setLevel(('WARNING', 'INFO', 'DEBUG')[min(verbosity, 2)])
    LOGGER.propagate = False


def run_level(settings: Settings) -> int:
    """Load the level that was asked for, which takes longer than ``--help`` may, and run it."""
    warm_up(settings)
    level = import_module(f'bids_brainseg.levels.{"single" if settings.scans else settings.level}')
    return level.run(settings)

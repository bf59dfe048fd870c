# SPDX-License-Identifier: Apache-2.0
"""The command: parse, run the level that was asked for, return the exit code."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import traceback
from importlib import import_module
from typing import NoReturn

from ..errors import BrainsegError, explain_refusal
from ..levels.workers import warm_up
from ..settings import Settings
from .console import Stopped, check_configurations, end_on_signals, lasting_streams, settled_home
from .options import parse

LOGGER = logging.getLogger('bids_brainseg')


def command() -> int:
    """Run the command as the whole of a process: with its streams, its signals and its home folder."""
    with lasting_streams() as files, settled_home():
        code = 1
        with end_on_signals() as received, contextlib.suppress(Stopped):
            code = main()
        sys.stdout.flush()
        if not received and files[0].problem is not None:
            print(f'bids_brainseg: error: standard output: {files[0].problem.strerror}', file=sys.stderr)
            code = code or 1
    if received:
        end_now(received[0])
    return code


def end_now(code: int) -> NoReturn:
    """End the process after a signal, without taking the interpreter down.

    That takes seconds on a busy machine, in which no thread could end it any more. What a library that was
    interrupted as it loaded cannot tidy up interests nobody.
    """
    sys.unraisablehook = lambda _: None
    atexit._run_exitfuncs()  # multiprocessing removes the folder of its socket
    os._exit(code)


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
        return complain(str(error), settings, error.exit_code)
    except OSError as error:
        return complain(explain_refusal(str(error)) or f'{type(error).__name__}: {error}', settings)
    except KeyboardInterrupt:  # of a caller that has no handlers of its own
        print('bids_brainseg: interrupted; the same command continues where it stopped', file=sys.stderr)
        return 130
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = explain_refusal(f'{type(error).__name__}: {error}') or (
            f'unexpected {type(error).__name__}: {error} ({where.filename}:{where.lineno}); run the same '
            'command with -v and report what it prints'
        )
        return complain(reason, settings)


def complain(message: str, settings: Settings, code: int = 1) -> int:
    """Print what went wrong, with the traceback if the log is wanted; return the exit code."""
    if settings.verbosity:
        traceback.print_exc()
    print(f'bids_brainseg: error: {message}', file=sys.stderr)
    return code


def set_up_logging(verbosity: int) -> None:
    """Show the log of this program; nipype has handlers of its own."""
    if not LOGGER.handlers:
        LOGGER.addHandler(logging.StreamHandler())
    LOGGER.setLevel(('WARNING', 'INFO', 'DEBUG')[min(verbosity, 2)])
    LOGGER.propagate = False


def run_level(settings: Settings) -> int:
    """Load the level that was asked for, which takes longer than ``--help`` may, and run it."""
    check_configurations()
    warm_up(settings)
    level = import_module(f'bids_brainseg.levels.{"single" if settings.scans else settings.level}')
    return level.run(settings)

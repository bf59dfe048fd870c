# SPDX-License-Identifier: Apache-2.0
"""The process that nipype's local workers are forked from; nothing of nipype is imported here."""

from __future__ import annotations

import os
import tempfile
from multiprocessing import forkserver, util

from ..errors import BrainsegError
from ..settings import Settings

#: Imported there once, not once per worker.
PRELOADED = [
    'bids_brainseg.levels.fork_server', 'bids_brainseg.workflows.base', 'bids_brainseg.levels.local'
]  # fmt: skip
LEVELS = ('participant', 'evaluate')  # where most runs have scans to segment
#: Bytes of a folder below which a socket of multiprocessing (32 more) still has a path that systems accept.
_LONGEST = 68
_SHORT_FOLDERS = ('/tmp', '/var/tmp', '/dev/shm')


def warm_up(settings: Settings) -> None:
    """Let that process import what it needs while this one prepares the run; do nothing if no run follows."""
    segments = settings.level in LEVELS and not (settings.dry_run or settings.reports_only)
    if segments and settings.plugin == 'MultiProc':
        start_fork_server()


def start_fork_server() -> None:
    """Start the process, unless it runs.

    Raises
    ------
    BrainsegError
        If there is no folder for its socket.
    """
    place_socket()
    forkserver.set_forkserver_preload(PRELOADED)
    try:
        forkserver.ensure_running()
    except OSError as error:
        raise BrainsegError(
            f'the processes that do the work cannot be started: {error}; set TMPDIR to a folder that can be '
            'written, or free some space there'
        ) from error


def place_socket() -> None:
    """Choose the folder of the socket: that for temporary files, or one with a shorter path."""
    try:
        usual = tempfile.gettempdir()
    except OSError as error:
        raise BrainsegError(
            f'there is no folder for temporary files: {error.strerror or error}; set TMPDIR to one that can '
            'be written'
        ) from error
    if len(os.fsencode(usual)) <= _LONGEST:
        return
    for folder in _SHORT_FOLDERS:
        tempfile.tempdir = folder
        try:
            util.get_temp_dir()  # the first call decides
        except OSError:
            continue
        else:
            return
        finally:
            tempfile.tempdir = usual
    raise BrainsegError(
        f'the path of the folder for temporary files is too long for a socket: {usual}; set TMPDIR to a '
        f'path of at most {_LONGEST} letters'
    )

# SPDX-License-Identifier: Apache-2.0
"""The process that nipype's local workers are forked from; nothing of nipype is imported here."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from multiprocessing import current_process, forkserver

import psutil

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

    Its socket has no name once it listens, where the system allows that: nothing is left in the folder for
    temporary files, though this process is killed.

    Raises
    ------
    BrainsegError
        If there is no folder for the socket.
    """
    if _runs():
        return
    folder = make_socket_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    current_process()._config['tempdir'] = folder  # where multiprocessing makes the socket
    forkserver.set_forkserver_preload(PRELOADED)
    try:
        forkserver.ensure_running()
        _take_name_away(folder)
    except OSError as error:
        raise BrainsegError(
            f'the processes that do the work cannot be started: {error}; set TMPDIR to a folder that can be '
            'written, or free some space there'
        ) from error
    finally:
        current_process()._config['tempdir'] = None


def _runs() -> bool:
    """Tell whether there is a fork server that has not ended."""
    number = forkserver._forkserver._forkserver_pid
    with contextlib.suppress(psutil.Error):
        return number is not None and psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def _take_name_away(folder: str) -> None:
    """Remove the folder of a socket that listens, which stays within reach by its number in this process."""
    address = forkserver._forkserver._forkserver_address
    if not hasattr(os, 'O_PATH') or os.path.dirname(address) != folder:
        return
    number = os.open(address, os.O_PATH | os.O_CLOEXEC)
    nameless = f'/proc/self/fd/{number}'
    if not os.path.exists(nameless):  # no /proc
        os.close(number)
        return
    forkserver._forkserver._forkserver_address = nameless
    shutil.rmtree(folder, ignore_errors=True)


def make_socket_folder() -> str:
    """Make a folder for the socket among the temporary files, or where its path is shorter."""
    try:
        usual = tempfile.gettempdir()
    except OSError as error:
        raise BrainsegError(
            f'there is no folder for temporary files: {error.strerror or error}; set TMPDIR to one that can '
            'be written'
        ) from error
    fits = len(os.fsencode(usual)) <= _LONGEST
    for folder in (usual,) if fits else _SHORT_FOLDERS:
        try:
            return tempfile.mkdtemp(prefix='brainseg-', dir=folder)
        except OSError as error:
            refused = error
    if fits:
        raise BrainsegError(
            f'the processes that do the work cannot be started: {refused}; set TMPDIR to a folder that can '
            'be written, or free some space there'
        )
    raise BrainsegError(
        f'the path of the folder for temporary files is too long for a socket: {usual}; set TMPDIR to a '
        f'path of at most {_LONGEST} letters'
    )

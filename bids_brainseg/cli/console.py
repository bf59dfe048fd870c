# SPDX-License-Identifier: Apache-2.0
"""What the command is as a process: standard streams, signals, home folder, configurations of libraries."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path
from types import FrameType

from ..errors import BrainsegError

#: Signals that end the command; schedulers send TERM, a terminal that is closed HUP.
SIGNALS = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name))
#: Seconds that ending may take, before the process ends itself.
GRACE_SECONDS = 5.0
_ENDED = 'bids_brainseg: ended by {}; the same command continues where it stopped\n'
_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)  # the reader left, the terminal was closed


class Stopped(BaseException):
    """A signal asked the command to end."""


@contextlib.contextmanager
def end_on_signals() -> Iterator[list[int]]:
    """Turn the first signal that asks the command to end into :class:`Stopped`; a second one ends it at once.

    A library that is interrupted as it loads may swallow the exception. The process ends all the same, after
    :data:`GRACE_SECONDS`.

    Yields
    ------
    list of int
        Gets the exit code when a signal came: 128 and its number, as shells tell it.
    """
    received: list[int] = []
    # what is ignored stays ignored: HUP under nohup, INT in the background of a script
    before = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:
        for other in caught:
            signal.signal(other, signal.SIG_DFL)
        received.append(128 + number)
        # not by print, which the signal may have interrupted
        with contextlib.suppress(OSError):
            os.write(2, _ENDED.format(signal.Signals(number).name).encode())
        timer = threading.Timer(GRACE_SECONDS, os._exit, received)
        timer.daemon = True
        timer.start()
        raise Stopped

    for number in caught:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in caught:
            signal.signal(number, before[number])


class _Output(io.FileIO):
    """Standard output or error; what nobody can read any more is dropped and does not end a run."""

    problem: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                self.problem = error
            return len(data)


@contextlib.contextmanager
def lasting_streams() -> Iterator[list[_Output]]:
    """Give standard output and error that take every text, and may be closed.

    Yields
    ------
    list of _Output
        The two files below; `problem` is why text could not be written though somebody may expect it.
    """
    for number in range(3):  # closed ones would become files that are opened next
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    files = [_Output(number, 'w', closefd=False) for number in (1, 2)]
    for name, file in zip(('stdout', 'stderr'), files, strict=True):
        old = getattr(sys, name)
        stream = io.TextIOWrapper(
            io.BufferedWriter(file),
            encoding=getattr(old, 'encoding', None) or 'utf-8',
            errors='backslashreplace',  # names that the terminal has no letters for
            line_buffering=name == 'stderr' or file.isatty(),
        )
        setattr(sys, name, stream)
    try:
        yield files
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


@contextlib.contextmanager
def settled_home() -> Iterator[None]:
    """Replace a home folder that is absent or not the user's: libraries look there as they load.

    Where it cannot be written, Matplotlib gets a folder of its own, which it would otherwise make for every
    process.
    """
    home = os.environ.get('HOME', '')
    if not (os.path.isdir(home) and os.access(home, os.R_OK | os.X_OK)):
        home = os.environ['HOME'] = '/'
    with contextlib.ExitStack() as stack:
        if not (os.access(home, os.W_OK) or 'MPLCONFIGDIR' in os.environ):
            with contextlib.suppress(OSError):
                temporary = tempfile.TemporaryDirectory(prefix='bids_brainseg-', ignore_cleanup_errors=True)
                os.environ['MPLCONFIGDIR'] = stack.enter_context(temporary)
        yield


def check_configurations() -> None:
    """Refuse files of pybids and nipype that these cannot read as they load, in this and other processes.

    Raises
    ------
    BrainsegError
        Names the file.
    """
    home, here = Path.home(), Path()
    pybids = [home / 'pybids_config.json', here / 'pybids_config.json']
    pybids += [Path(named) for named in [os.environ.get('PYBIDS_CONFIG')] if named]
    nipype = Path(os.environ.get('NIPYPE_CONFIG_DIR', '~/.nipype')).expanduser()
    files = {path: ('pybids', _read_mapping) for path in pybids}
    files |= {path / 'nipype.cfg': ('nipype', ConfigParser().read_string) for path in (nipype, here)}
    for path, (program, reads) in files.items():
        try:
            reads(path.read_text())
        except OSError:  # there is none, or none that may be read
            continue
        except (ValueError, ConfigParserError) as error:
            reason = ' '.join(str(error).split())
            raise BrainsegError(
                f'the configuration of {program} cannot be read: {path.absolute()}: {reason}; correct or '
                'remove the file'
            ) from error


def _read_mapping(text: str) -> None:
    if not isinstance(json.loads(text), dict):
        raise ValueError('no mapping of names to values')

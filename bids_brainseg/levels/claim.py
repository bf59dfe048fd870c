# SPDX-License-Identifier: Apache-2.0
"""Two runs never work on one scan in one work folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import BrainsegError

LOGGER = logging.getLogger('bids_brainseg')
FILE = '.claims'
#: A run that was just asked to end has so long to do it.
WAIT_SECONDS = 20.0
_HELD = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def claimed(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Hold scans of a work folder while the block runs; a run that has died holds none.

    The system keeps the locks, on one byte of one file for each scan, so that many runs may share a folder,
    and on several machines where its storage knows locks. Where it does not, nothing is held.

    Parameters
    ----------
    folder : Path
        The work folder.
    names : sequence of str
        One for each scan, unique in the folder.

    Raises
    ------
    BrainsegError
        If another run holds one of them after :data:`WAIT_SECONDS`; then nothing is held.
    """
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            _hold(fcntl, descriptor, names, folder)
        except (ImportError, OSError) as error:
            LOGGER.info('Other runs in %s cannot be seen: %s', folder, error)
        yield


def _hold(fcntl, descriptor: int, names: Sequence[str], folder: Path) -> None:
    until = time.monotonic() + WAIT_SECONDS
    for name in names:
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place(name))
                break
            except OSError as error:
                if error.errno not in _HELD:
                    raise
            if time.monotonic() > until:
                raise BrainsegError(
                    f'another run works on {name} in this work folder: {folder}; wait until it has ended, or '
                    'choose another folder (-w). Nothing was started'
                )
            time.sleep(0.1)


def place(name: str) -> int:
    """Return the byte that stands for a name: far apart for different names.

    >>> place('sub_01_wf.T1w_wf') != place('sub_02_wf.T1w_wf')
    True
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], 'big')

# SPDX-License-Identifier: Apache-2.0
"""No process outlives the one that started it, however that one ended: also if it was killed.

Linux ends the processes itself (parent-death signal). That takes effect at once, also in a step that is
deep in a library and would not look at a pipe, and it stays with a program that takes the place of this one.
Elsewhere a thread looks whether the parent is still there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

#: Environment variable that names the process with which the network process ends.
PARENT = 'BIDS_BRAINSEG_PARENT'
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_forked_from = 0


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends.

    Parameters
    ----------
    parent : int
        Number of the process that started this one. If it has ended before, this one ends at once.
    """
    if not _ask_the_kernel():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def end_with_named_parent() -> None:
    """End this process with the one that the environment names, if it names one."""
    if parent := os.environ.pop(PARENT, ''):
        end_with_parent(int(parent))


def end_forks_with_this() -> None:
    """From now on, let every process that is forked from this one end with it."""
    os.register_at_fork(before=_note_forking, after_in_child=lambda: end_with_parent(_forked_from))


def bound(command: Sequence[str]) -> list[str]:
    """Return a command that starts another program which ends with this process."""
    return [sys.executable, '-m', __name__, str(os.getpid()), *command]


def _note_forking() -> None:
    global _forked_from
    _forked_from = os.getpid()


def _ask_the_kernel() -> bool:
    if not sys.platform.startswith('linux'):
        return False
    with contextlib.suppress(OSError, AttributeError):  # no C library to load, or one without prctl
        return ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0) == 0
    return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == '__main__':
    end_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])

# SPDX-License-Identifier: Apache-2.0
"""What this machine has, also on operating systems that answer less than Linux."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

#: Limits of the control group of a container or job (Linux).
MEMORY_LIMITS = (Path('/sys/fs/cgroup/memory.max'), Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'))


def container_image() -> str | None:
    """Return the name of the container image that this runs in, which says so in a variable."""
    return os.environ.get('BIDS_BRAINSEG_CONTAINER') or None


def available_processors() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows bind no process to some processors
        return os.cpu_count() or 1


def available_memory_gb() -> float:
    """Return the memory of this machine, or of the container or job that this process lives in."""
    import psutil  # later than --help

    total = psutil.virtual_memory().total
    for limit in MEMORY_LIMITS:
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):  # no control group, or "max"
            continue
    return total / 1e9


def user_name() -> str:
    """Return the name of the user, who may have none in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f'uid{os.getuid()}' if hasattr(os, 'getuid') else 'user'

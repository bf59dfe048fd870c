# SPDX-License-Identifier: Apache-2.0
"""Share work among threads; NumPy and SciPy let go of the interpreter in their loops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


def map_threads(work: Callable, items: Iterable, threads: int = 1) -> None:
    """Do the work for every item in some threads; the first error ends it.

    Parameters
    ----------
    work : callable
        Of one item; what it returns is dropped.
    items : iterable
    threads : int
        With one, no thread is started.

    Examples
    --------
    >>> found = []
    >>> map_threads(found.append, [1, 2], threads=1)
    >>> found
    [1, 2]
    """
    if threads < 2:
        deque(map(work, items), maxlen=0)
        return
    with ThreadPoolExecutor(threads) as pool:
        deque(pool.map(work, items), maxlen=0)

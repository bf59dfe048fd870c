# SPDX-License-Identifier: Apache-2.0
"""Run a function in threads; NumPy and SciPy release the GIL in their loops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def map_threads(function: Callable[[Any], Any], items: Iterable, threads: int = 1) -> None:
    """Call a function with every item, in several threads; the first error is raised.

    Parameters
    ----------
    function : callable
        Of one item; what it returns is dropped.
    items : iterable
    threads : int
        With 1, no thread is started.

    Examples
    --------
    >>> seen = []
    >>> map_threads(seen.append, [1, 2], threads=1)
    >>> seen
    [1, 2]
    """
    if threads < 2:
        deque(map(function, items), maxlen=0)
        return
    with ThreadPoolExecutor(threads) as pool:
        deque(pool.map(function, items), maxlen=0)

# SPDX-License-Identifier: Apache-2.0
"""What the console shows of a run: scans done, passes of the network, and the time left."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TextIO

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from ..records import PASSES

#: Steps of a scan that take the most time, in their order, with their share of it; figures are the rest.
SHARES = {'check': 0.03, 'coregister': 0.1, 'segment': 0.7, 'resample_to_scan': 0.06, 'measure': 0.04}
#: Steps that a log names when they start: these, and two of training pairs.
LONG_STEPS = (*SHARES, 'register_t1w', 'resample_labels')
#: Seconds between two renewals of the line of a terminal, and between two lines of a log.
TERMINAL_SECONDS, LOG_SECONDS = 1.0, 60.0
#: Nothing is said of the time left before so many seconds, and before so much of the work was seen.
EARLIEST_SECONDS, LEAST_SHARE = 20.0, 0.01


class _Scan(NamedTuple):
    """Where a scan is in the graph: its part of the full names of nodes."""

    subject: str
    scan: str

    def __str__(self) -> str:
        return f'{self.subject.removesuffix("_wf").replace("_", "-", 1)} {self.scan.removesuffix("_wf")}'


class Progress:
    """Follows the steps of a graph; give it to nipype as ``status_callback`` and run the graph within it.

    In a terminal it keeps one line that renews itself; elsewhere it writes a line when a long step of a scan
    starts and when a scan is finished, and otherwise one a minute. A step that fails has a line of its own.

    Parameters
    ----------
    workflow : nipype Workflow
        Its nodes lie in workflows of subjects and, in those, of scans.
    stream : text file, optional
        Standard error by default.
    """

    def __init__(self, workflow: pe.Workflow, stream: TextIO | None = None):
        self.stream = sys.stderr if stream is None else stream
        names = ('.'.join(parts) for parts in _steps(workflow, (workflow.name,)))
        self._left = Counter(filter(None, map(_scan_of, names)))
        self._scans = len(self._left)
        self._failed: set[_Scan] = set()
        self._shares: dict[_Scan, float] = {}
        self._running: dict[_Scan, pe.Node] = {}  # the long step of a scan
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._terminal = self.stream.isatty()
        #: When the first network started, and the share that was done by then.
        self._began: tuple[float, float] | None = None

    def __enter__(self) -> Progress:
        seconds = TERMINAL_SECONDS if self._terminal else LOG_SECONDS
        self._thread = threading.Thread(target=self._renew, args=(seconds,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._terminal:
            self._write('\r\033[K')

    def __call__(self, node: pe.Node, status: str) -> None:
        """Take note of a step that starts, ends or fails."""
        scan = _scan_of(node.fullname or '')
        if scan is None:
            return
        with self._lock:
            if status == 'exception':
                self._failed.add(scan)
                self._running.pop(scan, None)
                self._say(f'{scan}: {node.name} failed', alone=True)
            elif status == 'start' and node.name in LONG_STEPS:
                self._running[scan] = node
                self._say(self.line() if self._terminal else f'{scan}: {node.name}')
                if node.name == 'segment':
                    self._began = self._began or (time.monotonic(), self.share())
            elif status == 'end':
                if self._running.get(scan) is node:
                    del self._running[scan]
                self._shares[scan] = self._shares.get(scan, 0.0) + SHARES.get(node.name, 0.0)
                self._left[scan] -= 1
                if not self._left[scan]:
                    self._say(self.line())

    def done(self) -> int:
        """Count the scans all of whose steps are done."""
        return sum(not left for left in self._left.values())

    def share(self) -> float:
        """Return the share of the work that is done, from 0 to 1; a failed scan is done with."""
        with self._lock:
            shares = [
                1.0 if scan in self._failed or not left
                else self._shares.get(scan, 0.0) + _part(self._running.get(scan)) * SHARES['segment']
                for scan, left in self._left.items()
            ]  # fmt: skip
        return sum(shares) / len(shares) if shares else 1.0

    def line(self) -> str:
        """Say where the run is."""
        with self._lock:
            parts = [f'{self.done()} of {self._scans} scans done']
            if self._failed:
                parts.append(f'{len(self._failed)} failed')
            for scan, node in self._running.items():
                step = 'pass {} of {}'.format(*_passes(node)) if node.name == 'segment' else node.name
                parts.append(f'{scan}: {step}')
            left = self._seconds_left()
        if left is not None:
            parts.append(f'about {duration(left)} left')
        return ', '.join(parts)

    def _seconds_left(self) -> float | None:
        """Estimate how long the rest takes at the rate since the first network started; None if too early."""
        if self._began is None:
            return None
        since, at_first = self._began
        elapsed, share = time.monotonic() - since, self.share()
        if elapsed < EARLIEST_SECONDS or share - at_first < LEAST_SHARE or share >= 1:
            return None
        return elapsed * (1 - share) / (share - at_first)

    def _renew(self, seconds: float) -> None:
        while not self._over.wait(seconds):
            self._say(self.line())

    def _say(self, words: str, *, alone: bool = False) -> None:
        """Renew the line of a terminal; or write a line that stays, as always in a log."""
        with self._lock:
            if not self._terminal:
                self._write(f'{time.strftime("%H:%M:%S")} {words}\n')
            elif alone:
                self._write(f'\r\033[K{words}\n')
            else:  # a line that wraps could not be renewed
                room = shutil.get_terminal_size().columns - 1
                self._write(f'\r\033[K{words[:room]}')

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def duration(seconds: float) -> str:
    """Write a duration as one reads it.

    >>> duration(40), duration(700), duration(9000), duration(200_000)
    ('1 min', '12 min', '2 h 30 min', '2 days 7 h')
    """
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    days, rest = divmod(hours, 24)
    if days:
        return f'{days} {"day" if days == 1 else "days"} {rest} h'
    return f'{hours} h {minutes} min' if hours else f'{minutes} min'


def _steps(workflow: pe.Workflow, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """List the steps that will run, each with the names of the workflows around it."""
    for node in workflow._graph.nodes():
        if isinstance(node, pe.Workflow):
            yield from _steps(node, (*path, node.name))
        elif not isinstance(node.interface, IdentityInterface):
            yield (*path, node.name)


def _scan_of(name: str) -> _Scan | None:
    """Tell from the full name of a step which scan it belongs to; None for a step of no scan."""
    parts = name.split('.')
    return _Scan(*parts[1:3]) if len(parts) > 2 else None


def _passes(node: pe.Node) -> tuple[int, int]:
    """Return how many passes of the network are done, and of how many."""
    total = max(int(getattr(node.inputs, 'mc_samples', 1)), 1)
    try:
        done = int((Path(node.output_dir()) / PASSES).read_text())
    except (OSError, ValueError):  # not written yet
        done = 0
    return min(done, total), total


def _part(node: pe.Node | None) -> float:
    """Return the share of the passes that are done, if a step is that of the network."""
    passes, total = _passes(node) if node is not None and node.name == 'segment' else (0, 1)
    return passes / total

# SPDX-License-Identifier: Apache-2.0
"""Run the steps of a graph as jobs of a cluster: a lost one fails alone, none is left without a word."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nipype.pipeline import engine as pe

from ..errors import BrainsegError
from ..machine import user_name
from .local import KeepGoing

LOGGER = logging.getLogger('bids_brainseg')
#: In the work folder; notes the jobs of each scan, because a command that is killed cannot cancel them.
NOTES = '.jobs'
#: How jobs are canceled.
CANCEL = {
    'SLURM': 'scancel', 'SGE': 'qdel', 'PBS': 'qdel', 'LSF': 'bkill', 'OAR': 'oardel', 'Condor': 'condor_rm'
}  # fmt: skip
_LOST = (
    'job {number} of this step ended without a result: it was canceled, or killed because it used more '
    'memory or time than allowed; ask for more in plugin_args'
)


class BatchPlugin(KeepGoing):
    """Add to a batch plugin of nipype what it lacks when jobs, the scheduler or the command are lost."""

    def __init__(self, plugin_args: Mapping | None = None):
        super().__init__(plugin_args=plugin_args)
        os.environ.setdefault('LOGNAME', user_name())  # nipype names the jobs by it
        self._cancel = CANCEL[type(self).__name__.removesuffix('Plugin')]
        self._silent = False
        self._notes: set[Path] = set()

    def run(self, graph: object, config: Mapping, updatehash: bool = False) -> None:
        """Run a graph; BrainsegError if jobs of an earlier run may still work on its scans."""
        notes = {notes_of(node) for node in graph.nodes()}
        left = sorted(number for number in noted(notes) if self._is_pending(number))
        if left:
            listed = ' '.join(map(str, left))
            raise BrainsegError(
                f'jobs of a run that was killed are still in the queue: {listed}; wait until they have '
                f'ended, or cancel them ({self._cancel} {listed}), then run the same command'
            )
        self._notes = notes
        self._forget()
        super().run(graph, config, updatehash=updatehash)

    def _submit_batchtask(self, scriptfile: str, node: pe.Node) -> int:
        with signals_held():  # or there may be a job whose number is not known
            try:
                number = super()._submit_batchtask(scriptfile, node)
            except (IndexError, AttributeError) as error:  # no job number in what the scheduler printed
                raise RuntimeError(
                    f'the scheduler refused the job {scriptfile}; submit it yourself to see why'
                ) from error
            note = notes_of(node)
            note.parent.mkdir(exist_ok=True)
            with note.open('a') as file:
                file.write(f'{number}\n')
        return number

    def _is_pending(self, taskid: int) -> bool:
        """Tell whether a job has not ended; nipype takes a SLURM that does not answer for a job that has."""
        if self._cancel != CANCEL['SLURM']:
            return super()._is_pending(taskid)
        asked = subprocess.run(
            ['squeue', '--noheader', '--jobs', str(taskid)], capture_output=True, text=True, check=False
        )
        answered = asked.returncode == 0 or 'Invalid job id' in asked.stderr
        if not (answered or self._silent):
            LOGGER.warning('SLURM does not answer; waiting until it does: %s', asked.stderr.strip())
        self._silent = not answered
        return not answered or bool(asked.stdout.strip())

    def _get_result(self, taskid: int) -> dict | None:
        result = super()._get_result(taskid)
        # One string, where nipype expects lines and fails on adding some: there is no result.
        if result and isinstance(result['traceback'], str):
            result['traceback'] = [f'RuntimeError: {_LOST.format(number=taskid)}\n']
        return result

    def end(self) -> None:
        """Cancel the jobs that are left when a run ends early."""
        if not self._pending:
            self._forget()
            return
        numbers = [str(number) for number in self._pending]
        with contextlib.suppress(OSError):
            subprocess.run([self._cancel, *numbers], capture_output=True, check=False)
        print(f'bids_brainseg: canceled the jobs that were left: {" ".join(numbers)}', file=sys.stderr)

    def _forget(self) -> None:
        for note in self._notes:
            note.unlink(missing_ok=True)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let a signal that asks the command to end wait until the block has ended."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    caught = [number for number, handler in before.items() if callable(handler)]
    for number in caught:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
        for number in came:
            signal.raise_signal(number)


def noted(notes: Iterable[Path]) -> set[int]:
    """Read the numbers of jobs from notes, of which some may not be there."""
    return {int(number) for note in notes if note.exists() for number in note.read_text().split()}


def notes_of(node: pe.Node) -> Path:
    """Return the file that notes the jobs of a step's scan."""
    scan = node.fullname.split('.')[1:3]
    return Path(node.base_dir) / NOTES / '.'.join(scan)

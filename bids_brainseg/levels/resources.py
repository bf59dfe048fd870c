# SPDX-License-Identifier: Apache-2.0
"""What the steps of a run used: read from what nipype's resource monitor left in the work folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil
from nipype import config
from nipype.interfaces.base import Bunch
from nipype.utils import profiler
from nipype.utils.filemanip import loadpkl

from ..files import write_json, write_text

#: Column -> description and unit.
COLUMNS = {
    'subject': ('Part of the graph: the subject.', ''),
    'scan': ('Part of the graph: the scan of the subject.', ''),
    'step': ('Name of the step.', ''),
    'host': ('Name of the machine.', ''),
    'started': ('Begin of the step (ISO 8601, UTC).', ''),
    'seconds': ('Time that the step took.', 's'),
    'memory_peak': ('Largest resident memory of the process of the step and those that it started.', 'GiB'),
    'processors_mean': ('Mean number of processors in use.', '1'),
    'processors_peak': ('Largest number of processors in use.', '1'),
}


class Usage(NamedTuple):
    """What one step used."""

    subject: str
    scan: str
    step: str
    host: str
    started: str
    seconds: float
    memory_peak: float
    processors_mean: float
    processors_peak: float


class Family(psutil.Process):
    """A process whose children are the same objects at every call; a new one has used no processor yet."""

    def children(self, recursive: bool = False) -> list[psutil.Process]:
        """Return the processes that this one started."""
        seen = self.__dict__.setdefault('_seen', {})
        return [seen.setdefault(child, child) for child in super().children(recursive)]


class Monitor(profiler.ResourceMonitor):
    """The monitor of nipype; it sees what the children of a step use, and leaves no file where it began."""

    def __init__(self, pid: int, freq: float = 5, **kwargs: object):
        handle, name = tempfile.mkstemp(prefix='bids_brainseg_monitor_')
        os.close(handle)
        super().__init__(pid, freq=freq, fname=name)
        self._process = Family(pid)

    def stop(self) -> dict:
        """Return what was measured."""
        measured = super().stop()
        Path(self.fname).unlink()
        return measured


def monitor_steps() -> None:
    """Let nipype monitor the steps that this process runs."""
    config.enable_resource_monitor()
    # nipype's own summary, one file of the work folder, which other jobs may share
    config.set('monitoring', 'summary_file', os.devnull)
    profiler.ResourceMonitor = Monitor


def usages(work_dir: Path, began: datetime) -> list[Usage]:
    """Read what the steps used that ran since a time; a step that was not monitored is left out.

    Parameters
    ----------
    work_dir : Path
        Folder of the graph: ``SUBJECT/SCAN/.../STEP/result_STEP.pklz``.
    began : datetime
        With its time zone. Steps that ended before were not run again.

    Returns
    -------
    list of Usage
        In the order in which the steps began.
    """
    found = []
    for path in work_dir.rglob('result_*.pklz'):
        if path.stat().st_mtime < began.timestamp():
            continue
        runtime = getattr(loadpkl(path), 'runtime', None)  # a step that crashed may have left something else
        for one in runtime if isinstance(runtime, list) else [runtime]:
            if profile := getattr(one, 'prof_dict', None):
                found.append(_usage(path.relative_to(work_dir).parts, one, profile))
    return sorted(found, key=lambda usage: usage.started)


def _usage(parts: tuple[str, ...], runtime: Bunch, profile: dict) -> Usage:
    processors = [percent / 100 for percent in profile['cpus']]
    return Usage(
        subject=parts[0].removesuffix('_wf'),
        scan=parts[1].removesuffix('_wf') if len(parts) > 3 else '',
        step=parts[-2],
        host=runtime.hostname,
        started=runtime.startTime,
        seconds=round(runtime.duration, 3),
        memory_peak=round(max(profile['rss_GiB']), 3),
        processors_mean=round(sum(processors) / len(processors), 2),
        processors_peak=round(max(processors), 2),
    )


def write_usages(found: Iterable[Usage], path: Path) -> None:
    """Write a table, and beside it what its columns mean."""
    rows = ['\t'.join(COLUMNS), *('\t'.join(map(str, usage)) for usage in found)]
    about = {
        name: {'Description': text} | ({'Units': unit} if unit else {})
        for name, (text, unit) in COLUMNS.items()
    }
    write_json(about, path.with_suffix('.json'))
    write_text('\n'.join(rows) + '\n', path)


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)

# SPDX-License-Identifier: Apache-2.0
"""Run the steps of a graph in processes of this machine: whatever ends one of them, the others go on."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from traceback import format_exception
from typing import Any

import numpy as np
import psutil
from nipype import config, logging
from nipype.pipeline import engine as pe
from nipype.pipeline.plugins.multiproc import MultiProcPlugin
from nipype.utils.misc import str2bool

from ..errors import explain_refusal
from . import resources
from .workers import start_fork_server

LOGGER = logging.getLogger('nipype.workflow')
#: A step that used less than a thousandth of a processor for so long stands still.
STANDSTILL_SECONDS = 1800
WATCH_SECONDS = 10
_KILLED = (
    'the process of this step was killed ({signal}){advice}; the same command does the rest'
)  # fmt: skip
_NO_MEMORY = (
    ', usually because memory ran out; allow more (--mem), or run fewer steps at once (--nprocs, --low-mem)'
)
_STOOD_STILL = (
    'this step stood still: for {minutes:.0f} minutes it used no processor time, and was ended; see whether '
    'its files can be read (network storage?), then run the same command'
)


class KeepGoing:
    """Add to a plugin of nipype that a step that cannot even be reported does not end the run."""

    def _report_crash(self, node: pe.Node, result: dict | None = None) -> str | None:
        try:
            return super()._report_crash(node, result=result)
        except OSError as error:  # the disk of the outputs is full or gone
            LOGGER.error('no crash file for %s: %s', node.fullname, error)
            return None


class Dependencies:
    """Nipype's table of the steps (columns) that wait for a step (rows), whose sums are counted down.

    Nipype adds up the columns twice in each round of its loop, through copies in other formats, so that each
    of N scans would cost a time that grows with N.
    """

    def __init__(self, table: Any):
        self._table, self._waits_for = table, table.sum(axis=0)
        self.getrowview = table.getrowview

    def sum(self, axis: int) -> np.ndarray:
        """Return how many steps each step waits for, (1, steps); nipype asks for no other axis."""
        assert axis == 0
        return self._waits_for

    def release(self, job: int) -> None:
        """Count down what waits for a step that has ended, before nipype clears its row."""
        self._waits_for[0, self._table.rows[job]] -= 1


class LocalPlugin(KeepGoing, MultiProcPlugin):
    """Run each step in one of a few processes that do one step after the other.

    Nipype's own scheduler waits forever once the result of a step does not arrive: its process was killed, or
    its disk was full. Here a step ends when its process does, and only that step fails.
    """

    def __init__(self, plugin_args: Mapping | None = None):
        super(MultiProcPlugin, self).__init__(plugin_args=plugin_args)  # without the pool of processes
        self.processors = self.plugin_args['n_procs']
        self.memory_gb = self.plugin_args['memory_gb']
        self.n_gpu_procs = self.plugin_args['n_gpu_procs']
        self.raise_insufficient = self.plugin_args['raise_insufficient']
        self._standstill = float(self.plugin_args.get('standstill_seconds', STANDSTILL_SECONDS))
        self._stats = None
        self._scan_of = None
        self._taskid = 0
        self._idle: list[Worker] = []
        self._running: dict[int, Worker] = {}
        self._failed: dict[int, list[str]] = {}
        self._watched = time.monotonic()

    def _prerun_check(self, graph: object) -> None:
        super()._prerun_check(graph)
        # nipype collects garbage before it starts a step: with 200 scans, 0.3 s through a graph that stays
        gc.collect()
        gc.freeze()

    def _generate_dependency_list(self, graph: object) -> None:
        super()._generate_dependency_list(graph)
        self.depidx = Dependencies(self.depidx)
        if not str2bool(self._config['execution']['remove_node_directories']):
            self.refidx = self.refidx.tocsc()  # read by column, and written only to remove folders

    def _task_finished_cb(self, jobid: int, cached: bool = False) -> None:
        self.depidx.release(jobid)
        super()._task_finished_cb(jobid, cached)

    def _send_procs_to_workers(self, updatehash: bool = False, graph: object = None) -> None:
        """Start the steps that are ready, then sleep until one ends, where nipype would look all the time."""
        finished = self._finished()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        if self._finished() != finished or self._failed:  # more steps may be ready
            return
        connections = [worker.connection for worker in self._running.values()]
        if connections and not any(connection.closed for connection in connections):
            wait(connections, timeout=WATCH_SECONDS)

    def _finished(self) -> int:
        return (self.proc_done & ~self.proc_pending).sum()

    def _sort_jobs(self, jobids: np.ndarray, scheduler: str | None = None) -> list[int]:
        """Finish one scan after the other, instead of running the first step of all scans first.

        Within a scan, steps that use all processors come before the figures, which run beside other steps.
        """
        if self._scan_of is None:
            names = ['.'.join(node.fullname.split('.')[:3]) for node in self.procs]
            order = {name: index for index, name in enumerate(dict.fromkeys(names))}
            self._scan_of = np.array([order[name] for name in names])
        unfinished = np.unique(self._scan_of[self.proc_pending | ~self.proc_done])
        current = np.isin(self._scan_of[jobids], unfinished[: self.processors + 1])
        chosen = jobids[current]
        return sorted(chosen, key=lambda job: (self._scan_of[job], -(self.procs[job].n_procs or 1)))

    def _local_hash_check(self, jobid: int, graph: object) -> bool:
        """Tell whether a step need not run; one whose inputs cannot be read fails here, and alone."""
        node = self.procs[jobid]
        try:
            cached, updated = node.is_cached()
        except Exception as error:
            failed = {'result': None, 'traceback': described(error)}
            self._run_errors.append(''.join(failed['traceback']))
            self._clean_queue(jobid, graph, result=failed)
            self.proc_pending[jobid] = False
            return True
        always = node.overwrite or (node.overwrite is None and node.interface.always_run)
        if cached and updated and not always:
            self._task_finished_cb(jobid, cached=True)
            self._remove_node_dirs()
            return True
        return False

    def _submit_job(self, node: pe.Node, updatehash: bool = False) -> int:
        self._taskid += 1
        try:
            self._running[self._taskid] = self._start(node, updatehash)
        except Exception as error:  # no process could be started, or the step cannot be sent to one
            self._failed[self._taskid] = described(error)
        return self._taskid

    def _start(self, node: pe.Node, updatehash: bool) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            with contextlib.suppress(OSError):  # it was killed while it had nothing to do
                return worker.submit(node, updatehash)
            worker.end()
        return Worker().submit(node, updatehash)

    def _get_result(self, taskid: int) -> dict | None:
        if taskid in self._failed:
            return {'taskid': taskid, 'result': None, 'traceback': self._failed.pop(taskid)}
        self._watch()
        worker = self._running[taskid]
        try:
            answered, traceback = worker.answer()
        except (EOFError, OSError):
            traceback = [f'bids_brainseg.errors.ResourceError: {worker.end()}\n']
        else:
            if not answered:
                return None
            self._idle.append(worker)
        return {'taskid': taskid, 'result': None, 'traceback': traceback}

    def _clear_task(self, taskid: int) -> None:
        self._running.pop(taskid, None)

    def _watch(self) -> None:
        """End the steps that stand still."""
        now = time.monotonic()
        elapsed = now - self._watched
        if elapsed < WATCH_SECONDS:
            return
        self._watched = now
        for worker in self._running.values():
            # a run that was itself suspended has not looked for long, which says nothing
            with contextlib.suppress(psutil.Error):  # one of its processes has just ended
                worker.watch(processor_seconds(worker.process.pid), min(elapsed, 2 * WATCH_SECONDS))
            if worker.idle_seconds >= self._standstill:
                worker.stop()

    def _postrun_check(self) -> None:
        for worker in self._idle:
            worker.connection.close()  # it ends
        for worker in self._idle:
            worker.process.join(5)
        self.end()

    def end(self) -> None:
        """End all processes now."""
        workers = [*self._running.values(), *self._idle]
        self._running, self._idle = {}, []
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.end()
        gc.unfreeze()


class Worker:
    """A process that runs one step after the other."""

    def __init__(self):
        start_fork_server()
        context = get_context('forkserver')
        options = {part: dict(config._sections[part]) for part in ('logging', 'monitoring')}
        self.connection, theirs = context.Pipe()
        # a daemon: if it hangs, leaving the command does not wait for it
        self.process = context.Process(target=serve, args=(theirs, options), daemon=True)
        self.process.start()
        theirs.close()
        self._reset_watch(0.0)

    def submit(self, node: pe.Node, updatehash: bool) -> Worker:
        """Send a step; OSError if the process has ended."""
        self._reset_watch(0.0)
        self.connection.send((node, updatehash))
        return self

    def answer(self) -> tuple[bool, list[str] | None]:
        """Return whether the step has ended, and the traceback of a failed one; EOFError without process."""
        if self.connection.poll():
            return True, self.connection.recv()
        return False, None

    def _reset_watch(self, used: float) -> None:
        self._used, self.idle_seconds, self._stopped = used, 0.0, False

    def watch(self, used: float, elapsed: float) -> None:
        """Note how much processor time the step has used, and for how long it has used next to none."""
        self.idle_seconds += elapsed
        if abs(used - self._used) > self.idle_seconds / 1000:
            self._reset_watch(used)

    def stop(self) -> None:
        """End the process, because its step stands still."""
        self._stopped = True
        self.process.kill()
        self.connection.close()  # if the system cannot end it, it is left alone

    def end(self) -> str:
        """Wait for the end of the process, and say why it ended."""
        self.connection.close()
        self.process.join(5)
        if self._stopped:
            return _STOOD_STILL.format(minutes=self.idle_seconds / 60)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f'the process of this step ended with code {code}; the same command does the rest'
        known = {member.value: member.name for member in signal.Signals}
        advice = _NO_MEMORY if -code == signal.SIGKILL else ''
        return _KILLED.format(signal=known.get(-code, f'signal {-code}'), advice=advice)


def serve(connection: Connection, options: Mapping[str, dict]) -> None:
    """Run the steps that arrive, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the keyboard; the command ends this process
    os.chdir('/')  # each step goes to its own folder; this one is always there
    config.update_config(options)
    logging.update_logging(config)
    if options['monitoring']['enabled'] == 'true':  # update_config leaves this section as it was
        resources.monitor_steps()
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.send(run_step(*connection.recv()))


def run_step(node: pe.Node, updatehash: bool) -> list[str] | None:
    """Run a step; return the lines of its traceback if it failed."""
    try:
        node.run(updatehash=updatehash)
    except BaseException as error:  # whatever it is, the command must hear of it
        return described(error)
    return None


def described(error: BaseException) -> list[str]:
    """Return the lines of a traceback, with a last one in plain words if the system refused something."""
    lines = format_exception(error)
    refused = explain_refusal(''.join(lines))
    return lines + ([f'bids_brainseg.errors.ResourceError: {refused}\n'] if refused else [])


def processor_seconds(process: int) -> float:
    """Return the processor time of a process and all below it, those that have ended included."""
    parent = psutil.Process(process)
    return sum(sum(member.cpu_times()[:4]) for member in (parent, *parent.children(recursive=True)))

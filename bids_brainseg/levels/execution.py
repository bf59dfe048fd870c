# SPDX-License-Identifier: Apache-2.0
"""Hand a graph to nipype: its configuration, and a scheduler that outlives a killed worker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from nipype import config, logging
from nipype.pipeline import engine as pe
from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import SGELikeBatchManagerBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer

from ..machine import user_name
from ..settings import Settings
from . import resources
from .schedulers import ask_slurm
from .workers import PRELOADED

STAGES = ('check', 'coregister', 'segment', 'resample_to_scan', 'measure', 'register_t1w', 'resample_labels')


class LocalPlugin(MultiProcPlugin):
    """Run steps in local processes; nipype's own scheduler waits forever once a worker was killed."""

    def __init__(self, plugin_args: Mapping | None = None):
        super().__init__(plugin_args=plugin_args)
        self._scan_of = None
        self.pool.shutdown()  # no worker has started yet
        self._renew_pool()

    def _renew_pool(self) -> None:
        context = get_context(self.plugin_args.get('mp_context'))
        context.set_forkserver_preload(PRELOADED)
        self.pool = ProcessPoolExecutor(
            max_workers=self.processors,
            initializer=start_worker,
            initargs=(self._cwd, {part: dict(config._sections[part]) for part in ('logging', 'monitoring')}),
            mp_context=context,
        )

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str | None = None) -> list[int]:
        """Finish one scan after the other, instead of running the first step of all scans first.

        Within a scan, steps that use all processors come before the figures, which run beside other steps.
        """
        if self._scan_of is None:
            names = ['.'.join(node.fullname.split('.')[:3]) for node in self.procs]
            order = {name: index for index, name in enumerate(dict.fromkeys(names))}
            self._scan_of = [order[name] for name in names]
        state = zip(self._scan_of, self.proc_done, self.proc_pending, strict=True)
        unfinished = sorted({scan for scan, submitted, running in state if running or not submitted})
        current = set(unfinished[: self.processors + 1])
        chosen = [job for job in jobids if self._scan_of[job] in current]
        return sorted(chosen, key=lambda job: (self._scan_of[job], -(self.procs[job].n_procs or 1)))

    def _async_callback(self, args: Future) -> None:
        if not isinstance(args.exception(), BrokenProcessPool):
            return super()._async_callback(args)
        reason = (
            'RuntimeError: the process of this step was killed, usually because memory ran out; '
            'allow more (--mem), or run fewer steps at once (--nprocs, --low-mem)\n'
        )
        # While a task is being submitted it is not on the list yet, but its number is the last one.
        lost = next((n for n, future in self._task_obj.items() if future is args), self._taskid)
        self._taskresult[lost] = {'taskid': lost, 'result': None, 'traceback': [reason]}

    def _submit_job(self, node: pe.Node, updatehash: bool = False) -> int:
        try:
            return super()._submit_job(node, updatehash=updatehash)
        except BrokenProcessPool:
            self._renew_pool()
            return super()._submit_job(node, updatehash=updatehash)


class BatchPlugin:
    """Add to a batch plugin of nipype that a step whose job was killed fails alone, with a reason."""

    def __init__(self, plugin_args: Mapping | None = None):
        super().__init__(plugin_args={'status_callback': print_progress} | (plugin_args or {}))
        os.environ.setdefault('LOGNAME', user_name())  # nipype names the jobs by it

    def _submit_batchtask(self, scriptfile: str, node: pe.Node) -> int:
        try:
            return super()._submit_batchtask(scriptfile, node)
        except (IndexError, AttributeError) as error:  # no job number in what the scheduler printed
            raise RuntimeError(
                f'the scheduler refused the job {scriptfile}; submit it yourself to see why'
            ) from error

    def _get_result(self, taskid: int) -> dict | None:
        result = super()._get_result(taskid)
        # One string, where nipype expects lines and fails on adding some: there is no result.
        if result and isinstance(result['traceback'], str):
            reason = (
                f'RuntimeError: job {taskid} of this step ended without a result: it was canceled, or '
                'killed because it used more memory or time than allowed; ask for more in plugin_args\n'
            )
            result['traceback'] = [reason]
        return result


def start_worker(folder: str, options: dict) -> None:
    """Set up a new process: its folder, log level and resource monitor."""
    process_initializer(folder)
    config.update_config(options)
    logging.update_logging(config)
    if options['monitoring']['enabled'] == 'true':  # update_config leaves this section as it was
        resources.monitor_steps()


def print_progress(node: pe.Node, status: str) -> None:
    """Print which step begins, and which one failed."""
    if status == 'exception' or (status == 'start' and node.name in STAGES):
        _, subject, scan, *_ = node.fullname.split('.')
        failed = ' failed' if status == 'exception' else ''
        where = f'{subject.removesuffix("_wf")} {scan.removesuffix("_wf")}'
        print(f'{time.strftime("%H:%M:%S")} {where}: {node.name}{failed}', file=sys.stderr, flush=True)


def configure(settings: Settings) -> None:
    """Set nipype's global configuration; call it before a graph is built."""
    config.update_config(
        {
            'execution': {
                'check_version': 'false',  # no network
                'crashfile_format': 'txt',
                'create_report': 'false',  # one file for the whole work folder, which other jobs may share
                'job_finished_timeout': '60',
                'poll_sleep_duration': '2',
                'remove_unnecessary_outputs': 'false',
                'stop_on_first_crash': str(settings.stop_on_first_crash).lower(),
            },
            'logging': {
                f'{part}_level': level(settings.verbosity) for part in ('workflow', 'interface', 'utils')
            },
        }
    )
    logging.update_logging(config)
    if settings.resource_monitor:
        resources.monitor_steps()


def level(verbosity: int) -> str:
    """Return the name of the log level for a number of ``-v``.

    >>> level(0), level(1), level(5)
    ('CRITICAL', 'INFO', 'DEBUG')
    """
    return ('CRITICAL', 'INFO', 'DEBUG')[min(verbosity, 2)]


def run_workflow(workflow: pe.Workflow, settings: Settings) -> str | None:
    """Run a graph and return the error that nipype raised, or None.

    The error does not decide what failed: that is read from the crash files and the derivatives.
    """
    if settings.plugin == 'MultiProc':
        seconds = poll_seconds(len(workflow._get_all_nodes()))
        workflow.config['execution']['poll_sleep_duration'] = str(seconds)  # what the plugin reads
        arguments = {
            'n_procs': settings.nprocs,
            'memory_gb': settings.mem_gb,
            'n_gpu_procs': 1,
            'raise_insufficient': False,
            'mp_context': 'forkserver',
            'status_callback': print_progress,
        }
        plugin = {'plugin': LocalPlugin(plugin_args=arguments | dict(settings.plugin_args))}
    else:
        kind = getattr(plugins, f'{settings.plugin}Plugin')
        if issubclass(kind, SGELikeBatchManagerBase):
            kind = type(kind.__name__, (BatchPlugin, kind), {})
        if settings.plugin == 'SLURM':
            ask_slurm(workflow, settings.plugin_args)
        plugin = {'plugin': kind(plugin_args=dict(settings.plugin_args))}
    began = resources.now()
    try:
        workflow.run(**plugin)
    except Exception as error:  # nipype re-raises the first failure of a node as whatever it was
        return f'{type(error).__name__}: {error}'
    finally:
        if settings.resource_monitor:
            found = resources.usages(Path(workflow.base_dir) / workflow.name, began)
            resources.write_usages(found, settings.output_dir / 'logs' / f'resources_{settings.run_uuid}.tsv')
    return None


def poll_seconds(nodes: int) -> float:
    """Choose how often to look for finished steps; a look takes nipype longer the more steps there are.

    >>> poll_seconds(20), poll_seconds(1000), poll_seconds(5000)
    (0.05, 0.1, 0.2)
    """
    return min(max(0.05, nodes / 10_000), 0.2)


def write_graph(workflow: pe.Workflow) -> str:
    """Draw the graph into the work folder and say where; without Graphviz it is text, and how to draw it."""
    try:
        return workflow.write_graph('graph.dot', graph2use='colored', format='svg', simple_form=True)
    except OSError:  # no `dot` on the path
        text = Path(workflow.base_dir) / workflow.name / 'graph.dot'
        return (
            f'{text} (not drawn: the program dot of Graphviz is not installed; with it, e.g. from '
            f'"apt install graphviz" or "brew install graphviz": dot -Tsvg {text} -o graph.svg)'
        )

# SPDX-License-Identifier: Apache-2.0
"""Hand a graph to nipype: its configuration, and the plugin that runs the steps."""

from __future__ import annotations

from pathlib import Path

from nipype import config, logging
from nipype.pipeline import engine as pe
from nipype.pipeline import plugins
from nipype.pipeline.plugins.base import PluginBase, SGELikeBatchManagerBase

from ..errors import BrainsegError
from ..settings import Settings
from . import resources
from .batch import BatchPlugin
from .local import LocalPlugin
from .progress import Progress
from .schedulers import ask_slurm


def configure(settings: Settings) -> None:
    """Set nipype's global configuration; call it before a graph is built."""
    config.update_config(
        {
            'execution': {
                'check_version': 'false',  # no network
                'crashfile_format': 'txt',
                'create_report': 'false',  # one file for the whole work folder, which other jobs may share
                # how long the file of a result is waited for: it may come through network storage
                'job_finished_timeout': '1' if settings.plugin == 'MultiProc' else '60',
                # between two looks for finished steps; the local plugin sleeps until one is
                'poll_sleep_duration': '0.01' if settings.plugin == 'MultiProc' else '2',
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
    progress = Progress(workflow)
    if settings.plugin == 'MultiProc':
        arguments = {
            'n_procs': settings.nprocs,
            'memory_gb': settings.mem_gb,
            'n_gpu_procs': 1,
            'raise_insufficient': False,
            'status_callback': progress,
        }
        plugin = LocalPlugin(plugin_args=arguments | dict(settings.plugin_args))
    else:
        plugin = other_plugin(workflow, settings, progress)
    began = resources.now()
    try:
        with progress:
            workflow.run(plugin=plugin)
    except BrainsegError:
        raise
    except Exception as error:  # nipype re-raises the first failure of a node as whatever it was
        several = 'Re-raising first' in str(error) and error.__cause__
        first = several or error
        return f'{type(first).__name__}: {first}'
    finally:
        if isinstance(plugin, (LocalPlugin, BatchPlugin)):
            plugin.end()
        if settings.resource_monitor:
            found = resources.usages(Path(workflow.base_dir) / workflow.name, began)
            resources.write_usages(found, settings.output_dir / 'logs' / f'resources_{settings.run_uuid}.tsv')
    return None


def other_plugin(workflow: pe.Workflow, settings: Settings, progress: Progress) -> PluginBase:
    """Return nipype's plugin for a cluster, or the one that runs one step after the other."""
    kind = getattr(plugins, f'{settings.plugin}Plugin')
    if issubclass(kind, SGELikeBatchManagerBase):
        kind = type(kind.__name__, (BatchPlugin, kind), {})
    if settings.plugin == 'SLURM':
        ask_slurm(workflow, settings.plugin_args)
    return kind(plugin_args={'status_callback': progress} | dict(settings.plugin_args))


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

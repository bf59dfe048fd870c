# SPDX-License-Identifier: Apache-2.0
"""What each step asks a scheduler for, from the estimates of the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nipype.pipeline import engine as pe

#: Options of sbatch that say the same; what the user said goes first.
SBATCH = {
    'mem': ('--mem', '--mem-per-cpu', '--mem-per-gpu'),
    'cpus-per-task': ('--cpus-per-task', '-c', '--cpus-per-gpu', '--exclusive'),
    'gres': ('--gres', '--gpus', '-G', '--gpus-per-node', '--gpus-per-task'),
}


def ask_slurm(workflow: pe.Workflow, plugin_args: Mapping) -> None:
    """Let every job ask for the memory, cores and GPU of its step, beside what the user asks for all of them.

    Parameters
    ----------
    workflow : Workflow
        Its nodes get nipype's ``plugin_args``.
    plugin_args : mapping
        Of the user; what its ``sbatch_args`` names is left to them.
    """
    given = plugin_args.get('sbatch_args') or ''
    for node in workflow._get_all_nodes():
        wanted = requests(node, given)
        if wanted:
            node.plugin_args = {'sbatch_args': wanted}


def requests(node: pe.Node, given: str = '') -> str:
    """Write what a step needs as options of sbatch.

    >>> from bids_brainseg.workflows.examples import example_bundle
    >>> from bids_brainseg.workflows.segmentation import init_segmentation_wf
    >>> wf = init_segmentation_wf(bundle=example_bundle(), threads=2, use_gpu=True)
    >>> requests(wf.get_node('segment'))
    '--mem=5000M --cpus-per-task=1 --gres=gpu:1'
    >>> requests(wf.get_node('resample_to_scan'), '--time=10 --mem 6G')
    '--cpus-per-task=2'
    """
    gpu = bool(getattr(node.inputs, 'use_gpu', False))
    wanted = {'mem': f'{math.ceil(1000 * node.mem_gb)}M', 'cpus-per-task': node.n_procs or 1}
    if gpu:
        wanted['gres'] = 'gpu:1'
    said = {word.partition('=')[0] for word in given.split()}
    return ' '.join(
        f'--{name}={value}' for name, value in wanted.items() if not said.intersection(SBATCH[name])
    )

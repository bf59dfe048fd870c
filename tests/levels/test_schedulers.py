# SPDX-License-Identifier: Apache-2.0
"""What the steps of a run ask a scheduler for."""

from __future__ import annotations

import pytest

from bids_brainseg.levels.schedulers import ask_slurm
from bids_brainseg.settings import Settings
from bids_brainseg.workflows.base import SMALLEST_GB, init_brainseg_wf
from bids_brainseg.workflows.examples import example_bundle, example_record


def asked(tmp_path, given: str = '', **settings) -> dict[str, str]:
    """From the name of each step to the options of its job."""
    workflow = init_brainseg_wf(
        settings=Settings(tmp_path, tmp_path, tmp_path, omp_nthreads=4, **settings),
        records=[example_record()],
        bundles={'T1w': example_bundle()},
    )
    ask_slurm(workflow, {'sbatch_args': given})
    return {node.name: node.plugin_args.get('sbatch_args', '') for node in workflow._get_all_nodes()}


def test_a_gpu_is_for_the_network_alone(tmp_path):
    steps = asked(tmp_path, device='gpu')
    assert steps['segment'] == '--mem=5000M --cpus-per-task=1 --gres=gpu:1'
    assert [name for name, options in steps.items() if 'gres' in options] == ['segment']
    assert not [name for name, options in asked(tmp_path, device='cpu').items() if 'gres' in options]


def test_every_step_asks_for_its_memory_and_threads(tmp_path):
    steps = asked(tmp_path, device='cpu')
    assert steps['coregister'] == '--mem=2000M --cpus-per-task=4'
    assert steps['ds_qc'] == f'--mem={1000 * SMALLEST_GB:.0f}M --cpus-per-task=1'
    assert all('--mem=' in options for options in steps.values())


@pytest.mark.parametrize('given', ['--mem=8G', '--mem-per-cpu 4G --partition=long', '-p long --mem=0'])
def test_what_the_user_says_goes_first(tmp_path, given):
    steps = asked(tmp_path, given, device='cpu')
    assert steps['segment'] == '--cpus-per-task=4'

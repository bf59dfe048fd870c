# SPDX-License-Identifier: Apache-2.0
"""A graph of one step that may fail, and two that do not need it."""

from __future__ import annotations

import os
from pathlib import Path

from nipype import config
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_brainseg.levels.execution import configure, run_workflow
from bids_brainseg.settings import Settings
from bids_brainseg.workflows.base import configure_nodes

GOOD = 'def f(x):\n    return x + 1\n'


def node(name: str, source: str) -> pe.Node:
    made = pe.Node(niu.Function(input_names=['x'], output_names=['y']), name=name)
    made.inputs.function_str = source
    made.inputs.x = 1
    return made


def run(folder: Path, bad: str, **changes) -> str | None:
    """Run the graph in a folder; return the complaint."""
    os.environ['NIPYPE_NO_ET'] = '1'
    settings = Settings(folder, folder, folder / 'work', nprocs=1, mem_gb=1.0, **changes)
    configure(settings)
    config.set('execution', 'job_finished_timeout', '0.5')
    workflow = pe.Workflow('run', base_dir=str(settings.work_dir))
    both = pe.Workflow('subject')
    workflow.add_nodes([both])
    first, second, last = node('bad', bad), node('good', GOOD), node('last', GOOD)
    both.add_nodes([first])
    both.connect(second, 'y', last, 'x')
    configure_nodes(workflow, folder / 'crash')
    return run_workflow(workflow, settings)

# SPDX-License-Identifier: Apache-2.0
"""A run goes on after a failed step, and after a step whose process was killed."""

from __future__ import annotations

import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_brainseg.settings import Settings
from bids_brainseg.workflows.base import set_crash_folder
from bids_brainseg.workflows.execution import configure, run_workflow

GOOD = 'def f(x):\n    return x + 1\n'
RAISES = 'def f(x):\n    raise ValueError("no such thing")\n'
DIES = 'def f(x):\n    import os\n    os.kill(os.getpid(), 9)\n'


def node(name: str, source: str) -> pe.Node:
    made = pe.Node(niu.Function(input_names=['x'], output_names=['y']), name=name)
    made.inputs.function_str = source
    made.inputs.x = 1
    return made


def run(tmp_path, bad: str):
    settings = Settings(tmp_path, tmp_path, tmp_path / 'work', nprocs=1, mem_gb=1.0)
    configure(settings)
    workflow = pe.Workflow('run', base_dir=str(settings.work_dir))
    both = pe.Workflow('subject')
    workflow.add_nodes([both])
    first, second, last = node('bad', bad), node('good', GOOD), node('last', GOOD)
    both.add_nodes([first])
    both.connect(second, 'y', last, 'x')
    set_crash_folder(workflow, tmp_path / 'crash')
    return run_workflow(workflow, settings)


@pytest.mark.parametrize(('bad', 'reason'), [(RAISES, 'ValueError: no such thing'), (DIES, 'was killed')])
def test_others_finish(tmp_path, monkeypatch, bad, reason):
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    complaint = run(tmp_path, bad)
    assert complaint is not None
    (crash,) = (tmp_path / 'crash').glob('crash-*-bad-*.txt')
    text = crash.read_text()
    assert text.startswith('Node: run.subject.bad\n')
    assert reason in text
    assert (tmp_path / 'work' / 'run' / 'subject' / 'last' / 'result_last.pklz').exists()


def test_nothing_to_complain_of(tmp_path, monkeypatch):
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    assert run(tmp_path, GOOD) is None
    assert not (tmp_path / 'crash').exists()


def test_scans_are_finished_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    settings = Settings(tmp_path, tmp_path, tmp_path / 'work', nprocs=1, mem_gb=1.0)
    configure(settings)
    workflow = pe.Workflow('run', base_dir=str(settings.work_dir))
    subject = pe.Workflow('subject')
    workflow.add_nodes([subject])
    for number in range(4):
        scan = pe.Workflow(f'scan{number}')
        subject.add_nodes([scan])
        scan.connect(node('check', GOOD), 'y', node('segment', GOOD), 'x')
    started = []
    monkeypatch.setattr(
        'bids_brainseg.workflows.execution.tell', lambda n, s: started.append((s, n.fullname))
    )
    assert run_workflow(workflow, settings) is None
    order = [name.removeprefix('run.subject.') for status, name in started if status == 'start']
    assert len(order) == 8
    scans = [name.split('.')[0] for name in order]
    assert scans[::2] == scans[1::2]
    assert sorted(scans[::2]) == ['scan0', 'scan1', 'scan2', 'scan3']

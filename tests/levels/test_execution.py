# SPDX-License-Identifier: Apache-2.0
"""A run goes on after a failed step, and after a step whose process was killed."""

from __future__ import annotations

import pytest
from levels_graph import GOOD, node, run
from nipype.pipeline import engine as pe

from bids_brainseg.levels import execution
from bids_brainseg.levels.execution import configure, run_workflow, write_graph
from bids_brainseg.settings import Settings

RAISES = 'def f(x):\n    raise ValueError("no such thing")\n'
DIES = 'def f(x):\n    import os\n    os.kill(os.getpid(), 9)\n'


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
    seen, plain = {}, execution.LocalPlugin.run

    def watched(plugin, graph, config, **options):
        seen.update(config['execution'])
        return plain(plugin, graph, config, **options)

    monkeypatch.setattr(execution.LocalPlugin, 'run', watched)
    assert run(tmp_path, GOOD) is None
    assert seen['poll_sleep_duration'] == '0.01'  # what the plugin reads
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
    monkeypatch.setattr(execution.Progress, '__call__', lambda _, n, s: started.append((s, n.fullname)))
    assert run_workflow(workflow, settings) is None
    order = [name.removeprefix('run.subject.') for status, name in started if status == 'start']
    assert len(order) == 8
    scans = [name.split('.')[0] for name in order]
    assert scans[::2] == scans[1::2]
    assert sorted(scans[::2]) == ['scan0', 'scan1', 'scan2', 'scan3']


def test_the_graph_is_text_where_nothing_draws(tmp_path, monkeypatch):
    workflow = pe.Workflow('run', base_dir=str(tmp_path))
    workflow.add_nodes([node('one', GOOD)])
    monkeypatch.setenv('PATH', str(tmp_path))
    said = write_graph(workflow)
    path = tmp_path / 'run' / 'graph.dot'
    assert said.startswith(f'{path} (not drawn: the program dot of Graphviz is not installed')
    assert path.read_text().startswith('digraph')

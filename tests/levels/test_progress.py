# SPDX-License-Identifier: Apache-2.0
"""What the console shows of a run."""

from __future__ import annotations

import io

import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_brainseg.levels import progress as module
from bids_brainseg.levels.progress import Progress
from bids_brainseg.records import PASSES

STEPS = ('check', 'coregister', 'segment', 'resample_to_scan', 'measure', 'ds_qc')


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now

    def strftime(self, _):
        return '12:00:00'


@pytest.fixture
def graph(tmp_path):
    """Two scans of one person, each with an identity node, which is never run; and a step of no scan."""
    workflow = pe.Workflow('brainseg_wf', base_dir=str(tmp_path))
    subject = pe.Workflow('sub_01_wf')
    for name in ('T1w_wf', 'ct_wf'):
        scan = pe.Workflow(name)
        scan.add_nodes([pe.Node(niu.IdentityInterface(fields=['x']), name='inputnode')])
        scan.add_nodes([step(name) for name in STEPS])
        scan.get_node('segment').inputs.mc_samples = 10
        subject.add_nodes([scan])
    workflow.add_nodes([subject, step('apart')])
    return workflow


def step(name):
    return pe.Node(niu.Function(input_names=['mc_samples'], output_names=['out']), name=name)


def nodes_of(workflow, scan):
    nodes = [workflow.get_node(f'sub_01_wf.{scan}_wf.{name}') for name in STEPS]
    for node in nodes:
        node._hierarchy = f'brainseg_wf.sub_01_wf.{scan}_wf'  # as when the graph runs
    return nodes


def test_scans_passes_and_time_left(graph, monkeypatch):
    clock, stream = Clock(), io.StringIO()
    monkeypatch.setattr(module, 'time', clock)
    progress = Progress(graph, stream)
    check, coregister, segment, *others = nodes_of(graph, 'T1w')
    for node in (check, coregister):
        progress(node, 'start')
        progress(node, 'end')
    progress(segment, 'start')
    assert progress.line() == '0 of 2 scans done, sub-01 T1w: pass 0 of 10'
    folder = module.Path(segment.output_dir())
    folder.mkdir(parents=True)
    (folder / PASSES).write_text('5\n')
    clock.now += 100
    # one pass is 0.7 / 10 of a scan, that is 0.035 of the run: five in 100 s
    left = (1 - 0.13 / 2 - 0.175) / 0.175 * 100
    shown = f'0 of 2 scans done, sub-01 T1w: pass 5 of 10, about {round(left / 60)} min left'
    assert progress.line() == shown
    (folder / PASSES).write_text('')  # read while it is written
    assert 'pass 0 of 10' in progress.line()
    for node in (segment, *others):
        progress(node, 'end')
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [f'12:00:00 sub-01 T1w: {step}' for step in ('check', 'coregister', 'segment')]
    assert lines[3].startswith('12:00:00 1 of 2 scans done, about ')
    assert len(lines) == 4


def test_a_failed_step_has_a_line_and_its_scan_is_over(graph):
    stream = io.StringIO()
    progress = Progress(graph, stream)
    progress(nodes_of(graph, 'ct')[0], 'exception')
    assert stream.getvalue().endswith(' sub-01 ct: check failed\n')
    assert progress.line() == '0 of 2 scans done, 1 failed'
    assert progress.share() == pytest.approx(0.5)


def test_a_terminal_has_one_line_that_renews_itself(graph):
    stream = Terminal()
    with Progress(graph, stream) as progress:
        check, coregister, *_ = nodes_of(graph, 'T1w')
        progress(coregister, 'start')
        progress(check, 'end')
        assert progress.line() == '0 of 2 scans done, sub-01 T1w: coregister'
        for node in nodes_of(graph, 'T1w'):
            progress(node, 'end')
        progress(nodes_of(graph, 'ct')[1], 'exception')
    shown = stream.getvalue()
    renewed = shown.split('\r\033[K')
    assert renewed[1:3] == ['0 of 2 scans done, sub-01 T1w: coregister', '1 of 2 scans done']
    assert shown.count('\n') == 1 and 'sub-01 ct: coregister failed\n' in shown
    assert shown.endswith('\r\033[K')


def test_a_line_of_a_terminal_never_wraps(graph, monkeypatch):
    monkeypatch.setenv('COLUMNS', '12')
    stream = Terminal()
    progress = Progress(graph, stream)
    for node in nodes_of(graph, 'T1w'):
        progress(node, 'end')
    assert stream.getvalue() == '\r\033[K1 of 2 scan'


def test_steps_of_no_scan_do_not_count(graph):
    stream = io.StringIO()
    progress = Progress(graph, stream)
    progress(graph.get_node('apart'), 'end')
    assert progress.line() == '0 of 2 scans done'

# SPDX-License-Identifier: Apache-2.0
"""Processes end with the one that started them, though that one had no time to end them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from stress.runs import Run

BOUND = """
import subprocess, time
from bids_brainseg.lifetime import bound
subprocess.Popen(bound(['sleep', '600']))
print('ready', flush=True)
time.sleep(600)
"""
NAMED = """
import os, subprocess, sys, time
from bids_brainseg.lifetime import PARENT
code = f'import bids_brainseg.lifetime as l, time; {sys.argv[1]}; l.end_with_named_parent(); '
code += 'print("ready", flush=True); time.sleep(600)'
subprocess.Popen([sys.executable, '-c', code], env={**os.environ, PARENT: str(os.getpid())})
time.sleep(600)
"""
FORKED = """
import subprocess, time
from multiprocessing import forkserver, get_context
from bids_brainseg.lifetime import bound
forkserver.set_forkserver_preload(['bids_brainseg.levels.fork_server'])

def step():
    subprocess.Popen(bound(['sleep', '600']))
    print('ready', flush=True)
    time.sleep(600)

if __name__ == '__main__':
    get_context('forkserver').Process(target=step).start()
    time.sleep(600)
"""


def killed(tmp_path, script: str, *more: str, number: int, expected: int) -> float:
    """Kill the script alone when all is there; return the seconds until nothing of it lives."""
    path = tmp_path / 'script.py'
    path.write_text(script)
    run = Run([sys.executable, str(path), *more])
    assert run.process.stdout.readline() == 'ready\n'
    run.wait_for_processes(expected)
    os.kill(run.process.pid, number)
    run.process.wait()
    return run.seconds_until_gone(5)


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_another_program_ends_with_the_one_that_started_it(tmp_path, number):
    killed(tmp_path, BOUND, number=number, expected=2)


def test_the_process_of_the_network_ends_with_the_step(tmp_path):
    killed(tmp_path, NAMED, '0', number=signal.SIGKILL, expected=2)


def test_it_does_so_where_the_kernel_does_not_help(tmp_path):
    killed(tmp_path, NAMED, 'l._ask_the_kernel = lambda: False', number=signal.SIGKILL, expected=2)


def test_fork_server_worker_and_what_it_started_end(tmp_path):
    """Command, resource tracker, fork server, worker, its program."""
    killed(tmp_path, FORKED, number=signal.SIGKILL, expected=5)


def test_a_child_whose_parent_has_gone_ends_at_once():
    command = [sys.executable, '-m', 'bids_brainseg.lifetime', '1', 'echo', 'alive']
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, '')

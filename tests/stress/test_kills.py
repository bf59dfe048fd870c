# SPDX-License-Identifier: Apache-2.0
"""The command alone is killed at random moments, and started again at once: the results are the same.

    BIDS_BRAINSEG_ROUNDS=50 python -m pytest -m stress tests/stress/test_kills.py -s
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from stress.runs import Run, fingerprints, make_dataset, words

#: Steps in the order of the graph; a round takes up the work from one of them.
STEPS = ('check', 'coregister', 'preprocess', 'segment', 'resample_to_scan', 'measure', 'contours')


@pytest.mark.stress
def test_killed_and_started_again(tmp_path):
    rounds, chance = int(os.environ.get('BIDS_BRAINSEG_ROUNDS', '50')), random.Random()
    command = words(make_dataset(tmp_path, 1))
    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    environment = {'TMPDIR': str(temporary)}
    whole = Run(command, env=environment)
    code, printed = whole.finish()
    seconds = time.monotonic() - whole.began
    assert code == 0, printed
    expected = fingerprints(tmp_path / 'out')
    assert len(expected) >= 5
    number = 0
    while number < rounds:
        shutil.rmtree(tmp_path / 'out')
        for step in STEPS[chance.randrange(len(STEPS)) :]:
            for folder in (tmp_path / 'work').rglob(step):
                shutil.rmtree(folder)
        how = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
        killed = Run(command, env=environment)
        moment = chance.uniform(0, seconds)
        with contextlib.suppress(subprocess.TimeoutExpired):
            killed.process.wait(moment)
            seconds = moment  # it was done before its turn came
            killed.finish()
            continue
        number += 1
        killed.process.send_signal(how)
        again = Run(command, env=environment)
        gone = killed.seconds_until_gone()
        code_killed, said = killed.finish()
        code, printed = again.finish()
        ended = time.monotonic() - again.began
        left = again.seconds_until_gone()
        same = fingerprints(tmp_path / 'out') == expected
        forgotten = sorted(path.name for path in temporary.iterdir())
        print(
            f'{number:3} {how.name} after {moment:5.1f} s: ended with {code_killed}, processes gone in '
            f'{gone:.2f} s; again: {code} in {ended:.0f} s, gone in {left:.2f} s, results '
            f'{"the same" if same else "DIFFER"}, temporary files left: {len(forgotten)}',
            flush=True,
        )
        assert code_killed in (0, -how, 128 + how), said  # 0: it had just finished
        assert code == 0, printed
        assert 'Traceback' not in said + printed, said + printed
        assert same
        assert not forgotten
        seconds = max(ended, 5.0)

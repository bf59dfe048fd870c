# SPDX-License-Identifier: Apache-2.0
"""Four jobs write to one OUTPUT_DIR while `group` and `--reports-only` read it.

    BIDS_BRAINSEG_ROUNDS=20 python -m pytest -m stress tests/stress/test_races.py -s
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from stress.runs import Run, fingerprints, make_dataset, words

pytestmark = pytest.mark.stress
LABELS = ('001', '002', '003', '004')
ROUNDS = int(os.environ.get('BIDS_BRAINSEG_ROUNDS', '20'))


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Path:
    """Four subjects whose network has run: what races is what is written."""
    folder = make_dataset(tmp_path_factory.mktemp('study'), len(LABELS))
    code, printed = Run(words(folder, out='expected')).finish()
    assert code == 0, printed
    return folder


def test_four_jobs_and_readers(study):
    expected = fingerprints(study / 'expected')
    for number in range(ROUNDS):
        shutil.rmtree(study / 'out', ignore_errors=True)
        if number % 2:  # also what is computed after the network, half of the time
            for step in ('resample_to_scan', 'measure'):
                for folder in (study / 'work').rglob(step):
                    shutil.rmtree(folder)
        jobs = [Run(words(study, '--participant-label', label)) for label in LABELS]
        readings = []
        while any(job.process.poll() is None for job in jobs):
            level = [sys.executable, '-m', 'bids_brainseg', f'{study}/none', f'{study}/out', 'group']
            reader = Run(words(study, '--reports-only') if len(readings) % 2 else level)
            readings.append(reader.finish())
        ended = [job.finish() for job in jobs]
        codes = [code for code, _ in ended]
        read = [code for code, _ in readings]
        print(f'{number + 1:2} jobs {codes}, {len(readings)} readers {read}', flush=True)
        assert codes == [0] * len(LABELS), [printed for code, printed in ended if code]
        for code, printed in readings:
            # 18: there is nothing yet; 1: nothing of some participants yet
            assert code in (0, 1, 18), printed
            assert 'Traceback' not in printed and 'error: unexpected' not in printed, printed
        assert fingerprints(study / 'out') == expected
        assert not [path for path in (study / 'out').rglob('.*') if '.part' in path.name]
    last = Run([sys.executable, '-m', 'bids_brainseg', f'{study}/none', f'{study}/out', 'group'])
    assert last.finish()[0] == 0


def test_two_runs_of_one_subject_in_one_work_folder(study):
    """The second waits for a while and is refused in words; nothing of the first is lost."""
    command = words(study, '--participant-label', '001', '--clean-workdir', out='out2')
    first = Run(command)
    while not list((study / 'out2').glob('sub-001/log/*/settings.toml')):
        assert first.process.poll() is None
    code, printed = Run(command).finish()
    if first.process.poll() is None or code:  # the first took longer than the second waits
        assert code == 1
        assert 'another run works on 001 T1w in this work folder' in printed
    assert first.finish()[0] == 0
    assert Run(command).finish()[0] == 0

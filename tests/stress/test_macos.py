# SPDX-License-Identifier: Apache-2.0
"""Whole runs where there is no more than macOS has (``tests/macos``)."""

from __future__ import annotations

from pathlib import Path

import pytest
from stress.runs import Run, fingerprints, make_dataset, words

HERE = Path(__file__).parents[1] / 'macos'


@pytest.mark.stress
@pytest.mark.parametrize('absent', ['', 'fcntl resource'])
def test_a_scan_is_segmented(tmp_path, absent):
    folder = make_dataset(tmp_path, 1)
    code, printed = Run(words(folder, out='usual', work='usual_work')).finish()
    assert code == 0, printed
    environment = {'PYTHONPATH': str(HERE), 'TEST_ABSENT': absent}
    command = words(folder)
    for more in ([], ['--reports-only']):
        code, printed = Run([*command, *more], env=environment).finish()
        assert code == 0 and '1 of 1 scans segmented' in printed, printed
    code, printed = Run([*command[:5], 'group'], env=environment).finish()
    assert code == 0, printed
    assert (folder / 'out' / 'group.html').is_file()
    made = fingerprints(folder / 'out')
    assert len(made) == len(fingerprints(folder / 'usual')) > 4
    assert made == fingerprints(folder / 'usual')

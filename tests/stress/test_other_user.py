# SPDX-License-Identifier: Apache-2.0
"""The command as another user (uid 1000) than the one who installed it; only root may try that."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from stress.runs import Run, fingerprints, make_dataset, words

pytestmark = [
    pytest.mark.stress,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('setpriv'), reason='needs root and setpriv'),
    pytest.mark.skipif(
        not all(part.stat().st_mode & 1 for part in Path(sys.executable).resolve().parents),
        reason='the interpreter lies in a folder that only its owner may enter',
    ),
]
USER = 1000


def as_user(command: list[str], **env: str) -> tuple[int, str]:
    """Run a command as the other user, in a folder of nobody."""
    other = ['setpriv', f'--reuid={USER}', f'--regid={USER}', '--clear-groups', *command]
    code, printed = Run(other, env=env, cwd='/').finish()
    print(printed)
    assert 'Traceback' not in printed and 'error: unexpected' not in printed, printed
    return code, printed


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Path:
    """Two subjects that everybody may read, and a folder of the other user, in which they were segmented."""
    folder = make_dataset(tmp_path_factory.mktemp('study'), 2)
    for part in (folder, *folder.parents[:3]):
        part.chmod(stat.S_IMODE(part.stat().st_mode) | 0o055)  # /tmp is among them
    own = folder / 'own'
    own.mkdir()
    os.chown(own, USER, USER)
    code, printed = as_user(words(folder, out='own/out', work='own/work'), HOME='/root')
    assert code == 0, printed
    return folder


def test_everything_is_there_and_belongs_to_the_user(study):
    assert len(fingerprints(study / 'own' / 'out')) >= 10
    assert {path.stat().st_uid for path in (study / 'own').rglob('*')} == {USER}


def test_a_subject_that_may_not_be_read_is_left_out(study):
    (study / 'in' / 'sub-002').chmod(0o700)
    try:
        code, printed = as_user(words(study, out='own/out', work='own/work'))
    finally:
        (study / 'in' / 'sub-002').chmod(0o755)
    assert code == 0
    assert 'sub-002 cannot be read and is left out: Permission denied' in printed
    assert '1 of 1 scans segmented' in printed


def test_logs_of_somebody_else(study):
    """The scans are done, and what could not be written is told."""
    logs = study / 'own' / 'out' / 'logs'
    for path in (logs, *logs.rglob('*')):
        os.chown(path, 0, 0)
    shutil.rmtree(logs / 'models')
    code, printed = as_user(words(study, out='own/out', work='own/work'))
    assert code == 1
    assert '2 of 2 scans segmented' in printed
    assert 'not written: the cards of the models: [Errno 13] Permission denied' in printed


@pytest.mark.parametrize(
    ('out', 'work', 'what'), [('out', 'own/work', 'output'), ('own/out3', 'work', 'work')]
)
def test_folders_of_somebody_else(study, out, work, what):
    for name in ('out', 'work'):
        (study / name).mkdir(exist_ok=True)
    code, printed = as_user(words(study, out=out, work=work))
    assert code == 1
    assert f'bids_brainseg: error: the {what} folder cannot be written' in printed


def test_no_home_and_a_long_folder_for_temporary_files(study):
    environment = {'HOME': '/no/such/folder', 'TMPDIR': f'{study}/own/{"long/" * 20}'}
    os.makedirs(environment['TMPDIR'])
    for folder in (study / 'own').rglob('long'):
        os.chown(folder, USER, USER)
    assert as_user(words(study, out='own/out4', work='own/work'), **environment)[0] == 0

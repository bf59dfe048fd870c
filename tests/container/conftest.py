# SPDX-License-Identifier: Apache-2.0
"""An image and a small dataset, for the tests that run it.

IMAGE names an image to test instead of building one, SIF one of Apptainer. BUILD_OPTIONS holds more options
of the build, for instance ``--build-arg BASE=...`` where the registry of the default base cannot be reached.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest
from container_commands import ROOT, USER, run

from bids_brainseg.network.bundle import find_bundle


@pytest.fixture(scope='session')
def engine() -> str:
    """Docker, if its daemon answers, or podman."""
    for name in ('docker', 'podman'):
        if shutil.which(name) and run(name, 'info').returncode == 0:
            return name
    pytest.skip('needs docker or podman')


@pytest.fixture(scope='session')
def image(engine) -> str:
    if 'IMAGE' in os.environ:
        return os.environ['IMAGE']
    options = shlex.split(os.environ.get('BUILD_OPTIONS', ''))
    build = run(engine, 'build', *options, '-t', 'bids_brainseg', ROOT)
    assert build.returncode == 0, build.stderr[-3000:]
    return 'bids_brainseg'


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Path:
    """A dataset with one head, the reference of the packaged T1w model, and a file that is no image."""
    folder = tmp_path_factory.mktemp('study')
    for label in ('good', 'bad'):
        (folder / 'in' / f'sub-{label}' / 'anat').mkdir(parents=True)
    shutil.copy(
        find_bundle('T1w') / 'reference.nii.gz', folder / 'in' / 'sub-good' / 'anat' / 'sub-good_T1w.nii.gz'
    )
    (folder / 'in' / 'sub-bad' / 'anat' / 'sub-bad_T1w.nii.gz').touch()
    (folder / 'in' / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for name in ('out', 'work'):
        (folder / name).mkdir()
        os.chown(folder / name, USER, USER)
    return folder

# SPDX-License-Identifier: Apache-2.0
"""The image as a file of Apptainer, which runs it with the user and the folders of the host."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from container_commands import ROOT, run

from bids_brainseg import __version__

pytestmark = pytest.mark.container


@pytest.fixture(scope='module')
def sif(request, tmp_path_factory) -> Path:
    """The image that SIF names, or one made by Apptainer.def, but as a folder: compressing takes long."""
    if shutil.which('apptainer') is None:
        pytest.skip('needs apptainer')
    if 'SIF' in os.environ:
        return Path(os.environ['SIF'])
    engine, image = request.getfixturevalue('engine'), request.getfixturevalue('image')
    folder = tmp_path_factory.mktemp('apptainer')
    archive, sif = folder / 'bids_brainseg.tar', folder / 'bids_brainseg.sif'
    form = ('--format', 'docker-archive') if engine == 'podman' else ()
    saved = run(engine, 'save', *form, '-o', archive, image)
    assert saved.returncode == 0, saved.stderr
    words = ('--build-arg', f'archive={archive}', sif, ROOT / 'Apptainer.def')
    built = run('apptainer', 'build', '--sandbox', '--notest', *words)  # the tests below say more
    archive.unlink()
    assert built.returncode == 0, built.stderr[-3000:]
    return sif


@pytest.fixture(scope='module')
def host(study) -> dict[str, str]:
    """The environment of a user, with a path of Python that must not reach the image."""
    for name in ('out', 'work'):
        os.chown(study / name, os.geteuid(), os.getegid())
    # root keeps none of its rights, so that it is like any user
    rights = {'APPTAINER_NO_PRIVS': 'true'} if os.geteuid() == 0 else {}
    return os.environ | {'PYTHONPATH': '/nonexistent'} | rights


@pytest.fixture(scope='module')
def command(sif, study, host):
    """Run the command in the image."""
    binds = (f'{study}/in:/data:ro', f'{study}/out:/out', f'{study}/work:/scratch')
    mounts = [word for bind in binds for word in ('--bind', bind)]

    def command(*words: str):
        return run(
            'apptainer', 'run', '--cleanenv', '--no-home', *mounts, sif, *words, env=host, cwd=sif.parent
        )

    return command


def labels(study: Path) -> set[int]:
    (path,) = (study / 'out' / 'sub-good' / 'anat').glob('*_seg-brainseg_*_dseg.nii.gz')
    return set(np.unique(np.asarray(nib.load(path).dataobj)))


def test_a_scan_is_segmented(command, study):
    said = command('--version')
    assert said.stdout.strip() == f'bids_brainseg {__version__}', said.stderr
    words = ('/data', '/out', 'participant', '-w', '/scratch', '--participant-label')
    done = command(*words, 'good', '--mc-samples', '2')
    assert done.returncode == 0, done.stdout + done.stderr
    assert labels(study) == set(range(28))
    failed = command(*words, 'bad')
    assert failed.returncode == 1
    assert 'Empty file' in failed.stdout + failed.stderr
    assert command(*words, 'nobody').returncode == 18


def test_the_array_script_runs_the_image(command, sif, study, host):
    """After the test before it, in the same work folder: there is nothing left to compute."""
    (study / 'labels.txt').write_text('sub-bad\nsub-good\n')
    task = {
        'BIDS': f'{study}/in', 'OUT': f'{study}/out', 'WORK': f'{study}/work',
        'LABELS': f'{study}/labels.txt',
        'SIF': str(sif), 'SLURM_ARRAY_TASK_ID': '2', 'SLURM_CPUS_PER_TASK': '2', 'SLURM_MEM_PER_NODE': '6144',
        'OPTIONS': '--mc-samples 2',
    }  # fmt: skip
    done = run('bash', ROOT / 'examples' / 'slurm_array.sh', env=host | task, cwd=sif.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 of 1 scans segmented' in done.stdout
    assert labels(study) == set(range(28))

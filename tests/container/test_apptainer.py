# SPDX-License-Identifier: Apache-2.0
"""The image as a file of Apptainer, which runs it with the user and the folders of the host."""

from __future__ import annotations

import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from container_commands import ROOT, run

from bids_brainseg import __version__

pytestmark = pytest.mark.container
FAST = ('--mksquashfs-args', '-comp zstd -Xcompression-level 1')


@pytest.fixture(scope='module')
def apptainer(engine, image, tmp_path_factory):
    """Run the command in an image file made by Apptainer.def, as docs/cluster.rst says."""
    if shutil.which('apptainer') is None:
        pytest.skip('needs apptainer')
    folder = tmp_path_factory.mktemp('apptainer')
    archive, sif = folder / 'bids_brainseg.tar', folder / 'bids_brainseg.sif'
    form = ('--format', 'docker-archive') if engine == 'podman' else ()
    saved = run(engine, 'save', *form, '-o', archive, image)
    assert saved.returncode == 0, saved.stderr
    words = ('--build-arg', f'archive={archive}', sif, ROOT / 'Apptainer.def')
    built = run('apptainer', 'build', *FAST, *words)
    assert built.returncode == 0, built.stderr[-3000:]
    archive.unlink()
    # root keeps none of its rights, so that it is like any user
    options = ['--cleanenv', '--no-home', *(['--no-privs'] if os.geteuid() == 0 else [])]
    host = os.environ | {'PYTHONPATH': '/nonexistent', 'APPTAINERENV_TF_CPP_MIN_LOG_LEVEL': '3'}

    def command(study, *words: str):
        binds = (f'{study}/in:/data:ro', f'{study}/out:/out', f'{study}/work:/scratch')
        mounts = [word for bind in binds for word in ('--bind', bind)]
        return run('apptainer', 'run', *options, *mounts, sif, *words, env=host, cwd=folder)

    return command


def test_a_scan_is_segmented(apptainer, study):
    for name in ('out', 'work'):
        os.chown(study / name, os.geteuid(), os.getegid())
    assert apptainer(study, '--version').stdout.strip() == f'bids_brainseg {__version__}'
    words = ('/data', '/out', 'participant', '-w', '/scratch', '--participant-label')
    done = apptainer(study, *words, 'good', '--mc-samples', '2')
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (study / 'out' / 'sub-good' / 'anat').glob('*_seg-brainseg_*_dseg.nii.gz')
    assert set(np.unique(np.asarray(nib.load(path).dataobj))) == set(range(28))
    failed = apptainer(study, *words, 'bad')
    assert failed.returncode == 1
    assert 'Empty file' in failed.stdout + failed.stderr
    assert apptainer(study, *words, 'nobody').returncode == 18

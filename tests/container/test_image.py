# SPDX-License-Identifier: Apache-2.0
"""The image segments as any user, on a read-only root, without a network or a home folder."""

from __future__ import annotations

import json
import subprocess

import nibabel as nib
import numpy as np
import pytest
from container_commands import USER, run

from bids_brainseg import __version__

pytestmark = pytest.mark.container

#: Bytes that an image may have, by the target that its name ends with.
LARGEST = {'cpu': 2.6e9, 'gpu': 7.6e9}


@pytest.fixture(scope='module')
def hardened(engine, image, study):
    """Run the command in the image: its data read-only, OUTPUT_DIR and the work folder its own."""
    options = ('--read-only', '--tmpfs', '/tmp', '--cap-drop', 'all', '--network', 'none')
    mounts = ('-v', f'{study}/in:/data:ro', '-v', f'{study}/out:/out', '-v', f'{study}/work:/scratch')

    def command(*words: str) -> subprocess.CompletedProcess:
        return run(
            engine,
            'run',
            '--rm',
            '-u',
            f'{USER}:{USER}',
            '-e',
            'HOME=/nonexistent',
            *options,
            *mounts,
            image,
            *words,
        )

    return command


@pytest.fixture(scope='module')
def segmented(hardened, study):
    words = ('/data', '/out', 'participant', '-w', '/scratch', '--participant-label')
    done = hardened(*words, 'good', '--mc-samples', '2')
    assert done.returncode == 0, done.stdout + done.stderr
    return words


def test_labels_and_size(engine, image):
    (described,) = json.loads(run(engine, 'image', 'inspect', image).stdout)
    labels = described['Config']['Labels']
    assert labels['org.opencontainers.image.title'] == 'bids_brainseg'
    assert labels['org.opencontainers.image.version'] == __version__
    assert described['Size'] < LARGEST['gpu' if image.endswith('gpu') else 'cpu']


@pytest.mark.parametrize(
    ('words', 'code', 'message'),
    [
        (('--version',), 0, f'bids_brainseg {__version__}'),
        (('/data', '/out'), 2, 'required: LEVEL'),
        (('/scratch', '/out', 'participant'), 16, 'not a BIDS dataset'),
        (('/data', '/out', 'everything'), 17, 'everything'),
        (
            ('/data', '/out', 'participant', '-w', '/scratch', '--participant-label', 'x'),
            18,
            'nothing is selected',
        ),
    ],
)
def test_exit_codes(hardened, words, code, message):
    done = hardened(*words)
    assert done.returncode == code
    assert message in done.stdout + done.stderr


def test_a_scan_is_segmented(segmented, study):
    anat = study / 'out' / 'sub-good' / 'anat'
    dseg = nib.load(anat / 'sub-good_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz')
    scan = nib.load(study / 'in' / 'sub-good' / 'anat' / 'sub-good_T1w.nii.gz')
    assert dseg.shape == scan.shape
    np.testing.assert_array_equal(dseg.affine, scan.affine)
    labels = np.asarray(dseg.dataobj)
    assert set(np.unique(labels)) == set(range(28))
    liters = np.count_nonzero(labels) * np.prod(nib.affines.voxel_sizes(dseg.affine)) / 1e6
    assert 0.9 < liters < 1.7
    (made_by,) = json.loads((study / 'out' / 'dataset_description.json').read_text())['GeneratedBy']
    assert made_by['Container']['Tag'] == f'bids_brainseg:{__version__}'
    assert {path.stat().st_uid for path in (study / 'out').rglob('*')} == {USER}
    assert (study / 'out' / 'logs' / 'bids_validation.json').exists()  # the validator is in the image


def test_a_scan_that_fails_is_told(hardened, segmented):
    done = hardened(*segmented, 'good', 'bad', '--mc-samples', '2')
    assert done.returncode == 1
    assert '1 of 2 scans segmented' in done.stdout
    assert 'Empty file' in done.stdout + done.stderr
    assert 'good T1w: segment' not in done.stderr  # that is done


def test_a_gpu_that_is_not_there_is_told(hardened):
    words = ('/data', '/out/gpu', 'participant', '-w', '/scratch/gpu', '--participant-label', 'good')
    done = hardened(*words, '--device', 'gpu')
    assert done.returncode == 1
    assert 'no GPU' in done.stdout + done.stderr
    assert '0 of 1 scans segmented' in done.stdout


def test_the_group(hardened, segmented, study):
    assert hardened('/data', '/out', 'group').returncode == 0
    assert '<html' in (study / 'out' / 'group.html').read_text()

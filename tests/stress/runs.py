# SPDX-License-Identifier: Apache-2.0
"""Whole runs of the command on tiny heads, each in an environment that names all processes of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nibabel as nib
import numpy as np
from tiny import GRID, SPACING, head, make_tiny_bundle

MARK = 'BIDS_BRAINSEG_TEST_RUN'
#: What a run makes of a scan, without logs, dates and seconds.
RESULTS = ('*_dseg.nii.gz', '*_uncertainty.nii.gz', '*_morph.tsv', '*_xfm.txt', '*_xfm.lta')


def make_dataset(folder: Path, subjects: int) -> Path:
    """Write tiny heads with noise of their own, and the bundle beside them."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-86, -112, -80)
    image, _ = head(GRID, affine)
    for number in range(1, subjects + 1):
        path = folder / 'in' / f'sub-{number:03d}' / 'anat' / f'sub-{number:03d}_T1w.nii.gz'
        path.parent.mkdir(parents=True)
        noise = np.random.default_rng(number).normal(0, 5, GRID)
        nib.save(nib.Nifti1Image((image + noise).astype(np.float32), affine), path)
    description = {'Name': 'made by hand', 'BIDSVersion': '1.10.0'}
    (folder / 'in' / 'dataset_description.json').write_text(json.dumps(description))
    make_tiny_bundle(folder / 'T1w')
    return folder


def words(folder: Path, *more: str, out: str = 'out', work: str = 'work') -> list[str]:
    """Return the command that segments the dataset of a folder."""
    return [
        *(sys.executable, '-m', 'bids_brainseg', f'{folder}/in', f'{folder}/{out}', 'participant'),
        *('-w', f'{folder}/{work}', '--skip-bids-validation', '--model', f'T1w={folder}/T1w'),
        *('--nprocs', '2', '--device', 'cpu', *more),
    ]


def heed_signals() -> None:
    """Undo what `nohup` and the background of a script leave: signals that are ignored stay so."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Run:
    """A command in a process of its own; `mark` stands in the environment of all that it starts."""

    def __init__(self, command: list[str], **options):
        self.mark = uuid.uuid4().hex
        environment = {**os.environ, **options.pop('env', {}), MARK: self.mark}
        self.began = time.monotonic()
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}
        self.process = subprocess.Popen(
            command, env=environment, preexec_fn=heed_signals, **pipes, **options
        )

    def finish(self, timeout: float = 1800) -> tuple[int, str]:
        """Wait; return the exit code and what was printed."""
        printed, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, printed

    def processes(self) -> list[str]:
        """List the processes that live, but for one that is just becoming another program."""
        found = []
        for folder in Path('/proc').glob('[0-9]*'):
            try:
                if f'{MARK}={self.mark}'.encode() in (folder / 'environ').read_bytes().split(b'\0'):
                    found.append(f'{folder.name} {(folder / "cmdline").read_bytes()[:150]}')
            except OSError:  # it has ended
                continue
        return found

    def wait_for_processes(self, number: int, limit: float = 10.0) -> None:
        """Wait until so many processes live; AssertionError if that takes longer than `limit`."""
        began = time.monotonic()
        while len(found := self.processes()) < number:
            assert time.monotonic() - began < limit, found
            time.sleep(0.05)

    def seconds_until_gone(self, limit: float = 10.0) -> float:
        """Wait until no process lives, in two looks; AssertionError if that takes longer than `limit`."""
        began = time.monotonic()
        gone, looks = began, 0
        while looks < 2:
            if left := self.processes():
                assert time.monotonic() - began < limit, left
                looks = 0
            elif (looks := looks + 1) == 1:
                gone = time.monotonic()
            time.sleep(0.05)
        return gone - began


def fingerprints(out: Path) -> dict[str, str]:
    """Return the hash of each result; a compressed one by what is in it."""
    files = [path for pattern in RESULTS for path in out.glob(f'sub-*/anat/{pattern}')]
    return {
        path.name: hashlib.sha256(
            nib.load(path).get_fdata().tobytes() if path.suffix == '.gz' else path.read_bytes()
        ).hexdigest()
        for path in files
    }

# SPDX-License-Identifier: Apache-2.0
"""Seconds and memory of the network process for one scan, by the number of feature maps.

    python benchmarks/network.py [--filters 16 32] [--samples 15] [--threads 2] [--device cpu]
                                 [--precision float32]

The weights are random, since time and memory do not depend on them. All else is as in a run: the process
starts, loads, samples and writes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.network.bundle import find_bundle, load_bundle, write_bundle
from bids_brainseg.network.unet import build_unet
from bids_brainseg.network.weights import save_weights
from bids_brainseg.records import MASK, PRECISIONS, REFERENCE, WEIGHTS


def random_bundle(folder: Path, filters: int):
    """Write the packaged T1w bundle with random weights of another width."""
    packaged = load_bundle(find_bundle('T1w'))
    folder.mkdir()
    for name in (REFERENCE, MASK):
        shutil.copyfile(packaged.path / name, folder / name)
    architecture = {**packaged.architecture, 'filters': filters}
    save_weights(build_unet(**architecture), folder / WEIGHTS)
    content = json.loads((packaged.path / 'model.json').read_text())
    kept = {k: v for k, v in content.items() if k not in ('format', 'classes', 'sha256', 'architecture')}
    return write_bundle(folder, **kept, architecture=architecture)


def run(bundle, image: Path, out: Path, args) -> tuple[float, float, dict]:
    """Return wall seconds, peak memory in GiB, and the seconds that the process reports."""
    command = [
        sys.executable, '-m', 'bids_brainseg.process', 'predict', '--image', image, '--bundle', bundle.path,
        '--mc-samples', args.samples, '--threads', args.threads, '--device', args.device,
        '--precision', args.precision, '--out-dir', out,
    ]  # fmt: skip
    began = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen([str(word) for word in command], stderr=complaints)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            complaints.seek(0)
            said = complaints.read().decode(errors='replace')
            sys.exit(f'the network process ended with code {os.waitstatus_to_exitcode(status)}:\n{said}')
    seconds = json.loads((out / 'samples.json').read_text())['seconds']
    return time.perf_counter() - began, usage.ru_maxrss / 2**20, seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--filters', type=int, nargs='+', default=[16, 32])
    parser.add_argument('--samples', type=int, default=15)
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--device', choices=['auto', 'cpu', 'gpu'], default='cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default=PRECISIONS[0])
    args = parser.parse_args()
    print(f'{"F":>3}{"wall s":>9}{"load s":>9}{"first s":>9}{"pass s":>9}{"peak GiB":>10}')
    with tempfile.TemporaryDirectory() as folder:
        for filters in args.filters:
            bundle = random_bundle(Path(folder) / f'f{filters}', filters)
            values = np.random.default_rng(0).uniform(0, 100, bundle.grid_shape).astype(np.float32)
            image = Path(folder) / 'prepared.nii'
            save_like(values, image_on_grid(values, bundle.grid_affine), image, np.float32)
            wall, peak, s = run(bundle, image, Path(folder) / 'out', args)
            print(
                f'{filters:3}{wall:9.1f}{s["load"]:9.1f}{s["first_pass"]:9.1f}{s["pass"]:9.2f}{peak:10.2f}',
                flush=True,
            )


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Time and accuracy of the affine registration on randomly displaced real scans.

    python benchmarks/registration.py BIDS_DIR [--trials 3] [--participant-label 01 ...]
    python benchmarks/registration.py BIDS_DIR --grid          # iterations x samples, one displacement each

Each scan is registered as it is and again after its header was moved by a random rotation (up to 30 degrees
about each axis) and shift (up to 300 mm): the voxels stay the same, so the true change is known. Reported are
the distance between what the two runs say, averaged over the points of the reference's brain and carried into
the scan (target registration error), its worst case, the agreement and the seconds, wall and processor.
``--grid`` varies the settings of elastix; the error is then the distance to a run with much more work.

The settings in use are ``bids_brainseg/data/elastix_affine.json``.
"""

from __future__ import annotations

import argparse
import copy
import time
from itertools import product
from pathlib import Path

import numpy as np

from bids_brainseg import registration
from bids_brainseg.bids.query import find_images
from bids_brainseg.core.geometry import invert
from bids_brainseg.imaging import load_image
from bids_brainseg.network.bundle import find_bundle, load_bundle
from bids_brainseg.registration.search import similarity


def displacement(rng) -> np.ndarray:
    """Draw a rigid motion: up to 30 degrees about each axis, up to 300 mm along each."""
    vector = np.array([*rng.uniform(-300, 300, 3), *rng.uniform(-30, 30, 3), 0.0])
    return similarity(vector, np.zeros(3), np.zeros(3))


def distance(found, expected, points) -> float:
    """Mean distance in mm between where two matrices send the points (3, n)."""
    difference = found - expected
    return float(np.linalg.norm(difference[:3, :3] @ points + difference[:3, 3:], axis=0).mean())


class Case:
    """A scan with the reference of its modality."""

    def __init__(self, record):
        bundle = load_bundle(find_bundle(record.modality))
        self.name = f'{record.subject} {record.key}'
        self.scan = load_image(record.path, record.volumes)
        self.reference, self.mask = load_image(bundle.reference_path), load_image(bundle.mask_path).data > 0.5
        rule = bundle.intensity
        self.window = (rule['low'], rule['high']) if rule['type'] == 'window' else None
        affine = self.reference.affine
        self.points = affine[:3, :3] @ np.stack(np.nonzero(self.mask)) + affine[:3, 3:]

    def register(self, motion=None, *, threads, seed=0):
        affine = self.scan.affine if motion is None else motion @ self.scan.affine
        began = time.process_time()
        found = registration.register_affine(
            self.scan.data, affine, self.reference.data, self.reference.affine,
            fixed_mask=self.mask, window=self.window, threads=threads, seed=seed,
        )  # fmt: skip
        return found, time.process_time() - began


def displaced(cases, trials, threads):
    """Print a row per scan: error over random displacements."""
    print('scan                      agreement  coverage  error mm  worst mm  wall s  cpu s')
    for case in cases:
        rng = np.random.default_rng(0)
        still, seconds = case.register(threads=threads)
        errors, walls, cpus = [], [still.seconds], [seconds]
        for trial in range(trials):
            motion = displacement(rng)
            found, seconds = case.register(motion, threads=threads, seed=trial + 1)
            errors.append(distance(invert(motion) @ found.matrix, still.matrix, case.points))
            walls.append(found.seconds)
            cpus.append(seconds)
        print(
            f'{case.name:24s} {still.similarity:10.2f} {still.coverage:9.2f} {np.median(errors):9.2f} '
            f'{np.max(errors):9.2f} {np.median(walls):7.1f} {np.median(cpus):6.1f}',
            flush=True,
        )


def grid(cases, threads):
    """Print a row per setting of elastix: error against ten times the work, over all scans."""
    settings = registration.parameters()['elastix']
    usual = copy.deepcopy(settings)

    def run(case, iterations, samples):
        settings.update(MaximumNumberOfIterations=[str(iterations)] * 2, NumberOfSpatialSamples=str(samples))
        return case.register(threads=threads)

    best = [run(case, 10 * int(usual['MaximumNumberOfIterations'][0]), 10_000)[0] for case in cases]
    print('iterations  samples  error mm  worst mm  cpu s')
    for iterations, samples in product((50, 150, 400), (1000, 2000, 5000)):
        found = [run(case, iterations, samples) for case in cases]
        pairs = zip(found, best, cases, strict=True)
        errors = [distance(f.matrix, b.matrix, case.points) for (f, _), b, case in pairs]
        cpu = np.median([seconds for _, seconds in found])
        row = f'{iterations:10d} {samples:8d} {np.median(errors):9.2f} {np.max(errors):9.2f} {cpu:6.1f}'
        print(row, flush=True)


def main():
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('--participant-label', nargs='+', default=())
    parser.add_argument('--trials', type=int, default=3)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--grid', action='store_true')
    options = parser.parse_args()
    records = find_images(options.bids_dir, participant_label=options.participant_label)
    cases = (Case(record) for record in records if record.skip is None)
    if options.grid:
        grid(list(cases), options.threads)
    else:
        displaced(cases, options.trials, options.threads)


if __name__ == '__main__':
    main()

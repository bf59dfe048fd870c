# SPDX-License-Identifier: Apache-2.0
"""What the quality checks make of scans that are bad on purpose.

    python benchmarks/bad_scans.py OUT --t1w SCAN.nii.gz [--ct SCAN.nii.gz] [--spacing MM] [options ...]

A good T1w and a good CT are corrupted in ways that happen, written as a BIDS dataset below OUT, segmented as
a user would, and listed: what was flagged, with which reason, and what was not. Further options go to
``bids_brainseg`` (``--mc-samples 3`` is quick). OUT gets ``bids``, ``derivatives`` and ``bad_scans.tsv``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bids_brainseg.cli.run import main as brainseg
from bids_brainseg.core import corruption
from bids_brainseg.core.geometry import voxel_sizes
from bids_brainseg.core.resampling import resample
from bids_brainseg.imaging import image_on_grid, load_image, save_like
from bids_brainseg.results.scans import read_scans

Corruption = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Case(NamedTuple):
    """One way to corrupt a scan: of which kind, named as which suffix, and by what."""

    source: str
    suffix: str
    corrupt: Corruption
    told: str


def bright(image: np.ndarray) -> float:
    """Give the brightness of tissue: the median of what is above the mean."""
    return float(np.median(image[image > image.mean()]))


def rng() -> np.random.Generator:
    """Give the same random numbers to every case."""
    return np.random.default_rng(0)


def upper(affine: np.ndarray) -> list[tuple[float, float]]:
    """Keep the upper half of the field of view, whatever axis points up."""
    axis = int(np.abs(affine[2, :3]).argmax())
    keep = [(0.0, 1.0)] * 3
    keep[axis] = (0.5, 1.0) if affine[2, axis] > 0 else (0.0, 0.5)
    return keep


def turned(affine: np.ndarray, signs: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Let the header claim that world axes point the other way, about the center of the field of view."""
    flip = np.diag([*map(float, signs), 1.0])
    center = affine @ [*((np.array(shape) - 1) / 2), 1]
    flip[:3, 3] = center[:3] - flip[:3, :3] @ center[:3]
    return flip @ affine


def phantom(image: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a bottle with three rods on the grid of the scan."""
    size = np.array(image.shape) * voxel_sizes(affine)
    x, y, z = ((np.indices(image.shape).T + 0.5) * voxel_sizes(affine) - size / 2).T
    bottle = (np.hypot(x, y) < 75) & (np.abs(z) < 80)
    result = np.where(bottle, 500.0, 0.0)
    for center in ((-35, 0), (20, 30), (20, -30)):
        result[bottle & (np.hypot(x - center[0], y - center[1]) < 12)] = 150.0
    return corruption.add_noise(result, 10, rng(), magnitude=True), affine


def lost_slices(image: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blank every fourth of the axial slices."""
    axis = int(np.abs(affine[2, :3]).argmax())
    return corruption.blank_slices(image, range(0, image.shape[axis], 4), axis), affine


CASES = {
    'good': Case('t1w', 'T1w', lambda i, a: (i, a), 'as it came'),
    'noise': Case(
        't1w', 'T1w', lambda i, a: (corruption.add_noise(i, 0.25 * bright(i), rng(), magnitude=True), a),
        'noise of 25 % of the brightness',
    ),
    'heavynoise': Case(
        't1w', 'T1w', lambda i, a: (corruption.add_noise(i, 0.8 * bright(i), rng(), magnitude=True), a),
        'noise of 80 % of the brightness',
    ),
    'ghosts': Case(
        't1w', 'T1w', lambda i, a: (corruption.add_ghosts(i, 0.4, 0.3, axis=1), a), 'ghosts of 40 %'
    ),
    'motion': Case(
        't1w', 'T1w', lambda i, a: (corruption.rotate_motion(i, a, [6, -6, 3, 0, -3, 6, -6]), a),
        'nodding by 6 degrees',
    ),
    'bias': Case('t1w', 'T1w', lambda i, a: (corruption.add_bias(i, 1.0, rng()), a), 'bias field up to 2.7'),
    'lostslices': Case('t1w', 'T1w', lost_slices, 'every fourth slice blank'),
    'halfhead': Case(
        't1w', 'T1w', lambda i, a: corruption.crop_field_of_view(i, a, upper(a)), 'upper half only'
    ),
    'leftright': Case(
        't1w', 'T1w', lambda i, a: (i, turned(a, (-1, 1, 1), i.shape)), 'header with left and right swapped'
    ),
    'upsidedown': Case(
        't1w', 'T1w', lambda i, a: (i, turned(a, (1, -1, -1), i.shape)), 'header upside down'
    ),
    'misnamed': Case('t1w', 'FLAIR', lambda i, a: (i, a), 'a T1w named FLAIR'),
    'clipped': Case('t1w', 'T1w', lambda i, a: (np.minimum(i, bright(i)), a), 'intensities clipped'),
    'phantom': Case('t1w', 'T1w', phantom, 'a bottle'),
    'goodct': Case('ct', 'ct', lambda i, a: (i, a), 'as it came'),
    'unitsct': Case('ct', 'ct', lambda i, a: (i + 1024, a), 'CT without its intercept'),
    'windowct': Case('ct', 'ct', lambda i, a: (np.clip(i, 0, 80), a), 'CT saved through a window'),
}  # fmt: skip


def read(path: Path, spacing: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Read a scan; with a spacing, on a coarser isotropic grid along its axes."""
    image = load_image(path)
    sizes = voxel_sizes(image.affine)
    if spacing is None or spacing <= sizes.min():
        return image.data, image.affine
    affine = image.affine.copy()
    affine[:3, :3] *= spacing / sizes
    shape = [int(np.ceil(n * size / spacing)) for n, size in zip(image.data.shape, sizes, strict=True)]
    return resample(image.data, image.affine, shape, affine, np.eye(4), cval=float(image.data.min())), affine


def write_dataset(root: Path, sources: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """Write every case whose source is there as a participant; returns their labels."""
    root.mkdir(parents=True, exist_ok=True)
    description = {'Name': 'scans that are bad on purpose', 'BIDSVersion': '1.10.0'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    (root / '.bidsignore').write_text('**/ct\n')
    labels = [label for label, case in CASES.items() if case.source in sources]
    for label in labels:
        case = CASES[label]
        data, affine = case.corrupt(*sources[case.source])
        folder = root / f'sub-{label}' / ('ct' if case.source == 'ct' else 'anat')
        folder.mkdir(parents=True, exist_ok=True)
        image = image_on_grid(data, affine, code=1)
        save_like(np.rint(data), image, folder / f'sub-{label}_{case.suffix}.nii.gz', np.int16)
    return labels


def judged(output_dir: Path, label: str) -> tuple[str, list[str]]:
    """Read the verdict of a participant, or why there is none."""
    scans = read_scans(output_dir, label)
    if not scans:
        return 'failed', ['the run left no result and no outcome']
    (scan,) = scans
    return (scan.qc['verdict'], scan.qc['reasons']) if scan.usable else ('failed', [scan.reason])


def main() -> None:
    """Spoil, segment, list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path)
    parser.add_argument('--t1w', type=Path, required=True)
    parser.add_argument('--ct', type=Path)
    parser.add_argument('--spacing', type=float, help='coarser voxels, mm: quicker')
    args, options = parser.parse_known_args()
    paths = {'t1w': args.t1w, 'ct': args.ct}
    sources = {kind: read(path, args.spacing) for kind, path in paths.items() if path}
    root, derivatives = args.out / 'bids', args.out / 'derivatives'
    labels = write_dataset(root, sources)
    words = [
        str(root),
        str(derivatives),
        'participant',
        '-w',
        str(args.out / 'work'),
        '--skip-bids-validation',
    ]
    brainseg([*words, *options])
    rows = []
    for label in labels:
        verdict, reasons = judged(derivatives, label)
        told = CASES[label].told
        rows.append({'case': label, 'what': told, 'verdict': verdict, 'reasons': '; '.join(reasons) or 'n/a'})
    table = pd.DataFrame(rows)
    table.to_csv(args.out / 'bad_scans.tsv', sep='\t', index=False)
    for row in rows:
        print(f'{row["case"]:12} {row["what"]:38} {row["verdict"]:7} {row["reasons"]}')


if __name__ == '__main__':
    main()

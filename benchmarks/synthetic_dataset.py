# SPDX-License-Identifier: Apache-2.0
"""Write a BIDS dataset of scans made from held-out label maps, with their labels as a derivative.

    python benchmarks/synthetic_dataset.py OUT LABEL_MAP... [--modalities T1w ...] [--clean 2] [--usual 2]

OUT/bids gets, for each label map and modality, ``--clean`` scans of full resolution (about 1 mm, no
thick slices, as the 1 mm score wants them) and ``--usual`` ones as training makes them (thick slices, noise,
bias). Their voxels are of ``--spacing`` mm, their headers are turned and shifted at random, and CT is in
Hounsfield units. OUT/labels gets the class of each voxel. To score, and to calibrate the thresholds:

    bids_brainseg OUT/bids DERIVATIVES evaluate --derivatives labels=OUT/labels --modalities FLAIR --calibrate
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import output_path
from bids_brainseg.data import modalities
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.synthesis.generator import Synthesizer
from bids_brainseg.training.label_maps import align_label_map
from bids_brainseg.training.references import defaults, grid_affine
from bids_brainseg.training.sources import HELD_OUT

FIELD_OF_VIEW = (192.0, 240.0, 224.0)  # mm: a whole head
CENTER = (0.0, -10.0, -4.0)
#: The whole range, so that no intensity is cut: 12 bits; MR is in units of its own.
HOUNSFIELD = {'type': 'window', 'low': -1024.0, 'high': 3071.0}
MAGNITUDE = {'type': 'percentile', 'low': 0, 'high': 100}


def clean_acquisition(modality: str) -> dict:
    """Return the acquisition of a modality without thick slices, with voxels of at most 1 mm."""
    return {**modalities()[modality].acquisition, 'slab': 0.0, 'in_plane': [0.6, 1.0]}


def motion(rng) -> np.ndarray:
    """Draw a rigid motion: up to 12 degrees about each axis, up to 30 mm along each."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(rng.uniform(-12, 12, 3))):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(4)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    matrix[:3, 3] = rng.uniform(-30, 30, 3)
    return matrix


def draw(head, modality: str, number: int, *, spacing: float, seed: int):
    """Draw a scan in its own unit, its labels, and the affine of both."""
    shape = tuple(round(length / spacing) for length in FIELD_OF_VIEW)
    affine = grid_affine(shape, spacing, CENTER)
    hounsfield = modalities()[modality].hounsfield
    rule = HOUNSFIELD if hounsfield else MAGNITUDE
    source = Synthesizer(
        [head], shape, affine, {modality: rule}, ranges=replace(HELD_OUT, flip=False), seed=seed
    )
    image, labels = source.pair(number)
    if hounsfield:
        image = rule['low'] + image / 100 * (rule['high'] - rule['low'])
    else:
        image = 10 * image
    return image, labels, motion(np.random.default_rng([seed, number, 1])) @ affine


def write(out: Path, subject: str, modality: str, kind: str, image, labels, affine) -> Path:
    """Write a scan and its labels under their BIDS names."""
    rule = modalities()[modality]
    suffix, folder = rule.suffixes[0], rule.datatypes[0]
    path = out / 'bids' / f'sub-{subject}' / folder / f'sub-{subject}_acq-{kind}_{suffix}.nii.gz'
    target = output_path(record_from_path(path, modality), out / 'labels', suffix='dseg', extension='.nii.gz')
    for file, array, dtype in ((path, np.rint(image), np.int16), (target, labels, np.uint8)):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_like(array, image_on_grid(array, affine, code=1), file, dtype)
    return path


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path)
    parser.add_argument('label_maps', type=Path, nargs='+')
    parser.add_argument('--modalities', nargs='+', choices=list(modalities()), default=list(modalities()))
    parser.add_argument('--clean', type=int, default=2, metavar='N', help='scans of 1 mm of each head')
    parser.add_argument('--usual', type=int, default=2, metavar='N', help='scans as training makes them')
    parser.add_argument('--spacing', type=float, default=1.0, help='of the voxels, mm')
    parser.add_argument('--seed', type=int, default=2026)
    options = parser.parse_args()
    for name in ('bids', 'labels'):
        (options.out / name).mkdir(parents=True, exist_ok=True)
        described = {'Name': f'scans made from held-out label maps: {name}', 'BIDSVersion': '1.10.0'}
        (options.out / name / 'dataset_description.json').write_text(json.dumps(described))
    (options.out / 'bids' / '.bidsignore').write_text('**/ct\n')
    usual = {name: dict(modality.acquisition) for name, modality in modalities().items()}
    for path in options.label_maps:
        with TemporaryDirectory() as folder:
            head = align_label_map(path, Path(folder), defaults()['centers'])
        subject = ''.join(c for c in path.name.partition('.')[0] if c.isalnum())
        for place, modality in enumerate(modalities()):
            if modality not in options.modalities:
                continue
            for kind, count in (('clean', options.clean), ('usual', options.usual)):
                chosen = clean_acquisition(modality) if kind == 'clean' else usual[modality]
                modalities()[modality].acquisition.update(chosen)
                for number in range(count):
                    seed = options.seed + 10 * place + (kind == 'usual')
                    drawn = draw(head, modality, number, spacing=options.spacing, seed=seed)
                    print(write(options.out, subject, modality, f'{kind}{number + 1}', *drawn), flush=True)


if __name__ == '__main__':
    main()

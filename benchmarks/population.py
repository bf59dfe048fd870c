# SPDX-License-Identifier: Apache-2.0
"""Measure the structures of a population of label maps: volume over intracranial volume, asymmetry, place.

The table that the quality checks compare volumes with (``bids_brainseg/data/population.tsv``) is its output
for the label maps that the shipped bundles were trained on:

    python benchmarks/population.py training_seg_{01..15}.nii.gz > bids_brainseg/data/population.tsv

What ``ICV_OVER_SPREAD`` of ``core.volumes`` is made of goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from bids_brainseg.core.geometry import voxel_volume
from bids_brainseg.core.inspection import structure_centers
from bids_brainseg.core.labels import remap
from bids_brainseg.core.volumes import asymmetry, label_volumes, spread
from bids_brainseg.data import freesurfer_to_index, label_table, mirrored_classes
from bids_brainseg.imaging import load_image
from bids_brainseg.synthesis.common_space import MNI_CENTERS, common_space

FIRST_HEAD_TISSUE = 500


#: Structures that fix the common space; the others of its table are in few label maps.
NUMBERS = tuple(MNI_CENTERS)
CEREBRUM = tuple(x.index for x in label_table() if '-Cerebral-' in x.name)


def measure(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Measure a label map.

    Returns
    -------
    shares : (28,) array
        Volumes over the intracranial volume; the first is that volume, mm3.
    centers : (28, 3) array, RAS mm
        Of the structures.
    landmarks : (n, 3) array, RAS mm
        Centers of ``NUMBERS``, which fix the common space.
    ratio : float
        Intracranial volume over the spread of the cerebrum.
    """
    image = load_image(path)
    labels = np.rint(image.data).astype(np.int16)
    voxel = voxel_volume(image.affine)
    brain = np.where(labels < FIRST_HEAD_TISSUE, labels, 0)
    classes = remap(brain, freesurfer_to_index(), default=0)
    volumes, intracranial = label_volumes(classes, voxel), voxel * np.count_nonzero(brain)
    landmarks = structure_centers(brain, image.affine, FIRST_HEAD_TISSUE)[list(NUMBERS)]
    centers = structure_centers(classes, image.affine)
    ratio = intracranial / spread(classes, image.affine, CEREBRUM)
    return np.r_[intracranial, volumes[1:] / intracranial], centers, landmarks, ratio


def asymmetries(shares: np.ndarray) -> np.ndarray:
    """Return (n, 28) asymmetries of the pairs, per cent, for both structures of each; nan for the others."""
    found = np.full(shares.shape, np.nan)
    pairs = [(x.index, mirrored_classes()[x.index]) for x in label_table() if x.hemisphere == 'L']
    for left, right in pairs:
        found[:, [left, right]] = asymmetry(shares[:, left], shares[:, right])[:, None]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('label_maps', nargs='+', type=Path, help='whole-head label maps, FreeSurfer numbers')
    measured = [measure(path) for path in parser.parse_args().label_maps]
    found = np.array([one[0] for one in measured])
    moves = [np.linalg.inv(matrix) for matrix in common_space([one[2] for one in measured], NUMBERS)]
    moved = [one[1] @ m[:3, :3].T + m[:3, 3] for one, m in zip(measured, moves, strict=True)]
    places = np.mean(moved, axis=0)
    ratios = np.log([one[3] for one in measured])
    middle, deviation = np.exp(ratios.mean()), 100 * ratios.std(ddof=1)
    print(f'intracranial volume / spread of cerebrum: {middle:.2f}, SD {deviation:.1f} %', file=sys.stderr)
    logs, sides = np.log(found), asymmetries(found)
    columns = (
        found.mean(0),
        found.std(0, ddof=1),
        logs.mean(0),
        logs.std(0, ddof=1),
        found.min(0),
        found.max(0),
        sides.mean(0),
        sides.std(0, ddof=1),
        *places.T,
    )
    names = 'index name n mean sd log_mean log_sd min max asymmetry_mean asymmetry_sd right anterior superior'
    print(*names.split(), sep='\t')
    for label, *values in zip(label_table(), *columns, strict=True):
        name = label.name if label.index else 'Intracranial'
        cells = (f'{value:.6g}' if np.isfinite(value) else 'n/a' for value in values)
        print(label.index, name, len(found), *cells, sep='\t')


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Measure how large each structure is in a population of label maps, relative to the intracranial volume.

The table that the quality checks compare volumes with (``bids_brainseg/data/population.tsv``) is its output
for the label maps that the shipped bundles were trained on:

    python benchmarks/population.py training_seg_{01..15}.nii.gz > bids_brainseg/data/population.tsv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bids_brainseg.core.geometry import voxel_volume
from bids_brainseg.core.labels import remap
from bids_brainseg.core.volumes import label_volumes
from bids_brainseg.data import freesurfer_to_index, label_table
from bids_brainseg.imaging import load_image

FIRST_HEAD_TISSUE = 500


def shares(path: Path) -> np.ndarray:
    """Return (28,) volumes over the intracranial volume; the first is that volume, mm3."""
    image = load_image(path)
    labels = np.rint(image.data).astype(np.int16)
    voxel = voxel_volume(image.affine)
    intracranial = voxel * np.count_nonzero((labels > 0) & (labels < FIRST_HEAD_TISSUE))
    volumes = label_volumes(remap(labels, freesurfer_to_index(), default=0), voxel)
    return np.r_[intracranial, volumes[1:] / intracranial]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('label_maps', nargs='+', type=Path, help='whole-head label maps, FreeSurfer numbers')
    found = np.array([shares(path) for path in parser.parse_args().label_maps])
    logs = np.log(found)
    columns = (
        found.mean(0),
        found.std(0, ddof=1),
        logs.mean(0),
        logs.std(0, ddof=1),
        found.min(0),
        found.max(0),
    )
    print('index\tname\tn\tmean\tsd\tlog_mean\tlog_sd\tmin\tmax')
    for label, *values in zip(label_table(), *columns, strict=True):
        name = label.name if label.index else 'Intracranial'
        print(label.index, name, len(found), *(f'{value:.6g}' for value in values), sep='\t')


if __name__ == '__main__':
    main()

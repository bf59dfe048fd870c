# SPDX-License-Identifier: Apache-2.0
"""Dice and surface distance of segmented T1w scans against manual labels of another protocol.

    python benchmarks/manual_labels.py FOLDER OUT [options of bids_brainseg ...]

FOLDER holds ``<id>_SS.nii.gz`` (scan), ``<id>_glm.nii.gz`` (Neuromorphometrics labels on its grid) and
``labels.tsv`` (columns neuromorphometrics and index). The scans are linked into a BIDS dataset, segmented as
a user would, and compared on their own grid. OUT gets ``agreement.tsv`` (scan by structure) and
``agreement.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from bids_brainseg.cli.run import main as brainseg
from bids_brainseg.core.agreement import assd, dice, dice_average, dice_volume_weighted
from bids_brainseg.core.geometry import voxel_sizes
from bids_brainseg.core.labels import remap, split_midline
from bids_brainseg.core.volumes import label_volumes
from bids_brainseg.data import label_table

LEFT_WHITE, RIGHT_WHITE, LEFT_CEREBELLUM, RIGHT_CEREBELLUM = 45, 44, 39, 38
VERMIS = (71, 72, 73)


def link_dataset(folder: Path, root: Path) -> list[str]:
    """Make a BIDS dataset of links; return the ids."""
    root.mkdir(parents=True, exist_ok=True)
    (root / 'dataset_description.json').write_text(
        json.dumps({'Name': 'manual labels', 'BIDSVersion': '1.10.0'})
    )
    names = sorted(path.name.removesuffix('_SS.nii.gz') for path in folder.glob('*_SS.nii.gz'))
    for name in names:
        link = root / f'sub-{name}' / 'anat' / f'sub-{name}_T1w.nii.gz'
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((folder / f'{name}_SS.nii.gz').resolve())
    return names


def manual_classes(folder: Path, name: str):
    """Return the manual labels as class indices, and their affine."""
    image = nib.load(folder / f'{name}_glm.nii.gz')
    labels = np.asarray(image.dataobj).astype(np.int32)
    labels = split_midline(
        labels, image.affine, split=VERMIS, left=LEFT_CEREBELLUM, right=RIGHT_CEREBELLUM,
        left_of=[LEFT_WHITE], right_of=[RIGHT_WHITE],
    )  # fmt: skip
    table = pd.read_csv(folder / 'labels.tsv', sep='\t')
    mapping = dict(zip(table['neuromorphometrics'], table['index'], strict=True))
    # parcels of the cortex: even ones on the right
    mapping |= {number: 2 if number % 2 else 4 for number in range(100, 208)}
    return remap(labels, mapping, default=0), image.affine


def main(folder: Path, out: Path, options: list[str]) -> None:
    """Segment, compare, write."""
    names = link_dataset(folder, out / 'bids')
    code = brainseg(
        [str(out / 'bids'), str(out / 'derivatives'), 'participant', '-w', str(out / 'work'), *options]
    )
    if code:
        sys.exit(f'bids_brainseg ended with {code}')
    rows, averages = [], {}
    for name in names:
        truth, affine = manual_classes(folder, name)
        stem = f'sub-{name}_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz'
        found = np.asarray(nib.load(out / 'derivatives' / f'sub-{name}' / 'anat' / stem).dataobj)
        overlap, distance = dice(found, truth), assd(found, truth, voxel_sizes(affine))
        volumes = label_volumes(truth, abs(np.linalg.det(affine[:3, :3])))
        averages[name] = {
            'D_A': round(float(dice_average(overlap)), 4),
            'D_V': round(float(dice_volume_weighted(overlap, volumes)), 4),
            'ASSD_mm': round(float(np.nanmean(distance[1:])), 3),
        }
        for label in label_table()[1:]:
            rows.append((name, label.name, round(overlap[label.index], 4), round(distance[label.index], 3)))
    table = pd.DataFrame(rows, columns=['scan', 'structure', 'dice', 'assd_mm'])
    table.to_csv(out / 'agreement.tsv', sep='\t', index=False)
    mean = table.groupby('structure', sort=False)['dice'].mean().round(4)
    summary = {'scans': averages, 'D_A': round(float(mean.mean()), 4), 'dice': mean.to_dict()}
    (out / 'agreement.json').write_text(json.dumps(summary, indent=2) + '\n')
    print(json.dumps(summary, indent=2))


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])

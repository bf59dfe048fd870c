# SPDX-License-Identifier: Apache-2.0
"""What the numbers of the alignment say about right and wrong alignments of real scans.

    python benchmarks/alignment.py BIDS_DIR DERIVATIVES [--out TABLE.tsv]

The alignment that a run of the participant level left of each scan is taken as it is, and made wrong: shifted
by 5, 10 and 20 mm, rotated by 10, 20 and 45 degrees (along or about each axis), turned upside down or back to
front, mirrored. For each are measured the agreement of scan and reference, and how far the structures of the
segmentation lie from where the reference has them, and are turned. The network is not run again: its labels
stay on the scan, and move in the space of the reference as the scan does. Printed are the ranges by modality.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from bids_brainseg.bids.query import find_images
from bids_brainseg.core.geometry import invert, ras_to_lps
from bids_brainseg.core.inspection import structure_centers, structure_offset, structure_rotation
from bids_brainseg.data.quality import reference_centers
from bids_brainseg.imaging import load_image
from bids_brainseg.network.bundle import find_bundle, load_bundle
from bids_brainseg.registration import parameters
from bids_brainseg.registration.search import similarity
from bids_brainseg.registration.transforms import about_center
from bids_brainseg.registration.trust import local_agreement
from bids_brainseg.registration.volumes import mask_like, preprocess
from bids_brainseg.results.scans import match_results


def motions() -> list[tuple[str, np.ndarray]]:
    """Name each wrong alignment, with the matrix that moves points of the reference (about their center)."""
    found = [('as it is', np.eye(4))]
    sizes = ((5, 'mm'), (10, 'mm'), (20, 'mm'), (10, 'deg'), (20, 'deg'), (45, 'deg'))
    for (size, unit), axis in product(sizes, range(3)):
        vector = np.zeros(7)
        vector[axis + 3 * (unit == 'deg')] = size
        found.append((f'{size} {unit}', similarity(vector, np.zeros(3), np.zeros(3))))
    flips = {'upside down': (-1, 1, -1, 1), 'back to front': (-1, -1, 1, 1), 'mirrored': (-1, 1, 1, 1)}
    return [*found, *((name, np.diag(signs).astype(float)) for name, signs in flips.items())]


def read_itk(path: Path) -> np.ndarray:
    """Read an affine as the program writes it, points of the reference to points of the scan."""
    lines = dict(line.split(': ', 1) for line in path.read_text().splitlines() if ': ' in line)
    numbers, center = (np.array(lines[key].split(), float) for key in ('Parameters', 'FixedParameters'))
    return ras_to_lps(about_center(numbers, center))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('derivatives', type=Path)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    grid, rows, references = parameters()['grid'], [], {}
    for record, result in match_results(find_images(args.bids_dir), args.derivatives):
        if result is None or not result.usable or record.skip:
            continue
        bundle = load_bundle(find_bundle(record.modality))
        rule = bundle.intensity
        window = (rule['low'], rule['high']) if rule['type'] == 'window' else None
        if record.modality not in references:
            fixed, mask = load_image(bundle.reference_path), load_image(bundle.mask_path)
            reference = preprocess(fixed.data, fixed.affine, grid, window, 'reference')
            references[record.modality] = reference, mask_like(mask.data > 0.5, mask.affine, reference)
        reference, mask = references[record.modality]
        scan = load_image(record.path, record.volumes)
        small = preprocess(scan.data, scan.affine, grid, window, 'scan')
        matrix = read_itk(result.transforms[result.label, bundle.reference_name])
        labels = load_image(result.files['dseg'])
        centers = structure_centers(labels.data.astype(np.uint8), labels.affine)
        middle = reference.affine[:3, :3] @ np.mean(np.nonzero(mask), axis=1) + reference.affine[:3, 3]
        to_middle = np.eye(4)
        to_middle[:3, 3] = middle
        for name, motion in motions():
            wrong = matrix @ to_middle @ motion @ invert(to_middle)
            places = (centers, reference_centers(), invert(wrong))
            rows.append({
                'scan': result.name, 'modality': record.modality, 'alignment': name,
                'agreement': local_agreement(small, reference, mask, wrong),
                'offset_mm': structure_offset(*places),
                'turn_deg': structure_rotation(*places),
            })  # fmt: skip
        right = rows[-len(motions())]
        print(f'{result.name:32} {right["agreement"]:.2f} {right["offset_mm"]:.1f} mm', flush=True)
    table = pd.DataFrame(rows)
    if args.out:
        table.to_csv(args.out, sep='\t', index=False)
    order = list(dict.fromkeys(name for name, _ in motions()))
    table['alignment'] = pd.Categorical(table['alignment'], order)
    for modality, part in table.groupby('modality', sort=False):
        print(f'\n{modality} ({part["scan"].nunique()} scans)')
        for name, group in part.groupby('alignment', observed=True):
            low, high = group['agreement'].min(), group['agreement'].max()
            near, far = group['offset_mm'].min(), group['offset_mm'].max()
            least, most = group['turn_deg'].min(), group['turn_deg'].max()
            print(
                f'{name:14} agreement {low:.2f} to {high:.2f}   offset {near:5.1f} to {far:5.1f} mm   '
                f'turn {least:5.1f} to {most:5.1f} degrees'
            )


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Measure how uncertain a network usually is in each structure, for ``usual_entropy`` of its ``model.json``.

    python benchmarks/usual_entropy.py DERIVATIVES SCAN... [--model FOLDER --what TEXT]

Each SCAN is the name of a good scan in DERIVATIVES (``sub-01_T1w``), segmented with the usual number of
passes. The values of a structure are the median over the scans, and the mean of left and right. They are
printed, with the spread over the scans, and with ``--model`` written into its ``model.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from bids_brainseg.core.geometry import bounding_box
from bids_brainseg.core.uncertainty import local_entropy, mean_entropies, usual_limits
from bids_brainseg.data import label_table, mirrored_classes
from bids_brainseg.files import write_text
from bids_brainseg.imaging import load_image
from bids_brainseg.records import ScanResult
from bids_brainseg.results.scans import read_scans

AROUND_MM = 12.0


def measure(scan: ScanResult) -> tuple[np.ndarray, np.ndarray]:
    """Return mean entropies and usual limits of the classes of one scan, (28,) each."""
    labels, entropy = (load_image(scan.files[kind]) for kind in ('dseg', 'uncertainty'))
    spacing = np.linalg.norm(labels.affine[:3, :3], axis=0)
    classes = np.rint(labels.data).astype(np.uint8)
    margin = np.ceil(AROUND_MM / spacing).astype(int)
    box = tuple(
        slice(max(side.start - n, 0), side.stop + n)
        for side, n in zip(bounding_box(classes), margin, strict=True)
    )
    classes, values = classes[box], entropy.data[box]
    return mean_entropies(values, classes), usual_limits(local_entropy(values, spacing), classes)


def both_sides(values: np.ndarray) -> list[float]:
    """Give a structure the mean of its left and its right."""
    return [round(float(value), 4) for value in (values + values[list(mirrored_classes())]) / 2]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('derivatives', type=Path)
    parser.add_argument('scans', nargs='+')
    parser.add_argument('--model', type=Path, help='folder of the bundle to write into')
    parser.add_argument('--what', default='', help='which scans, in words')
    options = parser.parse_args()
    results = {scan.name: scan for scan in read_scans(options.derivatives)}
    found = np.array([measure(results[name]) for name in options.scans])  # scans, kinds, classes
    means, limits = (both_sides(values) for values in np.median(found, axis=0))
    spread = np.ptp(found, axis=0) / np.median(found, axis=0)
    print('structure', 'mean', 'limit', 'range of means, %', 'range of limits, %', sep='\t')
    for label in label_table():
        ranges = [f'{100 * kind[label.index]:.1f}' for kind in spread]
        print(label.name, means[label.index], limits[label.index], *ranges, sep='\t')
    if options.model:
        path = options.model / 'model.json'
        content = json.loads(path.read_text())
        means[0] = limits[0]  # JSON holds no nan; nothing is compared with the mean of the background
        content['usual_entropy'] = {'what': options.what, 'mean': means, 'limit': limits}
        order = [*content]
        order.insert(order.index('card'), order.pop(order.index('usual_entropy')))
        write_text(json.dumps({name: content[name] for name in order}, indent=2) + '\n', path)


if __name__ == '__main__':
    main()

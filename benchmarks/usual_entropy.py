# SPDX-License-Identifier: Apache-2.0
"""Measure how uncertain the networks usually are in each structure, for ``usual_entropy`` of ``model.json``.

    python benchmarks/usual_entropy.py BIDS_DIR OUTPUT_DIR [--leave-out LABEL ...] [--synthetic] [--write]
                                       [options ...]

Segments the dataset as a user would (scans that are segmented already are not segmented again), with further
options such as ``--model`` and ``--work-dir``, and measures each modality over all scans whose verdict is not
fail. The values of a structure are the median over the scans, and the mean of left and right. They are
printed, with the spread over the scans, and with ``--write`` put into the bundles that segmented them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_brainseg.cli.run import main as brainseg
from bids_brainseg.core.geometry import bounding_box
from bids_brainseg.core.uncertainty import local_entropy, mean_entropies, usual_limits
from bids_brainseg.data import label_table, mirrored_classes, modalities
from bids_brainseg.files import write_text
from bids_brainseg.imaging import load_image
from bids_brainseg.network.bundle import find_bundle
from bids_brainseg.records import ScanResult
from bids_brainseg.results.scans import read_scans, subjects_of

AROUND_MM = 12.0


def measure(scan: ScanResult) -> tuple[np.ndarray, np.ndarray]:
    """Return mean entropies and usual limits of the classes of one scan, (28,) each.

    Nothing is compared with the mean of the background, which has none: its limit stands there.
    """
    labels, entropy = (load_image(scan.files[kind]) for kind in ('dseg', 'uncertainty'))
    spacing = np.linalg.norm(labels.affine[:3, :3], axis=0)
    classes = np.rint(labels.data).astype(np.uint8)
    margin = np.ceil(AROUND_MM / spacing).astype(int)
    box = tuple(
        slice(max(side.start - n, 0), side.stop + n)
        for side, n in zip(bounding_box(classes), margin, strict=True)
    )
    classes, values = classes[box], entropy.data[box]
    means, limits = mean_entropies(values, classes), usual_limits(local_entropy(values, spacing), classes)
    means[0] = limits[0]
    return means, limits


def both_sides(values: np.ndarray) -> list[float]:
    """Give a structure the mean of its left and its right."""
    return [round(float(value), 4) for value in (values + values[list(mirrored_classes())]) / 2]


def usual_values(scans: Sequence[ScanResult], kind: str) -> dict:
    """Return what is usual over scans of one modality, as a bundle holds it, and print it."""
    found = np.array([measure(scan) for scan in scans])  # scans, kinds, classes
    middle = np.nanmedian(found, axis=0)
    means, limits = (both_sides(values) for values in middle)
    spread = np.ptp(found, axis=0) / middle
    print('structure', 'mean', 'limit', 'range of means, %', 'range of limits, %', sep='\t')
    for label in label_table():
        ranges = [f'{100 * kind[label.index]:.1f}' for kind in spread]
        print(label.name, means[label.index], limits[label.index], *ranges, sep='\t')
    (passes,) = {scan.qc['MonteCarloSamples'] for scan in scans}
    people, number = len({scan.subject for scan in scans}), len(scans)
    what = f'{number} {kind} {scans[0].modality} {"scan" if number == 1 else "scans"} of {people} '
    what += f'{"person" if people == 1 else "people"} (median), {passes} passes'
    return {'what': what, 'mean': means, 'limit': limits}


def write(values: dict, bundle: Path) -> None:
    """Put the values into the ``model.json`` of a bundle, before its card."""
    path = bundle / 'model.json'
    content = json.loads(path.read_text())
    content['usual_entropy'] = values
    order = [name for name in content if name != 'usual_entropy']
    order.insert(order.index('card'), 'usual_entropy')
    write_text(json.dumps({name: content[name] for name in order}, indent=2) + '\n', path)


def main() -> None:
    """Segment, measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('output_dir', type=Path)
    parser.add_argument('--leave-out', nargs='+', default=[], metavar='LABEL', help='participants')
    parser.add_argument('--synthetic', action='store_true', help='the scans are drawn, and the text says so')
    parser.add_argument('--write', action='store_true', help='into the packaged bundles, or those of --model')
    options, others = parser.parse_known_args()
    people = sorted(subjects_of(options.bids_dir) - set(options.leave_out))
    words = [str(options.bids_dir), str(options.output_dir), 'participant', '--participant-label', *people]
    brainseg([*words, *others])
    named = dict(word.split('=', 1) for word in others if word.split('=')[0] in modalities() and '=' in word)
    scans = [scan for scan in read_scans(options.output_dir) if scan.subject in people and scan.usable]
    for modality in modalities():
        of_modality = [scan for scan in scans if scan.modality == modality]
        good = [scan for scan in of_modality if scan.qc.get('verdict') != 'fail']
        left = [scan.name for scan in of_modality if scan not in good]
        print(f'\n{modality}: {" ".join(scan.name for scan in good)}; left out: {" ".join(left) or "none"}')
        if good:
            values = usual_values(good, 'synthetic' if options.synthetic else 'real')
            print(values['what'])
            if options.write:
                write(values, Path(named.get(modality) or find_bundle(modality)))


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""Evaluate on T1w scans with manual labels of another protocol (Neuromorphometrics).

    python benchmarks/manual_labels.py FOLDER OUT [options of bids_brainseg evaluate ...]

FOLDER holds ``<id>_SS.nii.gz`` (scan), ``<id>_glm.nii.gz`` (labels on its grid) and ``labels.tsv`` (columns
neuromorphometrics and index). Scans and labels are linked into BIDS datasets below OUT, with a complete table
of classes; the rest is ``bids_brainseg evaluate``, whose results are in OUT/derivatives.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from bids_brainseg.cli.run import main as brainseg

CORTEX, VERMIS = range(100, 208), (71, 72, 73)


def link_datasets(folder: Path, out: Path) -> None:
    """Make a BIDS dataset of the scans and one of their labels."""
    for name, kind, suffix in (('bids', 'SS', 'T1w'), ('labels', 'glm', 'desc-manual_dseg')):
        root = out / name
        root.mkdir(parents=True, exist_ok=True)
        described = {'Name': f'manual labels: {name}', 'BIDSVersion': '1.10.0'}
        (root / 'dataset_description.json').write_text(json.dumps(described))
        for path in sorted(folder.glob(f'*_{kind}.nii.gz')):
            subject = f'sub-{path.name.partition("_")[0]}'
            link = root / subject / 'anat' / f'{subject}_{suffix}.nii.gz'
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(path.resolve())


def write_table(folder: Path, out: Path) -> Path:
    """Complete the table of classes: parcels of the cortex, the vermis by its side, the rest background."""
    with (folder / 'labels.tsv').open(newline='') as stream:
        rows = [(row['neuromorphometrics'], row['index']) for row in csv.DictReader(stream, delimiter='\t')]
    rows += [(number, 2 if number % 2 else 4) for number in CORTEX]  # even numbers are on the right
    rows += [(number, '7|20') for number in VERMIS]
    rows += [('*', 0)]
    path = out / 'labels' / 'desc-manual_dseg.tsv'
    path.write_text(
        ''.join(f'{number}\t{index}\n' for number, index in [('neuromorphometrics', 'index'), *rows])
    )
    return path


def main(folder: Path, out: Path, options: list[str]) -> int:
    """Link, write the table, evaluate."""
    link_datasets(folder, out)
    write_table(folder, out)
    words = [str(out / 'bids'), str(out / 'derivatives'), 'evaluate', '-w', str(out / 'work')]
    return brainseg([*words, '--derivatives', f'labels={out / "labels"}', *options])


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))

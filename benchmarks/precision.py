# SPDX-License-Identifier: Apache-2.0
"""What the precision of the network changes: seconds of its process, labels and volumes of real scans.

    python benchmarks/precision.py BIDS_DIR OUT_DIR [options of participant ...]

Every scan is segmented in float32 and in bfloat16, with the same seed and the same alignment, into a folder
of OUT_DIR for each. Run it with nothing else running. Structures below 0.5 ml do not count in the changes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pandas as pd

from bids_brainseg.records import PRECISIONS

LEAST_MM3 = 500.0


def segment(bids_dir: Path, out_dir: Path, precision: str, options: list[str]) -> Path:
    """Run the participant level, and return its folder of results."""
    done = out_dir / precision
    command = [
        sys.executable, '-m', 'bids_brainseg', bids_dir, done, 'participant', '--precision', precision,
        '-w', out_dir / 'work', *options,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True)
    return done


def compare(usual: Path, other: Path) -> dict:
    """Compare the labels of one scan."""
    labels = [np.asanyarray(nb.load(path).dataobj) for path in (usual, other)]
    tables = [pd.read_csv(sibling(path, 'morph.tsv'), sep='\t', na_values='n/a') for path in (usual, other)]
    quality = [json.loads(sibling(path, 'qc.json').read_text()) for path in (usual, other)]
    volumes = [table['volume_mm3'].to_numpy() for table in tables]
    large = volumes[0] >= LEAST_MM3
    changes = 100 * np.abs(volumes[1][large] / volumes[0][large] - 1)
    return {
        'scan': usual.name.split('_space-')[0].split('_seg-')[0],
        'labeled otherwise': int((labels[0] != labels[1]).sum()),
        'of labeled': int((labels[0] > 0).sum()),
        'largest change, %': round(float(changes.max()), 2),
        'mean change, %': round(float(changes.mean()), 3),
        'mean CV, %': tuple(round(one['numbers']['cv_mean'], 2) for one in quality),
        'network, s': tuple(one['Seconds']['network'] for one in quality),
    }


def sibling(dseg: Path, suffix: str) -> Path:
    """Return the table or the numbers that lie beside the labels of a scan."""
    stem = dseg.name.replace('_space-orig', '').removesuffix('dseg.nii.gz')
    return dseg.with_name((stem.replace('_seg-brainseg', '') if suffix == 'qc.json' else stem) + suffix)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('out_dir', type=Path)
    args, options = parser.parse_known_args()
    usual, other = (segment(args.bids_dir, args.out_dir, name, options) for name in PRECISIONS)
    files = sorted(usual.glob('sub-*/**/*_seg-brainseg_*dseg.nii.gz'))
    rows = [compare(path, other / path.relative_to(usual)) for path in files]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == '__main__':
    main()

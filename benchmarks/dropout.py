# SPDX-License-Identifier: Apache-2.0
"""What kind of dropout to sample with: agreement and spread of Monte-Carlo passes.

    python benchmarks/dropout.py BUNDLE LABEL_MAP... [--samples N] [--pairs N]

Scans are made from label maps that the bundle was not trained on; for every kind and rate of dropout the
table gives D_A of the mean softmax, the mean D_A of single passes, and the mean CV of the volumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bids_brainseg.core.agreement import dice, dice_average
from bids_brainseg.core.volumes import mc_statistics, mean_cv
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.network.unet import build_unet
from bids_brainseg.network.weights import load_weights
from bids_brainseg.training.label_maps import align_label_map
from bids_brainseg.training.references import Reference
from bids_brainseg.training.sources import held_out_pairs

KINDS = (('none', 0.0), ('element', 0.2), ('element', 0.05), ('channel', 0.2), ('channel', 0.05))


def measure(model, image, labels, passes: int) -> tuple[float, float, float]:
    """Return D_A of the mean, mean D_A of the passes, and the mean CV in per cent."""
    total, single, counts = 0, [], []
    for _ in range(passes):
        probabilities = model.predict_on_batch(image[None, ..., None])[0]
        total = total + probabilities
        found = probabilities.argmax(-1)
        single.append(dice_average(dice(found, labels)))
        counts.append(np.bincount(found.ravel(), minlength=28))
    together = dice_average(dice(np.argmax(total, -1), labels))
    return together, float(np.mean(single)), mean_cv(mc_statistics(np.array(counts, float)).cv)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bundle', type=Path)
    parser.add_argument('label_maps', type=Path, nargs='+')
    parser.add_argument('--samples', type=int, default=15)
    parser.add_argument('--pairs', type=int, default=2)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)
    reference = Reference.of_bundle(bundle)
    with TemporaryDirectory() as folder:
        maps = [align_label_map(path, Path(folder), reference.centers) for path in args.label_maps]
    grid = {'shape': reference.grid_shape, 'affine': reference.grid_affine}
    pairs = held_out_pairs(maps, {bundle.modality: reference}, **grid, count=args.pairs)[bundle.modality]
    print(f'{"dropout":10}{"rate":>6}{"D_A mean":>10}{"D_A pass":>10}{"CV %":>8}')
    for kind, rate in KINDS:
        options = {'dropout': rate, 'dropout_kind': kind} if rate else {'stochastic': False}
        model = build_unet(**{**bundle.architecture, **options}, seed=0)
        load_weights(model, bundle.weights_path)
        rows = [measure(model, *pair, args.samples if rate else 1) for pair in pairs]
        together, single, spread = np.mean(rows, 0)
        print(f'{kind:10}{rate:6.2f}{together:10.3f}{single:10.3f}{spread:8.2f}', flush=True)


if __name__ == '__main__':
    main()

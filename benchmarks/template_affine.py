# SPDX-License-Identifier: Apache-2.0
"""Compute the affine from the reference BrainsegAdult to a template, for ``data/templates.json``.

    python benchmarks/template_affine.py [TEMPLATE] [--seeds 5]

TEMPLATE is a T1-weighted head. Without it, the brain that nilearn ships is taken: ICBM 152 2009a, nonlinear,
symmetric, 1 mm. It stands for MNI152NLin2009cAsym where that cannot be fetched: both are averages of the same
152 heads in the same stereotaxic space, and differ in their nonlinear detail. It has no skull, so the
reference is registered without its own. The template is registered as a scan is, with several seeds, and the
matrices are averaged; printed are the mean, which maps points of the reference to points of the template
(RAS mm), and how far single ones lie from it in the brain.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nilearn.datasets
import numpy as np

from bids_brainseg.data import anatomical_modality
from bids_brainseg.imaging import load_image
from bids_brainseg.network.bundle import find_bundle, load_bundle
from bids_brainseg.registration import register_affine

NILEARN = Path(nilearn.datasets.__file__).parent / 'data' / 'mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz'


def main() -> None:
    """Parse the command line, register, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('template', type=Path, nargs='?', default=NILEARN)
    parser.add_argument('--seeds', type=int, default=5)
    options = parser.parse_args()
    bundle = load_bundle(find_bundle(anatomical_modality()))
    template, reference = load_image(options.template), load_image(bundle.reference_path)
    mask = load_image(bundle.mask_path).data > 0.5
    head = np.where(mask, reference.data, 0) if options.template == NILEARN else reference.data
    found = [
        register_affine(
            template.data,
            template.affine,
            head,
            reference.affine,
            fixed_mask=mask,
            threads=2,
            seed=seed,
        )
        for seed in range(options.seeds)
    ]
    matrices = np.array([one.matrix for one in found])
    mean = matrices.mean(axis=0)
    brain = np.argwhere(mask)[::50] @ reference.affine[:3, :3].T + reference.affine[:3, 3]
    moved = brain @ np.swapaxes(matrices[:, :3, :3], 1, 2) + matrices[:, None, :3, 3]
    distances = np.linalg.norm(moved - moved.mean(axis=0), axis=-1)
    print(json.dumps({
        'template': options.template.name,
        'reference_to_template': np.round(mean, 6).tolist(),
        'similarity': [round(one.similarity, 4) for one in found],
        'distance_mm': {'mean': round(distances.mean(), 3), 'largest': round(distances.max(), 3)},
    }, indent=2))  # fmt: skip


if __name__ == '__main__':
    main()

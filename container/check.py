# SPDX-License-Identifier: Apache-2.0
"""Register the packaged reference to itself: fails in an image that lacks a library of elastix."""

from __future__ import annotations

import numpy as np

from bids_brainseg.imaging import load_image
from bids_brainseg.network.bundle import find_bundle
from bids_brainseg.registration.estimate import register_affine


def main() -> None:
    """Expect the identity, within the half millimeter that the registration is off."""
    reference = load_image(find_bundle('T1w') / 'reference.nii.gz')
    head = (reference.data, reference.affine)
    matrix = register_affine(*head, *head).matrix
    if np.abs(matrix - np.eye(4)).max() > 0.5:
        raise SystemExit(f'the reference was registered to itself by\n{matrix}')


if __name__ == '__main__':
    main()

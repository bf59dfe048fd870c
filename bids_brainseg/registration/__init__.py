# SPDX-License-Identifier: Apache-2.0
"""One affine from a reference head to a scan, with a number that says whether it can be trusted.

The only room that knows ITK and its LPS frame. Arrays and RAS affines go in, a 4x4 RAS matrix comes out.

The work is done in three steps, whose settings are ``data/elastix_affine.json``:

1. both images are averaged down to a few millimeters, so that the size of the input hardly matters;
2. a search over rotations and shifts around the head's mass, scored by mutual information inside the
   reference's brain, gives a similarity transform (rotation, shift, one scale); the origin in the header
   plays no part in it;
3. the scan, resampled by that start onto the reference's neighborhood, goes to elastix for the affine that
   is left. There both images share one grid, so no direction, origin or large rotation can mislead it.
"""

from __future__ import annotations

from .estimate import Registration, register_affine, register_rigid
from .trust import field_coverage, implausible, label_agreement, local_agreement
from .volumes import parameters

__all__ = [
    'Registration',
    'field_coverage',
    'implausible',
    'label_agreement',
    'local_agreement',
    'parameters',
    'register_affine',
    'register_rigid',
]

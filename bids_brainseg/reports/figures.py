# SPDX-License-Identifier: Apache-2.0
"""The figures of the report: arrays in, one SVG file out, written under a temporary name and moved into place."""

from __future__ import annotations


def alignment_figure(scan, reference, mask, affine, out_file, *, quality=None):
    """Draw the scan on the reference grid with the reference's brain outline and edges.

    scan, reference: (I, J, K) float arrays on the SAME (reference) grid; mask (I, J, K) bool, the reference's
    brain; affine 4x4 voxel to RAS mm of that grid; quality: the registration's similarity. Returns the Path.
    """
    raise NotImplementedError


def contours_figure(image, labels, affine, out_file, *, table=None):
    """Outline the 27 structures on the scan's own grid; table: rows as `data.label_table()` (its default)."""
    raise NotImplementedError


def uncertainty_figure(image, entropy, labels, affine, out_file):
    """Lay the normalised entropy, [0, 1], over the scan, both on the scan's own grid, with a colour bar."""
    raise NotImplementedError

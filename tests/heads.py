# SPDX-License-Identifier: Apache-2.0
"""A head of ellipsoids on any grid, moved by a known affine."""

from __future__ import annotations

import numpy as np

SPACING = 3.0
SHAPE = (60, 72, 66)


def grid_affine(shape=SHAPE, spacing=SPACING):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    return affine


def head_at(x, y, z, *, stripped=False):
    """Scalp, skull, cortex, white matter, ventricles and one bright spot on the LEFT, at RAS points."""

    def inside(center, radii):
        return sum(((v - c) / r) ** 2 for v, c, r in zip((x, y, z), center, radii, strict=True)) < 1

    image = np.zeros(np.broadcast(x, y, z).shape, np.float32)
    if not stripped:
        image[inside((0, 0, 0), (78, 94, 84))] = 90
        image[inside((0, 0, 0), (73, 89, 79))] = 15
    image[inside((0, 0, 4), (66, 82, 66))] = 55
    folds = np.sin(x / 6) * np.sin(y / 7) * np.sin(z / 6)
    image[inside((0, 0, 4), (58, 74, 58)) & (folds > -0.35)] = 85
    image[inside((-22, -50, -44), (20, 20, 14)) | inside((22, -50, -44), (20, 20, 14))] = 65
    image[inside((-9, 0, 12), (6, 30, 10)) | inside((9, 0, 12), (6, 30, 10))] = 20
    image[inside((0, 20, -30), (10, 24, 8))] = 35
    image[inside((-35, 25, 15), (12, 12, 12))] = 110
    return image


def reference():
    affine = grid_affine()
    x, y, z = points_of(affine, SHAPE)
    mask = ((x / 66) ** 2 + (y / 82) ** 2 + ((z - 4) / 66) ** 2) < 1
    return head_at(x, y, z), affine, mask


def points_of(affine, shape):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij')).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def scan(reference_to_scan, affine, shape, **kwargs):
    """What a scanner with the grid `affine` sees of a head moved by `reference_to_scan`."""
    back = np.linalg.inv(reference_to_scan)
    points = points_of(affine, shape).reshape(3, -1)
    noise = np.random.default_rng(5).normal(0, 2, np.prod(shape))
    where = back[:3, :3] @ points + back[:3, 3:]
    return (head_at(*where, **kwargs) + noise).reshape(shape).astype(np.float32)


def truth(pitch=0.0, yaw=0.0, scales=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0)):
    p, w = np.deg2rad([pitch, yaw])
    about_r = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_s = np.array([[np.cos(w), -np.sin(w), 0], [np.sin(w), np.cos(w), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_s @ about_r @ np.diag(scales)
    matrix[:3, 3] = shift
    return matrix


def error_mm(found, expected, mask, affine):
    """Mean distance between where two matrices send the points of the brain."""
    points = affine[:3, :3] @ np.stack(np.nonzero(mask)) + affine[:3, 3:]
    difference = found - expected
    return float(np.linalg.norm(difference[:3, :3] @ points + difference[:3, 3:], axis=0).mean())


def far_away_grid():
    """An oblique LPS grid of unequal voxels whose origin is far from the head."""
    affine = np.eye(4)
    affine[:3, :3] = truth(pitch=8, yaw=5)[:3, :3] @ np.diag([-2.5, -2.5, 4.0])
    shape = (84, 92, 48)
    affine[:3, 3] = np.array([300.0, -250.0, 400.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape

# SPDX-License-Identifier: Apache-2.0
"""The start of a registration: a search over similarity transforms, scored by mutual information."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage, optimize

from ..core import geometry
from .volumes import dilate, foreground, shrink, smooth


def search(moving, fixed, mask, settings, dilation):
    """Return the best similarity transform (4x4, reference to scan) and the start it grew from, in words."""
    around = dilate(mask, dilation, fixed.affine)
    center = fixed.affine[:3, :3] @ np.mean(np.nonzero(mask), axis=1) + fixed.affine[:3, 3]
    coarse, fine = (
        Score(*at_spacing(moving, fixed, around, level['spacing_mm']), level['bins'], level['points'])
        for level in (settings['coarse'], settings['fine'])
    )
    candidates = []
    for name, place in _centers(moving, settings).items():
        sides, ups, fronts, pitches = (
            settings[f'{a}'] for a in ('roll_yaw_degrees', 'superior_mm', 'anterior_mm', 'pitch_degrees')
        )
        for pitch, (roll, yaw), up, front in product(pitches, sides, ups, fronts):
            vector = np.array([0.0, front, up, pitch, roll, yaw, 0.0])
            candidates.append((coarse(similarity(vector, center, place)), name, place, vector))
    candidates.sort(key=lambda c: -c[0])
    chosen = _apart(candidates, settings)
    penalty = settings['scale_penalty']
    chosen = [_climb(coarse, c, center, settings['coarse'], penalty) for c in chosen]
    chosen = sorted(chosen, key=lambda c: -c[0])[: settings['keep_fine']]
    chosen = [_climb(fine, c, center, settings['fine'], penalty) for c in chosen]
    _, name, place, vector = max(chosen, key=lambda c: c[0])
    turn = ', '.join(f'{degrees:.0f}' for degrees in vector[3:6])
    words = f'{name}, turned by {turn} degrees about R, A, S, scaled by {np.exp(vector[6] / 80):.2f}'
    return similarity(vector, center, place), words


class Score:
    """Mutual information of scan and reference over points of the reference's (dilated) brain.

    It is a sum over the points inside the field of view, divided by all points: losing brain costs.
    """

    def __init__(self, moving, fixed, mask, bins, most_points):
        inside = np.array(np.nonzero(mask))
        if inside.shape[1] > most_points:
            inside = np.random.default_rng(0).choice(inside, most_points, axis=1, replace=False)
        inside = tuple(inside)
        self.points = (fixed.affine[:3, :3] @ np.stack(inside) + fixed.affine[:3, 3:]).astype(np.float64)
        self.bins = bins
        self.rows = np.minimum((fixed.data[inside] * bins).astype(np.int64), bins - 1) * bins
        self.moving = moving.data * np.float32(bins * 0.9999)
        self.to_voxel = geometry.invert(moving.affine)

    def __call__(self, matrix) -> float:
        full = self.to_voxel @ matrix
        voxels = full[:3, :3] @ self.points + full[:3, 3:]
        values = ndimage.map_coordinates(self.moving, voxels, order=1, mode='grid-constant', cval=-1e6)
        valid = values >= 0
        n = int(np.count_nonzero(valid))
        if n < 0.1 * valid.size:
            return 0.0
        cells = self.rows[valid] + values[valid].astype(np.int64)
        joint = np.bincount(cells, minlength=self.bins**2).reshape(self.bins, self.bins) / n
        outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        seen = joint > 0
        return float((joint[seen] * np.log(joint[seen] / outer[seen])).sum()) * n / valid.size


def at_spacing(moving, fixed, mask, spacing):
    """Return scan, reference and mask at a coarser spacing, slightly smoothed."""
    scan, reference = (smooth(shrink(v.data, v.affine, spacing), spacing / 2) for v in (moving, fixed))
    inside = shrink(mask.astype(np.float32), fixed.affine, spacing).data > 0.5
    return scan, reference, inside


def _centers(moving, settings):
    """Guess where the brain's center is: below the vertex, and at the mass of all foreground."""
    volume = shrink(moving.data, moving.affine, settings['fine']['spacing_mm'])
    points = volume.affine[:3, :3] @ np.stack(np.nonzero(foreground(volume.data))) + volume.affine[:3, 3:]
    top = np.percentile(points[2], 99.7)
    depth = settings['vertex_to_brain_center_mm']
    upper = points[:, points[2] > top - 2 * depth]
    below_vertex = np.array([*upper[:2].mean(axis=1), top - depth])
    return {'below the vertex': below_vertex, 'center of mass': points.mean(axis=1)}


def similarity(vector, center, place):
    """Build shift (mm), rotation (degrees about R, A, S) and scale (80 x log) around a center."""
    pitch, roll, yaw = np.deg2rad(vector[3:6])
    (cp, sp), (cr, sr), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (pitch, roll, yaw))
    about_r = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_a = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_s = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_s @ about_a @ about_r * np.exp(vector[6] / 80)
    matrix[:3, 3] = place + vector[:3] - matrix[:3, :3] @ center
    return matrix


def _apart(candidates, settings):
    """Keep the best candidates that differ from each other in where they start."""
    kept, poses = [], []
    for candidate in candidates:
        _, _, place, vector = candidate
        pose = np.append(place + vector[:3], vector[3:6])
        if all(np.linalg.norm(pose - other) > settings['apart_mm'] for other in poses):
            kept.append(candidate)
            poses.append(pose)
        if len(kept) == settings['keep']:
            break
    return kept


def _climb(score, candidate, center, level, scale_penalty):
    """Improve a candidate over seven parameters (Powell); units are about 1 mm at the brain's surface.

    The penalty keeps the scale near 1 unless the images insist: too large a scan is the usual wrong optimum.
    """
    _, name, place, vector = candidate

    def cost(v):
        return scale_penalty * (v[6] / 80) ** 2 - score(similarity(v, center, place))

    options = {
        'direc': level['step'] * np.eye(7),
        'maxiter': level['rounds'],
        'xtol': 0.02,
        'ftol': 1e-4,
    }
    found = optimize.minimize(cost, vector, method='Powell', options=options)
    return -float(found.fun), name, place, found.x

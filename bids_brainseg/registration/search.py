# SPDX-License-Identifier: Apache-2.0
"""The start of a registration: a search over similarity transforms, scored by mutual information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ..core import geometry
from .volumes import Volume, dilate, downsample, foreground, smooth


class Candidate(NamedTuple):
    """A similarity transform: its score, which guess of the scan's brain center it starts from, and that
    center (RAS mm), and its seven parameters (see :func:`similarity`)."""

    score: float
    name: str
    center: NDArray[np.float64]
    vector: NDArray[np.float64]


def search(
    moving: Volume, fixed: Volume, mask: NDArray[np.bool_], settings: Mapping, dilation: float
) -> tuple[NDArray[np.float64], str]:
    """Find the similarity transform with the largest mutual information.

    Parameters
    ----------
    moving, fixed : Volume
        Scan and reference, values in [0, 1].
    mask : bool array
        The reference's brain, on its grid.
    settings : mapping
        ``search`` of :func:`bids_brainseg.registration.parameters`.
    dilation : float, mm
        Rim around the brain that takes part.

    Returns
    -------
    matrix : (4, 4) float64 array
        Maps RAS points of the reference to RAS points of the scan.
    description : str
        Where it started and what it is.
    """
    around = dilate(mask, dilation, fixed.affine)
    center = fixed.affine[:3, :3] @ np.mean(np.nonzero(mask), axis=1) + fixed.affine[:3, 3]
    coarse, fine = (
        Score(*at_spacing(moving, fixed, around, level['spacing_mm']), level['bins'], level['points'])
        for level in (settings['coarse'], settings['fine'])
    )
    candidates = []
    for name, guess in _centers(moving, settings).items():
        sides, ups, fronts, pitches = (
            settings[f'{a}'] for a in ('roll_yaw_degrees', 'superior_mm', 'anterior_mm', 'pitch_degrees')
        )
        for pitch, (roll, yaw), up, front in product(pitches, sides, ups, fronts):
            vector = np.array([0.0, front, up, pitch, roll, yaw, 0.0])
            candidates.append(Candidate(coarse(similarity(vector, center, guess)), name, guess, vector))
    candidates.sort(key=lambda candidate: -candidate.score)
    chosen = _distinct(candidates, settings)
    penalty = settings['scale_penalty']
    chosen = [_climb(coarse, candidate, center, settings['coarse'], penalty) for candidate in chosen]
    chosen = sorted(chosen, key=lambda candidate: -candidate.score)[: settings['keep_fine']]
    chosen = [_climb(fine, candidate, center, settings['fine'], penalty) for candidate in chosen]
    best = max(chosen, key=lambda candidate: candidate.score)
    angles = ', '.join(f'{degrees:.0f}' for degrees in best.vector[3:6])
    scale = np.exp(best.vector[6] / 80)
    description = f'{best.name}, rotated by {angles} degrees about R, A, S, scaled by {scale:.2f}'
    return similarity(best.vector, center, best.center), description


class Score:
    """Mutual information of scan and reference over points of the reference's (dilated) brain.

    It is a sum over the points inside the field of view, divided by all points: losing brain costs.

    Parameters
    ----------
    moving, fixed : Volume
        Scan and reference, values in [0, 1].
    mask : bool array
        Where to compare, on the grid of the reference.
    bins : int
        Of each axis of the joint histogram.
    most_points : int
        If the mask has more voxels, as many are drawn, always the same.
    """

    def __init__(self, moving: Volume, fixed: Volume, mask: NDArray[np.bool_], bins: int, most_points: int):
        inside = np.array(np.nonzero(mask))
        if inside.shape[1] > most_points:
            inside = np.random.default_rng(0).choice(inside, most_points, axis=1, replace=False)
        inside = tuple(inside)
        self.points = (fixed.affine[:3, :3] @ np.stack(inside) + fixed.affine[:3, 3:]).astype(np.float64)
        self.bins = bins
        self.rows = np.minimum((fixed.data[inside] * bins).astype(np.int64), bins - 1) * bins
        self.moving = moving.data * np.float32(bins * 0.9999)
        self.to_voxel = geometry.invert(moving.affine)

    def __call__(self, matrix: NDArray) -> float:
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


def at_spacing(
    moving: Volume, fixed: Volume, mask: NDArray[np.bool_], spacing: float
) -> tuple[Volume, Volume, NDArray[np.bool_]]:
    """Return scan, reference and mask at a coarser spacing, slightly smoothed.

    Parameters
    ----------
    moving, fixed : Volume
    mask : bool array
        On the grid of `fixed`.
    spacing : float, mm

    Returns
    -------
    moving, fixed : Volume
    mask : bool array
    """
    scan, reference = (smooth(downsample(v.data, v.affine, spacing), spacing / 2) for v in (moving, fixed))
    inside = downsample(mask.astype(np.float32), fixed.affine, spacing).data > 0.5
    return scan, reference, inside


def _centers(moving: Volume, settings: Mapping) -> dict[str, NDArray[np.float64]]:
    """Guess where the brain's center is, RAS mm: below the vertex, and at the center of mass of the head."""
    volume = downsample(moving.data, moving.affine, settings['fine']['spacing_mm'])
    points = volume.affine[:3, :3] @ np.stack(np.nonzero(foreground(volume.data))) + volume.affine[:3, 3:]
    top = np.percentile(points[2], 99.7)
    depth = settings['vertex_to_brain_center_mm']
    upper = points[:, points[2] > top - 2 * depth]
    below_vertex = np.array([*upper[:2].mean(axis=1), top - depth])
    return {'below the vertex': below_vertex, 'center of mass': points.mean(axis=1)}


def similarity(vector: NDArray, center: NDArray, moved_center: NDArray) -> NDArray[np.float64]:
    """Build a similarity transform about a center.

    Parameters
    ----------
    vector : (7,) array
        Shift (mm), rotation (degrees about R, A, S), and 80 times the logarithm of the scale.
    center : (3,) array, RAS mm
    moved_center : (3,) array, RAS mm
        Where the center goes without the shift.

    Returns
    -------
    (4, 4) float64 array
    """
    pitch, roll, yaw = np.deg2rad(vector[3:6])
    (cp, sp), (cr, sr), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (pitch, roll, yaw))
    about_r = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_a = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_s = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_s @ about_a @ about_r * np.exp(vector[6] / 80)
    matrix[:3, 3] = moved_center + vector[:3] - matrix[:3, :3] @ center
    return matrix


def _distinct(candidates: Sequence[Candidate], settings: Mapping) -> list[Candidate]:
    """Keep the best candidates that differ from each other in where they start."""
    kept, poses = [], []
    for candidate in candidates:
        pose = np.append(candidate.center + candidate.vector[:3], candidate.vector[3:6])
        if all(np.linalg.norm(pose - other) > settings['apart_mm'] for other in poses):
            kept.append(candidate)
            poses.append(pose)
        if len(kept) == settings['keep']:
            break
    return kept


def _climb(
    score: Score, candidate: Candidate, center: NDArray, level: Mapping, scale_penalty: float
) -> Candidate:
    """Improve a candidate over seven parameters (Powell); units are about 1 mm at the brain's surface.

    The penalty keeps the scale near 1 unless the images insist: too large a scan is the usual wrong optimum.
    """

    def cost(vector: NDArray) -> float:
        return scale_penalty * (vector[6] / 80) ** 2 - score(similarity(vector, center, candidate.center))

    options = {
        'direc': level['step'] * np.eye(7),
        'maxiter': level['rounds'],
        'xtol': 0.02,
        'ftol': 1e-4,
    }
    optimum = optimize.minimize(cost, candidate.vector, method='Powell', options=options)
    return candidate._replace(score=-float(optimum.fun), vector=optimum.x)

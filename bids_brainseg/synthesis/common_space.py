# SPDX-License-Identifier: Apache-2.0
"""The common space of a bundle: label maps aligned by their structures, and the average head in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .label_map import LabelMap

# Centers of structures in the orientation of the MNI152 space, mm (right, anterior, superior), rounded.
# They fix the orientation and origin of the common space only; its size is the sample's own mean.
MNI_CENTERS = {
    10: (-11, -19, 7), 49: (11, -19, 7), 11: (-13, 9, 10), 50: (13, 9, 10), 12: (-25, 1, 0), 51: (25, 1, 0),
    13: (-20, -5, -1), 52: (20, -5, -1), 17: (-26, -22, -14), 53: (26, -22, -14),
    18: (-23, -5, -19), 54: (23, -5, -19),
    16: (0, -28, -31), 8: (-24, -63, -36), 47: (24, -63, -36), 28: (-11, -16, -9), 60: (11, -16, -9),
    3: (-35, -19, 13), 42: (35, -19, 13), 2: (-27, -18, 18), 41: (27, -18, 18),
}  # fmt: skip


def structure_centers(
    labels: NDArray[np.integer], affine: ArrayLike, numbers: Sequence[int]
) -> NDArray[np.float64]:
    """Return the center of mass of each structure.

    Parameters
    ----------
    labels : (I, J, K) integer array
        FreeSurfer numbers.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    numbers : sequence of int
        The structures, each present in `labels`.

    Returns
    -------
    (len(numbers), 3) float array, RAS mm

    Raises
    ------
    ValueError
        If a structure is absent.

    Examples
    --------
    >>> structure_centers(np.array([[[0, 10, 10, 49]]]), np.diag([1, 1, 2, 1]), [10, 49]).tolist()
    [[0.0, 0.0, 3.0], [0.0, 0.0, 6.0]]
    """
    absent = np.setdiff1d(numbers, np.unique(labels))
    if absent.size:
        raise ValueError(
            f'labels {absent.tolist()} are absent: the label map cannot be aligned by its structures'
        )
    centers = ndimage.center_of_mass(np.ones(labels.shape, np.uint8), labels, numbers)
    return np.asarray(centers) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]


def fit_affine(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Return the affine that takes points to points with the least squared error.

    Parameters
    ----------
    source, target : (n, 3) float array
        Corresponding points, mm; n of at least 4.

    Returns
    -------
    (4, 4) float array

    Examples
    --------
    >>> corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> fit_affine(corners, 2 * corners + [5, 0, 0])[0].round(6).tolist()
    [2.0, 0.0, 0.0, 5.0]
    """
    design = np.c_[source, np.ones(len(source))]
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    return np.vstack([solution.T, [0, 0, 0, 1]])


def fit_rigid(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Return the rotation and translation that takes points to points with the least squared error.

    Parameters
    ----------
    source, target : (n, 3) float array
        Corresponding points, mm.

    Returns
    -------
    (4, 4) float array

    Notes
    -----
    Kabsch's solution by singular values, doi 10.1107/S0567739476001873.

    Examples
    --------
    A quarter turn about the third axis:

    >>> before, after = [[1, 0, 0], [-1, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, -1, 0], [-1, 0, 0]]
    >>> fit_rigid(before, after)[:2, :2].round(6) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    center_source, center_target = np.mean(source, 0), np.mean(target, 0)
    u, _, vt = np.linalg.svd((source - center_source).T @ (target - center_target))
    rotation = vt.T @ np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    result = np.eye(4)
    result[:3, :3] = rotation
    result[:3, 3] = center_target - rotation @ center_source
    return result


def common_space(
    centers: Sequence[np.ndarray], numbers: Sequence[int], *, iterations: int = 10
) -> list[np.ndarray]:
    """Align subjects by the centers of their structures to their own mean.

    Parameters
    ----------
    centers : sequence of (n, 3) float array
        Centers of each subject, RAS mm, in the order of `numbers`.
    numbers : sequence of int
        FreeSurfer numbers of the rows, keys of ``MNI_CENTERS``.

    Returns
    -------
    list of (4, 4) float array
        For each subject the affine from the common space to its own, RAS mm. The common space has the
        orientation of MNI152 and the mean volume of the sample: the determinants of the affines have the
        geometric mean 1.
    """
    mni = np.array([MNI_CENTERS[n] for n in numbers], float)
    mean = centers[0]
    for _ in range(iterations):
        # rigidly: a mean of least-squares affine fits shrinks along the directions in which centers are noisy
        mean = np.mean([_move(fit_rigid(c, mean), c) for c in centers], 0)
        mean = _move(fit_rigid(mean, mni), mean)
        logs = [np.log(np.linalg.det(fit_affine(mean, c)[:3, :3])) for c in centers]
        mean = mean * np.exp(np.mean(logs) / 3)
    return [fit_affine(mean, c) for c in centers]


def _move(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def average_head(
    label_maps: Sequence[LabelMap],
    contrast: Mapping,
    layers: Mapping,
    shape: Sequence[int],
    affine: NDArray[np.float64],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean image of some heads in one contrast, and where their cranial cavities are.

    Parameters
    ----------
    label_maps : sequence of LabelMap
        Heads, with their affine from the common space.
    contrast : mapping
        ``contrast`` of a modality; the means are used as they are.
    layers : mapping
        ``layers`` of ``synthesis.json``; they look like the tissue that they are part of.
    shape : tuple of int
        Shape of the result.
    affine : (4, 4) float array
        Its voxel indices to common space, RAS mm.

    Returns
    -------
    image : `shape` float32 array
        In the contrast's unit.
    cavity : `shape` float32 array
        Share of the heads whose cranial cavity covers a voxel, in [0, 1].
    """
    image = np.zeros(shape, np.float32)
    cavity = np.zeros(shape, np.float32)
    means = {name: mean for name, (mean, _) in contrast['means'].items()}
    means |= {name: means[layer['of']] for name, layer in layers.items()}
    for label_map in label_maps:
        tissue = label_map.sample(shape, affine)
        table = np.array([means[name] for name in label_map.tissue_names], np.float32)
        image += table[label_map.tissue_of[tissue]]
        cavity += label_map.intracranial[tissue]
    return image / len(label_maps), cavity / len(label_maps)

# SPDX-License-Identifier: Apache-2.0
"""Affines and grids: check, invert, measure and compose 4x4 matrices, and find boxes of voxels.

World coordinates are RAS+ millimeters everywhere (x grows to the right, y to the front, z to the top).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_affine(matrix: ArrayLike) -> NDArray[np.float64]:
    """Check that something is a homogeneous 4x4 matrix and return it as float64.

    Parameters
    ----------
    matrix : (4, 4) array_like

    Returns
    -------
    (4, 4) float64 array

    Raises
    ------
    ValueError
        If the shape is not (4, 4), a value is not finite, or the last row is not 0 0 0 1.
    """
    affine = np.asarray(matrix, dtype=np.float64)
    if affine.shape != (4, 4):
        raise ValueError(f'Expected an affine of shape (4, 4), got {affine.shape}')
    if not np.isfinite(affine).all():
        raise ValueError('Affine holds values that are not finite')
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise ValueError(f'Last row of an affine must be 0 0 0 1, got {affine[3].tolist()}')
    return affine


def is_singular(affine: ArrayLike) -> bool:
    """Check whether an affine cannot be inverted: voxels without volume, or values that are not finite.

    Parameters
    ----------
    affine : (4, 4) array_like

    Returns
    -------
    bool

    Examples
    --------
    >>> is_singular(np.diag([1.0, 1.0, 0.0, 1.0]))
    True
    >>> is_singular(np.diag([0.01, 0.01, 0.01, 1.0]))
    False
    """
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    if not np.isfinite(np.asarray(affine, dtype=np.float64)).all():
        return True
    lengths = np.linalg.norm(linear, axis=0)
    # Relative to the column lengths, so that small voxels are not taken for flat ones.
    return bool((lengths == 0).any() or abs(np.linalg.det(linear / lengths)) < 1e-6)


def invert(matrix: ArrayLike) -> NDArray[np.float64]:
    """Invert an affine by algebra.

    Parameters
    ----------
    matrix : (4, 4) array_like
        Maps points of space A to points of space B, in mm.

    Returns
    -------
    (4, 4) float64 array
        Maps points of B to points of A; its last row is exactly 0 0 0 1.

    Raises
    ------
    ValueError
        If `matrix` is not an invertible affine.

    Examples
    --------
    >>> float(invert(np.diag([2.0, 2.0, 2.0, 1.0]))[0, 0])
    0.5
    """
    affine = as_affine(matrix)
    if is_singular(affine):
        raise ValueError(f'Affine is singular and has no inverse: {affine[:3].tolist()}')
    inverse = np.eye(4)
    inverse[:3, :3] = np.linalg.inv(affine[:3, :3])
    inverse[:3, 3] = -inverse[:3, :3] @ affine[:3, 3]
    return inverse


def ras_to_lps(matrix: ArrayLike) -> NDArray[np.float64]:
    """Express a point-to-point affine in LPS instead of RAS coordinates; the function is its own inverse.

    Parameters
    ----------
    matrix : (4, 4) array_like
        Maps points to points, both in the one convention.

    Returns
    -------
    (4, 4) float64 array
        The same mapping with both points in the other convention.

    Examples
    --------
    >>> shift_right = np.eye(4)
    >>> shift_right[0, 3] = 5
    >>> float(ras_to_lps(shift_right)[0, 3])
    -5.0
    """
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ as_affine(matrix) @ flip


def voxel_sizes(affine: ArrayLike) -> NDArray[np.float64]:
    """Measure the distance in mm from one voxel to the next along each array axis.

    Parameters
    ----------
    affine : (4, 4) array_like
        Voxel indices to mm.

    Returns
    -------
    (3,) float64 array, mm

    Examples
    --------
    >>> voxel_sizes(np.diag([-1.0, 2.0, 3.0, 1.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    return np.linalg.norm(as_affine(affine)[:3, :3], axis=0)


def voxel_volume(affine: ArrayLike) -> float:
    """Measure the volume of one voxel; in a sheared grid it is not the product of the edges.

    Parameters
    ----------
    affine : (4, 4) array_like
        Voxel indices to mm.

    Returns
    -------
    float, mm3

    Examples
    --------
    >>> round(voxel_volume(np.diag([-1.0, 2.0, 3.0, 1.0])), 6)
    6.0
    """
    return volume_scaling(affine)


def volume_scaling(matrix: ArrayLike) -> float:
    """Return the factor by which a matrix scales volumes, without sign.

    Parameters
    ----------
    matrix : (4, 4) array_like

    Returns
    -------
    float
    """
    return float(abs(np.linalg.det(as_affine(matrix)[:3, :3])))


def obliquity(affine: ArrayLike) -> float:
    """Measure how far a grid is rotated from the world axes.

    Parameters
    ----------
    affine : (4, 4) array_like
        Voxel indices to mm.

    Returns
    -------
    float, degrees
        The largest angle between a voxel axis and the world axis nearest to it; 0 for a straight grid.

    Examples
    --------
    >>> obliquity(np.diag([-1.0, 1.0, 2.0, 1.0]))
    0.0
    """
    directions = as_affine(affine)[:3, :3] / voxel_sizes(affine)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), 0.0, 1.0))).max())


def shear_angle(affine: ArrayLike) -> float:
    """Measure how far the axes of a grid are from standing at right angles.

    Parameters
    ----------
    affine : (4, 4) array_like
        Voxel indices to mm.

    Returns
    -------
    float, degrees
        The largest deviation from 90 degrees between two voxel axes: the gantry tilt of a CT whose slices
        were stacked as they are.

    Examples
    --------
    >>> tilted = np.eye(4)
    >>> tilted[1, 2] = np.tan(np.radians(15))
    >>> round(shear_angle(tilted), 6)
    15.0
    """
    directions = as_affine(affine)[:3, :3] / voxel_sizes(affine)
    cosines = np.abs(directions.T @ directions)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(np.clip(cosines, 0.0, 1.0))).max())


def rotation_angle(matrix: ArrayLike) -> float:
    """Measure the rotation of an affine.

    Parameters
    ----------
    matrix : (4, 4) array_like

    Returns
    -------
    float, degrees
        Angle of the rotation nearest to its linear part, 0 to 180.

    Examples
    --------
    >>> rotation_angle(np.diag([-1.1, -0.9, 1.0, 1.0]))
    180.0
    """
    left, _, right = np.linalg.svd(as_affine(matrix)[:3, :3])
    rotation = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1.0, 1.0))))


def voxel_to_voxel(affine: ArrayLike, target_affine: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Compose the affine from target voxel indices to source voxel indices.

    Parameters
    ----------
    affine, target_affine : (4, 4) array_like
        Voxel indices to RAS mm, of the source and of the target.
    matrix : (4, 4) array_like
        Target RAS points to source RAS points.

    Returns
    -------
    (4, 4) float64 array

    Raises
    ------
    ValueError
        If one of them is not an affine or the source affine is singular.
    """
    composed = invert(affine) @ as_affine(matrix) @ as_affine(target_affine)
    # Rounding errors of 1e-14 would move a voxel on the border of the grid out of it.
    return np.round(composed, 10)


def bounding_box(array: ArrayLike) -> tuple[slice, ...]:
    """Find the smallest box around all that is not 0.

    Parameters
    ----------
    array : (I, J, K) array_like
        A mask, or labels, not negative.

    Returns
    -------
    tuple of three slices
        The whole array where everything is 0.

    Examples
    --------
    >>> bounding_box(np.pad(np.ones((1, 2, 3), bool), ((2, 0), (0, 1), (1, 1))))
    (slice(2, 3, None), slice(0, 2, None), slice(1, 4, None))
    """
    array = np.asarray(array)
    # The maximum of whole planes runs at the speed of memory, in either order of the axes.
    front, side = array.max(axis=0), array.max(axis=2)
    profiles, box = (side.max(axis=1), front.max(axis=1), front.max(axis=0)), []
    for size, profile in zip(array.shape, profiles, strict=True):
        hit = np.flatnonzero(profile)
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, size))
    return tuple(box)


def faces(array: NDArray) -> list[NDArray]:
    """Return the six outermost slices of a volume.

    Parameters
    ----------
    array : (I, J, K) array

    Returns
    -------
    list of six two-dimensional arrays
        Views: the first and the last slice along each axis in turn.

    Examples
    --------
    >>> [face.shape for face in faces(np.zeros((2, 3, 4)))][::2]
    [(3, 4), (2, 4), (2, 3)]
    """
    return [np.moveaxis(array, axis, 0)[end] for axis in range(3) for end in (0, -1)]


def grid_with_spacing(
    shape: Sequence[int], affine: ArrayLike, spacing: float, multiple: int = 1
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Cover the field of view of a grid with voxels of another size, about the same center.

    Parameters
    ----------
    shape : (3,) sequence of int
    affine : (4, 4) array_like
        Voxel indices to mm.
    spacing : float
        Edge of the new voxels, mm.
    multiple : int
        Every side of the new grid is a multiple of this, and covers at least what the old one covers.

    Returns
    -------
    shape : tuple of int
    affine : (4, 4) float64 array
        Voxel indices to mm, axes along those of the old grid.

    Raises
    ------
    ValueError
        If `spacing` or `multiple` is not positive.

    Examples
    --------
    >>> shape, affine = grid_with_spacing((112, 144, 128), np.diag([1.4, 1.4, 1.4, 1.0]), 2.8, 16)
    >>> shape, affine[0, 0].item()
    ((64, 80, 64), 2.8)
    """
    if not spacing > 0 or multiple < 1:
        raise ValueError(f'Spacing and multiple must be positive, got {spacing} and {multiple}')
    old, sizes = as_affine(affine), voxel_sizes(affine)
    # rounding errors of a quotient must not add a whole block
    sides = np.ceil(np.asarray(shape) * sizes / spacing / multiple - 1e-9).astype(int) * multiple
    new = old.copy()
    new[:3, :3] = old[:3, :3] / sizes * spacing
    center = old[:3, :3] @ ((np.asarray(shape) - 1) / 2) + old[:3, 3]
    new[:3, 3] = center - new[:3, :3] @ ((sides - 1) / 2)
    return tuple(sides.tolist()), new


def covering_box(
    mapping: NDArray[np.float64], lower: ArrayLike, upper: ArrayLike, shape: Sequence[int]
) -> tuple[slice, slice, slice]:
    """Find the box of a grid that covers another box mapped into it.

    Parameters
    ----------
    mapping : (4, 4) float64 array
        Indices of the first grid to indices of the second.
    lower, upper : (3,) array_like
        Opposite corners of a box in the first grid, in (fractional) indices.
    shape : (3,) ints
        Of the second grid.

    Returns
    -------
    tuple of three slices
        Into the second grid; empty slices (0, 0) where the boxes do not meet.
    """
    corners = np.array(
        list(product(*zip(np.asarray(lower), np.asarray(upper), strict=True))), dtype=np.float64
    )
    mapped = corners @ mapping[:3, :3].T + mapping[:3, 3]
    start = np.clip(np.floor(mapped.min(axis=0)), 0, shape).astype(int)
    stop = np.clip(np.ceil(mapped.max(axis=0)) + 1, 0, shape).astype(int)
    if (stop <= start).any():
        return (slice(0, 0),) * 3
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))

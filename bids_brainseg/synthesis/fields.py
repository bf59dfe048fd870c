# SPDX-License-Identifier: Apache-2.0
"""Smooth fields and grids, as products of small matrices along the axes, on the host or on the device.

Everything that is rendered needs few functions of an array library: those of
:class:`bids_brainseg.core.arrays.NumpyOps`, or of :class:`bids_brainseg.synthesis.device.KerasOps`, where the
network computes. All fields are separable in space, so that each step is a product of small matrices along
the three axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_brainseg.core.arrays import ArrayNamespace, NumpyOps, Tensor


class Placement(NamedTuple):
    """Where the points of a grid lie among the voxels of an image.

    Attributes
    ----------
    matrix : (3, 4) float32 array
        Indices of the grid to those of the image.
    control : (3, a, b, c) float32 array, optional
        Displacements at control points, voxels of the image.
    basis : three float32 arrays (n, a), (m, b), (k, c), optional
        Weights of the control points for every index of the grid.
    """

    matrix: Tensor
    control: Tensor | None = None
    basis: Sequence[Tensor] | None = None


def points(placement: Placement, shape: Sequence[int], xp: ArrayNamespace = NumpyOps) -> Iterator[Tensor]:
    """Yield where the points of a grid lie in an image, one axis of the image after the other.

    Parameters
    ----------
    placement : Placement
    shape : tuple of int
        Of the grid.
    xp : {NumpyOps, KerasOps}
        What to compute with.

    Yields
    ------
    `shape` float32 array, voxel indices
    """
    x, y, z = (xp.arange(n, dtype='float32') for n in shape)
    for row in range(3):
        m = placement.matrix[row]
        point = xp.reshape(m[0] * x, (-1, 1, 1)) + xp.reshape(m[1] * y, (-1, 1)) + (m[2] * z + m[3])
        if placement.control is not None:
            point += along_axes(placement.control[row], placement.basis, xp)
        yield point


def sample_codes(
    codes: Tensor, placement: Placement, shape: Sequence[int], limit: Tensor, xp: ArrayNamespace = NumpyOps
) -> Tensor:
    """Return the codes of a label map on a grid, nearest neighbor.

    Parameters
    ----------
    codes : (I, J, K) uint8 array
        Air at all borders, to which points outside are clipped.
    placement : Placement
    shape : tuple of int
        Of the grid.
    limit : (3,) float array
        Last voxel indices that are used.
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    `shape` uint8 array
    """
    flat = None
    for row, point in enumerate(points(placement, shape, xp)):
        index = xp.cast(xp.clip(xp.round(point), 0, limit[row]), 'int32')
        flat = index if flat is None else flat * codes.shape[row] + index
    return xp.take(xp.reshape(codes, (-1,)), flat)


def along_axes(array: Tensor, matrices: Sequence[Tensor], xp: ArrayNamespace = NumpyOps) -> Tensor:
    """Multiply each axis of an array by a matrix.

    Parameters
    ----------
    array : (a, b, c) float32 array
    matrices : three arrays (i, a), (j, b), (k, c)
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    (i, j, k) float32 array

    Examples
    --------
    >>> halves = np.full((1, 2), 0.5, np.float32)
    >>> along_axes(np.arange(8, dtype=np.float32).reshape(2, 2, 2), [halves] * 3).tolist()
    [[[3.5]]]
    """
    # the last axis first: every product is then one matrix product on contiguous memory
    out = xp.matmul(array, xp.transpose(matrices[2]))
    out = xp.matmul(matrices[1], out)
    return xp.tensordot(matrices[0], out, 1)


def bspline_matrix(position: ArrayLike, count: int) -> NDArray[np.float32]:
    """Return cubic B-spline weights.

    Parameters
    ----------
    position : (n,) float array
        Positions in units of control points; clipped to the lattice.
    count : int
        Number of control points, at least 4.

    Returns
    -------
    (n, count) float32 array, rows sum to 1 between control points 1 and count - 2

    Examples
    --------
    >>> bspline_matrix(np.array([2.0]), 5).astype(float).round(3).tolist()
    [[0.0, 0.167, 0.667, 0.167, 0.0]]
    """
    position = np.clip(position, 1, count - 2)
    distance = np.abs(position[:, None] - np.arange(count))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def gaussian_matrix(count: int, deviation: float) -> NDArray[np.float32]:
    """Return the weights of a Gaussian blur.

    Parameters
    ----------
    count : int
        Number of samples.
    deviation : float
        Samples.

    Returns
    -------
    (count, count) float32 array, rows sum to 1

    Examples
    --------
    >>> gaussian_matrix(3, 0.5).astype(float).round(2).tolist()
    [[0.88, 0.12, 0.0], [0.11, 0.79, 0.11], [0.0, 0.12, 0.88]]
    """
    step = np.subtract.outer(np.arange(count), np.arange(count))
    weights = np.exp(-0.5 * (step / deviation) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def linear_matrix(position: ArrayLike, count: int) -> NDArray[np.float32]:
    """Return the weights of linear interpolation.

    Parameters
    ----------
    position : (n,) float array
        Positions in units of samples; clipped to the ends.
    count : int
        Number of samples.

    Returns
    -------
    (n, count) float32 array, rows sum to 1

    Examples
    --------
    >>> linear_matrix(np.array([0.25, 7.0]), 3).tolist()
    [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]
    """
    position = np.clip(position, 0, count - 1)
    return np.clip(1 - np.abs(position[:, None] - np.arange(count)), 0, None).astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""From a drawn scene to a scan and its labels: the arithmetic of the generative model, written once.

It needs few functions of an array library: those of :class:`bids_brainseg.core.arrays.NumpyOps`, or of
:class:`bids_brainseg.synthesis.device.KerasOps`, where the network computes. All fields are separable in
space, so that each step is a product of small matrices along the three axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bids_brainseg.core.arrays import NumpyOps
from bids_brainseg.core.intensity import percentile_limits, rescale


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

    matrix: Any
    control: Any = None
    basis: Any = None


class SceneParameters(NamedTuple):
    """All that is drawn for a pair but the noise: small arrays.

    Attributes
    ----------
    head : int
        Which label map.
    limit : (3,) float32 array
        Its last voxel indices.
    control : (3, a, b, c) float32 array
        Displacements at control points, in its voxels.
    matrix_labels, matrix_image : (3, 4) float32 array
        Indices of the grid of the labels, and of the fine grid of the image, to its voxels.
    basis_labels, basis_image : three float32 arrays
        Weights of the control points along the axes of these grids.
    classes : (n,) uint8 array
        Class of each code.
    mean, spread, variation : (n + 1,) float32 array
        Intensities of each code: their mean, the deviation of single voxels, and how far they follow a smooth
        field; the last is that of lesions.
    white : (n + 1,) bool array
        Codes that lesions may replace.
    variation_control, variation_basis
        The smooth field that the intensities of tissues follow from place to place.
    lesion_control, lesion_basis, lesion_threshold
        A smooth field, and the value above which white matter becomes lesion; None: there are none.
    gather, back : three float32 arrays each
        Fine image to acquired slices, and these to the grid of the labels.
    bias_control, bias_basis
        Logarithm of the bias field, on the acquired slices.
    background, noise_level, gamma : float
        Value of air, deviation of the noise, exponent of the intensities.
    hounsfield : bool
        Gaussian noise, no exponent and no floor, as in CT; otherwise noise of a magnitude image (Rice).
    shown : two bool arrays (I,) and (J, K), optional
        What is neither cropped nor defaced; None: everything.
    low, high, percentile
        How intensities become [0, 100]: two percentiles of the head, or two values.
    region : bool array on the grid of the labels, optional
        Where percentiles are read; None: everywhere.
    """

    head: Any
    limit: Any
    control: Any
    matrix_labels: Any
    matrix_image: Any
    basis_labels: Any
    basis_image: Any
    classes: Any
    mean: Any
    spread: Any
    variation: Any
    white: Any
    variation_control: Any
    variation_basis: Any
    lesion_control: Any
    lesion_basis: Any
    lesion_threshold: Any
    gather: Any
    back: Any
    bias_control: Any
    bias_basis: Any
    background: Any
    noise_level: Any
    gamma: Any
    hounsfield: Any
    shown: Any
    low: Any
    high: Any
    percentile: Any
    region: Any


def points(placement: Placement, shape: Sequence[int], xp=NumpyOps) -> Iterator:
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


def sample_codes(codes, placement: Placement, shape: Sequence[int], limit, xp=NumpyOps):
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


def render_labels(scene: SceneParameters, codes, xp=NumpyOps):
    """Return the class of every voxel.

    Parameters
    ----------
    scene : SceneParameters
    codes : (I, J, K) uint8 array
        Label map.
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    uint8 array on the grid of the labels
    """
    shape = [basis.shape[0] for basis in scene.basis_labels]
    placement = Placement(scene.matrix_labels, scene.control, scene.basis_labels)
    return xp.take(scene.classes, sample_codes(codes, placement, shape, scene.limit, xp))


def render_image(scene: SceneParameters, codes, noise: Sequence, xp=NumpyOps):
    """Return the scan.

    Parameters
    ----------
    scene : SceneParameters
    codes : (I, J, K) uint8 array
        Label map.
    noise : sequence of three float32 arrays
        Standard normal: texture on the fine grid, and twice the noise of the acquired slices; the last may be
        None in CT.
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    float32 array on the grid of the labels, in [0, 100]
    """
    shape = [basis.shape[0] for basis in scene.basis_image]
    placement = Placement(scene.matrix_image, scene.control, scene.basis_image)
    codes = sample_codes(codes, placement, shape, scene.limit, xp)
    if scene.lesion_control is not None:
        smooth = along_axes(scene.lesion_control, scene.lesion_basis, xp)
        patches = xp.take(scene.white, codes) & (smooth > scene.lesion_threshold)
        codes = xp.where(patches, xp.cast(scene.mean.shape[0] - 1, 'uint8'), codes)
    image = noise[0] * xp.take(scene.spread, codes)
    image += xp.take(scene.mean, codes)
    image += xp.take(scene.variation, codes) * along_axes(scene.variation_control, scene.variation_basis, xp)
    image = acquire(scene, image, noise[1:], xp)
    if scene.shown is not None:
        shown = xp.reshape(scene.shown[0], (-1, 1, 1)) & scene.shown[1]
        image = xp.where(shown, image, scene.background)
    image = xp.choose(scene.hounsfield, lambda: image, lambda: xp.maximum(image, 0.0) ** scene.gamma)
    image = xp.cast(image, 'float32')
    lower, upper = xp.choose(
        scene.percentile,
        # a cropped window may show nothing of the region
        lambda: percentile_limits(image, scene.low, scene.high, scene.region, strict=False, xp=xp),
        lambda: (scene.low, scene.high),
    )
    return xp.cast(rescale(image, lower, upper, xp), 'float32')


def acquire(scene: SceneParameters, image, noise: Sequence, xp=NumpyOps):
    """Acquire slices from a fine image, with bias and noise, and resample them onto the network grid."""
    scan = along_axes(image, scene.gather, xp)
    bias = xp.exp(along_axes(scene.bias_control, scene.bias_basis, xp))
    anchor = xp.choose(scene.hounsfield, lambda: 0.0, lambda: scene.background)
    scan = anchor + (scan - anchor) * bias
    scan += scene.noise_level * noise[0]

    def magnitude():
        other = scene.noise_level * noise[1]
        return xp.sqrt(scan * scan + other * other)

    return along_axes(xp.choose(scene.hounsfield, lambda: scan, magnitude), scene.back, xp)


def along_axes(array, matrices: Sequence, xp=NumpyOps):
    """Multiply each axis of an array by a matrix.

    Parameters
    ----------
    array : (a, b, c) float32 array
    matrices : three arrays (i, a), (j, b), (k, c)
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    (i, j, k) float32 array
    """
    # the last axis first: every product is then one matrix product on contiguous memory
    out = xp.matmul(array, xp.transpose(matrices[2]))
    out = xp.matmul(matrices[1], out)
    return xp.tensordot(matrices[0], out, 1)


def bspline_matrix(position, count: int) -> np.ndarray:
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
    """
    position = np.clip(position, 1, count - 2)
    distance = np.abs(position[:, None] - np.arange(count))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def linear_matrix(position, count: int) -> np.ndarray:
    """Return linear weights (n, count) at positions in units of samples, clipped to the ends."""
    position = np.clip(position, 0, count - 1)
    return np.clip(1 - np.abs(position[:, None] - np.arange(count)), 0, None).astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""Whether an alignment can be trusted: plausibility, agreement with the reference, coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..core import geometry
from .volumes import (
    Volume,
    dilate,
    parameters,
    sample_mask,
    sample_on_grid,
    sample_with_field,
    smooth,
    working_grid,
)


def implausible(matrix: ArrayLike, limits: Mapping | None = None) -> str | None:
    """Say why a matrix cannot be the affine between two adult heads.

    Parameters
    ----------
    matrix : (4, 4) array_like
        RAS points to RAS points.
    limits : mapping, optional
        ``plausible`` of :func:`parameters`.

    Returns
    -------
    str or None
        None if it can.

    Examples
    --------
    >>> implausible(np.diag([1.1, 1.0, 0.9, 1.0])) is None
    True
    >>> implausible(np.diag([1.1, 1.0, 0.5, 1.0]))
    'scale 0.50 outside 0.72 to 1.38'
    """
    limits = parameters()['plausible'] if limits is None else limits
    linear = np.asarray(matrix, float)[:3, :3]
    if not np.isfinite(linear).all() or np.linalg.det(linear) <= 0:
        return 'it mirrors or flattens space'
    u, scales, v = np.linalg.svd(linear)
    low, high = limits['scale']
    for scale in scales:
        if not low <= scale <= high:
            return f'scale {scale:.2f} outside {low:g} to {high:g}'
    if scales[0] / scales[2] > limits['stretch']:
        return f'stretch {scales[0] / scales[2]:.2f} above {limits["stretch"]:g}'
    angle = np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1)))
    if angle > limits['rotation_degrees']:
        return f'rotation by {angle:.0f} degrees above {limits["rotation_degrees"]:g}'
    return None


def local_agreement(
    moving: tuple[NDArray, NDArray], fixed: tuple[NDArray, NDArray], mask: NDArray, matrix: NDArray
) -> float:
    """Measure how well an alignment fits: the mean local squared correlation of scan and reference.

    Parameters
    ----------
    moving, fixed : (data, affine) pairs
        Scan and reference; data (I, J, K), affine (4, 4) RAS millimeters.
    mask : bool array
        The reference's brain, on its grid.
    matrix : (4, 4) array
        Maps reference points to scan points, RAS millimeters.

    Returns
    -------
    float
        In [0, 1]: 1 for the same image, about 0.6 for a well aligned head, about 0.3 for one that is 10 mm or
        20 degrees off or for an ellipsoid, 0.15 or less for noise.

    Notes
    -----
    The correlation is taken in a Gaussian window around each point of the reference's brain. Squared, so that
    a scan of reversed contrast counts as well; local, so that the scanner's shading does not matter. Only the
    brain and a rim of a few millimeters take part, so that scans with and without a skull can be compared.
    """
    settings = parameters()['quality']
    moving, fixed = Volume(*moving), Volume(*fixed)
    grid = {'spacing_mm': settings['spacing_mm'], 'margin_mm': 0.0}
    shape, affine = working_grid(fixed, mask, grid)
    inside = sample_mask(mask, fixed.affine, shape, affine)
    reference = sample_on_grid(smooth(fixed, settings['fwhm_mm']), shape, affine, np.eye(4))
    scan, field = sample_with_field(smooth(moving, settings['fwhm_mm']), shape, affine, matrix)
    seen = field & dilate(inside, settings['rim_mm'], affine)
    inside &= field
    if not inside.any():
        return 0.0
    agreement = _local_correlation(reference, scan, seen, settings['window_mm'] / settings['spacing_mm'])
    return float(agreement[inside].mean())


def label_agreement(image: NDArray, labels: NDArray, affine: NDArray) -> float:
    """Measure how well a label map fits the scan on whose grid it is.

    Each label is replaced by the mean intensity that the scan has in it, and the result is compared with the
    scan by :func:`local_agreement`.

    Parameters
    ----------
    image : (I, J, K) array
        Scan, any units.
    labels : (I, J, K) array of int
        Class indices, 0 is background.
    affine : (4, 4) array
        Voxel to RAS millimeters of both.

    Returns
    -------
    float
        In [0, 1]; 0 for a label map without labels. The number depends on the contrast of the scan, so only
        scans of one modality can be compared.
    """
    image, labels = np.asarray(image, np.float32), np.asarray(labels)
    mask = labels > 0
    if not mask.any():
        return 0.0
    counts = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), image.ravel()) / np.maximum(counts, 1)
    rim = dilate(mask, parameters()['quality']['rim_mm'] * 2, affine) & ~mask
    means[0] = image[rim].mean() if rim.any() else 0
    return local_agreement((image, affine), (means[labels].astype(np.float32), affine), mask, np.eye(4))


def field_coverage(
    shape: Sequence[int], affine: NDArray, mask: NDArray, mask_affine: NDArray, matrix: NDArray
) -> float:
    """Measure which fraction of a mask lies inside a scan's field of view.

    Parameters
    ----------
    shape : tuple of int
        Shape of the scan.
    affine : (4, 4) array
        Voxel to RAS millimeters of the scan.
    mask : bool array
        Of the reference.
    mask_affine : (4, 4) array
        Voxel to RAS millimeters of the mask.
    matrix : (4, 4) array
        Maps reference points to scan points, RAS millimeters.

    Returns
    -------
    float
        In [0, 1].
    """
    to_voxel = geometry.invert(affine) @ matrix @ mask_affine
    voxels = to_voxel[:3, :3] @ np.stack(np.nonzero(mask)) + to_voxel[:3, 3:]
    size = np.array(shape)[:, None]
    return float(np.mean(np.all((voxels >= -0.5) & (voxels <= size - 0.5), axis=0)))


def _local_correlation(
    reference: NDArray, scan: NDArray, seen: NDArray[np.bool_], sigma: float
) -> NDArray[np.float64]:
    """Return the squared correlation in Gaussian windows over the voxels that are seen."""
    weight = ndimage.gaussian_filter(seen.astype(np.float64), sigma) + 1e-6

    def mean(values: NDArray) -> NDArray:
        return ndimage.gaussian_filter(np.where(seen, values, 0), sigma) / weight

    reference, scan = reference.astype(np.float64), scan.astype(np.float64)
    mean_r, mean_s = mean(reference), mean(scan)
    var_r = np.maximum(mean(reference**2) - mean_r**2, 0)
    var_s = np.maximum(mean(scan**2) - mean_s**2, 0)
    covariance = mean(reference * scan) - mean_r * mean_s
    return covariance**2 / (var_r * var_s + 1e-8)

# SPDX-License-Identifier: Apache-2.0
"""Can an alignment be trusted?"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core import geometry
from .volumes import Volume, dilate, parameters, regrid, regrid_mask, regrid_with_field, smooth, working_grid


def implausible(matrix: np.ndarray, limits: dict | None = None) -> str | None:
    """Say why a matrix cannot be what lies between two adult heads, or return None.

    >>> implausible(np.diag([1.1, 1.0, 0.9, 1.0])) is None
    True
    >>> implausible(np.diag([1.1, 1.0, 0.5, 1.0]))
    'scale 0.50 outside 0.72 to 1.38'
    """
    limits = parameters()['plausible'] if limits is None else limits
    linear = np.asarray(matrix, float)[:3, :3]
    if not np.isfinite(linear).all() or np.linalg.det(linear) <= 0:
        return 'it mirrors or collapses space'
    u, scales, v = np.linalg.svd(linear)
    low, high = limits['scale']
    for scale in scales:
        if not low <= scale <= high:
            return f'scale {scale:.2f} outside {low:g} to {high:g}'
    if scales[0] / scales[2] > limits['stretch']:
        return f'stretch {scales[0] / scales[2]:.2f} above {limits["stretch"]:g}'
    turn = np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1)))
    if turn > limits['rotation_degrees']:
        return f'rotation by {turn:.0f} degrees above {limits["rotation_degrees"]:g}'
    return None


def local_agreement(moving, fixed, mask, matrix) -> float:
    """Return the quality number of an alignment.

    In a Gaussian window around each point of the reference's brain the squared correlation between reference
    and aligned scan is taken, then its mean. Squared: a scan of reversed contrast counts as well. Local: the
    scanner's shading does not matter. Only the brain and a rim of a few millimeters take part, so that scans
    with and without a skull can be compared.

    Parameters
    ----------
    moving, fixed : (data, affine) pairs
        Scan and reference; data (I, J, K), affine (4, 4) RAS millimeters.
    mask : array of bool
        The reference's brain, on its grid.
    matrix : (4, 4) array
        Maps reference points to scan points, RAS millimeters.

    Returns
    -------
    agreement : float
        In [0, 1]: 1 for the same image, about 0.6 for a well aligned head, about 0.3 for one that is 10 mm or
        20 degrees off or for an ellipsoid, 0.15 or less for noise.
    """
    settings = parameters()['quality']
    moving, fixed = Volume(*moving), Volume(*fixed)
    grid = {'spacing_mm': settings['spacing_mm'], 'margin_mm': 0.0}
    shape, affine = working_grid(fixed, mask, grid)
    inside = regrid_mask(mask, fixed.affine, shape, affine)
    reference = regrid(smooth(fixed, settings['fwhm_mm']), shape, affine, np.eye(4))
    scan, field = regrid_with_field(smooth(moving, settings['fwhm_mm']), shape, affine, matrix)
    seen = field & dilate(inside, settings['rim_mm'], affine)
    inside &= field
    if not inside.any():
        return 0.0
    agreement = _local_correlation(reference, scan, seen, settings['window_mm'] / settings['spacing_mm'])
    return float(agreement[inside].mean())


def label_agreement(image: np.ndarray, labels: np.ndarray, affine: np.ndarray) -> float:
    """Return how well a label map fits the scan that it lies on.

    The labels are painted with the mean intensity that the scan has in each, and this picture is compared
    with the scan by :func:`local_agreement`.

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


def field_coverage(shape, affine, mask, mask_affine, matrix) -> float:
    """Return the share of a mask that lies inside a scan's field of view.

    Parameters
    ----------
    shape : tuple of int
        Shape of the scan.
    affine : (4, 4) array
        Voxel to RAS millimeters of the scan.
    mask : array of bool
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


def _local_correlation(reference, scan, seen, sigma):
    """Return the squared correlation in Gaussian windows over the voxels that are seen."""
    share = ndimage.gaussian_filter(seen.astype(np.float64), sigma) + 1e-6

    def mean(values):
        return ndimage.gaussian_filter(np.where(seen, values, 0), sigma) / share

    reference, scan = reference.astype(np.float64), scan.astype(np.float64)
    mean_r, mean_s = mean(reference), mean(scan)
    var_r = np.maximum(mean(reference**2) - mean_r**2, 0)
    var_s = np.maximum(mean(scan**2) - mean_s**2, 0)
    covariance = mean(reference * scan) - mean_r * mean_s
    return covariance**2 / (var_r * var_s + 1e-8)

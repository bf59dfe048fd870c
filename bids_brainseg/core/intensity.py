# SPDX-License-Identifier: Apache-2.0
"""Intensities to the range [0, 100] that the networks read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

UPPER = 100.0


def normalize(image, rule: Mapping, region=None) -> np.ndarray:
    """Map intensities to [0, 100] by the rule of a model bundle.

    Parameters
    ----------
    image : (I, J, K) array
        Intensities in arbitrary units (MR) or Hounsfield units (CT). Voxels that are not finite count as
        background and become 0.
    rule : mapping
        ``{'type': 'percentile', 'low': p, 'high': q}``: the percentiles p and q of the head (see
        :func:`head_mask`) become 0 and 100. With ``'region': 'cavity'``, p is that of all voxels, so that
        air becomes 0, and q that of the brain (see :func:`brain_mask`): fat outside the skull may be three
        times as bright as the brain, or cut away.
        ``{'type': 'window', 'low': a, 'high': b}``: the values a and b become 0 and 100.
    region : (I, J, K) bool array, optional
        Where the brain is expected; for rules that name a region.

    Returns
    -------
    (I, J, K) float32 array in [0, 100]

    Raises
    ------
    ValueError
        If the rule is unknown, needs a region that is not given, or the range it gives is empty.

    Examples
    --------
    >>> normalize(np.array([-1000.0, 0.0, 40.0, 900.0]), {'type': 'window', 'low': 0, 'high': 80}).tolist()
    [0.0, 0.0, 50.0, 100.0]
    """
    image = np.asarray(image, np.float32)
    finite = np.isfinite(image)
    if rule['type'] == 'window':
        low, high = float(rule['low']), float(rule['high'])
    elif rule['type'] == 'percentile':
        low, high = _percentiles(image, rule, region)
    else:
        raise ValueError(
            f"intensity rule must be 'percentile' or 'window'. Received instead: {rule['type']!r}"
        )
    if not high > low:
        raise ValueError(f'intensities span nothing: lower limit {low:g}, upper limit {high:g}')
    scaled = np.where(finite, image, low)
    scaled -= low
    scaled *= UPPER / (high - low)
    return np.clip(scaled, 0.0, UPPER, out=scaled)


def _percentiles(image, rule, region) -> tuple[float, float]:
    where, kind = head_mask(image), rule.get('region')
    if not where.any():
        raise ValueError('no voxel above the background: the image is constant or empty')
    if kind is None:
        return tuple(np.percentile(image[where], [rule['low'], rule['high']]))
    if kind != 'cavity':
        raise ValueError(f"the region of an intensity rule must be 'cavity'. Received instead: {kind!r}")
    if region is None:
        raise ValueError('the intensity rule reads a region, and none is given')
    where = brain_mask(image, region)
    if not where.any():
        raise ValueError('no signal where the brain should be: the alignment must be wrong')
    return np.percentile(image[np.isfinite(image)], rule['low']), np.percentile(image[where], rule['high'])


def brain_mask(image, region) -> np.ndarray:
    """Separate what gives signal from air where the brain is expected.

    Parameters
    ----------
    image : (I, J, K) array
        MR intensities, arbitrary units.
    region : (I, J, K) bool array
        Where the brain is expected.

    Returns
    -------
    (I, J, K) bool array
        :func:`head_mask` within `region`. What is brighter than the 99.5th percentile of the region counts as
        that bright: otherwise bright fat is the head, and the brain the background.
    """
    image = np.asarray(image, np.float32)
    values = image[region & np.isfinite(image)]
    if not values.size:
        return np.zeros(image.shape, bool)
    return region & head_mask(np.minimum(image, np.percentile(values, 99.5)))


def head_mask(image) -> np.ndarray:
    """Separate what gives signal from air.

    Parameters
    ----------
    image : (I, J, K) array
        MR intensities, arbitrary units.

    Returns
    -------
    (I, J, K) bool array
        True where a finite voxel exceeds the threshold of Otsu, damped by one half so that dark tissue
        (skull, fluid) stays in. An empty mask if all finite voxels are equal.

    Notes
    -----
    Otsu's threshold maximizes the variance between the two classes of a histogram
    (doi 10.1109/TSMC.1979.4310076); 256 bins between the 0.1st and the 99.5th percentile, which keeps
    a few extreme voxels from taking all the bins.
    """
    image = np.asarray(image, np.float32)
    finite = np.isfinite(image)
    values = image[finite]
    if not values.size:
        return finite
    low, high = np.percentile(values[:: max(1, values.size // 500_000)], [0.1, 99.5])
    if not high > low:
        low, high = float(values.min()), float(values.max())
        if not high > low:
            return np.zeros(image.shape, bool)
    counts, edges = np.histogram(values, bins=256, range=(low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    mass = np.cumsum(counts * centers)
    other = weight[-1] - weight
    with np.errstate(divide='ignore', invalid='ignore'):
        between = weight * other * (mass / weight - (mass[-1] - mass) / other) ** 2
    between[~np.isfinite(between)] = 0
    # an empty gap between air and head is a plateau: take its middle
    threshold = centers[between >= between.max() * (1 - 1e-6)].mean()
    return finite & (image > low + 0.5 * (threshold - low))

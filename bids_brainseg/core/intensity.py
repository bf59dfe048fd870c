# SPDX-License-Identifier: Apache-2.0
"""Intensities to the range [0, 100] that the networks read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

UPPER = 100.0


def normalize(image, rule: Mapping) -> np.ndarray:
    """Map intensities to [0, 100] by the rule of a model bundle.

    Parameters
    ----------
    image : (I, J, K) array
        Intensities in arbitrary units (MR) or Hounsfield units (CT). Voxels that are not finite count as
        background and become 0.
    rule : mapping
        ``{'type': 'percentile', 'low': p, 'high': q}``: the percentiles p and q of the head (see
        :func:`head_mask`) become 0 and 100.
        ``{'type': 'window', 'low': a, 'high': b}``: the values a and b become 0 and 100.

    Returns
    -------
    (I, J, K) float32 array in [0, 100]

    Raises
    ------
    ValueError
        If the rule is unknown or the range it gives is empty.

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
        inside = image[head_mask(image)]
        if not inside.size:
            raise ValueError('no voxel above the background: the image is constant or empty')
        low, high = np.percentile(inside, [rule['low'], rule['high']])
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
    Otsu's threshold maximises the variance between the two classes of a histogram
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
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    mass = np.cumsum(counts * centres)
    other = weight[-1] - weight
    with np.errstate(divide='ignore', invalid='ignore'):
        between = weight * other * (mass / weight - (mass[-1] - mass) / other) ** 2
    between[~np.isfinite(between)] = 0
    # an empty gap between air and head is a plateau: take its middle
    threshold = centres[between >= between.max() * (1 - 1e-6)].mean()
    return finite & (image > low + 0.5 * (threshold - low))

# SPDX-License-Identifier: Apache-2.0
"""Intensities to the range [0, 100] that the networks read, on the host as on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import NumpyOps

UPPER = 100.0
#: Keeps the scale factor of an image without contrast finite in single precision.
SMALLEST_RANGE = 1e-30


def normalize(image: ArrayLike, rule: Mapping, region: NDArray | None = None) -> NDArray[np.float32]:
    """Map intensities to [0, 100] by the rule of a model bundle.

    Parameters
    ----------
    image : (I, J, K) array_like
        Intensities in arbitrary units (MR) or Hounsfield units (CT). Voxels that are not finite count as
        background and become 0.
    rule : mapping
        ``{'type': 'percentile', 'low': p, 'high': q}``: the percentiles p and q of the head become 0 and 100.
        With ``'region': 'cavity'``, p is that of all voxels, so that air becomes 0, and q that of the brain:
        fat outside the skull may be three times as bright as the brain, or cut away. See
        :func:`percentile_limits`.
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
    if rule['type'] == 'window':
        low, high = float(rule['low']), float(rule['high'])
    elif rule['type'] == 'percentile':
        kind = rule.get('region')
        if kind not in (None, 'cavity'):
            raise ValueError(f"the region of an intensity rule must be 'cavity'. Received instead: {kind!r}")
        if kind is not None and region is None:
            raise ValueError('the intensity rule reads a region, and none is given')
        low, high = percentile_limits(image, rule['low'], rule['high'], None if kind is None else region)
    else:
        raise ValueError(
            f"intensity rule must be 'percentile' or 'window'. Received instead: {rule['type']!r}"
        )
    if not high > low:
        raise ValueError(
            f'the range of intensities to normalize is empty: from {low:g} to {high:g}; check the image'
        )
    return rescale(np.where(np.isfinite(image), image, low), low, high).astype(np.float32, copy=False)


def percentile_limits(
    image: Any, low: Any, high: Any, region: Any = None, *, strict: bool = True, xp: Any = NumpyOps
) -> tuple[Any, Any]:
    """Find the intensities that percentiles of the head, or of the brain in it, stand for.

    Parameters
    ----------
    image : (I, J, K) float array of `xp`
        MR intensities, arbitrary units.
    low, high : float
        Per cent.
    region : (I, J, K) bool array of `xp`, optional
        Where the brain is expected.
    strict : bool
        Refuse a region without signal; otherwise it is left out of account.
    xp : array namespace
        :class:`bids_brainseg.core.arrays.NumpyOps`, or one like it.

    Returns
    -------
    lower, upper : float
        Without a region the percentiles of the head: of what exceeds :func:`head_threshold`. With one, `low`
        is the percentile of all voxels and `high` that of the brain: of what exceeds the threshold within the
        region. What is brighter than the 99.5th percentile of the region then counts as that bright, since
        otherwise bright fat would be the head, and the brain the background.

    Raises
    ------
    ValueError
        If the image is constant or empty, or nothing in the region gives signal.
    """
    values = xp.intensities(image)
    xp.require(values.count > 0, 'no voxel above the background: the image is constant or empty')

    def of_head() -> tuple[Any, Any]:
        head = values.above(head_threshold(values, xp))
        xp.require(head.count > 0, 'no voxel above the background: the image is constant or empty')
        return tuple(head.percentile((low, high)))

    if region is None:
        return of_head()
    within = xp.intensities(image, region)
    threshold = xp.choose(
        within.count > 0,
        lambda: head_threshold(values.capped(within.percentile(99.5)), xp),
        lambda: float('inf'),
    )
    brain = within.above(threshold)
    if strict:
        xp.require(brain.count > 0, 'no signal where the brain should be: the alignment must be wrong')
    return xp.choose(brain.count > 0, lambda: (values.percentile(low), brain.percentile(high)), of_head)


def head_threshold(values: Any, xp: Any = NumpyOps) -> Any:
    """Find the intensity that separates what gives signal from air.

    Parameters
    ----------
    values : Intensities of `xp`
        Of the whole image, arbitrary units.
    xp : array namespace

    Returns
    -------
    float
        The threshold of Otsu, moved halfway to the darkest value so that dark tissue (skull, fluid) stays
        in; infinite if all values are equal.

    Notes
    -----
    Otsu's threshold maximizes the variance between the two classes of a histogram
    (doi:10.1109/TSMC.1979.4310076); 256 bins between the 0.1st and the 99.5th percentile, which keeps a few
    extreme voxels from taking all the bins.
    """
    low, high = values.about_percentile((0.1, 99.5))
    low, high = xp.choose(high > low, lambda: (low, high), values.extremes)
    return xp.choose(high > low, lambda: _halfway_to_otsu(values, low, high, xp), lambda: float('inf'))


def _halfway_to_otsu(values: Any, low: Any, high: Any, xp: Any) -> Any:
    counts, edges = values.histogram(low, high)
    centers = (edges[:-1] + edges[1:]) / 2
    weight, mass = xp.cumsum(counts), xp.cumsum(counts * centers)
    other = weight[-1] - weight
    gap = mass / xp.maximum(weight, 1) - (mass[-1] - mass) / xp.maximum(other, 1)
    between = weight * other * gap**2
    # an empty gap between air and head is a plateau: take its middle
    otsu = xp.mean(centers, between >= xp.max(between) * (1 - 1e-6))
    return low + 0.5 * (otsu - low)


def rescale(image: Any, lower: Any, upper: Any, xp: Any = NumpyOps) -> Any:
    """Map intensities to [0, 100], what lies beyond the limits included.

    Parameters
    ----------
    image : array of `xp`
    lower, upper : float
        What becomes 0 and 100.
    xp : array namespace

    Returns
    -------
    array of `xp` of that shape
    """
    return xp.clip((image - lower) * (UPPER / xp.maximum(upper - lower, SMALLEST_RANGE)), 0.0, UPPER)

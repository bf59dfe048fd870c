# SPDX-License-Identifier: Apache-2.0
"""Summaries of measurements over scans: quartiles, and correlation with its interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

NAN = float('nan')


class Summary(NamedTuple):
    """Number of values, mean, sample standard deviation, and the five numbers of a box plot."""

    n: int
    mean: float
    sd: float
    minimum: float
    q1: float
    median: float
    q3: float
    maximum: float


class Correlation(NamedTuple):
    """Pearson's r, the ends of its confidence interval, and the number of pairs."""

    r: float
    low: float
    high: float
    n: int


def summarize(values: ArrayLike) -> Summary:
    """Summarize values by mean and quartiles; what is not finite is left out.

    Parameters
    ----------
    values : array_like of float

    Returns
    -------
    Summary
        In the unit of the values; nan where nothing is left, and for the deviation of a single value.

    Notes
    -----
    Quartiles are interpolated linearly between the ordered values.

    Examples
    --------
    >>> summarize([1, 2, 3, 4, float('inf')])[4:7]
    (1.75, 2.5, 3.25)
    """
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return Summary(0, *[NAN] * 7)
    deviation = float(values.std(ddof=1)) if values.size > 1 else NAN
    return Summary(
        values.size, float(values.mean()), deviation, *map(float, np.percentile(values, (0, 25, 50, 75, 100)))
    )


def pearson(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> Correlation:
    """Correlate two measurements of the same scans.

    Parameters
    ----------
    x, y : (n,) array_like
        Pairs of which one is not finite are left out.
    confidence : float
        Of the interval, in (0, 1).

    Returns
    -------
    Correlation
        r is nan for fewer than three pairs or a constant measurement; the interval for fewer than four pairs.

    Raises
    ------
    ValueError
        If the lengths differ.

    Notes
    -----
    The interval is Fisher's: arctanh r is about normal with variance 1 / (n - 3), doi:10.2307/2331838.
    """
    x, y = (np.asarray(values, np.float64).ravel() for values in (x, y))
    if x.shape != y.shape:
        raise ValueError(f'expected two measurements of the same scans, got {x.size} and {y.size}')
    valid = np.isfinite(x) & np.isfinite(y)
    x, y = x[valid], y[valid]
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(NAN, NAN, NAN, x.size)
    result = stats.pearsonr(x, y)
    low, high = result.confidence_interval(confidence) if x.size > 3 else (NAN, NAN)
    return Correlation(float(result.statistic), float(low), float(high), x.size)

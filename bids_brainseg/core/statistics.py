# SPDX-License-Identifier: Apache-2.0
"""Summaries over scans: quartiles, correlation, and agreement of raters, with their intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

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
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    if x.size == 3:
        return Correlation(r, NAN, NAN, 3)
    margin = ndtri((1 + confidence) / 2) / np.sqrt(x.size - 3)
    with np.errstate(divide='ignore'):  # of a perfect correlation
        low, high = np.tanh(np.arctanh(r) + np.array([-margin, margin]))
    return Correlation(r, float(low), float(high), x.size)


class Kappa(NamedTuple):
    """Cohen's kappa, the ends of its confidence interval, and the number of scans."""

    kappa: float
    low: float
    high: float
    n: int


def cohen_kappa(counts: ArrayLike, *, weights: ArrayLike | None = None, confidence: float = 0.95) -> Kappa:
    """Measure how far two raters agree beyond chance.

    Parameters
    ----------
    counts : (K, K) array_like of int
        Scans that the first rater put into the category of the row and the second into that of the column.
    weights : (K, K) array_like of float, optional
        Credit for each pair of categories, 1 on the diagonal; by default 0 elsewhere. For ordered categories
        :func:`linear_weights` gives part of the credit to neighbors.
    confidence : float
        Of the interval, in (0, 1).

    Returns
    -------
    Kappa
        1 is perfect agreement, 0 as much as by chance. nan with fewer than two scans, and where both raters
        used one and the same category only. The interval is cut to [-1, 1]; it is nan where it would have no
        width, as with raters who agree on every scan or on none.

    Raises
    ------
    ValueError
        If the counts are not square, or the weights of another shape.

    Notes
    -----
    kappa = (p_o - p_e) / (1 - p_e), with p_o the observed and p_e the expected weighted agreement
    (doi:10.1177/001316446002000104, doi:10.1037/h0026256). The interval is kappa +- z SE with the standard
    error of Fleiss, Cohen and Everitt for large samples (doi:10.1037/h0028106).

    Examples
    --------
    >>> [round(value, 3) for value in cohen_kappa([[20, 5], [10, 15]])]
    [0.4, 0.151, 0.649, 50]
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f'expected a square table of counts, got shape {counts.shape}')
    weights = np.eye(len(counts)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != counts.shape:
        raise ValueError(f'expected weights of shape {counts.shape}, got {weights.shape}')
    n = int(counts.sum())
    if n < 2:
        return Kappa(NAN, NAN, NAN, n)
    share = counts / n
    of_first, of_second = share.sum(axis=1), share.sum(axis=0)
    expected = float(of_first @ weights @ of_second)
    if np.isclose(expected, 1):
        return Kappa(NAN, NAN, NAN, n)
    kappa = (float((weights * share).sum()) - expected) / (1 - expected)
    credit = (weights @ of_second)[:, None] + (of_first @ weights)[None, :]
    spread = (share * (weights - credit * (1 - kappa)) ** 2).sum() - (kappa - expected * (1 - kappa)) ** 2
    if np.isclose(spread, 0):
        return Kappa(kappa, NAN, NAN, n)
    margin = float(ndtri((1 + confidence) / 2) * np.sqrt(spread / n) / (1 - expected))
    return Kappa(kappa, max(kappa - margin, -1.0), min(kappa + margin, 1.0), n)


def linear_weights(k: int) -> np.ndarray:
    """Return credit that falls linearly with the distance of ordered categories, (k, k), k > 1.

    >>> linear_weights(3).tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
    """
    place = np.arange(k)
    return 1 - np.abs(place[:, None] - place) / (k - 1)

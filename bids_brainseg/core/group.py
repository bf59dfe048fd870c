# SPDX-License-Identifier: Apache-2.0
"""Compare a scan with many: robust scores, residuals over head size, agreement of repeated scans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: With fewer values nothing is scored: they say too little about what is usual.
MINIMUM = 10
#: Robust scores beyond this are called outliers (Iglewicz and Hoaglin 1993).
LIMIT = 3.5
#: Median absolute deviation to standard deviation, for normal values: 1 / quantile(3/4).
MAD_TO_SD = 1.4826022185056018


class RobustScores(NamedTuple):
    """Robust scores, (N, S), with the median, the spread and the number of values of each column, (S,).

    `median` and `spread` are in the unit of the values.
    """

    scores: NDArray[np.float64]
    median: NDArray[np.float64]
    spread: NDArray[np.float64]
    count: NDArray[np.int64]


class Residuals(NamedTuple):
    """Residuals of a linear fit, (N, S); its coefficients and number of values, (S,)."""

    residuals: NDArray[np.float64]
    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    count: NDArray[np.int64]


class Agreement(NamedTuple):
    """Number of pairs, mean and standard deviation of first - second, concordance correlation."""

    count: int
    difference: float
    spread: float
    concordance: float


def robust_scores(values: ArrayLike, reference: ArrayLike, *, minimum: int = MINIMUM) -> RobustScores:
    """Score values by their distance from the median in robust standard deviations.

    Parameters
    ----------
    values : (N, S) array_like
        One row per scan, one column per structure, any unit; nan where there is none.
    reference : (N,) array_like of bool
        Rows that median and spread are taken from; all rows are scored.
    minimum : int
        Values that a column of the reference must have.

    Returns
    -------
    RobustScores
        nan for a value that is nan, for a column with fewer than `minimum` values, and for one of which
        half or more are equal (its spread is then 0, and any other value infinitely far).

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    z = (x - median) / (1.4826 MAD); 1.4826 makes the median absolute deviation a consistent estimate of the
    standard deviation of normal values (doi:10.1080/01621459.1993.10476408). Median and MAD stand up to half
    of the values being wrong (doi:10.1016/j.jesp.2013.03.013).

    Examples
    --------
    >>> result = robust_scores([[0.0], [1], [2], [3], [100]], [True] * 5, minimum=5)
    >>> result.median.tolist(), (result.scores[:, 0] * MAD_TO_SD).round(9).tolist()
    ([2.0], [-2.0, -1.0, 0.0, 1.0, 98.0])
    """
    values, reference = _table(values, reference)
    usual = values[reference]
    count = np.isfinite(usual).sum(axis=0)
    enough = count >= max(minimum, 1)
    median = np.full(values.shape[1], np.nan)
    spread = median.copy()
    median[enough] = np.nanmedian(usual[:, enough], axis=0)
    spread[enough] = MAD_TO_SD * np.nanmedian(np.abs(usual[:, enough] - median[enough]), axis=0)
    scores = np.full(values.shape, np.nan)
    np.divide(values - median, spread, out=scores, where=spread > 0)
    return RobustScores(scores, median, spread, count)


def residuals(
    values: ArrayLike, covariate: ArrayLike, reference: ArrayLike, *, minimum: int = MINIMUM
) -> Residuals:
    """Regress a covariate out of each column.

    Parameters
    ----------
    values : (N, S) array_like
        One row per scan, one column per structure, any unit; nan where there is none.
    covariate : (N,) array_like
        Head size, as a rule; nan where unknown.
    reference : (N,) array_like of bool
        Rows that the line is fitted to; residuals are computed for all rows.
    minimum : int
        Pairs that a column of the reference must have.

    Returns
    -------
    Residuals
        nan where value or covariate is nan, and for a column with fewer than `minimum` pairs or without any
        variation of the covariate.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Ordinary least squares, as in the residual method of normalizing by head size
    (doi:10.3389/fnagi.2014.00264).

    Examples
    --------
    >>> fit = residuals([[3.0], [5], [7], [10]], [1, 2, 3, 4], [True, True, True, False], minimum=3)
    >>> fit.slope.round(9).tolist(), fit.residuals[:, 0].round(9).tolist()
    ([2.0], [0.0, 0.0, 0.0, 1.0])
    """
    values, reference = _table(values, reference)
    covariate = np.asarray(covariate, dtype=np.float64)
    if covariate.shape != reference.shape:
        raise ValueError(f'Expected a covariate of shape {reference.shape}, got {covariate.shape}')
    valid = reference[:, None] & np.isfinite(values) & np.isfinite(covariate)[:, None]
    count = valid.sum(axis=0)
    intercept, slope = np.full((2, values.shape[1]), np.nan)
    for column in np.flatnonzero(count >= max(minimum, 2)):
        x, y = covariate[valid[:, column]], values[valid[:, column], column]
        centered = x - x.mean()
        if (square := centered @ centered) > 0:
            slope[column] = centered @ (y - y.mean()) / square
            intercept[column] = y.mean() - slope[column] * x.mean()
    remaining = values - (intercept + covariate[:, None] * slope)
    return Residuals(remaining, intercept, slope, count)


def fraction_of(values: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Express volumes as fractions of a whole.

    Parameters
    ----------
    values : (N, S) array_like
    whole : (N,) array_like
        In the unit of `values`.

    Returns
    -------
    (N, S) float64 array
        nan where the whole is not above 0.

    Examples
    --------
    >>> fraction_of([[1.0, 3.0], [2.0, 2.0]], [4.0, 0.0]).tolist()
    [[0.25, 0.75], [nan, nan]]
    """
    values, whole = np.asarray(values, np.float64), np.asarray(whole, np.float64)[:, None]
    out = np.full(values.shape, np.nan)
    return np.divide(values, whole, out=out, where=whole > 0)


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Compare two measurements of the same things.

    Parameters
    ----------
    first, second : (N,) array_like, the same unit
        Pairs with a nan are left out.

    Returns
    -------
    Agreement
        Mean and sample standard deviation of first - second (doi:10.1016/S0140-6736(86)90837-8), and Lin's
        concordance correlation (doi:10.2307/2532051): 1 where all pairs are equal, less with scatter or a
        systematic difference. nan with fewer than 3 pairs; the concordance also if nothing varies.

    Raises
    ------
    ValueError
        If there are not as many of one as of the other.

    Examples
    --------
    >>> agreement([1.0, 2, 3], [2.0, 3, 4])[:3]
    (3, -1.0, 0.0)
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f'Expected pairs, got shapes {first.shape} and {second.shape}')
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    if len(first) < 3:
        return Agreement(len(first), np.nan, np.nan, np.nan)
    difference = first - second
    shared = np.mean((first - first.mean()) * (second - second.mean()))
    apart = first.var() + second.var() + difference.mean() ** 2
    concordance = 2 * shared / apart if apart > 0 else np.nan
    return Agreement(len(first), float(difference.mean()), float(difference.std(ddof=1)), float(concordance))


def _table(values: ArrayLike, reference: ArrayLike) -> tuple[NDArray, NDArray]:
    values, reference = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=bool)
    if values.ndim != 2 or reference.shape != values.shape[:1]:
        raise ValueError(
            f'Expected values of shape (scans, structures) and one flag per scan, '
            f'got {values.shape} and {reference.shape}'
        )
    return values, reference

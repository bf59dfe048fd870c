# SPDX-License-Identifier: Apache-2.0
"""How well a quality number detects bad segmentations, and thresholds for it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import NAN, Correlation, pearson

#: A segmentation is bad below this fraction of the median mean Dice, unless the user gives a limit.
ACCEPTABLE_FRACTION = 0.9


class Roc(NamedTuple):
    """Points of a ROC curve, from the strictest threshold to the most lenient one.

    A scan is flagged where its number is beyond the threshold. `sensitivity` is the fraction of the bad
    scans that are flagged, `specificity` that of the good scans that are not.
    """

    thresholds: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]


class Threshold(NamedTuple):
    """A threshold, with its sensitivity and specificity on the scans it was chosen on."""

    value: float
    sensitivity: float
    specificity: float


class Calibration(NamedTuple):
    """How well one number predicts D_A.

    `above` says whether high numbers are bad. `bad` and `n` count scans; `auc` is nan, and the thresholds
    are None, where all scans are good or all are bad.
    """

    correlation: Correlation
    above: bool
    bad: int
    n: int
    auc: float
    youden: Threshold | None
    conservative: Threshold | None
    curve: Roc | None


def roc(numbers: ArrayLike, bad: ArrayLike, *, above: bool = True) -> Roc:
    """Compute sensitivity and specificity at every threshold that makes a difference.

    Parameters
    ----------
    numbers : (n,) array_like
        The quality number of each scan, finite.
    bad : (n,) array_like of bool
        Whether the segmentation is not good enough.
    above : bool
        Flag high numbers; otherwise low ones.

    Returns
    -------
    Roc
        Begins with a threshold that flags nothing and ends with one that flags all, both infinite; the others
        lie halfway between neighboring numbers.

    Raises
    ------
    ValueError
        If the lengths differ, a number is not finite, or not both kinds of scan are there.

    Examples
    --------
    >>> roc([1, 2, 3, 4], [False, True, False, True]).sensitivity.tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    numbers, bad = np.asarray(numbers, np.float64), np.asarray(bad, bool)
    if numbers.shape != bad.shape or numbers.ndim != 1:
        raise ValueError(f'expected one flag for each number, got {bad.shape} for {numbers.shape}')
    if not np.isfinite(numbers).all():
        raise ValueError('the numbers must be finite')
    if bad.all() or not bad.any():
        raise ValueError(f'a ROC curve needs good and bad scans, got {bad.sum()} bad ones of {bad.size}')
    signed = numbers if above else -numbers
    steps = np.unique(signed)[::-1]
    flagged = signed >= steps[:, None]
    sensitivity = np.r_[0.0, flagged[:, bad].mean(axis=1)]
    specificity = np.r_[1.0, 1 - flagged[:, ~bad].mean(axis=1)]
    thresholds = np.r_[np.inf, (steps[1:] + steps[:-1]) / 2, -np.inf]
    return Roc(thresholds if above else -thresholds, sensitivity, specificity)


def area(curve: Roc) -> float:
    """Measure the area under a ROC curve.

    Parameters
    ----------
    curve : Roc

    Returns
    -------
    float, 0 to 1
        The chance that a bad scan has a worse number than a good one, equal numbers counting half.

    Notes
    -----
    Hanley and McNeil, Radiology 1982, doi:10.1148/radiology.143.1.7063747.
    """
    heights = (curve.sensitivity[1:] + curve.sensitivity[:-1]) / 2
    return float(heights @ -np.diff(curve.specificity))


def youden_threshold(curve: Roc) -> Threshold:
    """Choose the threshold with the largest sensitivity + specificity - 1.

    Parameters
    ----------
    curve : Roc

    Returns
    -------
    Threshold
        Of equally good ones the strictest: it flags the fewest scans.

    Notes
    -----
    Youden, Cancer 1950, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    return _point(curve, int(np.argmax(np.round(curve.sensitivity + curve.specificity, 9))))


def conservative_threshold(curve: Roc, *, sensitivity: float = 0.95) -> Threshold:
    """Choose the strictest threshold that still flags nearly all bad scans.

    Parameters
    ----------
    curve : Roc
    sensitivity : float
        Fraction of the bad scans that must be flagged, in (0, 1].

    Returns
    -------
    Threshold
    """
    return _point(curve, int(np.argmax(curve.sensitivity >= sensitivity)))


def calibrate(
    numbers: ArrayLike, dice: ArrayLike, acceptable: float, *, above: bool = True, sensitivity: float = 0.95
) -> Calibration:
    """Measure how well a quality number predicts D_A.

    Parameters
    ----------
    numbers : (n,) array_like
        Of each scan; scans without one, or without D_A, are left out.
    dice : (n,) array_like, 0 to 1
        D_A of each scan.
    acceptable : float
        A scan with a lower D_A is bad.
    above : bool
        Whether high numbers are bad.
    sensitivity : float
        Of the conservative threshold.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    numbers, dice = np.asarray(numbers, np.float64), np.asarray(dice, np.float64)
    correlation = pearson(numbers, dice)
    valid = np.isfinite(numbers) & np.isfinite(dice)
    numbers, bad = numbers[valid], dice[valid] < acceptable
    count, n = int(bad.sum()), bad.size
    if not 0 < count < n:
        return Calibration(correlation, above, count, n, NAN, None, None, None)
    curve = roc(numbers, bad, above=above)
    return Calibration(
        correlation,
        above,
        count,
        n,
        area(curve),
        youden_threshold(curve),
        conservative_threshold(curve, sensitivity=sensitivity),
        curve,
    )


def _point(curve: Roc, index: int) -> Threshold:
    return Threshold(*(float(values[index]) for values in curve))

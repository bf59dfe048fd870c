# SPDX-License-Identifier: Apache-2.0
"""How far volumes are from those of labels, and intervals that hold the labels' volume.

The error of a volume is ln(measured / labeled). Within a structure it has a bias, and a scale that grows with
the spread of the volume over the Monte-Carlo passes. Both are fitted to labeled scans; how many scales make
an interval is the quantile of errors of scans that took no part in the fit (conformal prediction).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

#: No structure is known better than this, in units of ln(volume).
LEAST_SCALE = 0.01
#: Few errors are not taken at their word: a structure counts as if it had so many more without bias, and so
#: many more of the size that is common to all structures.
BIAS_PRIOR, SCALE_PRIOR = 4, 10
CONFIDENCE = 0.9


class VolumeErrors(NamedTuple):
    """How the volumes of one kind of scan err.

    Attributes
    ----------
    bias : (S,) array
        Median of ln(measured / labeled).
    scale : (S,) array
        Size of the error around the bias where all passes agree, in the same unit.
    slope : float
        How much it grows with the spread of the passes (:func:`relative_spread`).
    usual_spread : (S,) array
        Median spread over the scans, for a scan without passes.
    factor : float
        Scales from the bias to either end of the interval.
    """

    bias: NDArray[np.float64]
    scale: NDArray[np.float64]
    slope: float
    usual_spread: NDArray[np.float64]
    factor: float

    @classmethod
    def from_mapping(cls, content: Mapping, names: Sequence[str]) -> VolumeErrors:
        """Read what :meth:`to_mapping` made.

        Parameters
        ----------
        content : mapping
            ``slope``, ``factor`` and ``structures``.
        names : sequence of S str
            Of the structures, in the order of the arrays; one that the content lacks, such as the background,
            gets nan.

        Returns
        -------
        VolumeErrors

        Raises
        ------
        KeyError
            If the content lacks a key.
        """
        rows = [content['structures'].get(name) for name in names]
        columns = (
            np.array([math.nan if row is None else float(row[key]) for row in rows])
            for key in ('bias', 'scale', 'usual_spread')
        )
        bias, scale, usual = columns
        return cls(bias, scale, float(content['slope']), usual, float(content['factor']))

    def to_mapping(self, names: Sequence[str]) -> dict:
        """Return plain values for JSON.

        Parameters
        ----------
        names : sequence of S str
            Of the structures.

        Returns
        -------
        dict
        """
        columns = {'bias': self.bias, 'scale': self.scale, 'usual_spread': self.usual_spread}
        return {
            'slope': round(self.slope, 4),
            'factor': round(self.factor, 4),
            'structures': {
                name: {key: round(float(values[row]), 4) for key, values in columns.items()}
                for row, name in enumerate(names)
            },
        }


def relative_spread(cv: ArrayLike, passes: int) -> NDArray[np.float64]:
    """Estimate the standard deviation of ln(volume) over all possible passes.

    Parameters
    ----------
    cv : (S,) array_like, per cent
        Coefficient of variation over the passes, with the population standard deviation.
    passes : int
        Their number.

    Returns
    -------
    (S,) float64 array
        A fraction, comparable between numbers of passes; nan for fewer than two.

    Examples
    --------
    >>> relative_spread([3.0], 4).round(4).tolist()
    [0.0346]
    """
    cv = np.asarray(cv, np.float64)
    if passes < 2:
        return np.full(cv.shape, np.nan)
    return cv / 100 * math.sqrt(passes / (passes - 1))


def log_errors(measured: ArrayLike, labeled: ArrayLike) -> NDArray[np.float64]:
    """Compare volumes with those of labels.

    Parameters
    ----------
    measured, labeled : array_like
        In one unit.

    Returns
    -------
    float64 array
        ln(measured / labeled); nan where either is absent.

    Examples
    --------
    >>> log_errors([2.718281828, 0], [1, 1]).round(6).tolist()
    [1.0, nan]
    """
    measured, labeled = np.asarray(measured, np.float64), np.asarray(labeled, np.float64)
    both = (measured > 0) & (labeled > 0)
    ratio = np.ones(both.shape)
    np.divide(measured, labeled, out=ratio, where=both)
    return np.where(both, np.log(ratio), np.nan)


def fit_volume_errors(
    errors: ArrayLike, spread: ArrayLike, groups: Sequence[int], *, factor: float = math.nan
) -> VolumeErrors:
    """Fit bias and scale of the errors to labeled scans.

    Parameters
    ----------
    errors : (n, S) array_like
        Of :func:`log_errors`, one row per scan.
    spread : (n, S) array_like
        Of :func:`relative_spread`.
    groups : sequence of S int
        Structures of one number are fitted together: the left and the right one.
    factor : float
        Kept in the result.

    Returns
    -------
    VolumeErrors

    Raises
    ------
    ValueError
        If a group has no error at all.

    Notes
    -----
    |error - bias| = scale + slope * spread by nonnegative least squares, the slope being common to all
    structures. With few errors the bias tends to 0 and the scale to the mean of all structures. This is the
    scale of locally weighted conformal prediction (Lei et al., JASA 2018, doi:10.1080/01621459.2017.1307116).
    """
    errors, spread, groups = np.asarray(errors, float), np.asarray(spread, float), np.asarray(groups)
    numbers, position = np.unique(groups, return_inverse=True)
    known = np.isfinite(errors) & np.isfinite(spread)
    members = [known & (position == number) for number in range(len(numbers))]
    if empty := [int(number) for number, one in zip(numbers, members, strict=True) if not one.any()]:
        raise ValueError(f'no scan has an error and a spread for the structures of groups {empty}')
    count = np.array([one.sum() for one in members])
    bias = np.array([np.median(errors[one]) for one in members]) * count / (count + BIAS_PRIOR)
    usual = np.array([np.median(spread[one]) for one in members])
    column = np.broadcast_to(position, errors.shape)[known]
    design = np.zeros((column.size, len(numbers) + 1))
    design[np.arange(column.size), column] = 1
    design[:, -1] = spread[known]
    fitted, _ = nnls(design, np.abs(errors - bias[position])[known])
    scale = (count * fitted[:-1] + SCALE_PRIOR * fitted[:-1].mean()) / (count + SCALE_PRIOR)
    scale = np.maximum(scale, LEAST_SCALE)
    return VolumeErrors(bias[position], scale[position], float(fitted[-1]), usual[position], factor)


def scores(errors: ArrayLike, spread: ArrayLike, model: VolumeErrors) -> NDArray[np.float64]:
    """Measure errors in units of what is usual: |error - bias| / scale.

    Parameters
    ----------
    errors, spread : (..., S) array_like
        Of scans; a spread that is nan counts as the usual one.
    model : VolumeErrors

    Returns
    -------
    (..., S) float64 array
        nan where the error is.
    """
    return np.abs(np.asarray(errors, float) - model.bias) / _scale(spread, model)


def conformal_quantile(values: ArrayLike, confidence: float = CONFIDENCE) -> float:
    """Return the score that a new one stays below with the given probability.

    Parameters
    ----------
    values : array_like
        Scores of scans that took no part in the fit; nan is left out.
    confidence : float

    Returns
    -------
    float
        The ceil((n + 1) confidence)-th smallest of n scores, the largest if there are too few.

    Raises
    ------
    ValueError
        If there is none.

    Notes
    -----
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, doi:10.1007/b106715. The promise
    is for scans like those of the scores.

    Examples
    --------
    >>> conformal_quantile(range(1, 20), 0.9)
    18.0
    """
    ordered = np.sort(np.asarray(values, float).ravel())
    ordered = ordered[np.isfinite(ordered)]
    if not ordered.size:
        raise ValueError('no score to take a quantile of')
    rank = math.ceil((ordered.size + 1) * confidence - 1e-9)
    return float(ordered[min(rank, ordered.size) - 1])


def left_out_scores(
    errors: ArrayLike, spread: ArrayLike, groups: Sequence[int], participants: Sequence[str]
) -> NDArray[np.float64]:
    """Score each scan by a fit to the scans of all other participants.

    Parameters
    ----------
    errors, spread : (n, S) array_like
    groups : sequence of S int
        Of :func:`fit_volume_errors`.
    participants : sequence of n str
        Whose scan it is; at least two different ones.

    Returns
    -------
    (n, S) float64 array

    Raises
    ------
    ValueError
        If there is only one participant.
    """
    errors, spread, participants = (
        np.asarray(errors, float),
        np.asarray(spread, float),
        np.asarray(participants),
    )
    if len(set(participants.tolist())) < 2:
        raise ValueError('scans of at least two participants are needed to leave one out')
    result = np.full(errors.shape, np.nan)
    for participant in set(participants.tolist()):
        own = participants == participant
        model = fit_volume_errors(errors[~own], spread[~own], groups)
        result[own] = scores(errors[own], spread[own], model)
    return result


def left_out_coverage(
    values: ArrayLike, participants: Sequence[str], confidence: float = CONFIDENCE
) -> NDArray[np.float64]:
    """Count how many labels each participant's intervals hold, their width being set by the others' scores.

    Parameters
    ----------
    values : (n, S) array_like
        Scores of :func:`left_out_scores`.
    participants : sequence of n str
    confidence : float

    Returns
    -------
    (n, S) float64 array
        1 where the interval holds the label's volume, 0 where it does not, nan where there is no score.
    """
    values, participants = np.asarray(values, float), np.asarray(participants)
    result = np.full(values.shape, np.nan)
    for participant in set(participants.tolist()):
        own = participants == participant
        held = values[own] <= conformal_quantile(values[~own], confidence)
        result[own] = np.where(np.isnan(values[own]), np.nan, held)
    return result


def volume_intervals(
    volumes: ArrayLike, spread: ArrayLike, model: VolumeErrors
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the interval in which the volume of labels lies.

    Parameters
    ----------
    volumes : (S,) array_like, mm3
        As measured.
    spread : (S,) array_like
        Of :func:`relative_spread`; nan counts as usual.
    model : VolumeErrors

    Returns
    -------
    low, high : (S,) float64 array, mm3
        nan for an absent structure. They hold the measured volume only where the bias is smaller than the
        interval is wide.

    Examples
    --------
    >>> model = VolumeErrors(np.zeros(1), np.array([0.1]), 0.0, np.zeros(1), 2.0)
    >>> [end.round(1).tolist() for end in volume_intervals([100.0], [0.0], model)]
    [[81.9], [122.1]]
    """
    volumes = np.asarray(volumes, np.float64)
    center = np.where(volumes > 0, volumes, np.nan) * np.exp(-model.bias)
    reach = np.exp(model.factor * _scale(spread, model))
    return center / reach, center * reach


def _scale(spread: ArrayLike, model: VolumeErrors) -> NDArray[np.float64]:
    spread = np.asarray(spread, np.float64)
    return model.scale + model.slope * np.where(np.isnan(spread), model.usual_spread, spread)

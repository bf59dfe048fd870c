# SPDX-License-Identifier: Apache-2.0
"""The numbers of a group: volumes of all scans as arrays, and each one compared with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from ..core.group import LIMIT, agreement, fraction_of, residuals, robust_scores
from ..core.volumes import asymmetry
from ..data import label_table, modalities
from ..records import ScanResult
from .scans import TOTALS

LABELS = label_table()[1:]
#: Columns of all arrays: 27 structures, then the totals.
NAMES = (*(label.name for label in LABELS), *TOTALS)
#: Verdicts of scans that may describe the group, the best first.
_VERDICTS = ('pass', 'review')


def pairs() -> dict[str, tuple[int, int]]:
    """Return the paired structures: name without side -> columns of the left and of the right one.

    >>> pairs()['Hippocampus'], len(pairs())
    ((14, 24), 12)
    """
    columns = {name: column for column, name in enumerate(NAMES)}
    return {
        label.name.removeprefix('Left-'): (
            columns[label.name],
            columns[label.name.replace('Left-', 'Right-')],
        )
        for label in LABELS
        if label.hemisphere == 'L'
    }


@dataclass(frozen=True)
class Measures:
    """Arrays over the scans that have volumes, (N, 30) unless stated: 27 structures and three totals.

    Attributes
    ----------
    scans : list of ScanResult
        The N scans.
    reference : (N,) bool array
        Scans that the others are compared with.
    volume : float array
        mm3.
    percent : float array
        Per cent of eTIV.
    residual : float array
        Volume minus what the regression on eTIV predicts, mm3.
    asymmetry : float array
        (left - right) / mean, per cent, on the columns of both sides; nan for what is not paired.
    z : dict of float array
        ``'volume'``, ``'residual'``, ``'asymmetry'`` -> robust score.
    count : int array
        Reference scans behind the score of the volume.
    reasons : dict of object array
        The same keys -> why a score makes an outlier, in words; empty where it does not.
    """

    scans: list[ScanResult]
    reference: np.ndarray
    volume: np.ndarray
    percent: np.ndarray
    residual: np.ndarray
    asymmetry: np.ndarray
    z: dict[str, np.ndarray]
    count: np.ndarray
    reasons: dict[str, np.ndarray]

    @property
    def outlier(self) -> np.ndarray:
        """All reasons of each value, (N, 30) object array; empty where there is none."""
        joined = [
            '; '.join(filter(None, texts))
            for texts in zip(*(reasons.ravel() for reasons in self.reasons.values()), strict=True)
        ]
        return np.array(joined, object).reshape(self.volume.shape)


def measure_group(scans: Sequence[ScanResult]) -> Measures:
    """Compare each scan with the reference scans of its modality.

    Parameters
    ----------
    scans : sequence of ScanResult
        Those without volumes are left out.

    Returns
    -------
    Measures
    """
    scans = [scan for scan in scans if scan.usable]
    volume = np.array([[row['volume_mm3'] for row in scan.rows] for scan in scans], float)
    volume = volume.reshape(len(scans), len(NAMES))
    etiv_column = NAMES.index('eTIV')
    etiv = volume[:, etiv_column]
    percent = 100 * fraction_of(volume, etiv)
    percent[:, etiv_column] = np.nan
    reference = choose_reference(scans)
    residual = np.full(volume.shape, np.nan)
    values = {'volume': volume, 'residual': residual, 'asymmetry': _asymmetries(volume)}
    z = {kind: np.full(volume.shape, np.nan) for kind in values}
    reasons = {kind: np.full(volume.shape, '', object) for kind in values}
    count = np.zeros(volume.shape, int)
    for modality in dict.fromkeys(scan.modality for scan in scans):
        rows = np.array([scan.modality == modality for scan in scans])
        residual[rows] = residuals(volume[rows], etiv[rows], reference[rows]).residuals
        residual[:, etiv_column] = np.nan
        for kind in values:
            scored = robust_scores(values[kind][rows], reference[rows])
            z[kind][rows] = scored.scores
            if kind == 'volume':
                count[rows] = scored.count
            for row, column in np.argwhere(np.abs(scored.scores) > LIMIT):
                cell = np.flatnonzero(rows)[row], column
                reason = _reason(kind, values[kind][cell], scored.scores[row, column], scored.median[column])
                reasons[kind][cell] = f'{reason} ({scored.count[column]} {modality} scans)'
    return Measures(scans, reference, volume, percent, residual, values['asymmetry'], z, count, reasons)


def _asymmetries(volume: np.ndarray) -> np.ndarray:
    """Return the asymmetry of each paired structure on the columns of both sides, (N, 30), per cent."""
    left, right = np.array(list(pairs().values())).T
    values = np.full(volume.shape, np.nan)
    values[:, left] = values[:, right] = asymmetry(volume[:, left], volume[:, right])
    return values


def choose_reference(scans: Sequence[ScanResult]) -> np.ndarray:
    """Choose the scans that the others are compared with: one of each participant and modality.

    It is the first one with the best verdict: repeated scans of a participant are not independent, and a scan
    with the verdict fail does not describe the group.

    Parameters
    ----------
    scans : sequence of ScanResult

    Returns
    -------
    (N,) bool array
    """
    best: dict[tuple, tuple] = {}
    for position, scan in enumerate(scans):
        verdict = str(scan.qc.get('verdict'))
        if verdict in _VERDICTS:
            key, rank = (scan.subject, scan.modality), (_VERDICTS.index(verdict), position)
            best[key] = min(best.get(key, rank), rank)
    chosen = np.zeros(len(scans), bool)
    chosen[[position for _, position in best.values()]] = True
    return chosen


def _reason(kind: str, value: float, score: float, median: float) -> str:
    """Describe how far a value is from the median.

    >>> _reason('asymmetry', -20.04, -4.26, -0.01)
    'left-right asymmetry −20.0 %, 4.3 robust SD below the median of 0.0 %'
    >>> _reason('volume', 3421.7, -4.26, 5204)
    'volume 3.42 ml, 4.3 robust SD below the median of 5.20 ml'
    """
    name, digits, unit = {
        'volume': ('volume', 2, 'ml'),
        'residual': ('residual after regression on eTIV', 2, 'ml'),
        'asymmetry': ('left-right asymmetry', 1, '%'),
    }[kind]
    scale = 1000 if unit == 'ml' else 1
    # Adding 0 turns a negative zero into a plain one.
    value, median = (
        f'{round(x / scale, digits) + 0:.{digits}f} {unit}'.replace('-', '\N{MINUS SIGN}')
        for x in (value, median)
    )
    side = 'above' if score > 0 else 'below'
    return f'{name} {value}, {abs(score):.1f} robust SD {side} the median of {median}'


def scan_pairs(scans: Sequence[ScanResult]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Pair the scans of each participant.

    Scans of two modalities are of the same session, the first of each; scans of one modality are the first
    two of the participant. Scans with the verdict fail are left out.

    Parameters
    ----------
    scans : sequence of ScanResult

    Returns
    -------
    dict
        (modality, modality) -> pairs of positions in `scans`.
    """
    first: dict[tuple, int] = {}
    repeats: dict[tuple, list[int]] = {}
    for position, scan in enumerate(scans):
        if str(scan.qc.get('verdict')) in _VERDICTS:
            first.setdefault((scan.subject, scan.session, scan.modality), position)
            repeats.setdefault((scan.subject, scan.modality), []).append(position)
    sessions = dict.fromkeys(key[:2] for key in first)
    paired = {}
    for one, other in combinations_with_replacement(modalities(), 2):
        if one == other:
            positions = [
                (of_one[0], of_one[1])
                for (_, modality), of_one in repeats.items()
                if modality == one and len(of_one) > 1
            ]
        else:
            both = [(first.get((*key, one)), first.get((*key, other))) for key in sessions]
            positions = [pair for pair in both if None not in pair]
        if positions:
            paired[one, other] = positions
    return paired


def compare_pairs(measures: Measures) -> list[dict]:
    """Compare the volumes of paired scans, one row for each pair of modalities and structure."""
    rows = []
    for (one, other), positions in scan_pairs(measures.scans).items():
        first, second = (measures.volume[list(side)] for side in zip(*positions, strict=True))
        for column, name in enumerate(NAMES):
            compared = agreement(first[:, column], second[:, column])
            rows.append({
                'modality_a': one, 'modality_b': other, 'structure': name, 'n_pairs': compared.count,
                'difference_mm3': compared.difference, 'difference_sd_mm3': compared.spread,
                'concordance': compared.concordance,
            })  # fmt: skip
    return rows

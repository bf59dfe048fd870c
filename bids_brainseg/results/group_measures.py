# SPDX-License-Identifier: Apache-2.0
"""The numbers of a group: volumes of all scans as arrays, and what each is among the others."""

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
NAMES = (*(label.name for label in LABELS), *TOTALS)
RANKS = {'pass': 0, 'review': 1}
KINDS = ('volume', 'residual', 'asymmetry')


def pairs() -> dict[str, tuple[int, int]]:
    """Return the paired structures, name without side -> columns of the left and of the right.

    >>> pairs()['Hippocampus'], len(pairs())
    ((14, 24), 12)
    """
    place = {name: column for column, name in enumerate(NAMES)}
    return {
        label.name.removeprefix('Left-'): (
            place[label.name],
            place[label.name.replace('Left-', 'Right-')],
        )
        for label in LABELS
        if label.hemisphere == 'L'
    }


@dataclass(frozen=True)
class Measures:
    """Arrays over the usable scans, (N, 30) unless said otherwise: 27 structures and three totals.

    Attributes
    ----------
    scans : list of ScanResult
        The N scans.
    reference : (N,) bool
        Scans that tell what is usual.
    volume, percent, residual, asymmetry : float
        mm3; per cent of eTIV; mm3 beside the line over eTIV; per cent, nan for what is not paired.
    z : dict
        ``'volume'``, ``'residual'``, ``'asymmetry'`` -> robust score.
    count : int
        Reference scans behind the score of the volume.
    why : dict
        The same keys -> (N, 30) object: why the score makes an outlier, in words; empty if it does not.
    """

    scans: list[ScanResult]
    reference: np.ndarray
    volume: np.ndarray
    percent: np.ndarray
    residual: np.ndarray
    asymmetry: np.ndarray
    z: dict[str, np.ndarray]
    count: np.ndarray
    why: dict[str, np.ndarray]

    @property
    def outlier(self) -> np.ndarray:
        """All reasons of a number, (N, 30) object; empty where there is none."""
        joined = [
            '; '.join(filter(None, texts))
            for texts in zip(*(w.ravel() for w in self.why.values()), strict=True)
        ]
        return np.array(joined, object).reshape(self.volume.shape)


def measure_group(scans: Sequence[ScanResult]) -> Measures:
    """Compare every scan with the others of its modality."""
    scans = [scan for scan in scans if scan.usable]
    volume = np.array([[row['volume_mm3'] for row in scan.rows] for scan in scans], float)
    volume = volume.reshape(len(scans), len(NAMES))
    etiv = volume[:, NAMES.index('eTIV')]
    percent = 100 * fraction_of(volume, etiv)
    left_of, right_of = np.array(list(pairs().values())).T
    sides = asymmetry(volume[:, left_of], volume[:, right_of])
    lopsided = np.full(volume.shape, np.nan)
    for column, both in enumerate(pairs().values()):
        lopsided[:, both] = sides[:, column, None]
    reference = choose_reference(scans)
    left = np.full(volume.shape, np.nan)
    z = {kind: np.full(volume.shape, np.nan) for kind in KINDS}
    count = np.zeros(volume.shape, int)
    why = {kind: np.full(volume.shape, '', object) for kind in KINDS}
    for modality in dict.fromkeys(scan.modality for scan in scans):
        rows = np.array([scan.modality == modality for scan in scans])
        fit = residuals(volume[rows], etiv[rows], reference[rows])
        left[rows] = fit.residuals
        left[:, NAMES.index('eTIV')] = percent[:, NAMES.index('eTIV')] = np.nan
        for kind, values in (('volume', volume), ('residual', left), ('asymmetry', lopsided)):
            found = robust_scores(values[rows], reference[rows])
            z[kind][rows] = found.scores
            count[rows] = found.count if kind == 'volume' else count[rows]
            for row, column in np.argwhere(np.abs(found.scores) > LIMIT):
                where = np.flatnonzero(rows)[row], column
                words = _why(kind, values[where], found.scores[row, column], found.median[column])
                why[kind][where] = f'{words} ({found.count[column]} {modality} scans)'
    return Measures(scans, reference, volume, percent, left, lopsided, z, count, why)


def choose_reference(scans: Sequence[ScanResult]) -> np.ndarray:
    """Choose the scans that tell what is usual: one of each participant and modality.

    It is the first of those with the best verdict. Several scans of one person are not several people, and a
    scan with the verdict fail says nothing about what is usual.

    Returns
    -------
    (N,) bool array
    """
    best: dict[tuple, tuple] = {}
    for place, scan in enumerate(scans):
        rank = RANKS.get(str(scan.qc.get('verdict')))
        if rank is not None:
            key = scan.subject, scan.modality
            best[key] = min(best.get(key, (rank, place)), (rank, place))
    chosen = np.zeros(len(scans), bool)
    chosen[[place for _, place in best.values()]] = True
    return chosen


def _why(kind: str, value: float, score: float, median: float) -> str:
    """Say how far a number is from the others.

    >>> _why('asymmetry', -20.04, -4.26, -0.01)
    'left-right asymmetry −20.0 %, 4.3 robust SD below the median of 0.0 %'
    """
    name, digits, unit = {
        'volume': ('volume', 0, 'mm³'),
        'residual': ('volume beside that expected from eTIV', 0, 'mm³'),
        'asymmetry': ('left-right asymmetry', 1, '%'),
    }[kind]
    # Adding 0 turns a negative zero into a plain one.
    value, median = (
        f'{round(x, digits) + 0:,.{digits}f} {unit}'.replace('-', '\N{MINUS SIGN}') for x in (value, median)
    )
    side = 'above' if score > 0 else 'below'
    return f'{name} {value}, {abs(score):.1f} robust SD {side} the median of {median}'


def scan_pairs(scans: Sequence[ScanResult]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Pair the scans of one participant: (modality, modality) -> places in `scans`.

    Scans of two modalities are of the same session, the first of each; scans of one modality are the first
    two of the participant. Scans with the verdict fail are left out.
    """
    first: dict[tuple, int] = {}
    repeats: dict[tuple, list[int]] = {}
    for place, scan in enumerate(scans):
        if str(scan.qc.get('verdict')) in RANKS:
            first.setdefault((scan.subject, scan.session, scan.modality), place)
            repeats.setdefault((scan.subject, scan.modality), []).append(place)
    sessions = dict.fromkeys(key[:2] for key in first)
    found = {}
    for one, other in combinations_with_replacement(modalities(), 2):
        if one == other:
            places = [
                tuple(own[:2]) for (_, modality), own in repeats.items() if modality == one and len(own) > 1
            ]
        else:
            both = [(first.get((*key, one)), first.get((*key, other))) for key in sessions]
            places = [pair for pair in both if None not in pair]
        if places:
            found[one, other] = places
    return found


def compare_pairs(measures: Measures) -> list[dict]:
    """Tell how well the volumes of paired scans agree, one row per pair of modalities and structure."""
    rows = []
    for (one, other), places in scan_pairs(measures.scans).items():
        first, second = (measures.volume[list(side)] for side in zip(*places, strict=True))
        for column, name in enumerate(NAMES):
            found = agreement(first[:, column], second[:, column])
            rows.append({
                'modality_a': one, 'modality_b': other, 'structure': name, 'n_pairs': found.count,
                'difference_mm3': found.difference, 'difference_sd_mm3': found.spread,
                'concordance': found.concordance,
            })  # fmt: skip
    return rows

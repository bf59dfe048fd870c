# SPDX-License-Identifier: Apache-2.0
"""Measure a segmented scan: volumes, their spread over the Monte-Carlo passes, and quality numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import geometry, inspection, volumes
from .uncertainty import mean_entropies
from .volume_errors import VolumeErrors, relative_spread, volume_intervals

#: Standard deviations from the training population beyond which a volume counts as implausible.
IMPLAUSIBLE_SD = 5.0
#: The same for the asymmetry of a pair of structures.
ASYMMETRIC_SD = 5.0
#: Fraction of a structure in its largest connected component below which it counts as fragmented.
FRAGMENTED = 0.8
#: Slice of a structure on the border of the field of view over its largest, above which it counts as cut.
TRUNCATED = 0.3


class Structures(NamedTuple):
    """Class indices that some measures are about; pairs are (left, right)."""

    white_matter: tuple[int, int]
    cortex: tuple[int, int]
    ventricles: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]


class Alignment(NamedTuple):
    """The alignment of a scan to the reference.

    Attributes
    ----------
    matrix : (4, 4) array
        Maps RAS points of the reference to RAS points of the scan.
    similarity, coverage : float, [0, 1]
        As :class:`bids_brainseg.registration.Registration` has them.
    scales : sequence of float
        Singular values of the linear part, smallest first.
    """

    matrix: NDArray[np.float64]
    similarity: float
    coverage: float
    scales: tuple[float, ...]


class Passes(NamedTuple):
    """The Monte-Carlo passes on the grid of the network.

    Attributes
    ----------
    counts : (P, S) array
        Voxels of each class in each pass.
    voxel_mm3 : float
        Volume of a voxel of that grid in the space of the reference.
    overlap : (S,) array
        Intersection over union of the passes for each class, nan where a class is absent.
    mutual_information : float
        Mean over the grid, as a fraction of log S.
    """

    counts: NDArray
    voxel_mm3: float
    overlap: NDArray[np.float64]
    mutual_information: float


class Norm(NamedTuple):
    """What the structures of a population are like.

    Attributes
    ----------
    log_mean, log_sd : (S,) array_like
        Mean and standard deviation of log(volume / intracranial volume).
    asymmetry_mean, asymmetry_sd : (S,) array_like, per cent
        Of the asymmetry of the pair of which a structure is a part.
    centers : (S, 3) array_like, RAS mm
        Mean center of mass of each structure in the space of the reference.
    """

    log_mean: ArrayLike
    log_sd: ArrayLike
    asymmetry_mean: ArrayLike
    asymmetry_sd: ArrayLike
    centers: ArrayLike


class ScanMeasures(NamedTuple):
    """Measures of one scan.

    Attributes
    ----------
    columns : dict of str to (S,) float64 array
        By class, background first: `volume_mm3` of the labels on the scan's grid; `volume_low_mm3` and
        `volume_high_mm3`, the ends of its interval, nan where it is not known; `volume_soft_mm3`, the sum of
        the probabilities; `mc_mean_mm3`, `mc_std_mm3` and `cv_mc` (per cent) over the passes;
        `entropy_mean` of the labeled voxels; `etiv_percent`; `population_score` in standard deviations, nan
        for an absent structure; `largest_component_fraction`; `fov_truncation`.
    flags : dict of int to str
        Why a structure should be reviewed, by class.
    totals : dict of str to float, mm3
        Brain, Ventricles, eTIV.
    numbers : dict of str to float
        The quality numbers of ``qc_numbers.tsv``; nan where something cannot be measured.
    """

    columns: dict[str, NDArray[np.float64]]
    flags: dict[int, str]
    totals: dict[str, float]
    numbers: dict[str, float]


def measure_scan(
    scan: NDArray,
    labels: NDArray,
    entropy: NDArray,
    posterior: NDArray,
    affine: ArrayLike,
    *,
    alignment: Alignment,
    passes: Passes,
    structures: Structures,
    norm: Norm,
    cv_threshold: float,
    magnitude: bool = True,
    errors: VolumeErrors | None = None,
) -> ScanMeasures:
    """Measure a segmented scan.

    Parameters
    ----------
    scan : (I, J, K) array
        Any unit.
    labels : (I, J, K) integer array
        Class indices on the scan's grid, 0 is background.
    entropy : (I, J, K) float array, [0, 1]
        Normalized entropy on the scan's grid.
    posterior : (S, X, Y, Z) float array
        Probabilities on the grid of the network.
    affine : (4, 4) array_like
        Voxel indices of the scan to RAS mm.
    alignment : Alignment
    passes : Passes
    structures : Structures
    norm : Norm
        Of the population that volumes are compared with.
    cv_threshold : float, per cent
        Above it, the spread of a volume is flagged.
    magnitude : bool
        Whether 0 should mean no signal (MR); see :func:`bids_brainseg.core.inspection.tissue_signal`.
    errors : VolumeErrors, optional
        How far volumes are from those of labels; without it they have no interval.

    Returns
    -------
    ScanMeasures

    Raises
    ------
    ValueError
        If a label is not a class, or the posterior is not four-dimensional.
    """
    # So much of the scan's space lies in one voxel of the network's grid.
    voxel = passes.voxel_mm3 * geometry.volume_scaling(alignment.matrix)
    mm3 = volumes.label_volumes(labels, geometry.voxel_volume(affine))
    spread = volumes.mc_statistics(np.asarray(passes.counts, float) * voxel)
    totals = volumes.brain_totals(mm3, structures.ventricles)
    etiv = volumes.etiv(labels, affine, (*structures.white_matter, *structures.cortex))
    scores = inspection.population_scores(mm3, etiv, norm.log_mean, norm.log_sd)
    components = inspection.largest_component_fractions(labels)
    truncation = inspection.structure_truncation(labels)
    low = high = np.full(len(mm3), np.nan)
    if errors is not None:
        low, high = volume_intervals(mm3, relative_spread(spread.cv, len(passes.counts)), errors)
    sides = inspection.asymmetry_scores(mm3, structures.pairs, norm.asymmetry_mean, norm.asymmetry_sd)
    places = (inspection.structure_centers(labels, affine), norm.centers, geometry.invert(alignment.matrix))
    numbers = {
        'brain_mm3': totals.brain,
        'ventricles_mm3': totals.ventricles,
        'etiv_mm3': etiv,
        'brain_etiv_percent': 100 * totals.brain / etiv,
        **_alignment_numbers(alignment),
        'structure_offset': inspection.structure_offset(*places),
        'structure_rotation': inspection.structure_rotation(*places),
        'asymmetry_score_max': float(np.nanmax(sides)) if np.isfinite(sides).any() else float('nan'),
        **_pass_numbers(passes, spread.cv, entropy, labels),
        **_structure_numbers(mm3, scores, components, structures),
        **_scan_numbers(scan, labels, structures, magnitude),
    }
    columns = {
        'volume_mm3': mm3,
        'volume_low_mm3': low,
        'volume_high_mm3': high,
        'volume_soft_mm3': volumes.soft_volumes(posterior, voxel),
        'mc_mean_mm3': spread.mean,
        'mc_std_mm3': spread.std,
        'cv_mc': spread.cv,
        'entropy_mean': mean_entropies(entropy, labels),
        'etiv_percent': 100 * mm3 / etiv,
        'population_score': np.where(mm3 > 0, scores, np.nan),
        'largest_component_fraction': components,
        'fov_truncation': np.where(mm3 > 0, truncation, np.nan),
    }
    return ScanMeasures(
        columns=columns,
        flags=_flags(mm3, spread.cv, scores, components, truncation, cv_threshold, sides),
        totals={'Brain': totals.brain, 'Ventricles': totals.ventricles, 'eTIV': etiv},
        numbers=numbers,
    )


def _flags(
    mm3: NDArray,
    cv: NDArray,
    scores: NDArray,
    components: NDArray,
    truncation: NDArray,
    cv_threshold: float,
    sides: NDArray,
) -> dict[int, str]:
    """Say which structures should be reviewed, and why.

    Parameters
    ----------
    mm3, cv, scores, components, truncation : (S,) array
        Volumes (mm3), CV (per cent), deviations from the population (SD), fractions in the largest connected
        component, and how strongly the field of view cuts, by class.
    cv_threshold : float, per cent
    sides : (S,) array
        Deviations of the asymmetry from the population (SD).

    Returns
    -------
    dict of int to str
        Class index to reasons, of the structures that have any.

    Examples
    --------
    >>> _flags([9, 1, 0, 1], [0, 3, 0, 2], [0] * 4, [1, 1, 0, 0.5], [0, 0.9, 0, 0.2], 2.5, [0] * 4)
    {1: 'cut by the field of view; cv above 2.5 %', 2: 'absent', 3: 'fragmented: 50 % in one piece'}
    """
    reasons = {}
    for index in range(1, len(mm3)):
        sentences = []
        if not mm3[index]:
            sentences.append('absent')
        else:
            if truncation[index] > TRUNCATED:
                sentences.append('cut by the field of view')
            if cv[index] > cv_threshold:
                sentences.append(f'cv above {cv_threshold:g} %')
            if abs(scores[index]) > IMPLAUSIBLE_SD:
                side = 'above' if scores[index] > 0 else 'below'
                sentences.append(f'{abs(scores[index]):.1f} SD {side} the training population')
            if sides[index] > ASYMMETRIC_SD:
                sentences.append(f'left and right differ by {sides[index]:.1f} SD more than usual')
            if components[index] < FRAGMENTED:
                sentences.append(f'fragmented: {100 * components[index]:.0f} % in one piece')
        if sentences:
            reasons[index] = '; '.join(sentences)
    return reasons


def _alignment_numbers(alignment: Alignment) -> dict[str, float]:
    """Give the numbers that say whether an alignment can be right."""
    return {
        'alignment': alignment.similarity,
        'fov_coverage': alignment.coverage,
        'scale_min': alignment.scales[0],
        'scale_max': alignment.scales[-1],
        'rotation': geometry.rotation_angle(alignment.matrix),
    }


def _pass_numbers(passes: Passes, cv: NDArray, entropy: NDArray, labels: NDArray) -> dict[str, float]:
    """Measure how certain the network is; nan, except for the entropy, if there was a single pass."""
    overlap = [value for value in passes.overlap[1:] if not np.isnan(value)]
    many = len(passes.counts) > 1
    box = geometry.bounding_box(labels)
    inside = labels[box] > 0
    return {
        'cv_mean': volumes.mean_cv(cv),
        'mc_iou_mean': float(np.mean(overlap)) if overlap and many else float('nan'),
        'entropy_mean': float(entropy[box][inside].mean(dtype=float)) if inside.any() else float('nan'),
        'mutual_information_mean': passes.mutual_information if many else float('nan'),
    }


def _structure_numbers(
    mm3: NDArray, scores: NDArray, components: NDArray, structures: Structures
) -> dict[str, float]:
    """Measure what is unusual about the structures."""
    left, right = np.array([structures.white_matter, structures.cortex]).T
    white, gray = np.abs(volumes.asymmetry(mm3[left], mm3[right])).tolist()
    present = mm3[1:] > 0
    return {
        'lr_asymmetry_wm': white,
        'lr_asymmetry_gm': gray,
        'structures_absent': int(np.count_nonzero(~present)),
        'volumes_implausible': int(np.count_nonzero(np.abs(scores[1:]) > IMPLAUSIBLE_SD)),
        'volume_score_max': float(np.abs(scores[1:][present]).max()) if present.any() else float('nan'),
        'structures_fragmented': int(np.count_nonzero(components[1:] < FRAGMENTED)),
        'largest_component_fraction_min': (
            float(components[1:][present].min()) if present.any() else float('nan')
        ),
    }


def _scan_numbers(
    scan: NDArray, labels: NDArray, structures: Structures, magnitude: bool
) -> dict[str, float]:
    """Measure the scan itself, where the segmentation says to look."""
    signal = inspection.tissue_signal(
        scan, labels, white=structures.white_matter, gray=structures.cortex, magnitude=magnitude
    )
    return {
        'fov_truncation': inspection.fov_truncation(labels),
        'cnr_wm_gm': signal.cnr,
        'contrast_wm_gm': signal.contrast,
        'snr_wm': signal.snr_white,
        'saturation_fraction': inspection.saturation_fraction(scan, labels),
    }

# SPDX-License-Identifier: Apache-2.0
"""The summary of an evaluation: averages, structures, and calibration of the quality numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..core.calibration import ACCEPTABLE_FRACTION, Calibration, calibrate
from ..core.statistics import pearson, summarize
from ..core.volume_errors import conformal_quantile
from ..data import label_table, modalities

#: Quality numbers that may predict D_A, and whether high values are bad.
PREDICTORS = {
    'cv_mean': True,
    'mc_iou_mean': False,
    'entropy_mean': True,
    'mutual_information_mean': True,
    'alignment': False,
}
_AVERAGES = ('D_A', 'D_V', 'ASSD_mm')
#: Labels do not lie on the brain if their structures are so far (mm) from those of the segmentation, and fit
#: the scan less than this fraction of what training asks for.
MISPLACED_MM, MISPLACED_FIT = 10.0, 0.6


def summarize_evaluation(
    structures: pd.DataFrame,
    scans: pd.DataFrame,
    *,
    bundles: Mapping[str, Mapping],
    labels: str,
    acceptable: float | None = None,
) -> dict:
    """Summarize an evaluation for ``evaluation.json`` and its page.

    Parameters
    ----------
    structures, scans : pandas.DataFrame
        Of :func:`bids_brainseg.results.evaluation_tables.collect_evaluation`, corrupted scans included.
    bundles : mapping
        Modality -> name, hash and CV threshold of its model.
    labels : str
        Folder of the reference labels.
    acceptable : float, optional
        D_A below which a segmentation is bad.

    Returns
    -------
    dict
        For each modality: model, averages with quartiles, each structure, correlation of D_A with the CV,
        how often the intervals of the volumes hold the reference and by how much they would have to be wider,
        and, where corrupted scans were evaluated, the calibration of each quality number.
    """
    by_modality = {}
    for modality in (name for name in modalities() if (scans['modality'] == name).any()):
        every = scans[scans['modality'] == modality]
        clean = every[every['corrupted'].isna()]
        rows = structures[(structures['modality'] == modality) & structures['corrupted'].isna()]
        part = {
            'Model': dict(bundles.get(modality, {})),
            'scans': len(clean),
            **averages(clean),
            'structures_missed': float(clean['structures_missed'].mean()),
            'D_A_against_CV': pearson(clean['cv_mean'], clean['D_A'])._asdict(),
            'structures': {
                label.name: _structure(rows[rows['index'] == label.index]) for label in label_table()[1:]
            },
        }
        if rows['volume_low_mm3'].notna().any():
            part['intervals'] = _intervals(rows)
        if len(every) > len(clean):
            part['calibration'] = _calibration(every, clean, acceptable, bundles.get(modality, {}))
        by_modality[modality] = part
    units = {'D_A': 'fraction', 'D_V': 'fraction', 'ASSD_mm': 'mm'}
    return {'ReferenceLabels': labels, 'Units': units, 'modalities': by_modality}


def misplaced_labels(scans: pd.DataFrame) -> dict[str, str]:
    """Find the scans whose reference labels do not lie on the brain.

    Parameters
    ----------
    scans : pandas.DataFrame
        Of :func:`bids_brainseg.results.evaluation_tables.collect_evaluation`. Only scans as they are count.

    Returns
    -------
    dict of str
        Name of the scan -> what was found. Both must speak against the labels, their distance from the same
        structures of the segmentation and their fit to the scan itself, so that a segmentation that failed
        is not left out.
    """
    found = {}
    if not {'label_distance_mm', 'label_fit'} <= set(scans.columns):
        return found
    for row in scans[scans['corrupted'].isna()].to_dict('records'):
        least = MISPLACED_FIT * modalities()[row['modality']].agreement_threshold
        distance, fit = float(row['label_distance_mm']), float(row['label_fit'])
        if distance <= MISPLACED_MM or fit >= least:
            continue
        apart = 'no structure in common with the segmentation'
        if distance == distance:
            apart = f'{distance:.0f} mm from where the segmentation has them'
        found[row['scan']] = (
            f'{row["scan"]}: the reference labels do not lie on the brain ({apart}, fit to the scan '
            f'{fit:.2f}, below {least:.2f}); check their header, or give --keep-misplaced-labels'
        )
    return found


def averages(scans: pd.DataFrame) -> dict:
    """Summarize D_A, D_V and the surface distance over scans."""
    return {name: summarize(scans[name])._asdict() for name in _AVERAGES}


def _structure(rows: pd.DataFrame) -> dict:
    """Summarize one structure over scans: overlap, distance, and the volume against the reference."""
    volume, truth = rows['volume_mm3'], rows['reference_volume_mm3']
    present = truth > 0
    relative = 100 * (volume[present] - truth[present]) / truth[present]
    return {
        'dice': summarize(rows['dice'])._asdict(),
        'assd_mm': summarize(rows['assd_mm'])._asdict(),
        'volume_bias_mm3': float((volume - truth).mean()),
        'volume_bias_percent': float(relative.mean()),
        'volume_correlation': pearson(truth, volume)._asdict(),
    }


def _intervals(rows: pd.DataFrame) -> dict:
    """Count the reference volumes in the intervals; say how much wider these had to be to hold 90 %."""
    low, high, truth = rows['volume_low_mm3'], rows['volume_high_mm3'], rows['reference_volume_mm3']
    known = low.notna() & (truth > 0)
    ends = np.log(low[known]), np.log(high[known])
    distance = abs(np.log(truth[known]) - (ends[0] + ends[1]) / 2) / ((ends[1] - ends[0]) / 2)
    return {
        'volumes': int(known.sum()),
        'coverage': float((distance <= 1).mean()),
        'inflation': conformal_quantile(distance),
        'structures': {
            name: float(held.mean()) for name, held in (distance <= 1).groupby(rows.loc[known, 'name'])
        },
    }


def _calibration(every: pd.DataFrame, clean: pd.DataFrame, acceptable: float | None, bundle: Mapping) -> dict:
    """Measure how well each quality number separates bad segmentations, over clean and corrupted scans."""
    level = acceptable if acceptable is not None else ACCEPTABLE_FRACTION * float(clean['D_A'].median())
    predictors = {
        name: calibrate(every[name], every['D_A'], level, above=above)
        for name, above in PREDICTORS.items()
        if name in every and every[name].notna().any()
    }

    def rank(name: str) -> tuple[float, float]:
        return -_number_or(predictors[name].auc), -abs(_number_or(predictors[name].correlation.r))

    ranked = sorted(predictors, key=rank)
    return {
        'acceptable_D_A': level,
        'scans': len(every),
        'scans_as_they_are': len(clean),
        'bad': int((every['D_A'] < level).sum()),
        'best': ranked[0] if ranked else None,
        'cv_threshold_in_use': bundle.get('cv_threshold'),
        'predictors': {name: _describe(predictors[name]) for name in ranked},
    }


def _describe(calibration: Calibration) -> dict:
    """Turn a calibration into JSON: the correlation, the area under the curve and both thresholds."""
    return {
        'bad_when': 'above' if calibration.above else 'below',
        'correlation_with_D_A': calibration.correlation._asdict(),
        'auc': calibration.auc,
        'youden': calibration.youden and calibration.youden._asdict(),
        'conservative': calibration.conservative and calibration.conservative._asdict(),
        'n': calibration.n,
    }


def _number_or(value: float, other: float = -1.0) -> float:
    """Replace nan."""
    return value if value == value else other


def choose_examples(scans: pd.DataFrame, figures: Mapping[str, Path]) -> list[tuple[str, str, float, Path]]:
    """Choose the best, the median and the worst scan of each modality, of those that have a figure.

    Parameters
    ----------
    scans : pandas.DataFrame
        Of :func:`bids_brainseg.results.evaluation_tables.collect_evaluation`.
    figures : mapping of Path
        Name of a scan -> its figure.

    Returns
    -------
    list of (title, scan, D_A, figure)
    """
    examples = []
    clean = scans[scans['corrupted'].isna() & scans['D_A'].notna() & scans['scan'].isin(list(figures))]
    for modality in modalities():
        ranked = clean[clean['modality'] == modality].sort_values('D_A', ascending=False, kind='stable')
        last = len(ranked) - 1
        # In this order, so that of one or two scans the first is the best and the second the worst.
        titles = {len(ranked) // 2: 'median', last: 'worst', 0: 'best'}
        for position in sorted(titles) if len(ranked) else []:
            row = ranked.iloc[position]
            title = f'{modality}, {titles[position]}' if last else modality
            examples.append((title, row['scan'], float(row['D_A']), figures[row['scan']]))
    return [example for example in examples if Path(example[3]).exists()]

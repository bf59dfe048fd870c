# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found: the summary, and one page that opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.calibration import Calibration, calibrate
from ..core.statistics import pearson, summarize
from ..data import label_table, modalities
from .reference_pairs import PREDICTORS

#: A segmentation counts as bad below this share of the median D_A, unless the user says a level.
ACCEPTABLE_SHARE = 0.9
AVERAGES = ('D_A', 'D_V', 'ASSD_mm')


def summarise_evaluation(
    structures, scans, *, bundles: Mapping, labels: str, acceptable: float | None = None
) -> dict:
    """Summarise an evaluation for machines.

    Parameters
    ----------
    structures, scans : pandas.DataFrame
        As :func:`bids_brainseg.results.reference_pairs.gather` gives them, corrupted scans included.
    bundles : mapping
        Modality to name, hash and CV threshold of its model.
    labels : str
        Where the reference labels are.
    acceptable : float, optional
        D_A below which a segmentation is bad.

    Returns
    -------
    dict
        For each modality: model, averages with quartiles, each structure, correlation of D_A with the CV,
        and, where corrupted scans were evaluated, the calibration of each quality number.
    """
    found = {'ReferenceLabels': labels, 'Units': {'D_A': 'fraction', 'D_V': 'fraction', 'ASSD_mm': 'mm'}}
    found['modalities'] = {}
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
        if len(every) > len(clean):
            part['calibration'] = _calibration(every, clean, acceptable, bundles.get(modality, {}))
        found['modalities'][modality] = part
    return found


def averages(scans) -> dict:
    """Summarise D_A, D_V and the surface distance over scans."""
    return {name: summarize(scans[name])._asdict() for name in AVERAGES}


def _structure(rows) -> dict:
    """Summarise one structure over scans: overlap, distance, and the volume against the reference."""
    volume, truth = rows['volume_mm3'], rows['reference_volume_mm3']
    there = truth > 0
    relative = 100 * (volume[there] - truth[there]) / truth[there]
    return {
        'dice': summarize(rows['dice'])._asdict(),
        'assd_mm': summarize(rows['assd_mm'])._asdict(),
        'volume_bias_mm3': float((volume - truth).mean()),
        'volume_bias_percent': float(relative.mean()),
        'volume_correlation': pearson(truth, volume)._asdict(),
    }


def _calibration(every, clean, acceptable: float | None, bundle: Mapping) -> dict:
    """Judge every quality number by how it tells bad segmentations, over clean and corrupted scans."""
    level = acceptable if acceptable is not None else ACCEPTABLE_SHARE * float(clean['D_A'].median())
    predictors = {
        name: calibrate(every[name], every['D_A'], level, above=above)
        for name, above in PREDICTORS.items()
        if name in every and every[name].notna().any()
    }
    ranked = sorted(
        predictors, key=lambda name: (-_or(predictors[name].auc), -abs(_or(predictors[name].correlation.r)))
    )
    return {
        'acceptable_D_A': level,
        'scans': len(every),
        'scans_as_they_are': len(clean),
        'bad': int((every['D_A'] < level).sum()),
        'best': ranked[0] if ranked else None,
        'cv_threshold_in_use': bundle.get('cv_threshold'),
        'predictors': {name: describe(predictors[name]) for name in ranked},
    }


def describe(found: Calibration) -> dict:
    """Spell a calibration for JSON: the correlation, the area under the curve and both thresholds."""
    return {
        'bad_when': 'above' if found.above else 'below',
        'correlation_with_D_A': found.correlation._asdict(),
        'auc': found.auc,
        'youden': found.youden and found.youden._asdict(),
        'conservative': found.conservative and found.conservative._asdict(),
        'n': found.n,
    }


def _or(value: float, other: float = -1.0) -> float:
    return value if value == value else other


def chosen_examples(scans, figures: Mapping[str, Path]) -> list[tuple[str, str, float, Path]]:
    """Pick the best, the median and the worst scan of each modality that have a figure.

    Returns
    -------
    list of (title, scan, D_A, figure)
    """
    picked = []
    clean = scans[scans['corrupted'].isna() & scans['D_A'].notna() & scans['scan'].isin(list(figures))]
    for modality in modalities():
        own = clean[clean['modality'] == modality].sort_values('D_A', ascending=False, kind='stable')
        places = {0: 'best', len(own) - 1: 'worst', len(own) // 2: 'median'} if len(own) > 2 else {0: 'best'}
        places = places if len(own) != 2 else {0: 'best', 1: 'worst'}
        for place in sorted(places) if len(own) else []:
            row = own.iloc[place]
            title = f'{modality}, {places[place]}' if len(own) > 1 else modality
            picked.append((title, row['scan'], float(row['D_A']), figures[row['scan']]))
    return [example for example in picked if Path(example[3]).exists()]

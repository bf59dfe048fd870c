# SPDX-License-Identifier: Apache-2.0
"""Measure a bundle on pairs that it was not trained on, and find its threshold of the CV."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_brainseg.core.agreement import dice, dice_average
from bids_brainseg.core.calibration import ACCEPTABLE_FRACTION, calibrate
from bids_brainseg.core.corruption import MILDEST, WORST, corrupt
from bids_brainseg.core.statistics import pearson
from bids_brainseg.core.volume_errors import log_errors, relative_spread
from bids_brainseg.core.volumes import mc_statistics, mean_cv
from bids_brainseg.data import label_table, modalities
from bids_brainseg.records import Bundle

from ..network.predict import predict_samples

#: Fewer scans than this say nothing about a correlation.
LEAST_FOR_CORRELATION = 4


class Measured(NamedTuple):
    """What was measured on one scan.

    Attributes
    ----------
    dice : (28,) array
        Of each class.
    cv : float, per cent
        Mean CV over the passes.
    errors, spread : (28,) array
        Of its volumes: :func:`bids_brainseg.core.volume_errors.log_errors` and
        :func:`~bids_brainseg.core.volume_errors.relative_spread`.
    """

    dice: NDArray[np.float64]
    cv: float
    errors: NDArray[np.float64]
    spread: NDArray[np.float64]


def measure(image: ArrayLike, labels: ArrayLike, bundle: Bundle, mc_samples: int, seed: int) -> Measured:
    """Segment a pair as inference does, and compare.

    Parameters
    ----------
    image : (I, J, K) float32 array in [0, 100]
        On the grid of the bundle.
    labels : (I, J, K) uint8 array
        Class indices.
    bundle : Bundle
    mc_samples : int
        Monte-Carlo passes.
    seed : int
        Of the passes.

    Returns
    -------
    Measured
    """
    prediction, _ = predict_samples(
        image, bundle, mc_samples=mc_samples, mirrored=bundle.mirrored_passes, seed=seed
    )
    cv = mc_statistics(np.array(prediction.labels.counts, float)).cv
    found = prediction.mean.argmax(0)
    voxels = (np.bincount(np.ravel(image), minlength=len(cv)) for image in (found, labels))
    return Measured(dice(found, labels), mean_cv(cv), log_errors(*voxels), relative_spread(cv, mc_samples))


def score_bundle(bundle: Bundle, pairs: Sequence, mc_samples: int | None, seed: int) -> dict:
    """Measure a bundle on pairs that it was not trained on, as inference uses it.

    Parameters
    ----------
    bundle : Bundle
    pairs : sequence of (image, labels)
        On the network grid.
    mc_samples : int, optional
        Monte-Carlo passes; None: as the bundle says.
    seed : int
        Of the passes.

    Returns
    -------
    dict
        ``dice`` by structure and on average, ``cv_and_dice``: the correlation of the mean Dice with the mean
        CV over the scans, or why there is none.
    """
    if not len(pairs):
        return {
            'dice': {'validation': 'n/a: no scan was held out'},
            'cv_and_dice': 'n/a: no scan was held out',
        }
    count = bundle.mc_samples if mc_samples is None else mc_samples
    measured = [measure(*pair, bundle, count, seed) for pair in pairs]
    rows = np.array([one.dice for one in measured])
    averages = [dice_average(row) for row in rows]
    by_structure = {
        label.name: round(float(np.nanmean(rows[:, label.index])), 4)
        for label in label_table()[1:]
        if not np.isnan(rows[:, label.index]).all()
    }
    passes = f'mean of {count} passes' if count else 'one pass without dropout'
    what = f'{len(rows)} held-out scans, network grid, {passes}'
    average = round(float(np.nanmean(averages)), 4)
    return {
        'dice': {'validation': {'what': what, 'average': average, **by_structure}},
        'cv_and_dice': correlation(averages, [one.cv for one in measured]),
    }


def correlation(averages: Sequence[float], spread: Sequence[float]) -> dict | str:
    """Correlate the mean Dice of scans with their mean CV.

    Parameters
    ----------
    averages, spread : sequence of float
        Of each scan; those with nan are left out.

    Returns
    -------
    dict or str
        The correlation, or why there is none.
    """
    finite = np.array([averages, spread])
    finite = finite[:, np.isfinite(finite).all(0)]
    r, low, high, count = pearson(*finite)
    if count < LEAST_FOR_CORRELATION:
        return (
            f'n/a: {count} held-out scans with a CV, {LEAST_FOR_CORRELATION} are needed; '
            'the evaluate level measures it on more'
        )
    if np.isnan(r):
        return 'n/a: all held-out scans have the same mean Dice or CV'
    return {
        'what': 'Pearson correlation of mean Dice and mean CV over held-out scans, with its 95 % interval',
        'pearson_r': round(r, 3),
        'interval': [round(low, 3), round(high, 3)],
        'scans': count,
        'cv_percent': [round(float(x), 3) for x in finite[1]],
        'mean_dice': [round(float(x), 4) for x in finite[0]],
    }


def measure_copies(
    bundle: Bundle, pairs: Sequence, *, copies: int, mc_samples: int | None, seed: int
) -> list[list[Measured]]:
    """Measure a bundle on pairs, and on corrupted copies of them.

    Parameters
    ----------
    bundle : Bundle
    pairs : sequence of (image, labels)
        On the network grid.
    copies : int
        Corrupted copies of each: every kind of the modality in turn, at a random severity.
    mc_samples : int, optional
        Monte-Carlo passes; None: as the bundle says.
    seed : int
        Of passes and corruptions.

    Returns
    -------
    list of list of Measured
        For each pair: as it is, then its copies.
    """
    count = bundle.mc_samples if mc_samples is None else mc_samples
    return [
        [
            measure(image, labels, bundle, count, seed),
            *(
                measure(corrupted_copy(image, bundle, index, number, seed), labels, bundle, count, seed)
                for number in range(copies)
            ),
        ]
        for index, (image, labels) in enumerate(pairs)
    ]


def calibrate_bundle(
    measured: Sequence[Sequence[Measured]], acceptable_dice: float | None
) -> tuple[float | None, str]:
    """Find the mean CV that best separates good segmentations from bad ones.

    Parameters
    ----------
    measured : sequence of sequence of Measured
        Of :func:`measure_copies`, on pairs that were held out.
    acceptable_dice : float, optional
        Mean Dice below which a segmentation counts as bad; None: nine tenths of the median of the scans as
        they are.

    Returns
    -------
    threshold : float or None
        Per cent; None if it cannot be determined.
    text : str
        For the card: where it comes from, or why there is none.
    """
    if acceptable_dice is None:
        clean = [dice_average(own[0].dice) for own in measured]
        acceptable_dice = ACCEPTABLE_FRACTION * float(np.nanmedian(clean))
    every = [one for own in measured for one in own]
    result = calibrate([one.cv for one in every], [dice_average(one.dice) for one in every], acceptable_dice)
    scans = f'{result.n} synthetic scans of held-out label maps, corrupted or not'
    if result.youden is None or not np.isfinite(result.youden.value):
        return None, f'not calibrated: {result.bad} of {scans}, have a mean Dice below {acceptable_dice:.3f}'
    threshold = round(result.youden.value, 2)
    return threshold, (
        f'mean CV above {threshold:g} %: of {scans}, it flags {100 * result.youden.sensitivity:.0f} % of the '
        f'{result.bad} with a mean Dice below {acceptable_dice:.3f}, and leaves '
        f'{100 * result.youden.specificity:.0f} % of the others'
    )


def corrupted_copy(image: NDArray, bundle: Bundle, index: int, number: int, seed: int) -> NDArray[np.float32]:
    """Corrupt a scan on the network grid.

    Parameters
    ----------
    image : (I, J, K) float32 array in [0, 100]
    bundle : Bundle
        Of its modality.
    index, number : int
        Which scan, and which copy of it.
    seed : int

    Returns
    -------
    (I, J, K) float32 array in [0, 100]
    """
    modality = modalities()[bundle.modality]
    kinds = [kind for kind in modality.corruptions if kind != 'crop']  # which would change the grid
    kind = kinds[(index + number) % len(kinds)]
    draw = random.Random(f'{seed} {bundle.modality} {index} {number}')
    low, high = (bundle.intensity['low'], bundle.intensity['high']) if modality.hounsfield else (0.0, 100.0)
    changed, _ = corrupt(
        low + image * ((high - low) / 100),
        bundle.grid_affine,
        kind,
        draw.uniform(MILDEST, WORST),
        draw.randrange(2**31),
        **modality.corruptions[kind],
    )
    return np.clip((changed - low) * (100 / (high - low)), 0, 100).astype(np.float32)

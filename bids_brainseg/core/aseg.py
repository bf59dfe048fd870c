# SPDX-License-Identifier: Apache-2.0
"""What FreeSurfer's tables of a segmentation hold: global measures, and intensities of each structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .geometry import bounding_box

#: FreeSurfer's subcortical gray matter, without the side.
SUBCORTICAL = ('Thalamus', 'Caudate', 'Putamen', 'Pallidum', 'Hippocampus', 'Amygdala', 'VentralDC')


class LabelIntensities(NamedTuple):
    """Voxels of each class and their intensities, (S,) each; 0 where a class is absent.

    `std` is the sample standard deviation, 0 for a single voxel.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]


def global_measures(volumes: Mapping[str, ArrayLike], etiv: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Add up the volumes of structures as FreeSurfer does.

    Parameters
    ----------
    volumes : mapping of str to array_like, mm3
        All structures by their FreeSurfer names; single volumes, or arrays of one shape for many scans.
    etiv : array_like, mm3
        Estimated total intracranial volume, of the same shape.

    Returns
    -------
    dict of str to float64 array, mm3
        By the fields of ``aseg_measures.tsv``; ``BrainSegVol-to-eTIV`` is a ratio, nan without an eTIV.

    Notes
    -----
    As in FreeSurfer 7 (``ComputeBrainVolumeStats2``), the brain segmentation is all structures but the brain
    stem, ventricles included; the supratentorial volume lacks the cerebellum as well. FreeSurfer measures
    cortex and cerebral white matter between its surfaces; here they are volumes of labels, the inferior
    lateral ventricle and the choroid plexus are in the lateral ventricle, the accumbens is background, and
    there is no fifth ventricle and no fluid outside the ventricles.

    Examples
    --------
    >>> volumes = dict.fromkeys(_names(), 1.0)
    >>> measures = global_measures(volumes, 52.0)
    >>> measures['BrainSegVol'].item(), measures['BrainSegVolNotVent'].item(), measures['CortexVol'].item()
    (26.0, 22.0, 2.0)
    >>> measures['BrainSegVol-to-eTIV'].item()
    0.5
    """
    volumes = {name: np.asarray(volume, np.float64) for name, volume in volumes.items()}

    def both(*names: str) -> NDArray[np.float64]:
        return sum(volumes[f'{side}-{name}'] for name in names for side in ('Left', 'Right'))

    brain = sum(volume for name, volume in volumes.items() if name != 'Brain-Stem')
    lateral = both('Lateral-Ventricle')
    fluid = lateral + volumes['3rd-Ventricle'] + volumes['4th-Ventricle']
    supratentorial = brain - both('Cerebellum-White-Matter', 'Cerebellum-Cortex')
    subcortical, etiv = both(*SUBCORTICAL), np.asarray(etiv, np.float64)
    cortex, white = both('Cerebral-Cortex'), both('Cerebral-White-Matter')
    ratio = np.full(np.shape(brain), np.nan)
    np.divide(brain, etiv, out=ratio, where=etiv > 0)
    return {
        'BrainSegVol': brain,
        'BrainSegVolNotVent': brain - fluid,
        'VentricleChoroidVol': lateral,
        'lhCortexVol': volumes['Left-Cerebral-Cortex'],
        'rhCortexVol': volumes['Right-Cerebral-Cortex'],
        'CortexVol': cortex,
        'lhCerebralWhiteMatterVol': volumes['Left-Cerebral-White-Matter'],
        'rhCerebralWhiteMatterVol': volumes['Right-Cerebral-White-Matter'],
        'CerebralWhiteMatterVol': white,
        'SubCortGrayVol': subcortical,
        'TotalGrayVol': subcortical + cortex + both('Cerebellum-Cortex'),
        'SupraTentorialVol': supratentorial,
        'SupraTentorialVolNotVent': supratentorial - fluid,
        'BrainSegVol-to-eTIV': ratio,
        'eTIV': etiv,
    }


def _names() -> list[str]:
    """List the structures that the measures are made of."""
    paired = [*SUBCORTICAL, 'Lateral-Ventricle', 'Cerebellum-White-Matter', 'Cerebellum-Cortex']
    paired += ['Cerebral-Cortex', 'Cerebral-White-Matter']
    sides = [f'{side}-{name}' for name in paired for side in ('Left', 'Right')]
    return [*sides, '3rd-Ventricle', '4th-Ventricle', 'Brain-Stem']


def label_intensities(image: ArrayLike, labels: ArrayLike, n: int) -> LabelIntensities:
    """Measure the intensities of a scan in each structure.

    Parameters
    ----------
    image : (I, J, K) array_like
        The scan, any unit.
    labels : (I, J, K) integer array
        Class indices on its grid, 0 is background, which is not measured.
    n : int
        Number of classes S.

    Returns
    -------
    LabelIntensities
        In the unit of the image.

    Examples
    --------
    >>> measured = label_intensities(np.array([[[9, 1, 3, 5]]]), np.array([[[0, 1, 1, 2]]]), n=4)
    >>> measured.count.tolist(), measured.mean.tolist(), measured.maximum.tolist()
    ([0, 2, 1, 0], [0.0, 2.0, 5.0, 0.0], [0.0, 3.0, 5.0, 0.0])
    """
    box = bounding_box(labels)
    labels, image = np.asarray(labels)[box], np.asarray(image)[box]
    inside = labels > 0
    values, classes = image[inside].astype(np.float64), labels[inside]
    count = np.bincount(classes, minlength=n)
    present = np.flatnonzero(count)
    ordered = values[np.argsort(classes, kind='stable')]
    starts = np.cumsum(count)[present] - count[present]
    result = {name: np.zeros(n) for name in ('mean', 'std', 'minimum', 'maximum')}
    if len(present):
        result['mean'][present] = np.add.reduceat(ordered, starts) / count[present]
        deviation = ordered - np.repeat(result['mean'][present], count[present])
        degrees = np.maximum(count[present] - 1, 1)
        result['std'][present] = np.sqrt(np.add.reduceat(deviation**2, starts) / degrees)
        result['minimum'][present] = np.minimum.reduceat(ordered, starts)
        result['maximum'][present] = np.maximum.reduceat(ordered, starts)
    return LabelIntensities(count=count, **result)

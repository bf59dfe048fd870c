# SPDX-License-Identifier: Apache-2.0
"""Label maps that scans are made from: their numbers simplified, and aligned in a common space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_brainseg.core.labels import freesurfer_classes
from bids_brainseg.data import freesurfer_rules, label_table
from bids_brainseg.errors import InputError
from bids_brainseg.files import write_whole
from bids_brainseg.imaging import load_image

from ..synthesis.common_space import MNI_CENTERS, fit_affine, structure_centers
from ..synthesis.label_map import FIRST_HEAD_TISSUE, LabelMap, priors

#: White-matter lesions, left and right.
LESIONS = (25, 57)


def read_label_map(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Read a label map, with the numbers that the generator has tissues for.

    Parameters
    ----------
    path : Path
        FreeSurfer numbers, with or without head tissues (see ``synthesis.json``).

    Returns
    -------
    labels : (I, J, K) int32 array
    affine : (4, 4) float array
        Voxel indices to RAS mm.

    Raises
    ------
    InputError
        If it holds an unknown label or numbers that are not whole; names them.
    """
    image = load_image(path)
    labels = image.data.astype(np.int32)
    try:
        if not np.array_equal(labels, image.data):
            raise ValueError('it holds numbers that are not whole')
        return simplify_labels(labels, image.affine), image.affine
    except ValueError as error:
        raise _unusable(path, error) from error


def align_label_map(path: Path, cache: Path, centers: Mapping[str, ArrayLike]) -> LabelMap:
    """Read a label map and align it by its structures with a common space.

    Parameters
    ----------
    path : Path
        FreeSurfer numbers, with or without head tissues (see ``synthesis.json``).
    cache : Path
        Folder in which the result is kept for the next run.
    centers : mapping of str to (3,) floats
        FreeSurfer numbers to the centers of these structures in the common space, RAS mm.

    Returns
    -------
    LabelMap

    Raises
    ------
    InputError
        If it lacks a structure or holds an unknown label; names both.
    """
    # other tissues, layers or centers make another aligned map of the same file
    kinds = json.dumps([priors()['tissues'], priors()['layers'], centers], default=list).encode()
    kept = cache / f'{hashlib.sha256(kinds + path.read_bytes()).hexdigest()[:20]}.npz'
    if not kept.is_file():
        labels, affine = read_label_map(path)
        try:
            subject_centers = structure_centers(labels, affine, list(MNI_CENTERS))
            common = np.array([centers[str(number)] for number in MNI_CENTERS])
            label_map = LabelMap.from_labels(labels, affine, fit_affine(common, subject_centers))
        except ValueError as error:
            raise _unusable(path, error) from error
        with write_whole(kept) as temporary:
            np.savez_compressed(temporary, **label_map.arrays())
    with np.load(kept, allow_pickle=False) as arrays:
        return LabelMap.from_arrays(**arrays)


def centers_of(path: Path) -> NDArray[np.float64]:
    """Return where the structures of a label map lie.

    Parameters
    ----------
    path : Path
        As for :func:`read_label_map`.

    Returns
    -------
    (n, 3) float array, RAS mm
        In the order of :data:`bids_brainseg.synthesis.common_space.MNI_CENTERS`.

    Raises
    ------
    InputError
        If it lacks a structure; names both.
    """
    try:
        return structure_centers(*read_label_map(path), list(MNI_CENTERS))
    except ValueError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> InputError:
    return InputError(f'label map cannot be used: {path}: {error}; leave it out')


def simplify_labels(labels: ArrayLike, affine: ArrayLike) -> NDArray[np.integer]:
    """Replace the numbers of a FreeSurfer parcellation that the generative model has no tissue for.

    Parameters
    ----------
    labels : (I, J, K) integer array
        FreeSurfer numbers; head tissues from 501 to 599.
    affine : (4, 4) float array
        Voxel indices to RAS mm.

    Returns
    -------
    (I, J, K) integer array
        Cortex and white matter without their parcels; what belongs to no side is given to one
        (hypointensities become lesions: 25 and 57).

    Raises
    ------
    ValueError
        If a label is unknown; names it.
    """
    rules = freesurfer_rules()
    known = {n for numbers in priors()['tissues'].values() for n in numbers}
    present = np.unique(labels).tolist()
    other = [n for n in present if n not in known or n in rules['nearest'] or n in rules['midline']]
    if not other:
        return labels
    mapping = rules['mapping'] | {n: 0 for n in known if n >= FIRST_HEAD_TISSUE}
    classes = freesurfer_classes(labels, affine, **{**rules, 'mapping': mapping})
    numbers = np.array([label.freesurfer for label in label_table()])
    result = np.where(np.isin(labels, other), numbers[classes], labels)
    patches = np.isin(labels, rules['nearest'])
    result[patches] = np.where(classes[patches] == rules['left'], *LESIONS)
    return result

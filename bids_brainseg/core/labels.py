# SPDX-License-Identifier: Apache-2.0
"""Label maps: renumbering, the midline, the mask of the brain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from .geometry import bounding_box, voxel_sizes
from .morphology import dilate_by_ball

#: Unknown numbers that an error lists; a scan taken for a label map has hundreds.
NAMED = 10
#: Radius of the ball that closes the brain in its mask, mm: gaps up to twice as wide are filled.
BRAIN_CLOSING_MM = 5.0


def remap(labels: ArrayLike, mapping: Mapping[int, int], *, default: int | None = None) -> NDArray[np.uint8]:
    """Renumber a label map.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Label numbers, not negative.
    mapping : mapping of int to int
        From the numbers in `labels` to class indices.
    default : int, optional
        Class of numbers that `mapping` lacks. Without it they are an error.

    Returns
    -------
    (I, J, K) uint8 array

    Raises
    ------
    ValueError
        If labels are negative, or not in `mapping` while `default` is not given; names them.

    Examples
    --------
    >>> remap(np.array([0, 17, 53]), {0: 0, 17: 15, 53: 25}).tolist()
    [0, 15, 25]
    """
    labels = np.asarray(labels)
    numbers = labels.astype(np.int64)
    if not np.array_equal(numbers, labels) or numbers.min(initial=0) < 0:
        raise ValueError(
            f'label maps hold integers from 0; found {labels.min()} to {labels.max()} ({labels.dtype})'
        )
    table = np.full(max(int(numbers.max(initial=0)), max(mapping, default=0)) + 1, -1, np.int64)
    for number, index in mapping.items():
        table[number] = index
    present = np.flatnonzero(np.bincount(numbers.ravel(), minlength=table.size))
    unknown = present[table[present] < 0]
    if unknown.size:
        if default is None:
            first = f'{unknown[:NAMED].tolist()}'
            first += f' and {unknown.size - NAMED} more (is it a scan?)' if unknown.size > NAMED else ''
            raise ValueError(f'unknown labels {first}: not in the class table')
        table[table < 0] = default
    return table.astype(np.uint8)[numbers]


def split_midline(
    labels: ArrayLike,
    affine: NDArray,
    *,
    split: Iterable[int],
    left: int,
    right: int,
    left_of: Iterable[int],
    right_of: Iterable[int],
) -> NDArray:
    """Divide unpaired structures, such as the corpus callosum, between the hemispheres.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Label numbers.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    split : iterable of int
        Numbers to split.
    left, right : int
        What they become on either side of the midplane.
    left_of, right_of : iterable of int
        Numbers of paired structures that define the midplane: the plane between their centers of mass,
        perpendicular to the line that joins them.

    Returns
    -------
    (I, J, K) integer array of the dtype of `labels`

    Raises
    ------
    ValueError
        If there is something to split and either side is empty.
    """
    labels = np.asarray(labels)
    voxels = np.argwhere(np.isin(labels, list(split)))
    if not len(voxels):
        return labels.copy()
    centers = []
    for side in (left_of, right_of):
        of_side = np.argwhere(np.isin(labels, list(side)))
        if not len(of_side):
            raise ValueError(f'no voxel of {list(side)}: the midplane is undefined')
        centers.append(affine[:3, :3] @ of_side.mean(0) + affine[:3, 3])
    axis = centers[1] - centers[0]
    position = (
        voxels @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3] - np.mean(centers, 0)
    ) @ axis
    result = labels.copy()
    result[tuple(voxels.T)] = np.where(position > 0, right, left)
    return result


def split_nearest(
    labels: ArrayLike, affine: NDArray, *, split: Iterable[int], left: int, right: int
) -> NDArray:
    """Assign patches that belong to no side to the nearer of two structures.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Label numbers.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    split : iterable of int
        Numbers to split.
    left, right : int
        The two structures; each voxel of `split` becomes the one whose nearest voxel is closer to it (at the
        same distance `left`).

    Returns
    -------
    (I, J, K) integer array of the dtype of `labels`

    Raises
    ------
    ValueError
        If there is something to split and neither structure is there.

    Examples
    --------
    >>> split_nearest(np.array([[[2, 77, 0, 77, 41]]]), np.eye(4), split=[77], left=2, right=41).tolist()
    [[[2, 2, 0, 41, 41]]]
    """
    labels = np.asarray(labels)
    voxels = np.argwhere(np.isin(labels, list(split)))
    result = labels.copy()
    if not len(voxels):
        return result
    distances = []
    for number in (left, right):
        points = np.argwhere(labels == number) @ np.asarray(affine)[:3, :3].T
        distance = cKDTree(points).query(voxels @ np.asarray(affine)[:3, :3].T)[0] if len(points) else np.inf
        distances.append(np.broadcast_to(distance, len(voxels)))
    if np.isinf(distances).all():
        raise ValueError(f'no voxel of {left} or {right}: the labels {list(split)} belong to no side')
    result[tuple(voxels.T)] = np.where(distances[0] <= distances[1], left, right)
    return result


def freesurfer_classes(
    labels: ArrayLike,
    affine: NDArray,
    mapping: Mapping[int, int],
    *,
    midline: Iterable[int] = (),
    nearest: Iterable[int] = (),
    left: int,
    right: int,
) -> NDArray[np.uint8]:
    """Turn a FreeSurfer segmentation of the whole brain into class indices.

    Parameters
    ----------
    labels : (I, J, K) integer array
        FreeSurfer numbers, of aseg, aparc+aseg, aparc.DKTatlas+aseg or wmparc.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    mapping : mapping of int to int
        From FreeSurfer numbers to class indices (below 254).
    midline, nearest : iterable of int
        Numbers of white matter that belong to no side: divided by the midplane of the white matter, and by
        the nearest white matter.
    left, right : int
        Classes of the cerebral white matter.

    Returns
    -------
    (I, J, K) uint8 array

    Raises
    ------
    ValueError
        If a label is unknown (names it), or there is no white matter to split by.

    Notes
    -----
    What belongs to no side is divided after everything else has its class, so that the result does not depend
    on how finely the segmentation divides cortex and white matter.
    """
    across, patch = 254, 255
    codes = remap(labels, {**mapping, **dict.fromkeys(midline, across), **dict.fromkeys(nearest, patch)})
    codes = split_nearest(codes, affine, split=[patch], left=left, right=right)
    return split_midline(
        codes, affine, split=[across], left=left, right=right, left_of=[left], right_of=[right]
    )


def to_classes(
    labels: ArrayLike,
    affine: NDArray,
    mapping: Mapping[int, int],
    *,
    split: Mapping[int, tuple[int, int]] | None = None,
    midplane: tuple[int, int] | None = None,
    default: int | None = None,
) -> NDArray[np.uint8]:
    """Turn a label map of another scheme into class indices.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Label numbers of the scheme, not negative.
    affine : (4, 4) float array
        Voxel indices to RAS mm.
    mapping : mapping of int to int
        From label numbers to class indices below 100.
    split : mapping of int to (int, int), optional
        Numbers of unpaired structures, with the class that they become on the left and on the right.
    midplane : (int, int), optional
        Classes, left and right, between which the midplane lies; needed where something is to be split.
    default : int, optional
        Class of any other number. Without it another number is an error.

    Returns
    -------
    (I, J, K) uint8 array

    Raises
    ------
    ValueError
        If labels are negative or unknown (they are named), or the midplane is needed and undefined.

    Examples
    --------
    >>> line = np.array([[[2]], [[251]], [[0]], [[251]], [[41]]])
    >>> mapping, split = {0: 0, 2: 1, 41: 3}, {251: (1, 3)}
    >>> to_classes(line, np.eye(4), mapping, split=split, midplane=(1, 3)).ravel().tolist()
    [1, 1, 0, 3, 3]
    """
    split = split or {}
    if split and midplane is None:
        raise ValueError('labels are to be split and no midplane is given')
    sides = list(dict.fromkeys(split.values()))
    # Unpaired structures are classes of their own first, one for each pair of sides.
    unpaired = {number: 100 + sides.index(pair) for number, pair in split.items()}
    classes = remap(labels, {**mapping, **unpaired}, default=default)
    for index, (left, right) in enumerate(sides):
        left_of, right_of = ([index_of_side] for index_of_side in midplane)
        classes = split_midline(
            classes, affine, split=[100 + index], left=left, right=right, left_of=left_of, right_of=right_of
        )
    return classes


def brain_mask(
    labels: ArrayLike, affine: ArrayLike, *, closing_mm: float = BRAIN_CLOSING_MM
) -> NDArray[np.bool_]:
    """Enclose a segmented brain, with the fluid in its sulci, fissures and cisterns.

    The structures together are closed by a ball: every gap between them into which the ball does not fit
    belongs to the brain as well. Then the holes are filled.

    Parameters
    ----------
    labels : (I, J, K) integer array
        Class indices, 0 is background.
    affine : (4, 4) array_like
        Voxel indices to RAS mm; says how large the voxels are.
    closing_mm : float
        Radius of the ball, mm.

    Returns
    -------
    (I, J, K) bool array
        It holds every labeled voxel; nothing where there is none.

    Notes
    -----
    The ball is measured in mm, also in thick slices; beyond the border of the image nothing is labeled. A
    hole is a part of the background that no path through the faces of voxels joins to the outside. Of three
    skull-stripped heads with manual labels it covers 99.5 %, and 99.8 % of it lie within them.

    Examples
    --------
    >>> halves = np.zeros((9, 9, 9), int)
    >>> halves[:, :, 2], halves[:, :, 4] = 1, 2
    >>> brain_mask(halves, np.eye(4), closing_mm=1)[4, 4].astype(int).tolist()
    [0, 0, 1, 1, 1, 0, 0, 0, 0]
    """
    inside = np.asarray(labels) > 0
    if not inside.any():
        return inside
    sizes, box = voxel_sizes(affine), bounding_box(inside)
    margin = [int(np.ceil(closing_mm / size)) + 1 for size in sizes]
    brain = np.pad(inside[box], [(n, n) for n in margin])
    grown = dilate_by_ball(brain, sizes, closing_mm)
    closed = ~dilate_by_ball(~grown, sizes, closing_mm)
    outside, _ = ndimage.label(~(closed | brain))
    filled = outside != outside[0, 0, 0]
    result = np.zeros_like(inside)
    result[box] = filled[tuple(slice(n, size - n) for n, size in zip(margin, filled.shape, strict=True))]
    return result

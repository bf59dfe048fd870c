# SPDX-License-Identifier: Apache-2.0
"""Which slices of a volume a figure shows, where they lie in it, and their pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.geometry import bounding_box
from ..data import label_table

WIDTH = 1200.0  # of a figure in user units, near CSS pixels on a page
GAP = 6.0
SLICES = (5, 6, 6)  # how many across x (sagittal), y (coronal), z (axial)
AXES = {
    0: (1, 2, 'x', 'PA'),
    1: (0, 2, 'y', 'LR'),
    2: (0, 1, 'z', 'LR'),
}  # across, up, name, marks at the sides
FISSURE_MM = 3.0  # a sagittal slice nearer to the midline shows the gap between the hemispheres


class Canonical(NamedTuple):
    """How a voxel grid becomes the nearest RAS+ one: axis order, axes to reverse, spacing (mm), affine."""

    order: tuple[int, ...]
    reverse: tuple[bool, ...]
    spacing: np.ndarray
    affine: np.ndarray

    def view(self, array: np.ndarray) -> np.ndarray:
        """Return the array with axes running right, anterior, superior (a view, nothing is copied)."""
        array = array.transpose(self.order)
        return array[tuple(slice(None, None, -1 if flip else None) for flip in self.reverse)]


class Panel(NamedTuple):
    """One slice: axis and index in the canonical grid, its crop [start, stop) and place in the figure."""

    axis: int
    index: int
    across: tuple[int, int]
    up: tuple[int, int]
    x: float
    y: float
    width: float
    height: float
    label: str


class Layout(NamedTuple):
    """The panels of a figure and how tall they are together, in user units."""

    panels: tuple[Panel, ...]
    height: float


def canonical(affine: np.ndarray, shape: tuple[int, ...]) -> Canonical:
    """Find the flips and swaps that bring a grid closest to RAS+; obliquity stays."""
    matrix = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    cosines = matrix / spacing
    order = [0, 0, 0]  # the world axes claim their voxel axis, the clearest first
    left = np.abs(cosines)
    for _ in range(3):
        world, voxel = np.unravel_index(np.argmax(left), left.shape)
        order[world] = int(voxel)
        left[world, :] = left[:, voxel] = -1
    reverse = tuple(bool(cosines[world, voxel] < 0) for world, voxel in enumerate(order))
    to_input = np.zeros((4, 4))
    to_input[3, 3] = 1
    for world, voxel in enumerate(order):
        to_input[voxel, world] = -1 if reverse[world] else 1
        to_input[voxel, 3] = shape[voxel] - 1 if reverse[world] else 0
    return Canonical(tuple(order), reverse, spacing[order], np.asarray(affine, float) @ to_input)


def oriented(affine: np.ndarray, **arrays: np.ndarray) -> tuple[Canonical, list[np.ndarray]]:
    """Return the canonical grid of three-dimensional arrays and their views on it; refuse others."""
    shapes = {name: np.shape(array) for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 3 for shape in shapes.values()):
        raise ValueError(f'figures need 3D arrays of one shape, found {shapes}')
    grid = canonical(affine, next(iter(shapes.values())))
    return grid, [grid.view(np.asarray(array)) for array in arrays.values()]


def midline(labels: np.ndarray) -> float | None:
    """Find the index along x between the structures of the left and those of the right; None without a side.

    labels: (I, J, K) class indices in the canonical orientation.
    """
    counts = np.stack([np.bincount(plane, minlength=256) for plane in labels.reshape(len(labels), -1)])
    middles = []
    for side in 'LR':
        columns = counts[:, [label.index for label in label_table() if label.hemisphere == side]].sum(axis=1)
        if not columns.any():
            return None
        middles.append(np.arange(len(columns)) @ columns / columns.sum())
    return float(np.mean(middles))


def beside(index: int, middle: float, distance: float) -> int:
    """Move an index that is nearer to the middle than a distance just beyond it, to the nearer side.

    >>> [beside(index, 10.2, 3) for index in (6, 8, 10, 11, 15)]
    [6, 7, 7, 14, 15]
    """
    if abs(index - middle) >= distance:
        return index
    return int(np.ceil(middle + distance) if index > middle else np.floor(middle - distance))


def choose_slices(labels: np.ndarray, axis: int, box: tuple[slice, ...], n: int) -> list[int]:
    """Choose up to `n` slices: half by where the structures are, each counted alike, half evenly."""
    start, stop = box[axis].start, box[axis].stop
    inside = labels[box]
    steps = [max(1, size // 96) for size in inside.shape]
    steps[axis] = 1
    inside = np.moveaxis(inside[tuple(slice(None, None, step) for step in steps)], axis, 0)
    length = stop - start
    codes = inside.reshape(length, -1).astype(np.int32) + 256 * np.arange(length, dtype=np.int32)[:, None]
    profile = np.bincount(codes.ravel(), minlength=256 * length).reshape(length, 256)[:, 1:].astype(float)
    profile = profile[:, profile.sum(axis=0) > 0]
    density = np.full(length, 1 / length)
    if profile.shape[1]:
        density = 0.5 * density + 0.5 * (profile / profile.sum(axis=0)).mean(axis=1)
    position = np.cumsum(density) - density / 2
    wanted = (np.arange(n) + 0.5) / n
    return sorted({start + int(np.argmin(np.abs(position - want))) for want in wanted})


def lay_out(
    labels: np.ndarray, grid: Canonical, *, margin: float = 6.0, counts: tuple[int, int, int] = SLICES
) -> Layout:
    """Lay out axial, coronal and sagittal rows at one scale, each as wide as the figure.

    labels: (I, J, K) integers in the canonical orientation; margin in mm around what is labeled; counts of
    slices across x, y and z. Where the labels have sides, sagittal slices keep away from the midline.
    """
    box = bounding_box(labels)
    chosen = [choose_slices(labels, axis, box, counts[axis]) for axis in range(3)]
    middle = midline(labels[box])
    if middle is not None:
        distance = FISSURE_MM / grid.spacing[0]
        moved = {beside(index, box[0].start + middle, distance) for index in chosen[0]}
        chosen[0] = sorted(index for index in moved if 0 <= index < len(labels)) or chosen[0]
    rows = [(axis, chosen[axis]) for axis in (2, 1, 0)]
    grown = [
        (side.start - round(margin / step), side.stop + round(margin / step))
        for side, step in zip(box, grid.spacing, strict=True)
    ]
    extent = [(stop - start) * step for (start, stop), step in zip(grown, grid.spacing, strict=True)]
    spread = [len(indices) * extent[AXES[axis][0]] for axis, indices in rows]
    scale = (WIDTH - GAP * (max(len(indices) for _, indices in rows) - 1)) / max(spread)  # units per mm
    panels, y = [], 0.0
    for axis, indices in rows:
        across, up, name, _ = AXES[axis]
        width = (WIDTH - GAP * (len(indices) - 1)) / len(indices)
        height = extent[up] * scale
        middle = sum(grown[across]) / 2
        half = width / scale / grid.spacing[across] / 2
        window = (round(middle - half), round(middle + half))
        for column, index in enumerate(indices):
            center = [(side.start + side.stop) / 2 - 0.5 for side in box]
            center[axis] = index
            position = (grid.affine @ [*center, 1])[axis]
            label = f'{name} {round(position):+d}'.replace('-', '\N{MINUS SIGN}')
            place = (column * (width + GAP), y, width, height)
            panels.append(Panel(axis, index, window, grown[up], *place, label))
        y += height + GAP
    return Layout(tuple(panels), y - GAP)


def crop(array: np.ndarray, panel: Panel, fill: float = 0) -> np.ndarray:
    """Cut the panel's window out of a canonical volume, (across, up), `fill` outside the volume."""
    plane = array[(slice(None),) * panel.axis + (panel.index,)]
    out = np.full((panel.across[1] - panel.across[0], panel.up[1] - panel.up[0]), fill, plane.dtype)
    inner, outer = [], []
    for (start, stop), size in zip((panel.across, panel.up), plane.shape, strict=True):
        low, high = min(max(start, 0), size), max(min(stop, size), 0)
        inner.append(slice(low, max(low, high)))
        outer.append(slice(low - start, max(low, high) - start))
    out[tuple(outer)] = plane[tuple(inner)]
    return out


def gray(plane: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Scale intensities linearly, window[0] to 0 and window[1] to 255."""
    low, high = window
    return (np.clip((plane - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)


def display_window(image: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Choose black and white from the brain's own intensities, so that CT and MR both show their contrast."""
    values = image[::2, ::2, ::2][inside[::2, ::2, ::2]]
    if values.size < 100:
        values = image[::2, ::2, ::2].ravel()
    # The middle of the brightness, not its extremes: labels that reach into the skull would black out a CT.
    low, middle, high = (float(value) for value in np.percentile(values, (16, 50, 84)))
    black = max(middle - 2.5 * (middle - low), float(values.min()))
    # White would drown thin lines; in a saturated brain no voxel is brighter than the middle.
    return black, middle + max(2.5 * (high - middle), (middle - black) / 2)

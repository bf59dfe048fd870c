# SPDX-License-Identifier: Apache-2.0
"""Label map to scan: the generative model that training pairs are drawn from.

A label map is deformed, its tissues get random intensities, and the result is acquired: slices of some
thickness, bias field, noise, missing skull or cropped field of view. After Billot et al., SynthSeg
(doi 10.1016/j.media.2023.102789), with one set of priors per modality.

All fields are separable in space, so that each step is a product of small matrices along the three axes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from bids_brainseg.core.intensity import normalize
from bids_brainseg.data import freesurfer_to_index, label_table, resource

FIRST_HEAD_TISSUE = 500


@cache
def priors() -> dict:
    """Return tissues, contrasts and acquisitions (``synthesis.json``)."""
    return json.loads(resource('synthesis.json').read_text())


@dataclass(frozen=True)
class Head:
    """A label map ready for sampling.

    Parameters
    ----------
    codes : (I, J, K) uint8 array
        Rows of the tables below.
    voxel_from_common : (4, 4) float array
        Common space (RAS mm) to voxel indices of `codes`.
    tissue_of, class_of : (n,) array
        Tissue (row of `tissue_names`) and class of each code.
    intracranial : (n,) float32 array
        1 for codes inside the cranial cavity.
    tissue_names : tuple of str
        Names of the tissues.
    """

    codes: np.ndarray
    voxel_from_common: np.ndarray
    tissue_of: np.ndarray
    class_of: np.ndarray
    intracranial: np.ndarray
    tissue_names: tuple[str, ...]

    @classmethod
    def from_labels(cls, labels, affine, common_to_subject) -> Head:
        """Build from a whole-head label map.

        Parameters
        ----------
        labels : (I, J, K) integer array
            FreeSurfer numbers in the brain, head tissues above 500, air 0.
        affine : (4, 4) float array
            Voxel indices to RAS mm.
        common_to_subject : (4, 4) float array
            Common space to the subject's, RAS mm.

        Raises
        ------
        ValueError
            If a label has no tissue in ``synthesis.json``; names it.
        """
        labels = np.asarray(labels)
        tissues = priors()['tissues']
        names = tuple(tissues)
        numbers = np.unique(labels).astype(int)
        tissue = {n: i for i, name in enumerate(names) for n in tissues[name]}
        unknown = [int(n) for n in numbers if n not in tissue]
        if unknown:
            raise ValueError(f'labels {unknown} have no tissue in synthesis.json')
        classes = freesurfer_to_index()
        # air is the first code, so that points outside the map can be clipped to it
        numbers = np.r_[0, numbers[numbers != 0]]
        lookup = np.zeros(int(numbers.max()) + 1, np.uint8)
        lookup[numbers] = np.arange(len(numbers))
        codes = np.pad(lookup[labels.astype(np.int64)], 1)
        shift = np.eye(4)
        shift[:3, 3] = 1
        return cls(
            codes=np.ascontiguousarray(codes),
            voxel_from_common=shift @ np.linalg.inv(affine) @ common_to_subject,
            tissue_of=np.array([tissue[n] for n in numbers], np.uint8),
            class_of=np.array([classes.get(n, 0) for n in numbers], np.uint8),
            intracranial=np.array([0 < n < FIRST_HEAD_TISSUE for n in numbers], np.float32),
            tissue_names=names,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`from_arrays` takes back."""
        return {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, **arrays) -> Head:
        """Build from the arrays of :meth:`arrays`."""
        arrays['tissue_names'] = tuple(str(name) for name in arrays['tissue_names'])
        return cls(**arrays)

    def sample(self, shape, affine, *, deformation=None) -> np.ndarray:
        """Return the codes on a grid, nearest neighbour.

        Parameters
        ----------
        shape : tuple of int
            Shape of the grid.
        affine : (4, 4) float array
            Its voxel indices to common space, RAS mm.
        deformation : Deformation, optional
            Applied to the points of the grid.

        Returns
        -------
        `shape` uint8 array
        """
        flat = None
        for row, point in enumerate(grid_points(self.voxel_from_common, shape, affine, deformation)):
            np.rint(point, out=point)
            np.clip(point, 0, self.codes.shape[row] - 1, out=point)
            index = point.astype(np.int32)
            flat = index if flat is None else flat * np.int32(self.codes.shape[row]) + index
        return self.codes.ravel()[flat]


@dataclass(frozen=True)
class Deformation:
    """A random affine and a smooth displacement on a lattice of control points.

    Parameters
    ----------
    affine : (4, 4) float array
        Common space to common space.
    control : (3, a, b, c) float array
        Displacements in mm at control points evenly spread over `box`, interpolated by cubic B-splines.
    box : (2, 3) float array
        Opposite corners of the lattice, common space, RAS mm.
    """

    affine: np.ndarray
    control: np.ndarray
    box: np.ndarray

    def basis(self, shape, affine) -> list[np.ndarray]:
        """Return one matrix (n, controls) per axis of a grid whose axes are those of the common space."""
        result = []
        for axis, n in enumerate(shape):
            points = affine[axis, axis] * np.arange(n) + affine[axis, 3]
            count = self.control.shape[axis + 1]
            position = (points - self.box[0, axis]) / (self.box[1, axis] - self.box[0, axis]) * (
                count - 3
            ) + 1
            result.append(bspline_matrix(position, count))
        return result


def grid_points(voxel_from_common, shape, affine, deformation: Deformation | None = None):
    """Yield where the points of a grid lie in an image, one axis of the image after the other.

    Parameters
    ----------
    voxel_from_common : (4, 4) float array
        Common space (RAS mm) to voxel indices of the image.
    shape : tuple of int
        Shape of the grid.
    affine : (4, 4) float array
        Its voxel indices to common space, RAS mm.
    deformation : Deformation, optional
        Applied to the points of the grid.

    Yields
    ------
    `shape` float32 array, voxel indices
    """
    matrix = voxel_from_common @ (affine if deformation is None else deformation.affine @ affine)
    axes = [np.arange(n, dtype=np.float32) for n in shape]
    for row in range(3):
        m = matrix[row].astype(np.float32)
        point = (m[0] * axes[0])[:, None, None] + (m[1] * axes[1])[:, None] + (m[2] * axes[2] + m[3])
        if deformation is not None:
            mixed = np.tensordot(voxel_from_common[row, :3], deformation.control, 1).astype(np.float32)
            point += along_axes(mixed, deformation.basis(shape, affine))
        yield point


def bspline_matrix(position, count: int) -> np.ndarray:
    """Return cubic B-spline weights.

    Parameters
    ----------
    position : (n,) float array
        Positions in units of control points; clipped to the lattice.
    count : int
        Number of control points, at least 4.

    Returns
    -------
    (n, count) float32 array, rows sum to 1 between control points 1 and count - 2
    """
    position = np.clip(position, 1, count - 2)
    distance = np.abs(position[:, None] - np.arange(count))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def along_axes(array, matrices: Sequence) -> np.ndarray:
    """Multiply each axis of an array by a matrix.

    Parameters
    ----------
    array : (a, b, c) float array
    matrices : three arrays (i, a), (j, b), (k, c)

    Returns
    -------
    (i, j, k) float32 array
    """
    array = np.asarray(array, np.float32)
    # the last axis first: every product is then one matrix product on contiguous memory
    out = array @ matrices[2].T
    out = np.matmul(matrices[1], out)
    return np.tensordot(matrices[0], out, 1)


@dataclass(frozen=True)
class Ranges:
    """How far samples go; ``Ranges()`` is what the shipped bundles were trained with.

    Parameters
    ----------
    rotation, shear, scale, translation : float
        Standard deviations: degrees, -, -, mm.
    displacement : float
        Upper limit of the standard deviation of control points, mm.
    crop, deface, lesions : float
        Probabilities.
    free : float
        Probability of a contrast that follows no modality.
    flip : bool
        Mirror heads left to right, classes included.
    """

    rotation: float = 6.0
    shear: float = 0.03
    scale: float = 0.06
    translation: float = 4.0
    displacement: float = 3.5
    crop: float = 0.25
    deface: float = 0.25
    lesions: float = 0.35
    free: float = 0.25
    flip: bool = True


@dataclass(frozen=True)
class Synthesizer:
    """Draw training pairs from heads.

    Parameters
    ----------
    heads : sequence of Head
        Label maps.
    shape : tuple of int
        Network grid.
    affine : (4, 4) float array
        Its voxel indices to common space; axes along those of the common space.
    contrasts : mapping of str to Mapping
        Name of a contrast in ``synthesis.json`` to the intensity rule of its bundle
        (see :func:`bids_brainseg.core.intensity.normalize`); each sample takes one at random.
    ranges : Ranges
        How far samples go.
    seed : int
        The pair number n depends on the seed and n alone.
    window : tuple of int, optional
        Draw pairs of this shape, each somewhere in the grid, instead of whole grids: more scans for the same
        work.
    """

    heads: Sequence[Head]
    shape: tuple[int, int, int]
    affine: np.ndarray
    contrasts: Mapping[str, Mapping]
    ranges: Ranges = field(default_factory=Ranges)
    seed: int = 0
    window: tuple[int, int, int] | None = None

    def pair(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a scan and its labels.

        Parameters
        ----------
        number : int
            Which of the endless pairs.

        Returns
        -------
        image : `shape` or `window` float32 array in [0, 100]
        labels : uint8 array of class indices, of the same shape
        """
        rng = np.random.default_rng([self.seed, number])
        head = self.heads[rng.integers(len(self.heads))]
        name = list(self.contrasts)[rng.integers(len(self.contrasts))]
        mirror = self.ranges.flip and rng.random() < 0.5
        deformation = draw_deformation(rng, self.ranges, self.shape, self.affine, mirror=mirror)
        grid = self._window(rng)
        labels = head.class_of[head.sample(*grid, deformation=deformation)]
        if mirror:
            labels = mirrored_classes()[labels]
        return self._image(rng, head, deformation, name, *grid), labels

    def _window(self, rng):
        if self.window is None:
            return self.shape, self.affine
        room = np.subtract(self.shape, self.window)
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ rng.integers(room + 1)
        return tuple(self.window), affine

    def _image(self, rng, head, deformation, name, grid_shape, grid_affine):
        rule = self.contrasts[name]
        free = name != 'ct' and rng.random() < self.ranges.free
        contrast = priors()['contrasts'][name]
        acquisition = priors()['acquisition']['free' if free else name]
        shape, affine = fine_grid(grid_shape, grid_affine)
        tissue = head.tissue_of[head.sample(shape, affine, deformation=deformation)]
        if rng.random() < self.ranges.lesions:
            tissue = add_lesions(rng, tissue, head.tissue_names, shape)
        mean, spread = draw_contrast(rng, contrast, head.tissue_names, free=free)
        background = contrast['background'] if not free else 0.0
        if rng.random() < acquisition['strip']:
            remove_head(rng, mean, spread, head.tissue_names, background)
        image = rng.standard_normal(shape, np.float32)
        image *= spread[tissue]
        image += mean[tissue]
        image = acquire(
            rng, image, affine, grid_shape, grid_affine, acquisition, background, hounsfield=name == 'ct'
        )
        if rng.random() < self.ranges.deface:
            remove_face(rng, image, grid_affine, background)
        if rng.random() < self.ranges.crop:
            crop(rng, image, background)
        if name != 'ct':
            image = np.maximum(image, 0) ** np.float32(np.exp(rng.normal(0, 0.15)))
        elif rng.random() < 0.5:
            shift = rng.normal(0, 5, 2)
            rule = rule | {'low': rule['low'] + shift[0], 'high': rule['high'] + shift[1]}
        return normalize(image, rule)


@cache
def mirrored_classes() -> np.ndarray:
    """Return for each class index the one of the other side."""
    index = {label.name: label.index for label in label_table()}
    swap = {'L': ('Left-', 'Right-'), 'R': ('Right-', 'Left-')}
    return np.array(
        [
            index[x.name.replace(*swap[x.hemisphere])] if x.hemisphere in swap else x.index
            for x in label_table()
        ],
        np.uint8,
    )


def fine_grid(shape, affine, ratio: float = 1.4):
    """Return shape and affine of a grid `ratio` times finer with the same field of view."""
    fine_shape = tuple(int(np.ceil(n * ratio)) for n in shape)
    fine = affine.copy()
    for axis, (n, m) in enumerate(zip(shape, fine_shape, strict=True)):
        step = affine[axis, axis] * n / m
        fine[axis, axis] = step
        fine[axis, 3] = affine[axis, 3] - affine[axis, axis] / 2 + step / 2
    return fine_shape, fine


def draw_deformation(rng, ranges: Ranges, shape, affine, *, mirror: bool) -> Deformation:
    """Draw an affine about the centre of the grid and displacements at two scales."""
    corners = affine[:3, 3] + np.array([np.zeros(3), np.diag(affine)[:3] * (np.array(shape) - 1)])
    centre = corners.mean(0)
    angles = np.deg2rad(rng.normal(0, ranges.rotation, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    shear = np.eye(3) + rng.normal(0, ranges.shear, (3, 3)) * (1 - np.eye(3))
    scale = np.exp(rng.normal(0, ranges.scale) + rng.normal(0, ranges.scale / 2, 3))
    matrix = matrix @ shear @ np.diag(scale)
    if mirror:
        matrix = np.diag([-1.0, 1, 1]) @ matrix
    full = np.eye(4)
    full[:3, :3] = matrix
    anchor = centre * ([-1, 1, 1] if mirror else [1, 1, 1])
    full[:3, 3] = anchor - matrix @ centre + rng.normal(0, ranges.translation, 3)
    count = int(rng.integers(6, 13))
    deviation = rng.uniform(0, ranges.displacement)
    control = rng.normal(0, deviation, (3, count, count, count))
    return Deformation(full, control, corners)


def draw_contrast(rng, contrast: Mapping, names, *, free: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw mean and spread of each tissue.

    Parameters
    ----------
    rng : numpy.random.Generator
    contrast : mapping
        Entry of ``contrasts`` in ``synthesis.json``.
    names : sequence of str
        Tissues.
    free : bool
        Ignore the priors: uniform means in [0, 1].

    Returns
    -------
    mean, spread : (len(names),) float32 array, in the contrast's unit
    """
    if free:
        mean = rng.uniform(0.05, 1, len(names))
        # structures that no sequence tells apart by much share one mean, give or take a little
        for group in (
            ('ventricle', 'csf'),
            ('wm', 'cerebellar_wm'),
            ('gm', 'cerebellar_gm'),
            ('hippocampus', 'amygdala'),
        ):
            first, second = (names.index(n) for n in group)
            mean[second] = mean[first] + rng.normal(0, 0.05)
        spread = rng.uniform(0.01, 0.1, len(names))
        mean[names.index('air')] = rng.uniform(0, 0.05) if rng.random() < 0.9 else rng.uniform(0, 0.5)
        spread[names.index('air')] *= 0.2
        return mean.astype(np.float32), spread.astype(np.float32)
    prior = np.array([contrast['means'][name] for name in names])
    mean = prior[:, 0] + prior[:, 1] * rng.standard_normal(len(names)) * rng.uniform(0.3, 1.3)
    mean += rng.normal(0, contrast['jitter'], len(names)) * (prior[:, 0] != prior[0, 0])
    spread = rng.uniform(*contrast['texture'], len(names))
    return mean.astype(np.float32), spread.astype(np.float32)


def remove_head(rng, mean, spread, names, background) -> None:
    """Give the tissues outside the brain the value of the background; sometimes the fluid around it too."""
    keep = {'csf'} if rng.random() < 0.6 else set()
    for name in ['air', *priors()['outside_brain']]:
        if name not in keep:
            mean[names.index(name)] = background
            spread[names.index(name)] = 0


def add_lesions(rng, tissue, names, shape) -> np.ndarray:
    """Turn smooth patches of white matter into lesions."""
    count = int(rng.integers(10, 30))
    basis = [bspline_matrix(np.linspace(1, count - 2, n), count) for n in shape]
    smooth = along_axes(rng.standard_normal((count, count, count), np.float32), basis)
    threshold = np.float32(rng.uniform(0.7, 1.6))
    white = tissue == names.index('wm')
    return np.where(white & (smooth > threshold), np.uint8(names.index('lesion')), tissue)


def acquire(rng, image, image_affine, shape, affine, acquisition: Mapping, background, *, hounsfield: bool):
    """Acquire slices of random thickness from a fine image and resample them onto the network grid.

    Parameters
    ----------
    rng : numpy.random.Generator
    image : (a, b, c) float32 array
        Fine image.
    image_affine : (4, 4) float array
        Diagonal but for the origin.
    shape, affine
        Network grid.
    acquisition : mapping
        Entry of ``acquisition`` in ``synthesis.json``.
    background : float
        Value of air.
    hounsfield : bool
        Gaussian noise as in CT; otherwise the noise of a magnitude image (Rice).

    Returns
    -------
    `shape` float32 array
    """
    voxel = np.full(3, rng.uniform(*acquisition['in_plane']))
    if rng.random() < acquisition['slab']:
        voxel[rng.choice(3, p=[0.2, 0.2, 0.6])] = rng.uniform(*acquisition['thickness'])
    gather, spread = [], []
    for axis in range(3):
        step = image_affine[axis, axis]
        length = step * image.shape[axis]
        # finer than the fine image would only invent detail
        width = max(voxel[axis], step)
        count = max(int(np.ceil(length / width)), 2)
        start = image_affine[axis, 3] - step / 2 + (length - (count - 1) * width) / 2
        centres = start + width * np.arange(count)
        points = image_affine[axis, 3] + step * np.arange(image.shape[axis])
        sigma = max(width * rng.uniform(0.7, 1.1), step) / 2.355
        weights = np.exp(-0.5 * ((centres[:, None] - points) / sigma) ** 2) + 1e-12
        gather.append((weights / weights.sum(1, keepdims=True)).astype(np.float32))
        spread.append(
            linear_matrix(
                (affine[axis, 3] + affine[axis, axis] * np.arange(shape[axis]) - start) / width, count
            )
        )
    scan = along_axes(image, gather)
    count = 4 + int(rng.integers(0, 4))
    field_control = rng.normal(0, rng.uniform(*acquisition['bias']), (count, count, count))
    basis = [bspline_matrix(np.linspace(1, count - 2, n), count) for n in scan.shape]
    bias = np.exp(along_axes(field_control, basis))
    scan = background + (scan - background) * bias if not hounsfield else scan * bias
    sigma = np.float32(rng.uniform(*acquisition['noise']))
    scan += sigma * rng.standard_normal(scan.shape, np.float32)
    if not hounsfield:
        scan = np.hypot(scan, sigma * rng.standard_normal(scan.shape, np.float32))
    return along_axes(scan, spread)


def linear_matrix(position, count: int) -> np.ndarray:
    """Return linear weights (n, count) at positions in units of samples, clipped to the ends."""
    position = np.clip(position, 0, count - 1)
    return np.clip(1 - np.abs(position[:, None] - np.arange(count)), 0, None).astype(np.float32)


def remove_face(rng, image, affine, background) -> None:
    """Blank what lies in front of and below an oblique plane, as defacing does; in place."""
    axes = [affine[a, a] * np.arange(n) + affine[a, 3] for a, n in enumerate(image.shape)]
    offset, slope = rng.uniform(20, 60), rng.uniform(0.5, 1.5)
    plane = (axes[1] - offset)[:, None] - slope * (axes[2] + rng.uniform(20, 50))[None]
    image[:, plane > 0] = background


def crop(rng, image, background) -> None:
    """Blank up to a quarter of the field of view at random sides; in place."""
    for axis in range(3):
        for side in range(2):
            if rng.random() < 0.3:
                n = int(image.shape[axis] * rng.uniform(0, 0.25))
                where = [slice(None)] * 3
                where[axis] = slice(0, n) if side == 0 else slice(image.shape[axis] - n, None)
                image[tuple(where)] = background

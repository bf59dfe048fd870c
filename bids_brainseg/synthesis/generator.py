# SPDX-License-Identifier: Apache-2.0
"""Label map to scan: the generative model that training pairs are drawn from.

A label map is deformed, its tissues get random intensities, and the result is acquired: slices of some
thickness, bias field, noise, missing skull or cropped field of view. After Billot et al., SynthSeg
(doi 10.1016/j.media.2023.102789), with one set of priors per modality.

Here the random numbers are drawn; :mod:`bids_brainseg.synthesis.render` makes the scan of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bids_brainseg.data import mirrored_classes, modalities

from .label_map import Deformation, LabelMap, place, priors
from .render import SceneParameters, bspline_matrix, linear_matrix, render_image, render_labels

#: Largest lattices of control points along an axis: of deformations, lesions, bias fields, tissues that vary.
MOST_CONTROLS, MOST_LESION_CONTROLS, MOST_BIAS_CONTROLS, MOST_VARIATION_CONTROLS = 12, 29, 7, 14
#: Deviation of a field of cubic B-splines whose control points have deviation 1: the square root of the
#: integral of the squared spline, to the power of three.
SPLINE_DEVIATION = (151 / 315) ** 1.5


@dataclass(frozen=True)
class AugmentationRanges:
    """How far samples go; ``AugmentationRanges()`` is what the shipped bundles were trained with.

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
    heads : sequence of LabelMap
        Label maps.
    shape : tuple of int
        Network grid.
    affine : (4, 4) float array
        Its voxel indices to common space; axes along those of the common space.
    contrasts : mapping of str to Mapping
        Name of a modality to the intensity rule of its bundle
        (see :func:`bids_brainseg.core.intensity.normalize`); each sample takes one at random.
    ranges : AugmentationRanges
        How far samples go.
    seed : int
        The pair number n depends on the seed and n alone.
    region : `shape` bool array, optional
        Where the rules with a region read their percentiles.
    window : tuple of int, optional
        Draw pairs of this shape, each somewhere in the grid, instead of whole grids: more scans for the same
        work.
    """

    heads: Sequence[LabelMap]
    shape: tuple[int, int, int]
    affine: np.ndarray
    contrasts: Mapping[str, Mapping]
    ranges: AugmentationRanges = field(default_factory=AugmentationRanges)
    seed: int = 0
    region: np.ndarray | None = None
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
        scene, noise = self.draw(np.random.default_rng([self.seed, number]), noisy=True)
        codes = self.heads[scene.head].codes
        return render_image(scene, codes, noise), render_labels(scene, codes)

    def draw(self, rng, *, noisy: bool) -> tuple[SceneParameters, list]:
        """Draw what makes a pair.

        Parameters
        ----------
        rng : numpy.random.Generator
        noisy : bool
            Draw the noise too, which takes longer than all the rest.

        Returns
        -------
        scene : SceneParameters
        noise : list of arrays
            As :func:`~bids_brainseg.synthesis.render.render_image` takes it; empty without `noisy`.
        """
        number = int(rng.integers(len(self.heads)))
        head = self.heads[number]
        name = list(self.contrasts)[rng.integers(len(self.contrasts))]
        mirror = self.ranges.flip and rng.random() < 0.5
        deformation = draw_deformation(rng, self.ranges, self.shape, self.affine, mirror=mirror)
        part = self._window(rng)
        shape, affine = self.window or self.shape, self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ [where.start for where in part]
        hounsfield = modalities()[name].hounsfield
        free = not hounsfield and rng.random() < self.ranges.free
        acquisition = priors()['free_acquisition'] if free else modalities()[name].acquisition
        fine_shape, fine_affine = fine_grid(shape, affine)
        labels = place(head.voxel_from_common, shape, affine, deformation)
        image = place(head.voxel_from_common, fine_shape, fine_affine, deformation)
        tissues = self._tissues(rng, head, name, fine_shape, acquisition, free=free)
        noise = [rng.standard_normal(fine_shape, np.float32)] if noisy else []
        drawn = draw_acquisition(rng, fine_shape, fine_affine, shape, affine, acquisition)
        if noisy:
            scan = [len(matrix) for matrix in drawn['gather']]
            noise += [rng.standard_normal(scan, np.float32) for _ in range(1 if hounsfield else 2)]
        scene = SceneParameters(
            head=number,
            limit=head.limit,
            control=labels.control,
            matrix_labels=labels.matrix,
            matrix_image=image.matrix,
            basis_labels=labels.basis,
            basis_image=image.basis,
            classes=np.array(mirrored_classes(), np.uint8)[head.class_of] if mirror else head.class_of,
            **tissues,
            **drawn,
            hounsfield=hounsfield,
            shown=self._draw_shown(rng, shape, affine),
            **self._draw_scale(rng, name),
            region=self.region[part] if 'region' in self.contrasts[name] else None,
        )
        return scene, noise

    def _window(self, rng) -> tuple[slice, ...]:
        if self.window is None:
            return tuple(slice(0, n) for n in self.shape)
        first = rng.integers(np.subtract(self.shape, self.window) + 1)
        return tuple(slice(i, i + n) for i, n in zip(first, self.window, strict=True))

    def _tissues(self, rng, head, name, fine_shape, acquisition, *, free) -> dict:
        lesions = dict.fromkeys(('lesion_control', 'lesion_basis', 'lesion_threshold'))
        if rng.random() < self.ranges.lesions:
            lesions = draw_lesions(rng, fine_shape)
        contrast, names = modalities()[name].contrast, head.tissue_names
        background = np.float32(0.0 if free else contrast['background'])
        tables = draw_contrast(rng, contrast, names, free=free)
        if rng.random() < acquisition['strip']:
            remove_head(rng, tables, names, background)
        tissue = np.append(head.tissue_of, names.index('lesion'))
        white = ['wm', *(name for name, layer in priors()['layers'].items() if layer['of'] == 'wm')]
        return {
            **{name: table[tissue] for name, table in tables.items()},
            'white': np.isin(tissue, [names.index(name) for name in white]),
            'background': background,
            **lesions,
            **draw_variation(rng, fine_shape),
        }

    def _draw_shown(self, rng, shape, affine):
        shown = None
        if rng.random() < self.ranges.deface:
            shown = [np.ones(n, bool) for n in shape], ~draw_face(rng, shape, affine)
        if rng.random() < self.ranges.crop:
            face = np.ones(shape[1:], bool) if shown is None else shown[1]
            shown = draw_crop(rng, shape), face
        return shown and (shown[0][0], shown[0][1][:, None] & shown[0][2] & shown[1])

    def _draw_scale(self, rng, name) -> dict:
        rule, gamma, shift = self.contrasts[name], 1.0, np.zeros(2)
        if not modalities()[name].hounsfield:
            gamma = np.exp(rng.normal(0, 0.15))
        elif rng.random() < 0.5:
            shift = rng.normal(0, 5, 2)
        return {
            'gamma': np.float32(gamma),
            'low': float(rule['low'] + shift[0]),
            'high': float(rule['high'] + shift[1]),
            'percentile': rule['type'] == 'percentile',
        }


def fine_grid(shape, affine, ratio: float = 1.4):
    """Return shape and affine of a grid `ratio` times finer with the same field of view."""
    fine_shape = tuple(int(np.ceil(n * ratio)) for n in shape)
    fine = affine.copy()
    for axis, (n, m) in enumerate(zip(shape, fine_shape, strict=True)):
        step = affine[axis, axis] * n / m
        fine[axis, axis] = step
        fine[axis, 3] = affine[axis, 3] - affine[axis, axis] / 2 + step / 2
    return fine_shape, fine


def draw_deformation(rng, ranges: AugmentationRanges, shape, affine, *, mirror: bool) -> Deformation:
    """Draw an affine about the center of the grid and displacements at two scales."""
    corners = affine[:3, 3] + np.array([np.zeros(3), np.diag(affine)[:3] * (np.array(shape) - 1)])
    center = corners.mean(0)
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
    anchor = center * ([-1, 1, 1] if mirror else [1, 1, 1])
    full[:3, 3] = anchor - matrix @ center + rng.normal(0, ranges.translation, 3)
    count = int(rng.integers(6, MOST_CONTROLS + 1))
    deviation = rng.uniform(0, ranges.displacement)
    control = rng.normal(0, deviation, (3, count, count, count))
    return Deformation(full, control, corners)


def draw_contrast(rng, contrast: Mapping, names, *, free: bool) -> dict[str, np.ndarray]:
    """Draw the intensities of each tissue.

    Parameters
    ----------
    rng : numpy.random.Generator
    contrast : mapping
        ``contrast`` of a modality.
    names : sequence of str
        Tissues and layers.
    free : bool
        Ignore the priors: uniform means in [0, 1].

    Returns
    -------
    dict of str to (len(names),) float32 array
        ``mean``, ``spread`` of single voxels and ``variation`` from place to place, in the contrast's unit.
    """
    count = len(names)
    air = names.index('air')
    variation = rng.normal(0, rng.uniform(*contrast['variation']), count)
    variation[air] = 0
    if free:
        mean = rng.uniform(0.05, 1, count)
        # structures that no sequence tells apart by much share one mean, give or take a little
        for group in (
            ('ventricle', 'csf'),
            ('wm', 'cerebellar_wm'),
            ('gm', 'cerebellar_gm'),
            ('hippocampus', 'amygdala'),
        ):
            first, second = (names.index(n) for n in group)
            mean[second] = mean[first] + rng.normal(0, 0.05)
        spread = rng.uniform(0.01, 0.1, count)
        mean[air] = rng.uniform(0, 0.05) if rng.random() < 0.9 else rng.uniform(0, 0.5)
        spread[air] *= 0.2
    else:
        prior = np.array([contrast['means'].get(name, (0, 0)) for name in names])
        mean = prior[:, 0] + prior[:, 1] * rng.standard_normal(count) * rng.uniform(0.3, 1.3)
        mean += rng.normal(0, contrast['jitter'], count) * (prior[:, 0] != prior[air, 0])
        spread = rng.uniform(*contrast['texture'], count)
    shift = rng.uniform(*contrast['rim'])
    for name, layer in priors()['layers'].items():
        own, inner, other = (names.index(n) for n in (name, layer['of'], layer['next_to']))
        mean[own] = mean[inner] + shift * layer['share'] * (mean[other] - mean[inner])
        spread[own], variation[own] = spread[inner], variation[inner]
    tables = {'mean': mean, 'spread': spread, 'variation': variation}
    return {name: table.astype(np.float32) for name, table in tables.items()}


def remove_head(rng, tables: Mapping, names, background) -> None:
    """Give the tissues outside the brain the value of the background; sometimes the fluid around it too."""
    keep = {'csf'} if rng.random() < 0.6 else set()
    for name in ['air', *priors()['outside_brain']]:
        if name not in keep:
            tables['mean'][names.index(name)] = background
            tables['spread'][names.index(name)] = tables['variation'][names.index(name)] = 0


def draw_variation(rng, shape) -> dict:
    """Draw the smooth field that tissues follow, each in its own measure; fields of a Scene."""
    count = int(rng.integers(6, MOST_VARIATION_CONTROLS + 1))
    control = rng.standard_normal((count, count, count), np.float32)
    return {
        'variation_basis': tuple(bspline_matrix(np.linspace(1, count - 2, n), count) for n in shape),
        'variation_control': control / np.float32(SPLINE_DEVIATION),
    }


def draw_lesions(rng, shape) -> dict:
    """Draw the field that turns smooth patches of white matter into lesions; fields of a Scene."""
    count = int(rng.integers(10, MOST_LESION_CONTROLS + 1))
    return {
        'lesion_basis': tuple(bspline_matrix(np.linspace(1, count - 2, n), count) for n in shape),
        'lesion_control': rng.standard_normal((count, count, count), np.float32),
        'lesion_threshold': np.float32(rng.uniform(0.7, 1.6)),
    }


def draw_acquisition(rng, fine_shape, fine_affine, shape, affine, acquisition: Mapping) -> dict:
    """Draw slices of random thickness, bias and noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    fine_shape, fine_affine
        Fine grid, (4, 4) affine diagonal but for the origin.
    shape, affine
        Network grid.
    acquisition : mapping
        ``acquisition`` of a modality.

    Returns
    -------
    dict
        Fields of a Scene. There are never more slices than planes of the fine grid.
    """
    voxel = np.full(3, rng.uniform(*acquisition['in_plane']))
    if rng.random() < acquisition['slab']:
        voxel[rng.choice(3, p=[0.2, 0.2, 0.6])] = rng.uniform(*acquisition['thickness'])
    gather, back = [], []
    for axis in range(3):
        step = fine_affine[axis, axis]
        length = step * fine_shape[axis]
        # finer than the fine image would only invent detail
        width = max(voxel[axis], step)
        count = min(max(int(np.ceil(length / width)), 2), fine_shape[axis])
        start = fine_affine[axis, 3] - step / 2 + (length - (count - 1) * width) / 2
        centers = start + width * np.arange(count)
        points = fine_affine[axis, 3] + step * np.arange(fine_shape[axis])
        sigma = max(width * rng.uniform(0.7, 1.1), step) / 2.355
        weights = np.exp(-0.5 * ((centers[:, None] - points) / sigma) ** 2) + 1e-12
        gather.append((weights / weights.sum(1, keepdims=True)).astype(np.float32))
        place = affine[axis, 3] + affine[axis, axis] * np.arange(shape[axis])
        back.append(linear_matrix((place - start) / width, count))
    count = int(rng.integers(4, MOST_BIAS_CONTROLS + 1))
    control = rng.normal(0, rng.uniform(*acquisition['bias']), (count, count, count))
    return {
        'gather': tuple(gather),
        'back': tuple(back),
        'bias_control': control.astype(np.float32),
        'bias_basis': tuple(bspline_matrix(np.linspace(1, count - 2, len(m)), count) for m in gather),
        'noise_level': np.float32(rng.uniform(*acquisition['noise'])),
    }


def draw_face(rng, shape, affine) -> np.ndarray:
    """Draw an oblique plane, and tell what lies in front of and below it, as (J, K) bool array."""
    axes = [affine[a, a] * np.arange(n) + affine[a, 3] for a, n in enumerate(shape)]
    offset, slope = rng.uniform(20, 60), rng.uniform(0.5, 1.5)
    return (axes[1] - offset)[:, None] - slope * (axes[2] + rng.uniform(20, 50))[None] > 0


def draw_crop(rng, shape) -> list[np.ndarray]:
    """Draw what is left of the field of view: up to a quarter is lost at random sides; bool, per axis."""
    shown = [np.ones(n, bool) for n in shape]
    for left in shown:
        for side in range(2):
            if rng.random() < 0.3:
                n = int(len(left) * rng.uniform(0, 0.25))
                left[slice(0, n) if side == 0 else slice(len(left) - n, None)] = False
    return shown

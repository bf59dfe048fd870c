# SPDX-License-Identifier: Apache-2.0
"""Label map to scan: the generative model that training pairs come from.

A label map is deformed, its tissues get random intensities, and the result is acquired: slices of some
thickness, bias field, noise, missing skull or cropped field of view. After Billot et al., SynthSeg
(doi 10.1016/j.media.2023.102789), with one set of priors per modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from bids_brainseg.data import mirrored_classes, modalities

from .effect import Context, Grids
from .label_map import LabelMap, grid_placement
from .ranges import AugmentationRanges
from .render import render_image, render_labels
from .scene import SceneParameters, enabled_effects, sample_deformation, sample_effects


class PairSource(Protocol):
    """What training pairs come from."""

    def pair(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a scan and its labels.

        Parameters
        ----------
        number : int
            Which of the endless pairs.

        Returns
        -------
        image : (I, J, K) float32 array in [0, 100]
        labels : (I, J, K) uint8 array of class indices
        """


@dataclass(frozen=True)
class Synthesizer:
    """Make synthetic training pairs from label maps.

    Parameters
    ----------
    label_maps : sequence of LabelMap
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
        Make pairs of this shape, each somewhere in the grid, instead of whole grids: more scans for the same
        work.
    """

    label_maps: Sequence[LabelMap]
    shape: tuple[int, int, int]
    affine: np.ndarray
    contrasts: Mapping[str, Mapping]
    ranges: AugmentationRanges = field(default_factory=AugmentationRanges)
    seed: int = 0
    region: np.ndarray | None = None
    window: tuple[int, int, int] | None = None

    @cached_property
    def effects(self) -> tuple[str, ...]:
        """Names of the effects that can happen."""
        return enabled_effects(self.ranges, list(self.contrasts))

    @property
    def grids(self) -> Grids:
        """The grids of a pair; those of a window at the first corner."""
        return Grids.around(self.window or self.shape, self.affine)

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
        scene, noise = self.sample(np.random.default_rng([self.seed, number]), noisy=True)
        codes = self.label_maps[scene.label_map].codes
        return render_image(scene, codes, noise), render_labels(scene, codes)

    def sample(self, rng: np.random.Generator, *, noisy: bool) -> tuple[SceneParameters, dict[str, list]]:
        """Sample what makes a pair.

        Parameters
        ----------
        rng : numpy.random.Generator
        noisy : bool
            Sample the noise too, which takes longer than all the rest.

        Returns
        -------
        scene : SceneParameters
        noise : dict of str to list of arrays
            As :func:`~bids_brainseg.synthesis.render.render_image` takes it; empty without `noisy`.
        """
        number = int(rng.integers(len(self.label_maps)))
        label_map = self.label_maps[number]
        name = list(self.contrasts)[rng.integers(len(self.contrasts))]
        mirror = self.ranges.flip and rng.random() < 0.5
        deformation = sample_deformation(rng, self.ranges, self.shape, self.affine, mirror=mirror)
        part = self._window(rng)
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ [where.start for where in part]
        grids = Grids.around(self.window or self.shape, affine)
        modality = modalities()[name]
        hounsfield = modality.hounsfield
        free = not hounsfield and bool(rng.random() < self.ranges.random_contrast)
        background = np.float32(0.0 if free else modality.contrast['background'])
        context = Context(label_map, modality, free, background, self.ranges, grids)
        effects, noise = sample_effects(rng, self.effects, context, noisy=noisy)
        low, high, percentile = self._scale(rng, name, hounsfield)
        labels, image = (
            grid_placement(label_map.voxel_from_common, *grid, deformation) for grid in (grids[:2], grids[2:])
        )
        classes = label_map.class_of
        scene = SceneParameters(
            label_map=number,
            limit=label_map.limit,
            control=labels.control,
            matrix_labels=labels.matrix,
            matrix_image=image.matrix,
            basis_labels=labels.basis,
            basis_image=image.basis,
            classes=np.array(mirrored_classes(), np.uint8)[classes] if mirror else classes,
            background=background,
            hounsfield=hounsfield,
            low=low,
            high=high,
            percentile=percentile,
            region=self.region[part] if 'region' in self.contrasts[name] else None,
            effects=effects,
        )
        return scene, noise

    def _window(self, rng: np.random.Generator) -> tuple[slice, ...]:
        if self.window is None:
            return tuple(slice(0, n) for n in self.shape)
        first = rng.integers(np.subtract(self.shape, self.window) + 1)
        return tuple(slice(i, i + n) for i, n in zip(first, self.window, strict=True))

    def _scale(self, rng: np.random.Generator, name: str, hounsfield: bool) -> tuple[float, float, bool]:
        """Say how intensities become [0, 100]; windows of CT differ a little."""
        rule, shift = self.contrasts[name], np.zeros(2)
        if hounsfield and rng.random() < 0.5:
            shift = rng.normal(0, 5, 2)
        return float(rule['low'] + shift[0]), float(rule['high'] + shift[1]), rule['type'] == 'percentile'

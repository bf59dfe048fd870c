# SPDX-License-Identifier: Apache-2.0
"""Effects on the anatomy: lesions, the intensities of tissues, what lies outside the brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bids_brainseg.core.arrays import Tensor

from .effect import CODES, LESION, Context, Effect, Grids, Rendering, smooth_field
from .fields import along_axes
from .label_map import priors
from .ranges import AugmentationRanges

#: Deviation of a field of cubic B-splines whose control points have deviation 1: the square root of the
#: integral of the squared spline, to the power of three.
SPLINE_DEVIATION = (151 / 315) ** 1.5


class Lesions(Effect):
    """Smooth patches of white matter that look like lesions."""

    name = 'lesions'
    most = 29  # control points along an axis

    class Parameters(NamedTuple):
        """A smooth field, and the value above which white matter becomes lesion.

        Attributes
        ----------
        white : (256,) bool array
            Codes of white matter.
        control, basis
            The field: (a, b, c) float32 array, three float32 arrays (n, a) ...
        threshold : float
        """

        white: Tensor
        control: Tensor
        basis: Tensor
        threshold: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample the field and the threshold."""
        if not rng.random() < context.ranges.lesions:
            return None
        count, basis = smooth_field(rng, context.grids.fine_shape, 10, self.most)
        return self.Parameters(
            white=context.is_tissue('wm'),
            basis=basis,
            control=rng.standard_normal((count, count, count), np.float32),
            threshold=np.float32(rng.uniform(0.7, 1.6)),
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Allow the finest lattice."""
        basis = tuple((n, self.most) for n in grids.fine_shape)
        return self.Parameters(white=(CODES,), control=(self.most,) * 3, basis=basis, threshold=())

    def absent(self, grids: Grids) -> Parameters:
        """Return a threshold that nothing exceeds."""
        nothing = tuple(np.zeros((n, 1), np.float32) for n in grids.fine_shape)
        return self.Parameters(np.zeros(CODES, bool), np.zeros((1, 1, 1), np.float32), nothing, np.inf)

    def on_codes(self, codes: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Turn white matter above the threshold into lesion."""
        smooth = along_axes(parameters.control, parameters.basis, at.xp)
        patches = at.xp.take(parameters.white, codes) & (smooth > parameters.threshold)
        return at.xp.where(patches, at.xp.cast(LESION, 'uint8'), codes)


class Hyperintensities(Effect):
    """White matter around the ventricles that looks like lesions, as in most people above 60."""

    name = 'hyperintensities'
    most = 29

    class Parameters(NamedTuple):
        """How much ventricle is near, and how much of it turns white matter into lesion.

        Attributes
        ----------
        white, ventricle : (256,) bool array
            Codes.
        blur : three float32 arrays (n, n)
            Gaussian that the ventricles reach out with.
        control, basis
            A smooth field of deviation 1, by whose exponential the reach differs from place to place.
        irregularity : float
            Factor of the field.
        threshold : float
            Share of ventricle above which white matter becomes lesion: next to a flat wall it is one half.
        """

        white: Tensor
        ventricle: Tensor
        blur: Tensor
        control: Tensor
        basis: Tensor
        irregularity: Tensor
        threshold: Tensor

    def enabled(self, ranges: AugmentationRanges, contrasts: Sequence[str]) -> bool:
        """Tell whether the probability is above 0."""
        return ranges.probability(self.name) > 0

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample the reach of the ventricles, its irregularity and the threshold."""
        if not rng.random() < context.ranges.probability(self.name):
            return None
        prior, grids = priors()['effects'][self.name], context.grids
        count, basis = smooth_field(rng, grids.fine_shape, 10, self.most)
        reach = rng.uniform(*prior['reach']) / np.diag(grids.fine_affine)[:3]
        steps = [np.subtract.outer(np.arange(n), np.arange(n)) for n in grids.fine_shape]
        blur = [np.exp(-0.5 * (step / r) ** 2) for step, r in zip(steps, reach, strict=True)]
        return self.Parameters(
            white=context.is_tissue('wm'),
            ventricle=context.is_tissue('ventricle'),
            blur=tuple((weights / weights.sum(1, keepdims=True)).astype(np.float32) for weights in blur),
            control=rng.standard_normal((count, count, count), np.float32) / np.float32(SPLINE_DEVIATION),
            basis=basis,
            irregularity=np.float32(rng.uniform(*prior['irregularity'])),
            threshold=np.float32(rng.uniform(*prior['threshold'])),
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Allow the finest lattice."""
        blur = tuple((n, n) for n in grids.fine_shape)
        basis = tuple((n, self.most) for n in grids.fine_shape)
        return self.Parameters((CODES,), (CODES,), blur, (self.most,) * 3, basis, (), ())

    def absent(self, grids: Grids) -> Parameters:
        """Return a threshold that nothing exceeds."""
        nothing, lattice = np.zeros(CODES, bool), np.zeros((1, 1, 1), np.float32)
        basis = tuple(np.zeros((n, 1), np.float32) for n in grids.fine_shape)
        blur = tuple(np.zeros((n, n), np.float32) for n in grids.fine_shape)
        return self.Parameters(nothing, nothing, blur, lattice, basis, 0.0, np.inf)

    def on_codes(self, codes: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Turn white matter near the ventricles into lesion."""
        ventricle = at.xp.cast(at.xp.take(parameters.ventricle, codes), 'float32')
        near = along_axes(ventricle, parameters.blur, at.xp)
        smooth = along_axes(parameters.control, parameters.basis, at.xp)
        share = near * at.xp.exp(parameters.irregularity * smooth)
        patches = at.xp.take(parameters.white, codes) & (share > parameters.threshold)
        return at.xp.where(patches, at.xp.cast(LESION, 'uint8'), codes)


class Contrast(Effect):
    """Intensities of each tissue: those of a modality, or any."""

    name = 'contrast'

    def sample(self, rng: np.random.Generator, context: Context) -> None:
        """Fill in the intensities of the tissues."""
        context.tissues = sample_contrast(
            rng,
            context.modality.contrast,
            context.label_map.tissue_names,
            random_contrast=context.random_contrast,
        )


class SkullStripping(Effect):
    """Everything outside the brain has the value of air; sometimes the fluid around it too."""

    name = 'skull_stripping'

    def sample(self, rng: np.random.Generator, context: Context) -> None:
        """Give tissues outside the brain the intensity of air."""
        if not rng.random() < context.acquisition['strip']:
            return
        keep = {'csf'} if rng.random() < 0.6 else set()
        for name in ['air', *priors()['outside_brain']]:
            if name not in keep:
                row = context.label_map.tissue_names.index(name)
                context.tissues['mean'][row] = context.background
                context.tissues['spread'][row] = context.tissues['variation'][row] = 0


class Tissues(Effect):
    """The codes painted with the intensities of their tissues, and the texture of single voxels."""

    name = 'tissues'
    noise_fields = 1

    class Parameters(NamedTuple):
        """Intensities of each code: (256,) float32 arrays, the mean and the deviation of single voxels."""

        mean: Tensor
        spread: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters:
        """Spread the intensities of tissues over the codes."""
        return self.Parameters(*(context.by_code(context.tissues[name]) for name in ('mean', 'spread')))

    def noise(self, rng: np.random.Generator, context: Context) -> list[np.ndarray]:
        """Return one field on the fine grid."""
        return [rng.standard_normal(context.grids.fine_shape, np.float32)]

    def shapes(self, grids: Grids) -> Parameters:
        """Return the shapes of the two tables."""
        return self.Parameters((CODES,), (CODES,))

    def on_image(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Paint the codes; what was in the image is replaced."""
        image = at.noise[0] * at.xp.take(parameters.spread, at.codes)
        return image + at.xp.take(parameters.mean, at.codes)


class Variation(Effect):
    """A smooth field that the intensities of tissues follow from place to place, each in its own measure."""

    name = 'variation'
    most = 14

    class Parameters(NamedTuple):
        """How far each code follows the field, (256,) float32 array, and the field, of deviation 1."""

        measure: Tensor
        control: Tensor
        basis: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters:
        """Sample the field."""
        count, basis = smooth_field(rng, context.grids.fine_shape, 6, self.most)
        control = rng.standard_normal((count, count, count), np.float32) / np.float32(SPLINE_DEVIATION)
        return self.Parameters(context.by_code(context.tissues['variation']), control, basis)

    def shapes(self, grids: Grids) -> Parameters:
        """Allow the finest lattice."""
        basis = tuple((n, self.most) for n in grids.fine_shape)
        return self.Parameters((CODES,), (self.most,) * 3, basis)

    def on_image(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Add the field, scaled for each code."""
        smooth = along_axes(parameters.control, parameters.basis, at.xp)
        return image + at.xp.take(parameters.measure, at.codes) * smooth


#: In the order in which they are sampled and rendered.
EFFECTS = (Lesions(), Hyperintensities(), Contrast(), SkullStripping(), Tissues(), Variation())


def sample_contrast(
    rng: np.random.Generator, contrast: Mapping, names: Sequence[str], *, random_contrast: bool
) -> dict[str, np.ndarray]:
    """Sample the intensities of each tissue.

    Parameters
    ----------
    rng : numpy.random.Generator
    contrast : mapping
        ``contrast`` of a modality.
    names : sequence of str
        Tissues and layers.
    random_contrast : bool
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
    if random_contrast:
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
        layer_row, inner, other = (names.index(n) for n in (name, layer['of'], layer['next_to']))
        mean[layer_row] = mean[inner] + shift * layer['share'] * (mean[other] - mean[inner])
        spread[layer_row], variation[layer_row] = spread[inner], variation[inner]
    tables = {'mean': mean, 'spread': spread, 'variation': variation}
    return {name: table.astype(np.float32) for name, table in tables.items()}

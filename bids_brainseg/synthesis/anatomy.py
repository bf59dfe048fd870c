# SPDX-License-Identifier: Apache-2.0
"""Effects on the anatomy: the intensities of tissues, what lies outside the brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bids_brainseg.core.arrays import Tensor

from .additions import Calcifications, Dura, Hyperintensities, Lesions
from .effect import CODES, SPLINE_DEVIATION, Context, Effect, Grids, OptionalEffect, Rendering, smooth_field
from .fields import along_axes
from .label_map import priors


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


class LowContrast(OptionalEffect):
    """Gray matter nearly as bright as white matter, as in many FLAIR."""

    name = 'low_contrast'
    hounsfield = False

    def sample(self, rng: np.random.Generator, context: Context) -> None:
        """Move the intensities of gray tissues, and of the layers between, towards those of white matter."""
        if not self.happens(rng, context):
            return
        share, names = rng.uniform(*self.prior['share']), context.label_map.tissue_names
        mean = context.tissues['mean']
        for white, tissues in self.prior['tissues'].items():
            rows = [names.index(name) for name in tissues]
            mean[rows] += share * (mean[names.index(white)] - mean[rows])


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
EFFECTS = (
    Lesions(),
    Hyperintensities(),
    Contrast(),
    LowContrast(),
    SkullStripping(),
    Tissues(),
    Variation(),
    Dura(),
    Calcifications(),
)


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

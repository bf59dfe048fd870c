# SPDX-License-Identifier: Apache-2.0
"""Effects on what is shown of a scan: face removed, field of view cropped, brightness curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bids_brainseg.core.arrays import Tensor

from .effect import Context, Effect, Grids, Rendering


class Deface(Effect):
    """What lies in front of and below an oblique plane has the value of air."""

    name = 'deface'

    class Parameters(NamedTuple):
        """What is kept, (J, K) bool array."""

        kept: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample the plane."""
        if not rng.random() < context.ranges.deface:
            return None
        return self.Parameters(~sample_face(rng, context.grids))

    def shapes(self, grids: Grids) -> Parameters:
        """Return the shape of a sagittal plane."""
        return self.Parameters(tuple(grids.shape[1:]))

    def absent(self, grids: Grids) -> Parameters:
        """Keep everything."""
        return self.Parameters(np.ones(grids.shape[1:], bool))

    def on_grid(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Set the face to the value of air."""
        return at.xp.where(parameters.kept, image, at.background)


class Crop(Effect):
    """Up to a quarter of the field of view is lost at random sides, and has the value of air."""

    name = 'crop'

    class Parameters(NamedTuple):
        """What is kept along each axis, three bool arrays."""

        kept: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample what is kept along each axis."""
        if not rng.random() < context.ranges.crop:
            return None
        return self.Parameters(tuple(sample_crop(rng, context.grids.shape)))

    def shapes(self, grids: Grids) -> Parameters:
        """Return the lengths of the axes."""
        return self.Parameters(tuple((n,) for n in grids.shape))

    def absent(self, grids: Grids) -> Parameters:
        """Keep everything."""
        return self.Parameters(tuple(np.ones(n, bool) for n in grids.shape))

    def on_grid(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Set what is lost to the value of air."""
        x, y, z = parameters.kept
        kept = at.xp.reshape(x, (-1, 1, 1)) & at.xp.reshape(y, (-1, 1)) & z
        return at.xp.where(kept, image, at.background)


class Gamma(Effect):
    """A power of the intensities of MR; those of CT have a meaning and stay."""

    name = 'gamma'

    class Parameters(NamedTuple):
        """The exponent."""

        exponent: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters:
        """Sample the exponent; 1 in CT."""
        return self.Parameters(
            np.float32(1.0 if context.modality.hounsfield else np.exp(rng.normal(0, 0.15)))
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Return the shape of a scalar."""
        return self.Parameters(())

    def on_grid(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Raise the intensities of MR to the exponent."""

        def power():
            return at.xp.maximum(image, 0.0) ** parameters.exponent

        return at.xp.choose(at.hounsfield, lambda: image, power)


#: In the order in which they are sampled and rendered.
EFFECTS = (Deface(), Crop(), Gamma())


def sample_face(rng: np.random.Generator, grids: Grids) -> np.ndarray:
    """Sample an oblique plane, and find what lies in front of and below it.

    Parameters
    ----------
    rng : numpy.random.Generator
    grids : Grids

    Returns
    -------
    (J, K) bool array on the network's grid
    """
    axes = [grids.affine[a, a] * np.arange(n) + grids.affine[a, 3] for a, n in enumerate(grids.shape)]
    offset, slope = rng.uniform(20, 60), rng.uniform(0.5, 1.5)
    return (axes[1] - offset)[:, None] - slope * (axes[2] + rng.uniform(20, 50))[None] > 0


def sample_crop(rng: np.random.Generator, shape: Sequence[int]) -> list[np.ndarray]:
    """Sample what is left of the field of view: up to a quarter is lost at random sides.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Of the grid.

    Returns
    -------
    three bool arrays (I,), (J,), (K,)

    Examples
    --------
    >>> [int(kept.sum()) for kept in sample_crop(np.random.default_rng(0), (8, 8, 8))]
    [8, 7, 8]
    """
    kept = [np.ones(n, bool) for n in shape]
    for left in kept:
        for side in range(2):
            if rng.random() < 0.3:
                n = int(len(left) * rng.uniform(0, 0.25))
                left[slice(0, n) if side == 0 else slice(len(left) - n, None)] = False
    return kept

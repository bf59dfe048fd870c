# SPDX-License-Identifier: Apache-2.0
"""Effects of the acquisition: slices of some thickness, bias field, noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bids_brainseg.core.arrays import Tensor

from .effect import Context, Effect, Grids, Rendering, smooth_field
from .fields import along_axes, linear_matrix


class Slices(Effect):
    """The fine image averaged to slices of random thickness, and these resampled onto the network's grid."""

    name = 'slices'

    class Parameters(NamedTuple):
        """Three float32 matrices each: fine image to acquired slices, and these to the network's grid."""

        gather: Tensor
        back: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters:
        """Sample the thickness and position of slices; never more slices than planes of the fine grid."""
        acquisition, (shape, affine, fine_shape, fine_affine) = context.acquisition, context.grids
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
            position = affine[axis, 3] + affine[axis, axis] * np.arange(shape[axis])
            back.append(linear_matrix((position - start) / width, count))
        context.slices = [len(matrix) for matrix in gather]
        return self.Parameters(tuple(gather), tuple(back))

    def shapes(self, grids: Grids) -> Parameters:
        """Allow as many slices as the fine grid has planes."""
        most = grids.fine_shape
        return self.Parameters(
            gather=tuple((n, n) for n in most), back=tuple(zip(grids.shape, most, strict=True))
        )

    def on_slices(self, scan: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Average the fine image to slices."""
        return along_axes(scan, parameters.gather, at.xp)

    def on_grid(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Resample the slices onto the network's grid."""
        return along_axes(image, parameters.back, at.xp)


class Bias(Effect):
    """A smooth factor of the intensities above air."""

    name = 'bias'
    most = 7

    class Parameters(NamedTuple):
        """Logarithm of the bias field: control points, and their weights on the acquired slices."""

        control: Tensor
        basis: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters:
        """Sample the control points of the logarithm of the field."""
        count, basis = smooth_field(rng, context.slices, 4, self.most)
        control = rng.normal(0, rng.uniform(*context.acquisition['bias']), (count, count, count))
        return self.Parameters(control.astype(np.float32), basis)

    def shapes(self, grids: Grids) -> Parameters:
        """Allow the finest lattice on the most slices."""
        return self.Parameters((self.most,) * 3, tuple((n, self.most) for n in grids.fine_shape))

    def on_slices(self, scan: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Multiply what exceeds air (0 HU in CT) by the field."""
        bias = at.xp.exp(along_axes(parameters.control, parameters.basis, at.xp))
        anchor = at.xp.choose(at.hounsfield, lambda: 0.0, lambda: at.background)
        return anchor + (scan - anchor) * bias


class Noise(Effect):
    """Gaussian noise in CT, that of a magnitude image (Rice) in MR."""

    name = 'noise'
    noise_fields = 2

    class Parameters(NamedTuple):
        """Deviation of the noise, in the contrast's unit."""

        level: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters:
        """Sample the deviation."""
        return self.Parameters(np.float32(rng.uniform(*context.acquisition['noise'])))

    def noise(self, rng: np.random.Generator, context: Context) -> list[np.ndarray]:
        """Return one field for CT, two for the two channels of MR."""
        count = 1 if context.modality.hounsfield else 2
        return [rng.standard_normal(context.slices, np.float32) for _ in range(count)]

    def shapes(self, grids: Grids) -> Parameters:
        """Return the shape of a scalar."""
        return self.Parameters(())

    def on_slices(self, scan: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Add the noise, and take the magnitude in MR."""
        scan = scan + parameters.level * at.noise[0]

        def magnitude():
            other = parameters.level * at.noise[1]
            return at.xp.sqrt(scan * scan + other * other)

        return at.xp.choose(at.hounsfield, lambda: scan, magnitude)


#: In the order in which they are sampled and rendered.
EFFECTS = (Slices(), Bias(), Noise())

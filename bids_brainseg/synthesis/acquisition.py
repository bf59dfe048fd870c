# SPDX-License-Identifier: Apache-2.0
"""Effects of the acquisition: flow, beam hardening, slices of some thickness, bias field, motion, noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bids_brainseg.core.arrays import Tensor

from .effect import CODES, SPLINE_DEVIATION, Context, Effect, Grids, OptionalEffect, Rendering, smooth_field
from .fields import along_axes, gaussian_matrix, linear_matrix


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


class Flow(OptionalEffect):
    """Fluid that flows in is bright, in MR: in patches, and the more the nearer to the base of the skull."""

    name = 'flow'
    hounsfield = False
    most = 14

    class Parameters(NamedTuple):
        """How much brighter fluid gets, and where.

        Attributes
        ----------
        gain : (256,) float32 array
            What full inflow adds to each code.
        level : (k,) float32 array
            Inflow along the third axis, in [0, 1].
        control, basis
            A smooth field of deviation 1, whose logistic function makes the patches.
        """

        gain: Tensor
        level: Tensor
        control: Tensor
        basis: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample how bright fluid gets, up to which height, and the patches."""
        if not self.happens(rng, context):
            return None
        prior, grids, mean = self.prior, context.grids, context.tissues['mean']
        names = context.label_map.tissue_names
        brain = mean[names.index('gm')] * rng.uniform(*prior['brightness'])
        gain = np.where(np.isin(names, prior['tissues']), np.maximum(brain - mean, 0), 0).astype(np.float32)
        z = grids.fine_affine[2, 2] * np.arange(grids.fine_shape[2]) + grids.fine_affine[2, 3]
        above = (z - rng.uniform(*prior['height'])) / rng.uniform(*prior['transition'])
        count, basis = smooth_field(rng, grids.fine_shape, 6, self.most)
        return self.Parameters(
            gain=context.by_code(gain),
            level=(1 / (1 + np.exp(np.clip(above, -50, 50)))).astype(np.float32),
            control=rng.standard_normal((count, count, count), np.float32) / np.float32(SPLINE_DEVIATION),
            basis=basis,
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Allow the finest lattice."""
        basis = tuple((n, self.most) for n in grids.fine_shape)
        return self.Parameters((CODES,), (grids.fine_shape[2],), (self.most,) * 3, basis)

    def absent(self, grids: Grids) -> Parameters:
        """Return no inflow."""
        basis = tuple(np.zeros((n, 1), np.float32) for n in grids.fine_shape)
        level = np.zeros(grids.fine_shape[2], np.float32)
        return self.Parameters(np.zeros(CODES, np.float32), level, np.zeros((1, 1, 1), np.float32), basis)

    def on_image(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Brighten the fluid."""
        smooth = along_axes(parameters.control, parameters.basis, at.xp)
        inflow = parameters.level / (
            1 + at.xp.exp(self.prior['patchiness'] * (self.prior['threshold'] - smooth))
        )
        return image + at.xp.take(parameters.gain, at.codes) * inflow


class BeamHardening(OptionalEffect):
    """Dark bands between dense bones and a bright rim along the skull, in CT.

    What water correction leaves is, to second order, twice the product of the bone that a ray passes on
    either side of a point (Brooks and Di Chiro 1976, doi 10.1088/0031-9155/21/3/004). The rays from left to
    right, through both petrous bones, make most of what one sees.
    """

    name = 'beam_hardening'
    hounsfield = True

    class Parameters(NamedTuple):
        """Bone, and what it does inside the skull.

        Attributes
        ----------
        bone, inside : (256,) bool array
            Codes of dense bone, and of what lies within the cranial cavity.
        left, right : three float32 arrays (n, n)
            Bone to millimeters of it that lie on either side along the first axis, blurred along the others.
        rim : three float32 arrays (n, n)
            Gaussian that the bright rim reaches in with.
        darkening : float
            HU for each square millimeter of bone on the left times bone on the right.
        brightening : float
            HU where there is nothing but bone around.
        """

        bone: Tensor
        inside: Tensor
        left: Tensor
        right: Tensor
        rim: Tensor
        darkening: Tensor
        brightening: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample how strong bands and rim are."""
        if not self.happens(rng, context):
            return None
        prior, (n, *across) = self.prior, context.grids.fine_shape
        steps = np.diag(context.grids.fine_affine)[:3]
        inside = np.zeros(CODES, bool)
        inside[: len(context.label_map.intracranial)] = context.label_map.intracranial > 0
        beam = [gaussian_matrix(m, prior['beam'] / step) for m, step in zip(across, steps[1:], strict=True)]
        passed = np.tri(n, n, -1, dtype=np.float32) * np.float32(steps[0])
        reach = rng.uniform(*prior['reach'])
        shape = context.grids.fine_shape
        return self.Parameters(
            bone=context.is_tissue(*prior['tissues']),
            inside=inside,
            left=(passed, *beam),
            right=(np.ascontiguousarray(passed.T), *beam),
            rim=tuple(gaussian_matrix(m, reach / step) for m, step in zip(shape, steps, strict=True)),
            darkening=np.float32(rng.uniform(*prior['darkening'])),
            brightening=np.float32(rng.uniform(*prior['brightening'])),
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Return the shapes of tables and matrices."""
        square = tuple((n, n) for n in grids.fine_shape)
        return self.Parameters((CODES,), (CODES,), square, square, square, (), ())

    def absent(self, grids: Grids) -> Parameters:
        """Return no effect on anything."""
        nothing = np.zeros(CODES, bool)
        zeros = tuple(np.zeros((n, n), np.float32) for n in grids.fine_shape)
        return self.Parameters(nothing, nothing, zeros, zeros, zeros, 0.0, 0.0)

    def on_image(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Darken and brighten what lies inside the skull."""
        bone = at.xp.cast(at.xp.take(parameters.bone, at.codes), 'float32')
        left, right, near = (
            along_axes(bone, matrices, at.xp)
            for matrices in (parameters.left, parameters.right, parameters.rim)
        )
        change = parameters.brightening * near - parameters.darkening * left * right
        return image + at.xp.where(at.xp.take(parameters.inside, at.codes), change, 0.0)


class Motion(OptionalEffect):
    """The head moves while k-space is filled, in MR: ghosts and blur along the phase-encoding axis."""

    name = 'motion'
    hounsfield = False

    class Parameters(NamedTuple):
        """Still slices to moved ones.

        Attributes
        ----------
        moves : bool
            Whether the head moves at all.
        real, imaginary : three float32 arrays (n, n) each
            Real and imaginary part of a matrix for each axis.
        """

        moves: Tensor
        real: Tensor
        imaginary: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample the axis and the steps that the head moves in."""
        if not self.happens(rng, context):
            return None
        shape, grids = context.slices, context.grids
        axis = int(rng.choice(np.argsort(shape)[1:]))  # never the one with the fewest: that of the slices
        width = grids.fine_affine[axis, axis] * grids.fine_shape[axis] / shape[axis]
        moved = sample_steps(rng, shape[axis], self.prior['steps'], self.prior['distance']) / width
        real = [np.eye(n, dtype=np.float32) for n in shape]
        imaginary = list(real)
        matrix = motion_matrix(moved)
        real[axis], imaginary[axis] = matrix.real.astype(np.float32), matrix.imag.astype(np.float32)
        return self.Parameters(True, tuple(real), tuple(imaginary))

    def shapes(self, grids: Grids) -> Parameters:
        """Allow as many slices as the fine grid has planes."""
        square = tuple((n, n) for n in grids.fine_shape)
        return self.Parameters((), square, square)

    def absent(self, grids: Grids) -> Parameters:
        """Return a head that keeps still."""
        still = tuple(np.eye(n, dtype=np.float32) for n in grids.fine_shape)
        return self.Parameters(False, still, still)

    def on_slices(self, scan: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Move the head, and take the magnitude."""

        def magnitude() -> Tensor:
            real, imaginary = (along_axes(scan, parts, at.xp) for parts in parameters[1:])
            return at.xp.sqrt(real * real + imaginary * imaginary)

        return at.xp.choose(parameters.moves, magnitude, lambda: scan)


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
EFFECTS = (Flow(), BeamHardening(), Slices(), Bias(), Motion(), Noise())


def sample_steps(
    rng: np.random.Generator, count: int, steps: Sequence[int], distance: Sequence[float]
) -> np.ndarray:
    """Sample where the head lies while the lines of k-space are read, one after the other.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        Lines.
    steps : two int
        Least and most times that the head moves.
    distance : two float
        Range of the standard deviation of a move, mm.

    Returns
    -------
    (count,) float array
        Millimeters, in the order of the lines from the lowest frequency to the highest; 0 at frequency 0, so
        that labels stay where the scan is.
    """
    number = int(rng.integers(steps[0], steps[1] + 1))
    changes = np.zeros(count)
    changes[rng.integers(1, count, number)] = rng.normal(0, rng.uniform(*distance), number)
    place = np.cumsum(changes)
    return place - place[count // 2]


def motion_matrix(moved: np.ndarray) -> np.ndarray:
    """Return what motion while k-space is filled makes of the samples along an axis.

    Parameters
    ----------
    moved : (n,) float array
        How far the head lies off, in samples, for each frequency from the lowest to the highest.

    Returns
    -------
    (n, n) complex array

    Examples
    --------
    A head that lies off by one sample all the time is shifted by one:

    >>> moved = motion_matrix(np.ones(3))
    >>> np.abs(moved).round(6).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    count = len(moved)
    frequency = np.fft.fftshift(np.fft.fftfreq(count))
    phase = np.fft.ifftshift(np.exp(-2j * np.pi * frequency * moved))
    return np.fft.ifft(phase[:, None] * np.fft.fft(np.eye(count), axis=0), axis=0)

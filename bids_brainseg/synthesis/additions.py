# SPDX-License-Identifier: Apache-2.0
"""Effects that add to the anatomy what label maps lack: lesions, dura, calcifications."""

from __future__ import annotations

from math import erf, sqrt
from typing import NamedTuple

import numpy as np

from bids_brainseg.core.arrays import Tensor
from bids_brainseg.data import structure_pair

from .effect import (
    CODES,
    LESION,
    SPLINE_DEVIATION,
    Context,
    Effect,
    Grids,
    OptionalEffect,
    Rendering,
    smooth_field,
)
from .fields import along_axes, gaussian_matrix


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


class Hyperintensities(OptionalEffect):
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

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample the reach of the ventricles, its irregularity and the threshold."""
        if not self.happens(rng, context):
            return None
        prior, grids = self.prior, context.grids
        count, basis = smooth_field(rng, grids.fine_shape, 10, self.most)
        reach = rng.uniform(*prior['reach']) / np.diag(grids.fine_affine)[:3]
        return self.Parameters(
            white=context.is_tissue('wm'),
            ventricle=context.is_tissue('ventricle'),
            blur=tuple(gaussian_matrix(n, r) for n, r in zip(grids.fine_shape, reach, strict=True)),
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


class Dura(OptionalEffect):
    """Falx and tentorium, brighter than the brain in CT: thin sheets midway between the parts they divide."""

    name = 'dura'
    hounsfield = True

    class Parameters(NamedTuple):
        """What is divided, and the sheets between.

        Attributes
        ----------
        left, right, cerebellum : (256,) bool array
            Codes of the cortex of both hemispheres, and of the cerebellum.
        free : (256,) bool array
            Codes that a sheet may lie in.
        blur : three float32 arrays (n, n)
            Gaussian that tells what is near.
        width : float
            How far the shares of both parts may differ within the sheet, relative to their sum.
        value : float
            Intensity.
        """

        left: Tensor
        right: Tensor
        cerebellum: Tensor
        free: Tensor
        blur: Tensor
        width: Tensor
        value: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample thickness and intensity."""
        if not self.happens(rng, context):
            return None
        reach, grids = self.prior['reach'], context.grids
        left, right = (context.is_class(index) for index in structure_pair('Cerebral-Cortex'))
        steps = np.diag(grids.fine_affine)[:3]
        return self.Parameters(
            left=left,
            right=right,
            cerebellum=context.is_tissue('cerebellar_gm', 'cerebellar_wm'),
            free=context.is_tissue('gm', 'cerebellar_gm', 'csf'),
            blur=tuple(
                gaussian_matrix(n, reach / step) for n, step in zip(grids.fine_shape, steps, strict=True)
            ),
            # beside a flat border at x the shares are Phi(-x / reach) and Phi(x / reach)
            width=np.float32(erf(rng.uniform(*self.prior['thickness']) / 2 / reach / sqrt(2))),
            value=np.float32(rng.uniform(*self.prior['intensity'])),
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Return the shapes of tables and blur."""
        blur = tuple((n, n) for n in grids.fine_shape)
        return self.Parameters((CODES,), (CODES,), (CODES,), (CODES,), blur, (), ())

    def absent(self, grids: Grids) -> Parameters:
        """Return sheets that lie in nothing."""
        nothing = np.zeros(CODES, bool)
        blur = tuple(np.zeros((n, n), np.float32) for n in grids.fine_shape)
        return self.Parameters(nothing, nothing, nothing, nothing, blur, 0.0, 0.0)

    def on_image(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Paint the sheets between left and right, and between cerebrum and cerebellum."""

        def share(table: Tensor) -> Tensor:
            part = at.xp.cast(at.xp.take(table, at.codes), 'float32')
            return along_axes(part, parameters.blur, at.xp)

        left, right, below = map(share, (parameters.left, parameters.right, parameters.cerebellum))
        sheets = self._between(left, right, parameters) | self._between(left + right, below, parameters)
        return at.xp.where(sheets & at.xp.take(parameters.free, at.codes), parameters.value, image)

    def _between(self, one: Tensor, other: Tensor, parameters: Parameters) -> Tensor:
        near = one + other
        difference = one - other
        half = parameters.width * near
        return (difference < half) & (difference > -half) & (near > self.prior['near'])


class Calcifications(OptionalEffect):
    """Small calcified spots, in CT, of choroid plexus and pallidum, as in many adults."""

    name = 'calcifications'
    hounsfield = True
    most = 60  # control points along an axis: spots of some millimeters

    class Parameters(NamedTuple):
        """A smooth field, the value above which tissue is calcified, and how bright it is then.

        Attributes
        ----------
        places : (256,) bool array
            Codes of tissues that may calcify.
        control, basis
            The field: (a, b, c) float32 array, three float32 arrays (n, a) ...
        threshold : float
        value : float
            Hounsfield units.
        """

        places: Tensor
        control: Tensor
        basis: Tensor
        threshold: Tensor
        value: Tensor

    def sample(self, rng: np.random.Generator, context: Context) -> Parameters | None:
        """Sample which tissues calcify, the field, its threshold and the brightness."""
        if not self.happens(rng, context):
            return None
        count, basis = smooth_field(rng, context.grids.fine_shape, 40, self.most)
        tissues = [name for name, chance in self.prior['tissues'].items() if rng.random() < chance]
        return self.Parameters(
            places=context.is_tissue(*tissues),
            control=rng.standard_normal((count, count, count), np.float32) / np.float32(SPLINE_DEVIATION),
            basis=basis,
            threshold=np.float32(rng.uniform(*self.prior['threshold'])),
            value=np.float32(rng.uniform(*self.prior['intensity'])),
        )

    def shapes(self, grids: Grids) -> Parameters:
        """Allow the finest lattice."""
        basis = tuple((n, self.most) for n in grids.fine_shape)
        return self.Parameters((CODES,), (self.most,) * 3, basis, (), ())

    def absent(self, grids: Grids) -> Parameters:
        """Return a threshold that nothing exceeds."""
        basis = tuple(np.zeros((n, 1), np.float32) for n in grids.fine_shape)
        return self.Parameters(np.zeros(CODES, bool), np.zeros((1, 1, 1), np.float32), basis, np.inf, 0.0)

    def on_image(self, image: Tensor, parameters: Parameters, at: Rendering) -> Tensor:
        """Paint the spots."""
        smooth = along_axes(parameters.control, parameters.basis, at.xp)
        spots = at.xp.take(parameters.places, at.codes) & (smooth > parameters.threshold)
        return at.xp.where(spots, parameters.value, image)

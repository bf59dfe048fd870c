# SPDX-License-Identifier: Apache-2.0
"""All that is sampled for a pair: where the head lies, and the parameters of every effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_brainseg.core.arrays import Tensor

from . import acquisition, anatomy, view
from .effect import CODES, Context, Effect, Grids, fill_up
from .label_map import Deformation
from .ranges import AugmentationRanges

#: Stages in their order: the parameters of a stage are sampled before its noise.
STAGES = (anatomy.EFFECTS, acquisition.EFFECTS, view.EFFECTS)
EFFECTS: dict[str, Effect] = {effect.name: effect for stage in STAGES for effect in stage}
#: Control points of the deformation along an axis.
FEWEST_CONTROLS, MOST_CONTROLS = 6, 12


class SceneParameters(NamedTuple):
    """All that is sampled for a pair but the noise: small arrays.

    Attributes
    ----------
    label_map : int
        Which label map.
    limit : (3,) float32 array
        Its last voxel indices.
    control : (3, a, b, c) float32 array
        Displacements at control points, in its voxels.
    matrix_labels, matrix_image : (3, 4) float32 array
        Indices of the grid of the labels, and of the fine grid of the image, to its voxels.
    basis_labels, basis_image : three float32 arrays
        Weights of the control points along the axes of these grids.
    classes : (n,) uint8 array
        Class of each code.
    background : float
        Value of air.
    hounsfield : bool
        Intensities are Hounsfield units, as in CT.
    low, high, percentile
        How intensities become [0, 100]: two percentiles of the head, or two values.
    region : bool array on the grid of the labels, optional
        Where percentiles are read; None: everywhere.
    effects : dict of str to NamedTuple, optional
        Parameters of every effect; None: it does not happen.
    """

    label_map: Tensor
    limit: Tensor
    control: Tensor
    matrix_labels: Tensor
    matrix_image: Tensor
    basis_labels: Tensor
    basis_image: Tensor
    classes: Tensor
    background: Tensor
    hounsfield: Tensor
    low: Tensor
    high: Tensor
    percentile: Tensor
    region: Tensor
    effects: Mapping[str, tuple | None]


def sample_effects(
    rng: np.random.Generator, names: Sequence[str], context: Context, *, noisy: bool
) -> tuple[dict[str, tuple | None], dict[str, list]]:
    """Sample the parameters of effects, and their noise.

    Parameters
    ----------
    rng : numpy.random.Generator
    names : sequence of str
        The effects that can happen.
    context : Context
    noisy : bool
        Sample the noise too, which takes longer than all the rest.

    Returns
    -------
    parameters : dict of str to NamedTuple or None
    noise : dict of str to list of float32 arrays
        Empty without `noisy`.
    """
    parameters, noise = {}, {}
    for stage in STAGES:
        active = [effect for effect in stage if effect.name in names]
        for effect in active:
            sampled = effect.sample(rng, context)
            if effect.Parameters is not None:
                parameters[effect.name] = sampled
        if noisy:
            noise |= {effect.name: effect.noise(rng, context) for effect in active}
    return parameters, noise


def enabled_effects(ranges: AugmentationRanges, contrasts: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the effects that can happen, in the order in which they are sampled.

    Parameters
    ----------
    ranges : AugmentationRanges
    contrasts : sequence of str
        Names of modalities.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> 'hyperintensities' in enabled_effects(AugmentationRanges(effects={'hyperintensities': 0.0}), ['T1w'])
    False
    """
    return tuple(name for name, effect in EFFECTS.items() if effect.enabled(ranges, contrasts))


def fixed_shapes(scene: SceneParameters, grids: Grids) -> SceneParameters:
    """Return a scene as arrays whose shapes are those of every other scene.

    Lattices of control points and slices are filled up with some of no weight, tables with unused rows; what
    a scene lacks (lesions, cropping, a region) becomes something without effect.

    Parameters
    ----------
    scene : SceneParameters
    grids : Grids

    Returns
    -------
    SceneParameters
        Without None.
    """
    effects: Mapping = {name: EFFECTS[name].fixed(sampled, grids) for name, sampled in scene.effects.items()}
    most = MOST_CONTROLS
    return scene._replace(
        control=fill_up(scene.control, (most,) * 3),
        basis_labels=fill_up(scene.basis_labels, tuple((n, most) for n in grids.shape)),
        basis_image=fill_up(scene.basis_image, tuple((n, most) for n in grids.fine_shape)),
        classes=fill_up(scene.classes, (CODES,)),
        region=np.zeros(grids.shape, bool) if scene.region is None else scene.region,
        **{name: np.float32(getattr(scene, name)) for name in ('background', 'low', 'high')},
        effects=effects,
    )


def sample_deformation(
    rng: np.random.Generator,
    ranges: AugmentationRanges,
    shape: Sequence[int],
    affine: NDArray[np.float64],
    *,
    mirror: bool,
) -> Deformation:
    """Sample an affine about the center of a grid, and smooth displacements.

    Parameters
    ----------
    rng : numpy.random.Generator
    ranges : AugmentationRanges
        How far.
    shape, affine
        Grid; its (4, 4) voxel indices to common space, axes along those of the common space.
    mirror : bool
        Also exchange left and right.

    Returns
    -------
    Deformation
    """
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
    count = int(rng.integers(FEWEST_CONTROLS, MOST_CONTROLS + 1))
    deviation = rng.uniform(0, ranges.displacement)
    control = rng.normal(0, deviation, (3, count, count, count))
    return Deformation(full, control, corners)

# SPDX-License-Identifier: Apache-2.0
"""From a sampled scene to a scan and its labels: one loop over the effects, on the host or on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_brainseg.core.arrays import ArrayNamespace, NumpyOps, Tensor
from bids_brainseg.core.intensity import percentile_limits, rescale

from .effect import Rendering
from .fields import Placement, sample_codes
from .scene import EFFECTS, SceneParameters


def render_labels(scene: SceneParameters, codes: Tensor, xp: ArrayNamespace = NumpyOps) -> Tensor:
    """Return the class of every voxel.

    Parameters
    ----------
    scene : SceneParameters
    codes : (I, J, K) uint8 array
        Label map.
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    uint8 array on the grid of the labels
    """
    shape = [basis.shape[0] for basis in scene.basis_labels]
    placement = Placement(scene.matrix_labels, scene.control, scene.basis_labels)
    return xp.take(scene.classes, sample_codes(codes, placement, shape, scene.limit, xp))


def render_image(
    scene: SceneParameters,
    codes: Tensor,
    noise: Mapping[str, Sequence[Tensor]],
    xp: ArrayNamespace = NumpyOps,
) -> Tensor:
    """Return the scan.

    Parameters
    ----------
    scene : SceneParameters
    codes : (I, J, K) uint8 array
        Label map.
    noise : mapping of str to sequence of float32 arrays
        Standard normal fields of the effects that need some.
    xp : {NumpyOps, KerasOps}

    Returns
    -------
    float32 array on the grid of the labels, in [0, 100]
    """
    shape = [basis.shape[0] for basis in scene.basis_image]
    placement = Placement(scene.matrix_image, scene.control, scene.basis_image)
    codes = sample_codes(codes, placement, shape, scene.limit, xp)
    active = [
        (effect, scene.effects[name], noise.get(name, ()))
        for name, effect in EFFECTS.items()
        if scene.effects.get(name) is not None
    ]

    def at(fields: Sequence[Tensor]) -> Rendering:
        return Rendering(codes, fields, scene.hounsfield, scene.background, xp)

    for effect, parameters, fields in active:
        codes = effect.on_codes(codes, parameters, at(fields))
    image = None
    for stage in ('on_image', 'on_slices', 'on_grid'):
        for effect, parameters, fields in active:
            image = getattr(effect, stage)(image, parameters, at(fields))
    image = xp.cast(image, 'float32')
    lower, upper = xp.choose(
        scene.percentile,
        # a cropped window may show nothing of the region
        lambda: percentile_limits(image, scene.low, scene.high, scene.region, strict=False, xp=xp),
        lambda: (scene.low, scene.high),
    )
    return xp.cast(rescale(image, lower, upper, xp), 'float32')

# SPDX-License-Identifier: Apache-2.0
"""What an effect of the generator is: its random parameters, their fixed shapes, and what it does to a scan.

An effect is one class in the module of its stage: :mod:`.anatomy` (what there is before it is scanned),
:mod:`.acquisition` (slices, bias, noise) or :mod:`.view` (what is shown of it). Everything that handles
effects loops over the ``EFFECTS`` of these modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bids_brainseg.data import Modality

from .fields import bspline_matrix
from .label_map import LabelMap, priors
from .ranges import AugmentationRanges

#: Rows of the tables by code; the last is that of lesions.
CODES = 256
LESION = CODES - 1


class Grids(NamedTuple):
    """The grids of a pair; axes along those of the common space.

    Attributes
    ----------
    shape, affine
        Of the network's grid or a window of it, (4, 4) voxel indices to common space.
    fine_shape, fine_affine
        Of the grid that the anatomy is painted on.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    fine_shape: tuple[int, int, int]
    fine_affine: np.ndarray

    @classmethod
    def around(cls, shape: Sequence[int], affine: np.ndarray, ratio: float = 1.4) -> Grids:
        """Add a grid `ratio` times finer with the same field of view."""
        fine_shape = tuple(int(np.ceil(n * ratio)) for n in shape)
        fine = affine.copy()
        for axis, (n, m) in enumerate(zip(shape, fine_shape, strict=True)):
            step = affine[axis, axis] * n / m
            fine[axis, axis] = step
            fine[axis, 3] = affine[axis, 3] - affine[axis, axis] / 2 + step / 2
        return cls(tuple(shape), affine, fine_shape, fine)


@dataclass
class Context:
    """What effects know of a scan while their parameters are sampled; they fill in the last two.

    Parameters
    ----------
    label_map : LabelMap
    modality : Modality
    random_contrast : bool
        Intensities follow no modality.
    background : float
        Value of air.
    ranges : AugmentationRanges
    grids : Grids
    tissues : dict of str to (tissues,) float32 array
        Intensities of each tissue: ``mean``, ``spread`` of single voxels, ``variation`` from place to place.
    slices : sequence of int
        Shape of the acquired image.
    """

    label_map: LabelMap
    modality: Modality
    random_contrast: bool
    background: np.float32
    ranges: AugmentationRanges
    grids: Grids
    tissues: dict[str, np.ndarray] = field(default_factory=dict)
    slices: Sequence[int] = ()

    @property
    def acquisition(self) -> Mapping:
        """Ranges of slices, noise and bias."""
        return priors()['random_contrast_acquisition'] if self.random_contrast else self.modality.acquisition

    def by_code(self, table: np.ndarray) -> np.ndarray:
        """Spread a table by tissue over the codes of the label map.

        Parameters
        ----------
        table : (tissues,) array

        Returns
        -------
        (256,) array
            The last row is that of lesions, whatever the label map has.
        """
        rows = np.zeros(CODES, table.dtype)
        rows[: len(self.label_map.tissue_of)] = table[self.label_map.tissue_of]
        rows[LESION] = table[self.label_map.tissue_names.index('lesion')]
        return rows

    def is_tissue(self, *names: str) -> np.ndarray:
        """Tell which codes are of some tissues, layers of these included; (256,) bool array."""
        wanted = {*names, *(name for name, layer in priors()['layers'].items() if layer['of'] in names)}
        return self.by_code(np.isin(self.label_map.tissue_names, list(wanted)))


class Rendering(NamedTuple):
    """What effects know of a scan while it is rendered.

    Attributes
    ----------
    codes : uint8 array on the fine grid
        Rows of the tables by code, with lesions.
    noise : sequence of float32 arrays
        Standard normal fields of the effect at work.
    hounsfield, background
        As in :class:`~bids_brainseg.synthesis.scene.SceneParameters`.
    xp : {NumpyOps, KerasOps}
        What to compute with.
    """

    codes: Any
    noise: Sequence
    hounsfield: Any
    background: Any
    xp: Any


class Effect:
    """One effect; subclasses override what they need. One that only changes ``tissues`` has no parameters.

    Attributes
    ----------
    name : str
        Unique.
    Parameters : type of NamedTuple, optional
        What is sampled: scalars, arrays, and tuples of three arrays, one for each axis.
    noise_fields : int
        Standard normal fields that it needs, at most.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type | None] = None
    noise_fields: ClassVar[int] = 0

    def enabled(self, ranges: AugmentationRanges, contrasts: Sequence[str]) -> bool:
        """Tell whether the effect can happen at all; one that cannot is neither sampled nor rendered."""
        return True

    def sample(self, rng: np.random.Generator, context: Context):
        """Return the parameters for one scan, or None if it stays as it is."""

    def noise(self, rng: np.random.Generator, context: Context) -> list[np.ndarray]:
        """Return standard normal float32 fields, after the parameters of the stage were sampled."""
        return []

    def shapes(self, grids: Grids):
        """Return the largest shape of every parameter, which all have on the device."""
        raise NotImplementedError

    def absent(self, grids: Grids):
        """Return parameters that change nothing."""
        raise NotImplementedError

    def fixed(self, parameters, grids: Grids):
        """Return parameters whose shapes are those of every other scan, filled up with zeros."""
        found = self.absent(grids) if parameters is None else parameters
        return self.Parameters(*map(fill_up, found, self.shapes(grids)))

    def on_codes(self, codes, parameters, at: Rendering):
        """Change the codes on the fine grid."""
        return codes

    def on_image(self, image, parameters, at: Rendering):
        """Change the image on the fine grid, in the contrast's unit."""
        return image

    def on_slices(self, scan, parameters, at: Rendering):
        """Change the acquired slices."""
        return scan

    def on_grid(self, image, parameters, at: Rendering):
        """Change the image on the network's grid, before intensities are normalized."""
        return image


def fill_up(value, shape):
    """Fill the last axes of an array, or of each of a tuple of arrays, up with zeros.

    Parameters
    ----------
    value : scalar, array or tuple of arrays
    shape : tuple of int, or tuple of those
        Of the result.

    Returns
    -------
    array or tuple of arrays
        Floating-point numbers as float32.

    Examples
    --------
    >>> fill_up(np.ones(2), (3,)).tolist()
    [1.0, 1.0, 0.0]
    """
    if shape and isinstance(shape[0], tuple):
        return tuple(map(fill_up, value, shape))
    value = np.asarray(value)
    value = value.astype(np.float32) if value.dtype.kind == 'f' else value
    first = value.ndim - len(shape)
    missing = [m - n for m, n in zip(shape, value.shape[first:], strict=True)]
    return np.pad(value, [(0, 0)] * first + [(0, n) for n in missing]) if any(missing) else value


def smooth_field(rng: np.random.Generator, shape: Sequence[int], least: int, most: int):
    """Sample how many control points a smooth field has; return the number and its basis.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Of the grid.
    least, most : int
        Control points along an axis.

    Returns
    -------
    count : int
    basis : three float32 arrays (n, count)
        Cubic B-splines at every index of the grid.
    """
    count = int(rng.integers(least, most + 1))
    return count, spline_basis(shape, count)


def spline_basis(shape: Sequence[int], count: int) -> tuple[np.ndarray, ...]:
    """Return the weights of control points along the axes of a grid.

    Parameters
    ----------
    shape : tuple of int
        Of the grid.
    count : int
        Control points along each axis, at least 4.

    Returns
    -------
    three float32 arrays (n, count)
    """
    return tuple(bspline_matrix(np.linspace(1, count - 2, n), count) for n in shape)

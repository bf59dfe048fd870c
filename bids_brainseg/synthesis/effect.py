# SPDX-License-Identifier: Apache-2.0
"""What an effect of the generator is: its random parameters, their fixed shapes, and what it does to a scan.

An effect is one class in the module of its stage: :mod:`.anatomy` (what there is before it is scanned),
:mod:`.acquisition` (slices, bias, noise) or :mod:`.view` (what is shown of it). Everything that handles
effects loops over the ``EFFECTS`` of these modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bids_brainseg.core.arrays import ArrayNamespace, Tensor
from bids_brainseg.data import Modality, modalities

from .fields import bspline_matrix
from .label_map import LabelMap, priors
from .ranges import AugmentationRanges

#: Deviation of a field of cubic B-splines whose control points have deviation 1: the square root of the
#: integral of the squared spline, to the power of three.
SPLINE_DEVIATION = (151 / 315) ** 1.5
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
        """Add a finer grid with the same field of view.

        Parameters
        ----------
        shape : tuple of int
        affine : (4, 4) float array
            Voxel indices to common space, RAS mm; axes along those of the common space.
        ratio : float
            How many times finer.

        Returns
        -------
        Grids

        Examples
        --------
        >>> grids = Grids.around((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]), ratio=2)
        >>> grids.fine_shape, np.diag(grids.fine_affine).tolist(), grids.fine_affine[:3, 3].tolist()
        ((20, 20, 20), [1.0, 1.0, 1.0, 1.0], [-0.5, -0.5, -0.5])
        """
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

    def is_class(self, index: int) -> np.ndarray:
        """Return which codes are of a class.

        Parameters
        ----------
        index : int

        Returns
        -------
        (256,) bool array
        """
        found = np.zeros(CODES, bool)
        found[: len(self.label_map.class_of)] = self.label_map.class_of == index
        return found

    def is_tissue(self, *names: str) -> np.ndarray:
        """Return which codes are of some tissues, layers of these included.

        Parameters
        ----------
        *names : str
            Tissues.

        Returns
        -------
        (256,) bool array
        """
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

    codes: Tensor
    noise: Sequence[Tensor]
    hounsfield: Tensor
    background: Tensor
    xp: ArrayNamespace


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
        """Return whether the effect can happen at all; one that cannot is neither sampled nor rendered.

        Parameters
        ----------
        ranges : AugmentationRanges
        contrasts : sequence of str
            Names of modalities.

        Returns
        -------
        bool
        """
        return True

    def sample(self, rng: np.random.Generator, context: Context) -> tuple | None:
        """Sample the parameters for one scan.

        Parameters
        ----------
        rng : numpy.random.Generator
        context : Context
            May be changed.

        Returns
        -------
        NamedTuple or None
            None: the scan stays as it is.
        """

    def noise(self, rng: np.random.Generator, context: Context) -> list[np.ndarray]:
        """Sample the noise, after the parameters of the stage.

        Parameters
        ----------
        rng : numpy.random.Generator
        context : Context

        Returns
        -------
        list of float32 arrays
            Standard normal fields.
        """
        return []

    def shapes(self, grids: Grids) -> tuple:
        """Return the largest shape of every parameter, which all have on the device.

        Parameters
        ----------
        grids : Grids

        Returns
        -------
        NamedTuple
            A tuple of int instead of every array.

        Raises
        ------
        NotImplementedError
            If an effect with parameters does not say.
        """
        raise NotImplementedError

    def absent(self, grids: Grids) -> tuple:
        """Return parameters that change nothing.

        Parameters
        ----------
        grids : Grids

        Returns
        -------
        NamedTuple

        Raises
        ------
        NotImplementedError
            If an effect that may be missing does not say.
        """
        raise NotImplementedError

    def fixed(self, parameters: tuple | None, grids: Grids) -> tuple:
        """Return parameters whose shapes are those of every other scan, filled up with zeros.

        Parameters
        ----------
        parameters : NamedTuple, optional
            From :meth:`sample`.
        grids : Grids

        Returns
        -------
        NamedTuple
        """
        sampled = self.absent(grids) if parameters is None else parameters
        return self.Parameters(*map(fill_up, sampled, self.shapes(grids)))

    def on_codes(self, codes: Tensor, parameters: tuple, at: Rendering) -> Tensor:
        """Change the codes on the fine grid.

        Parameters
        ----------
        codes : uint8 array on the fine grid
        parameters : NamedTuple
        at : Rendering

        Returns
        -------
        uint8 array on the fine grid
        """
        return codes

    def on_image(self, image: Tensor, parameters: tuple, at: Rendering) -> Tensor:
        """Change the image on the fine grid, in the contrast's unit.

        Parameters
        ----------
        image : float32 array on the fine grid, optional
            None before the first effect of this stage.
        parameters : NamedTuple
        at : Rendering

        Returns
        -------
        float32 array
        """
        return image

    def on_slices(self, scan: Tensor, parameters: tuple, at: Rendering) -> Tensor:
        """Change the acquired slices.

        Parameters
        ----------
        scan : float32 array
            On the fine grid, or that of the slices once it is acquired, in the contrast's unit.
        parameters : NamedTuple
        at : Rendering

        Returns
        -------
        float32 array
        """
        return scan

    def on_grid(self, image: Tensor, parameters: tuple, at: Rendering) -> Tensor:
        """Change the image on the network's grid, before intensities are normalized.

        Parameters
        ----------
        image : float32 array
            On the slices, or the network's grid once it is resampled, in the contrast's unit.
        parameters : NamedTuple
        at : Rendering

        Returns
        -------
        float32 array
        """
        return image


class OptionalEffect(Effect):
    """An effect that only happens where a range says how often (``effects`` in ``synthesis.json``).

    Attributes
    ----------
    hounsfield : bool, optional
        It is one of CT alone, or of MR alone; None: of both.
    """

    hounsfield: ClassVar[bool | None] = None

    @property
    def prior(self) -> Mapping:
        """What ``synthesis.json`` says of it."""
        return priors()['effects'][self.name]

    def enabled(self, ranges: AugmentationRanges, contrasts: Sequence[str]) -> bool:
        """Tell whether the probability is above 0, and one of the contrasts can have it."""
        known = modalities()
        fits = any(self.hounsfield in (None, known[name].hounsfield) for name in contrasts)
        return fits and ranges.probability(self.name) > 0

    def happens(self, rng: np.random.Generator, context: Context) -> bool:
        """Sample whether a scan has it.

        Parameters
        ----------
        rng : numpy.random.Generator
        context : Context

        Returns
        -------
        bool
        """
        often = rng.random() < context.ranges.probability(self.name)
        return bool(often) and self.hounsfield in (None, context.modality.hounsfield)


def fill_up(value: ArrayLike | tuple, shape: tuple) -> np.ndarray | tuple:
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


def smooth_field(
    rng: np.random.Generator, shape: Sequence[int], least: int, most: int
) -> tuple[int, tuple[np.ndarray, ...]]:
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

    Examples
    --------
    >>> [matrix.shape for matrix in spline_basis((8, 9, 10), 5)]
    [(8, 5), (9, 5), (10, 5)]
    """
    return tuple(bspline_matrix(np.linspace(1, count - 2, n), count) for n in shape)

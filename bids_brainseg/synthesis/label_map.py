# SPDX-License-Identifier: Apache-2.0
"""Label maps of whole heads, the tissues that they are made of, and how they are deformed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt

from bids_brainseg.data import freesurfer_to_index, resource

from .fields import Placement, bspline_matrix, sample_codes

FIRST_HEAD_TISSUE = 500


@cache
def priors() -> dict:
    """Return tissues, layers and what no modality has of its own (``synthesis.json``).

    Returns
    -------
    dict
    """
    return json.loads(resource('synthesis.json').read_text())


@dataclass(frozen=True)
class LabelMap:
    """A label map ready for sampling.

    Parameters
    ----------
    codes : (I, J, K) uint8 array
        Rows of the tables below.
    voxel_from_common : (4, 4) float array
        Common space (RAS mm) to voxel indices of `codes`.
    tissue_of, class_of : (n,) array
        Tissue (row of `tissue_names`) and class of each code.
    intracranial : (n,) float32 array
        1 for codes inside the cranial cavity.
    tissue_names : tuple of str
        Names of the tissues.
    """

    codes: np.ndarray
    voxel_from_common: np.ndarray
    tissue_of: np.ndarray
    class_of: np.ndarray
    intracranial: np.ndarray
    tissue_names: tuple[str, ...]

    @classmethod
    def from_labels(
        cls, labels: ArrayLike, affine: ArrayLike, common_to_subject: NDArray[np.float64]
    ) -> LabelMap:
        """Build from a whole-head label map.

        Parameters
        ----------
        labels : (I, J, K) integer array
            FreeSurfer numbers in the brain, head tissues above 500, air 0.
        affine : (4, 4) float array
            Voxel indices to RAS mm.
        common_to_subject : (4, 4) float array
            Common space to the subject's, RAS mm.

        Returns
        -------
        LabelMap

        Raises
        ------
        ValueError
            If a label has no tissue in ``synthesis.json``; names it.
        """
        labels = np.asarray(labels)
        tissues, names = priors()['tissues'], tissue_names()
        numbers = np.unique(labels).astype(int)
        tissue = {n: i for i, name in enumerate(tissues) for n in tissues[name]}
        unknown = [int(n) for n in numbers if n not in tissue]
        if unknown:
            raise ValueError(f'labels {unknown} have no tissue in synthesis.json')
        classes = freesurfer_to_index()
        # air is the first code, so that points outside the map can be clipped to it
        numbers = np.r_[0, numbers[numbers != 0]]
        lookup = np.zeros(int(numbers.max()) + 1, np.uint8)
        lookup[numbers] = np.arange(len(numbers))
        tissue_of = np.array([tissue[n] for n in numbers], np.uint8)
        spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
        codes, parent, tissue_of = split_layers(lookup[labels.astype(np.int64)], tissue_of, names, spacing)
        shift = np.eye(4)
        shift[:3, 3] = 1
        return cls(
            codes=np.pad(codes, 1),
            voxel_from_common=shift @ np.linalg.inv(affine) @ common_to_subject,
            tissue_of=tissue_of,
            class_of=np.array([classes.get(n, 0) for n in numbers], np.uint8)[parent],
            intracranial=np.array([0 < n < FIRST_HEAD_TISSUE for n in numbers], np.float32)[parent],
            tissue_names=names,
        )

    @property
    def limit(self) -> np.ndarray:
        """(3,) float32 array, last voxel indices of the codes."""
        return np.subtract(self.codes.shape, 1).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`from_arrays` takes back.

        Returns
        -------
        dict of str to array
        """
        return {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, **arrays: np.ndarray) -> LabelMap:
        """Build from the arrays of :meth:`arrays`.

        Parameters
        ----------
        **arrays
            All fields.

        Returns
        -------
        LabelMap

        Raises
        ------
        ValueError
            If they were made with other tissues than those of ``synthesis.json``.
        """
        arrays['tissue_names'] = tuple(str(name) for name in arrays['tissue_names'])
        if arrays['tissue_names'] != tissue_names():
            raise ValueError('made by another version, with other tissues or layers')
        return cls(**arrays)

    def sample(
        self, shape: Sequence[int], affine: NDArray[np.float64], *, deformation: Deformation | None = None
    ) -> NDArray[np.uint8]:
        """Return the codes on a grid, nearest neighbor.

        Parameters
        ----------
        shape : tuple of int
            Shape of the grid.
        affine : (4, 4) float array
            Its voxel indices to common space, RAS mm.
        deformation : Deformation, optional
            Applied to the points of the grid.

        Returns
        -------
        `shape` uint8 array
        """
        placement = grid_placement(self.voxel_from_common, shape, affine, deformation)
        return sample_codes(self.codes, placement, shape, self.limit)


def tissue_names() -> tuple[str, ...]:
    """Return the tissues of ``synthesis.json``, then its layers.

    Returns
    -------
    tuple of str
    """
    return (*priors()['tissues'], *priors()['layers'])


def split_layers(
    codes: NDArray[np.uint8], tissue_of: Sequence[int], names: Sequence[str], spacing: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the layers of a tissue next to another one (``layers`` in ``synthesis.json``) codes of their own.

    White matter darkens towards the cortex over two to three millimeters, more than the point spread of a
    scanner explains.

    Parameters
    ----------
    codes : (I, J, K) uint8 array
    tissue_of : (n,) uint8 array
        Tissue of each code, an index of `names`.
    names : sequence of str
        Tissues and layers.
    spacing : (3,) float array
        Size of a voxel, mm.

    Returns
    -------
    codes : (I, J, K) uint8 array
    parent : (m,) int array
        The code that each of the codes was part of.
    tissue_of : (m,) uint8 array
        Tissue or layer of each.
    """
    codes, parent, tissue_of = codes.copy(), list(range(len(tissue_of))), list(tissue_of)
    for name, layer in sorted(priors()['layers'].items(), key=lambda item: item[1]['mm']):
        inner, other = (
            [code for code, tissue in enumerate(tissue_of) if names[tissue] == layer[key]]
            for key in ('of', 'next_to')
        )
        if not inner or not other:
            continue
        near = distance_transform_edt(~np.isin(codes, other), spacing) <= layer['mm']
        for code in inner:
            part = near & (codes == code)
            if part.any():
                codes[part] = len(parent)
                parent.append(code)
                tissue_of.append(names.index(name))
    return codes, np.array(parent), np.array(tissue_of, np.uint8)


@dataclass(frozen=True)
class Deformation:
    """A random affine and a smooth displacement on a lattice of control points.

    Parameters
    ----------
    affine : (4, 4) float array
        Common space to common space.
    control : (3, a, b, c) float array
        Displacements in mm at control points evenly spread over `box`, interpolated by cubic B-splines.
    box : (2, 3) float array
        Opposite corners of the lattice, common space, RAS mm.
    """

    affine: np.ndarray
    control: np.ndarray
    box: np.ndarray

    def basis(self, shape: Sequence[int], affine: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        """Return the weights of the control points along the axes of a grid.

        Parameters
        ----------
        shape : tuple of int
            Of the grid.
        affine : (4, 4) float array
            Its voxel indices to common space, RAS mm; axes along those of the common space.

        Returns
        -------
        list of three (n, controls) float32 arrays
        """
        result = []
        for axis, n in enumerate(shape):
            points = affine[axis, axis] * np.arange(n) + affine[axis, 3]
            count = self.control.shape[axis + 1]
            position = (points - self.box[0, axis]) / (self.box[1, axis] - self.box[0, axis]) * (
                count - 3
            ) + 1
            result.append(bspline_matrix(position, count))
        return result


def grid_placement(
    voxel_from_common: NDArray[np.float64],
    shape: Sequence[int],
    affine: NDArray[np.float64],
    deformation: Deformation | None = None,
) -> Placement:
    """Return where the points of a grid lie among the voxels of an image.

    Parameters
    ----------
    voxel_from_common : (4, 4) float array
        Common space (RAS mm) to voxel indices of the image.
    shape : tuple of int
        Shape of the grid.
    affine : (4, 4) float array
        Its voxel indices to common space, RAS mm.
    deformation : Deformation, optional
        Applied to the points of the grid.

    Returns
    -------
    Placement

    Examples
    --------
    >>> grid_placement(np.eye(4), (4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0])).matrix[0].tolist()
    [2.0, 0.0, 0.0, 0.0]
    """
    matrix = voxel_from_common @ (affine if deformation is None else deformation.affine @ affine)
    matrix = matrix[:3].astype(np.float32)
    if deformation is None:
        return Placement(matrix)
    control = [np.tensordot(voxel_from_common[row, :3], deformation.control, 1) for row in range(3)]
    return Placement(matrix, np.array(control, np.float32), tuple(deformation.basis(shape, affine)))

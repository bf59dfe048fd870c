# SPDX-License-Identifier: Apache-2.0
"""What networks are trained for: reference head, cranial cavity, grid, intensity rule. And what comes out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bids_brainseg.core.geometry import grid_with_spacing
from bids_brainseg.data import modalities, resource
from bids_brainseg.errors import InputError, ModelError
from bids_brainseg.files import write_json
from bids_brainseg.imaging import image_on_grid, save_like
from bids_brainseg.records import MASK, REFERENCE, WEIGHTS, Bundle, PlannedBundle, TrainingStage

from ..network.bundle import find_bundle, load_bundle, write_bundle
from ..synthesis.common_space import MNI_CENTERS, average_head, common_space
from ..synthesis.label_map import LabelMap, priors
from .label_maps import align_label_map, centers_of


@cache
def defaults() -> dict:
    """Return what all bundles share (``bundles.json``).

    Returns
    -------
    dict
    """
    return json.loads(resource('bundles.json').read_text())


@dataclass(frozen=True)
class Reference:
    """What a network of one modality is trained for.

    Parameters
    ----------
    modality, name : str
        The name is that of the space.
    image, mask : Path
        Head in the modality's contrast, and its cranial cavity.
    grid_shape : tuple of int
        Network grid.
    grid_affine : (4, 4) float array
        Its voxel indices to the space, RAS mm.
    intensity : mapping
        Rule of :func:`bids_brainseg.core.intensity.normalize`.
    mc_samples : int
        Default number of passes.
    cv_threshold : float
        Mean CV above which a scan is flagged, per cent, before calibration.
    qc : mapping
        What differs from the packaged thresholds.
    centers : mapping of str to (3,) floats
        FreeSurfer numbers to where these structures lie in the space, RAS mm.
    """

    modality: str
    name: str
    image: Path
    mask: Path
    grid_shape: tuple[int, int, int]
    grid_affine: NDArray[np.float64]
    intensity: Mapping
    mc_samples: int
    cv_threshold: float
    qc: Mapping = field(default_factory=dict)
    centers: Mapping[str, Sequence[float]] = field(default_factory=lambda: defaults()['centers'])

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Reference:
        """Take over that of a bundle.

        Parameters
        ----------
        bundle : Bundle

        Returns
        -------
        Reference
        """
        return cls(
            bundle.modality,
            bundle.reference_name,
            bundle.reference_path,
            bundle.mask_path,
            bundle.grid_shape,
            np.array(bundle.grid_affine),
            bundle.intensity,
            bundle.mc_samples,
            bundle.cv_threshold,
            bundle.qc,
        )

    def grid_of(self, stage: TrainingStage) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
        """Return shape and affine of the grid of a stage.

        Parameters
        ----------
        stage : TrainingStage

        Returns
        -------
        shape : tuple of int
        affine : (4, 4) float array
            Voxel indices to the space, RAS mm.

        Raises
        ------
        ModelError
            If a side of the grid or of the window does not fit.
        """
        shape, affine = self.grid_shape, np.asarray(self.grid_affine)
        multiple = 2 ** stage.architecture['depth']
        if stage.grid_spacing is not None:
            shape, affine = grid_with_spacing(shape, affine, stage.grid_spacing, multiple)
        if stage.grid_shape is not None:
            center = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
            shape = tuple(stage.grid_shape)
            affine = grid_affine(shape, float(affine[0, 0]), center)
        for what, sides in (('grid', shape), ('window', stage.window or shape)):
            if any(n % multiple or n > most for n, most in zip(sides, shape, strict=True)):
                raise ModelError(
                    f'stage {stage.name}: the {what} is {" ".join(map(str, sides))}; every side must be a '
                    f'multiple of {multiple} and at most that of the grid, {" ".join(map(str, shape))}'
                )
        return tuple(shape), affine


def grid_affine(shape: Sequence[int], spacing: float, center: ArrayLike) -> NDArray[np.float64]:
    """Return the affine of an axis-aligned RAS grid about a center.

    Parameters
    ----------
    shape : tuple of int
    spacing : float
        Edge of the voxels, mm.
    center : (3,) floats
        RAS mm.

    Returns
    -------
    (4, 4) float array, voxel indices to RAS mm

    Examples
    --------
    >>> grid_affine((3, 3, 3), 2.0, (0, 0, 10))[:3, 3].tolist()
    [-2.0, -2.0, 8.0]
    """
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(center) - spacing * (np.asarray(shape) - 1) / 2
    return affine


def packaged_references(names: Iterable[str]) -> dict[str, Reference]:
    """Return the references of the packaged bundles.

    Parameters
    ----------
    names : iterable of str
        Modalities.

    Returns
    -------
    dict of str to Reference

    Raises
    ------
    ModelError
        If one of them has no bundle.
    """
    return {name: Reference.of_bundle(load_bundle(find_bundle(name))) for name in names}


def make_references(
    label_maps: Sequence[Path], names: Iterable[str], folder: Path, *, space: str, hashes: Mapping[str, str]
) -> dict[str, Reference]:
    """Align label maps to their own mean, and average them to a head in each contrast.

    Parameters
    ----------
    label_maps : sequence of Path
        Whole-head label maps.
    names : iterable of str
        Modalities.
    folder : Path
        Gets ``reference_<modality>.nii.gz``, ``mask.nii.gz``, ``space.json`` and the aligned label maps; what
        lies there from the same label maps is used.
    space : str
        Name of the space.
    hashes : mapping of str to str
        Contents of the label maps by their path.

    Returns
    -------
    dict of str to Reference

    Raises
    ------
    InputError
        If a map lacks a structure or holds an unknown label; names map and label.
    """
    names = tuple(names)
    made_of = {'label_maps': [hashes[str(path)] for path in label_maps], 'modalities': list(names)}
    described = folder / 'space.json'
    description = json.loads(described.read_text()) if described.is_file() else {}
    if description.get('made_of') != made_of:
        centers = mean_centers(label_maps)
        aligned = [align_label_map(path, folder, centers) for path in label_maps]
        _write_references(aligned, names, folder)
        description = {'made_of': made_of, 'centers': centers}
        write_json(description, described)
    rules = defaults()
    grid = rules['grid']
    return {
        name: Reference(
            modality=name,
            name=space,
            image=folder / f'reference_{name}.nii.gz',
            mask=folder / MASK,
            grid_shape=tuple(grid['shape']),
            grid_affine=grid_affine(grid['shape'], grid['spacing'], rules['center']),
            intensity=dict(modalities()[name].intensity),
            mc_samples=rules['mc_samples'],
            cv_threshold=modalities()[name].cv_threshold,
            centers=description['centers'],
        )
        for name in names
    }


def mean_centers(label_maps: Sequence[Path]) -> dict[str, list[float]]:
    """Return where structures lie in the common space of some label maps.

    Parameters
    ----------
    label_maps : sequence of Path

    Returns
    -------
    dict of str to list of float
        FreeSurfer number to RAS mm.

    Raises
    ------
    InputError
        If a map lacks a structure.
    """
    numbers, centers = list(MNI_CENTERS), [centers_of(path) for path in label_maps]
    if not centers:
        raise InputError('no label map is left to make references from; give some that do not validate')
    inverses = [np.linalg.inv(matrix) for matrix in common_space(centers, numbers)]
    mean = np.mean([c @ m[:3, :3].T + m[:3, 3] for c, m in zip(centers, inverses, strict=True)], 0)
    return {str(number): center.tolist() for number, center in zip(numbers, mean, strict=True)}


def _write_references(label_maps: Sequence[LabelMap], names: Iterable[str], folder: Path) -> None:
    rules = defaults()['reference']
    shape = tuple(rules['shape'])
    affine = grid_affine(shape, rules['spacing'], rules['center'])
    for name in names:
        contrast = modalities()[name].contrast
        image, cavity = average_head(label_maps, contrast, priors()['layers'], shape, affine)
        scaled = np.rint(image * modalities()[name].reference_scale)
        save_like(scaled, image_on_grid(scaled, affine), folder / f'reference_{name}.nii.gz', np.int16)
    save_like(cavity > 0.5, image_on_grid(cavity, affine), folder / MASK, np.uint8)


def pack(
    reference: Reference,
    weights: Path,
    planned: PlannedBundle,
    folder: Path,
    *,
    stage: TrainingStage,
    mirrored_passes: bool,
    card: Mapping,
    cv_threshold: float | None = None,
) -> Bundle:
    """Make a bundle of trained weights.

    Parameters
    ----------
    reference : Reference
    weights : Path
        ``*.safetensors``.
    planned : PlannedBundle
        Name, version, license.
    folder : Path
        Made if absent.
    stage : TrainingStage
        That the weights come from; gives architecture and grid.
    mirrored_passes : bool
        Whether the training mirrored heads, so that passes may as well.
    card : mapping
        How it was trained and what it scores.
    cv_threshold : float, optional
        Mean CV above which a scan is flagged, per cent; None: that of the reference.

    Returns
    -------
    Bundle
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in ((weights, WEIGHTS), (reference.image, REFERENCE), (reference.mask, MASK)):
        shutil.copyfile(source, folder / target)
    shape, affine = reference.grid_of(stage)
    return write_bundle(
        folder,
        name=planned.name,
        version=planned.version,
        modality=reference.modality,
        license=planned.license,
        reference_name=reference.name,
        grid_shape=list(shape),
        grid_affine=affine.tolist(),
        intensity=dict(reference.intensity),
        architecture=dict(stage.architecture),
        mc_samples=reference.mc_samples,
        mirrored_passes=mirrored_passes,
        cv_threshold=reference.cv_threshold if cv_threshold is None else cv_threshold,
        qc=dict(reference.qc),
        card=dict(card),
    )

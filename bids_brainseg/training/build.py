# SPDX-License-Identifier: Apache-2.0
"""From a folder of label maps to bundles: heads in a common space, references, the finished folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bids_brainseg.core.labels import freesurfer_classes
from bids_brainseg.data import freesurfer_rules, label_table, modalities, resource
from bids_brainseg.errors import InputError
from bids_brainseg.files import write_whole
from bids_brainseg.imaging import image_on_grid, load_image, load_mask, save_like

from ..network.bundle import write_bundle
from ..records import MASK, REFERENCE, WEIGHTS, Bundle
from ..synthesis.common_space import MNI_CENTERS, average_head, common_space, fit_affine, structure_centers
from ..synthesis.generator import Synthesizer
from ..synthesis.label_map import FIRST_HEAD_TISSUE, LabelMap, priors
from ..synthesis.ranges import AugmentationRanges

#: White-matter lesions, left and right.
LESIONS = (25, 57)


@cache
def defaults() -> dict:
    """Return what all bundles share (``bundles.json``)."""
    return json.loads(resource('bundles.json').read_text())


def grid_affine(shape: Sequence[int], spacing: float, center: Sequence[float]) -> np.ndarray:
    """Return the affine of an axis-aligned RAS grid about a center, mm."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(center) - spacing * (np.asarray(shape) - 1) / 2
    return affine


def prepare(label_maps: Sequence[Path], held_out: Sequence[Path], folder: Path) -> None:
    """Align label maps in a common space and write it with its references.

    Parameters
    ----------
    label_maps, held_out : sequence of Path
        Whole-head label maps: those that define the common space and train, and those that only validate.
    folder : Path
        Gets ``heads/*.npz``, ``reference_<modality>.nii.gz`` and ``mask.nii.gz``.

    Raises
    ------
    InputError
        If a map lacks a structure or holds an unknown label; names map and label.
    """
    numbers = list(MNI_CENTERS)
    images = [load_image(path) for path in (*label_maps, *held_out)]
    try:
        centers = [structure_centers(image.data.astype(np.int16), image.affine, numbers) for image in images]
        matrices = common_space(centers[: len(label_maps)], numbers)
        inverses = [np.linalg.inv(m) for m in matrices]
        mean = np.mean([c @ m[:3, :3].T + m[:3, 3] for c, m in zip(centers, inverses, strict=False)], 0)
        matrices += [fit_affine(mean, c) for c in centers[len(label_maps) :]]
        heads = [
            LabelMap.from_labels(i.data.astype(np.int16), i.affine, m)
            for i, m in zip(images, matrices, strict=True)
        ]
    except ValueError as error:
        raise InputError(f'a label map cannot be used: {error}') from error
    (folder / 'heads').mkdir(parents=True, exist_ok=True)
    for number, (path, head) in enumerate(zip((*label_maps, *held_out), heads, strict=True)):
        role = 'train' if number < len(label_maps) else 'validate'
        np.savez_compressed(folder / 'heads' / f'{role}_{path.name.partition(".")[0]}.npz', **head.arrays())
    _write_references(heads[: len(label_maps)], folder)


def _write_references(heads, folder) -> None:
    rules = defaults()
    shape = tuple(rules['reference']['shape'])
    affine = grid_affine(shape, rules['reference']['spacing'], rules['reference']['center'])
    for modality, entry in modalities().items():
        image, cavity = average_head(heads, entry.contrast, priors()['layers'], shape, affine)
        name = f'reference_{modality}.nii.gz'
        scaled = np.rint(image * entry.reference_scale)
        save_like(scaled, image_on_grid(scaled, affine), folder / name, np.int16)
    save_like(cavity > 0.5, image_on_grid(cavity, affine), folder / MASK, np.uint8)


def load_heads(folder: Path, role: str) -> list[LabelMap]:
    """Read heads that :func:`prepare` wrote.

    Parameters
    ----------
    folder : Path
    role : {'train', 'validate'}

    Raises
    ------
    InputError
        If there are none, or they were prepared with other tissues.
    """
    paths = sorted((folder / 'heads').glob(f'{role}_*.npz'))
    if not paths:
        raise InputError(f'no prepared heads for {role!r}: {folder / "heads"}; run prepare first')
    heads = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                heads.append(LabelMap.from_arrays(**arrays))
        except ValueError as error:
            raise InputError(f'prepared head cannot be used: {path}: {error}; run prepare again') from error
    return heads


def align_head(path: Path, cache: Path) -> LabelMap:
    """Read a label map and align it by its structures with the space of the packaged references.

    Parameters
    ----------
    path : Path
        FreeSurfer numbers, with or without head tissues (see ``synthesis.json``).
    cache : Path
        Folder in which the result is kept for the next run.

    Raises
    ------
    InputError
        If it lacks a structure or holds an unknown label; names both.
    """
    # other tissues or layers make another head of the same map
    kinds = json.dumps([priors()['tissues'], priors()['layers']]).encode()
    kept = cache / f'{hashlib.sha256(kinds + path.read_bytes()).hexdigest()[:20]}.npz'
    if not kept.is_file():
        image = load_image(path)
        try:
            labels = image.data.astype(np.int32)
            if not np.array_equal(labels, image.data):
                raise ValueError('it holds numbers that are not whole')
            labels = head_labels(labels, image.affine)
            centers = structure_centers(labels, image.affine, list(MNI_CENTERS))
            common = np.array([defaults()['centers'][str(number)] for number in MNI_CENTERS])
            head = LabelMap.from_labels(labels, image.affine, fit_affine(common, centers))
        except ValueError as error:
            raise InputError(f'label map cannot be used: {path}: {error}; leave it out') from error
        with write_whole(kept) as temporary:
            np.savez_compressed(temporary, **head.arrays())
    with np.load(kept, allow_pickle=False) as arrays:
        return LabelMap.from_arrays(**arrays)


def head_labels(labels, affine) -> np.ndarray:
    """Replace the numbers of a FreeSurfer parcellation that the generative model has no tissue for.

    Parameters
    ----------
    labels : (I, J, K) integer array
        FreeSurfer numbers; head tissues from 501 to 599.
    affine : (4, 4) float array
        Voxel indices to RAS mm.

    Returns
    -------
    (I, J, K) integer array
        Cortex and white matter without their parcels; what belongs to no side is given to one
        (hypointensities become lesions: 25 and 57).

    Raises
    ------
    ValueError
        If a label is unknown; names it.
    """
    rules = freesurfer_rules()
    known = {n for numbers in priors()['tissues'].values() for n in numbers}
    present = np.unique(labels).tolist()
    other = [n for n in present if n not in known or n in rules['nearest'] or n in rules['midline']]
    if not other:
        return labels
    mapping = rules['mapping'] | {n: 0 for n in known if n >= FIRST_HEAD_TISSUE}
    classes = freesurfer_classes(labels, affine, **{**rules, 'mapping': mapping})
    numbers = np.array([label.freesurfer for label in label_table()])
    result = np.where(np.isin(labels, other), numbers[classes], labels)
    patches = np.isin(labels, rules['nearest'])
    result[patches] = np.where(classes[patches] == rules['left'], *LESIONS)
    return result


def synthesizer(
    heads,
    contrasts: Sequence[str],
    *,
    shape,
    spacing: float | None = None,
    affine=None,
    ranges: AugmentationRanges,
    seed: int,
    mask: Path,
    rules: Mapping[str, Mapping] | None = None,
    window=None,
) -> Synthesizer:
    """Return what draws pairs of some contrasts on a grid, by default about the center of the shipped one.

    Parameters
    ----------
    heads, shape, affine, ranges, seed, window
        Of :class:`~bids_brainseg.synthesis.generator.Synthesizer`.
    contrasts : sequence of str
        Names of ``data/modalities``.
    spacing : float, optional
        Edge of the voxels, mm, where `affine` is not given.
    mask : Path
        Cranial cavity of the reference, for rules that read percentiles there.
    rules : mapping, optional
        Contrast to intensity rule; by default those of the shipped bundles.

    Raises
    ------
    ValueError
        If the window is larger than the grid.
    """
    if window is not None and np.any(np.greater(window, shape)):
        raise ValueError(f'`window` must fit in the grid {tuple(shape)}. Received instead: {tuple(window)}')
    rules = rules or {name: modalities()[name].intensity for name in contrasts}
    affine = grid_affine(shape, spacing, defaults()['center']) if affine is None else np.asarray(affine)
    return Synthesizer(
        heads, tuple(shape), affine, rules, ranges=ranges, seed=seed,
        region=load_mask(mask, shape, affine), window=window and tuple(window),
    )  # fmt: skip


#: Held-out pairs, unlike training pairs: heads as they align, whole, healthy, in their own contrast.
HELD_OUT = AugmentationRanges(
    rotation=3, displacement=1.5, scale=0.03, random_contrast=0, crop=0, deface=0, lesions=0
)


def held_out_pairs(heads, contrasts: Sequence[str], *, count: int, **grid) -> dict:
    """Return fixed pairs of each contrast, the same in every call.

    Parameters
    ----------
    heads : sequence of LabelMap
    contrasts : sequence of str
    count : int
        Pairs of each contrast.
    **grid
        `shape`, either `spacing` or `affine`, and `mask`, as for :func:`synthesizer`; `rules` as well.

    Returns
    -------
    dict of str to list of (image, labels)
    """
    result = {}
    for name in contrasts:
        source = synthesizer(heads, [name], **grid, ranges=HELD_OUT, seed=99)
        result[name] = [source.pair(number) for number in range(count)]
    return result


def pack(
    folder: Path,
    prepared: Path,
    weights: Path,
    modality: str,
    *,
    version: str,
    architecture: Mapping,
    card: Mapping,
) -> Bundle:
    """Make a bundle from trained weights.

    Parameters
    ----------
    folder : Path
        Made if absent.
    prepared : Path
        Folder of :func:`prepare`.
    weights : Path
        ``*.safetensors``.
    modality : str
        Name of ``data/modalities``.
    version : str
        Of the bundle.
    architecture : mapping
        Arguments of :func:`~bids_brainseg.network.unet.build_unet`.
    card : mapping
        How it was trained and what it scores.

    Returns
    -------
    Bundle
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / WEIGHTS)
    shutil.copyfile(prepared / f'reference_{modality}.nii.gz', folder / REFERENCE)
    shutil.copyfile(prepared / MASK, folder / MASK)
    mask = load_image(folder / MASK)
    rules, entry = defaults(), modalities()[modality]
    grid = rules['grid']
    return write_bundle(
        folder,
        name=entry.bundle,
        version=version,
        modality=modality,
        license=rules['license'],
        reference_name=rules['reference_name'],
        grid_shape=grid['shape'],
        grid_affine=grid_affine(grid['shape'], grid['spacing'], rules['center']).tolist(),
        intensity=dict(entry.intensity),
        architecture=dict(architecture),
        mc_samples=rules['mc_samples'],
        mirrored_passes=rules['mirrored_passes'],
        cv_threshold=entry.cv_threshold,
        icv_mm3=float(np.count_nonzero(mask.data > 0.5) * abs(np.linalg.det(mask.affine[:3, :3]))),
        qc={},  # what differs from the packaged thresholds
        card=dict(card),
    )


def bundle_like(
    base: Bundle,
    folder: Path,
    weights: Path,
    *,
    name: str,
    architecture: Mapping,
    license: str,
    mirrored_passes: bool,
    card: Mapping,
) -> Bundle:
    """Make a bundle of new weights for the reference, the grid and the rules of another one.

    Parameters
    ----------
    base : Bundle
        Whose reference the training scans were aligned to.
    folder : Path
        Made if absent.
    weights : Path
        ``*.safetensors``.
    name, license : str
        Of the new bundle.
    architecture : mapping
        Arguments of :func:`~bids_brainseg.network.unet.build_unet`.
    mirrored_passes : bool
        Whether the training mirrored heads, so that passes may as well.
    card : mapping
        How it was trained and what it scores.

    Returns
    -------
    Bundle
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in ((weights, WEIGHTS), (base.reference_path, REFERENCE), (base.mask_path, MASK)):
        shutil.copyfile(source, folder / target)
    kept = ('modality', 'reference_name', 'grid_shape', 'grid_affine', 'intensity', 'mc_samples',
            'cv_threshold', 'icv_mm3', 'qc')  # fmt: skip
    return write_bundle(
        folder,
        name=name,
        version='1',
        license=license,
        architecture=dict(architecture),
        mirrored_passes=mirrored_passes,
        card=dict(card),
        **{field: getattr(base, field) for field in kept},
    )

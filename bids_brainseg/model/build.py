# SPDX-License-Identifier: Apache-2.0
"""From a folder of label maps to bundles: heads in a common space, references, the finished folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bids_brainseg.data import modalities, resource
from bids_brainseg.errors import InputError
from bids_brainseg.imaging import image_on_grid, load_image, save_like

from .bundle import MASK, REFERENCE, WEIGHTS, Bundle, write_bundle
from .reference import MNI_CENTRES, average_head, common_space, fit_affine, structure_centres
from .synthesis import Head, Ranges, Synthesizer, priors


@cache
def defaults() -> dict:
    """Return what all bundles share and what each modality asks for (``bundles.json``)."""
    return json.loads(resource('bundles.json').read_text())


def grid_affine(shape: Sequence[int], spacing: float, centre: Sequence[float]) -> np.ndarray:
    """Return the affine of an axis-aligned RAS grid about a centre, mm."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.asarray(centre) - spacing * (np.asarray(shape) - 1) / 2
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
    numbers = list(MNI_CENTRES)
    images = [load_image(path) for path in (*label_maps, *held_out)]
    try:
        centres = [structure_centres(image.data.astype(np.int16), image.affine, numbers) for image in images]
        matrices = common_space(centres[: len(label_maps)], numbers)
        inverses = [np.linalg.inv(m) for m in matrices]
        mean = np.mean([c @ m[:3, :3].T + m[:3, 3] for c, m in zip(centres, inverses, strict=False)], 0)
        matrices += [fit_affine(mean, c) for c in centres[len(label_maps) :]]
        heads = [
            Head.from_labels(i.data.astype(np.int16), i.affine, m)
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
    affine = grid_affine(shape, rules['reference']['spacing'], rules['reference']['centre'])
    for modality, entry in rules['modalities'].items():
        image, cavity = average_head(heads, priors()['contrasts'][modality], shape, affine)
        name = f'reference_{modality}.nii.gz'
        scaled = np.rint(image * entry['scale'])
        save_like(scaled, image_on_grid(scaled, affine), folder / name, np.int16)
    save_like(cavity > 0.5, image_on_grid(cavity, affine), folder / MASK, np.uint8)


def load_heads(folder: Path, role: str) -> list[Head]:
    """Read heads that :func:`prepare` wrote.

    Parameters
    ----------
    folder : Path
    role : {'train', 'validate'}

    Raises
    ------
    InputError
        If there are none.
    """
    paths = sorted((folder / 'heads').glob(f'{role}_*.npz'))
    if not paths:
        raise InputError(f'no prepared heads for {role!r}: {folder / "heads"}; run prepare first')
    heads = []
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            heads.append(Head.from_arrays(**arrays))
    return heads


def synthesizer(
    heads, contrasts: Sequence[str], *, shape, spacing: float, ranges: Ranges, seed: int, window=None
) -> Synthesizer:
    """Return what draws pairs of some contrasts on a grid about the centre of the shipped one.

    Raises
    ------
    ValueError
        If the window is larger than the grid.
    """
    if window is not None and np.any(np.greater(window, shape)):
        raise ValueError(f'`window` must fit in the grid {tuple(shape)}. Received instead: {tuple(window)}')
    rules = {name: defaults()['modalities'][name]['intensity'] for name in contrasts}
    affine = grid_affine(shape, spacing, defaults()['centre'])
    return Synthesizer(
        heads, tuple(shape), affine, rules, ranges=ranges, seed=seed, window=window and tuple(window)
    )


#: Held-out pairs, unlike training pairs: heads as they align, whole, healthy, in their own contrast.
HELD_OUT = Ranges(rotation=3, displacement=1.5, scale=0.03, free=0, crop=0, deface=0, lesions=0)


def held_out_pairs(heads, contrasts: Sequence[str], *, shape, spacing: float, count: int) -> dict:
    """Return fixed pairs of each contrast, the same in every call.

    Returns
    -------
    dict of str to list of (image, labels)
    """
    result = {}
    for name in contrasts:
        source = synthesizer(heads, [name], shape=shape, spacing=spacing, ranges=HELD_OUT, seed=99)
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
        Key of ``modalities.json``.
    version : str
        Of the bundle.
    architecture : mapping
        Arguments of :func:`~bids_brainseg.model.unet.build_unet`.
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
    rules, entry = defaults(), defaults()['modalities'][modality]
    grid = rules['grid']
    return write_bundle(
        folder,
        name=modalities()[modality]['bundle'],
        version=version,
        modality=modality,
        licence=rules['licence'],
        reference_name=rules['reference_name'],
        grid_shape=grid['shape'],
        grid_affine=grid_affine(grid['shape'], grid['spacing'], rules['centre']).tolist(),
        intensity=entry['intensity'],
        architecture=dict(architecture),
        mc_samples=rules['mc_samples'],
        cv_threshold=entry['cv_threshold'],
        icv_mm3=float(np.count_nonzero(mask.data > 0.5) * abs(np.linalg.det(mask.affine[:3, :3]))),
        qc={},  # what differs from the packaged thresholds
        card=dict(card),
    )

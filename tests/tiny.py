# SPDX-License-Identifier: Apache-2.0
"""A model bundle with a network of a few hundred weights, for tests that run the whole way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

ARCHITECTURE = {
    'filters': 2,
    'depth': 2,
    'classes': 28,
    'dropout': 0.2,
    'dropout_kind': 'element',
    'normalization': 'instance',
}
GRID = (44, 48, 40)
SPACING = 4.0


def make_tiny_bundle(folder: Path, modality: str = 'T1w', *, seed: int = 0) -> Path:
    """Write a bundle with random weights whose reference is a head of three nested ellipsoids."""
    os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    import keras

    from bids_brainseg.data import modalities
    from bids_brainseg.imaging import image_on_grid, save_like
    from bids_brainseg.network.bundle import write_bundle
    from bids_brainseg.network.unet import build_unet
    from bids_brainseg.network.weights import save_weights
    from bids_brainseg.training.references import defaults, grid_affine

    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    save_weights(build_unet(**ARCHITECTURE), folder / 'weights.safetensors')
    rules = defaults()
    affine = grid_affine(GRID, SPACING, rules['center'])
    image, cavity = head(GRID, affine, hounsfield=modalities()[modality].hounsfield)
    save_like(image, image_on_grid(image, affine), folder / 'reference.nii.gz', np.int16)
    save_like(cavity, image_on_grid(cavity, affine), folder / 'mask.nii.gz', np.uint8)
    entry = modalities()[modality]
    write_bundle(
        folder, name=f'tiny{modality}', version='1', modality=modality, license='Apache-2.0',
        reference_name='Tiny',
        grid_shape=GRID, grid_affine=affine.tolist(), architecture=ARCHITECTURE,
        intensity=dict(entry.intensity), mc_samples=2, cv_threshold=entry.cv_threshold,
        qc={}, card={},
    )  # fmt: skip
    return folder


def head(shape, affine, *, hounsfield: bool = False):
    """Draw scalp, skull, brain and ventricles as ellipsoids about the origin of the shipped grid.

    Returns
    -------
    image : `shape` float32 array
    cavity : `shape` bool array
    """
    points = (
        np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing='ij'), -1) @ affine[:3, :3].T
        + affine[:3, 3]
    )
    # shifted apart, so that no rotation or mirror maps the head onto itself
    radius = [
        np.linalg.norm((points - center) / axes, axis=-1)
        for center, axes in (
            ((0, -17.5, -2), (84, 100, 84)), ((0, -17.5, -2), (78, 94, 78)), ((0, -17.5, 0), (70, 86, 68)),
            ((-14, 0, 8), (9, 30, 12)), ((18, -10, 8), (9, 22, 12)), ((0, -55, -40), (40, 25, 22)),
        )
    ]  # fmt: skip
    values = (40, 900, 35, 5, 5, 45) if hounsfield else (700, 80, 500, 120, 120, 650)
    image = np.full(shape, -1000.0 if hounsfield else 0.0, np.float32)
    for r, value in zip(radius, values, strict=True):
        image[r < 1] = value
    return image, radius[2] < 1


def make_label_map(path: Path, shift: float = 0) -> Path:
    """Write a skull full of fluid, in it a ball for every structure; `shift` mm to the right."""
    import nibabel as nib

    from bids_brainseg.synthesis.common_space import MNI_CENTERS

    labels = np.zeros((56, 64, 56), np.int16)
    labels[4:52, 4:60, 4:52] = 515
    labels[6:50, 6:58, 6:50] = 24
    affine = np.array([[-3.5, 0, 0, 98 + shift], [0, 3.5, 0, -130], [0, 0, 3.5, -100], [0, 0, 0, 1]])
    index = np.indices(labels.shape).reshape(3, -1).T
    points = (index @ affine[:3, :3].T + affine[:3, 3]).reshape(*labels.shape, 3)
    extra = {
        4: (-12, -10, 18),
        43: (12, -10, 18),
        7: (-15, -58, -34),
        46: (15, -58, -34),
        14: (0, -12, 0),
        15: (0, -45, -30),
    }
    for number, center in {**MNI_CENTERS, **extra}.items():
        labels[np.linalg.norm(points - np.array(center) - [shift, 0, 0], axis=-1) < 5] = number
    nib.Nifti1Image(labels, affine).to_filename(path)
    return path

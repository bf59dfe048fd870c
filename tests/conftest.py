# SPDX-License-Identifier: Apache-2.0
"""Small images, datasets and a phantom whose volumes and places are known exactly."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest

#: Changes the interpreter that imports it.
collect_ignore = ['macos']
PAIRS = [*zip((1, 2, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17), (3, 4, *range(18, 28)), strict=True)]
MIDLINE = (12, 13, 14)


class Phantom(NamedTuple):
    """27 boxes in air, the left ones at negative x, on a RAS grid of 2 mm.

    `boxes` are voxel bounds (28, 2, 3), first and last + 1; row 0 is the whole grid.
    """

    labels: np.ndarray
    affine: np.ndarray
    volumes_mm3: np.ndarray
    boxes: np.ndarray
    pairs: tuple

    @property
    def posterior(self) -> np.ndarray:
        """(28, I, J, K) float16, certain everywhere."""
        return (self.labels == np.arange(28)[:, None, None, None]).astype(np.float16)

    def center(self, index: int) -> np.ndarray:
        """RAS mm of the middle of a box."""
        middle = (self.boxes[index].sum(axis=0) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    def labels_at(self, points: np.ndarray) -> np.ndarray:
        """Labels at (..., 3) RAS points: of the voxel that holds the point, 0 outside."""
        voxels = np.floor((points - self.affine[:3, 3]) / np.diag(self.affine)[:3] + 0.5).astype(int) + 1
        padded = np.pad(self.labels, 1)
        return padded[tuple(np.moveaxis(np.clip(voxels, 0, np.array(padded.shape) - 1), -1, 0))]


@pytest.fixture(scope='session')
def phantom27() -> Phantom:
    shape, voxel = (48, 56, 40), 2.0
    boxes = np.zeros((28, 2, 3), int)
    boxes[0, 1] = shape
    for p, (left, right) in enumerate(PAIRS):
        size = np.array((4 + p % 3, 6 + p % 4, 4 + p % 5))
        start = np.array((8, 2 + 14 * (p % 4), 1 + 10 * (p // 4)))
        boxes[left] = start, start + size
        boxes[right] = boxes[left]
        boxes[right, :, 0] = shape[0] - boxes[left, ::-1, 0]
    for p, index in enumerate(MIDLINE):
        boxes[index] = (22, 2 + 14 * p, 31), (26, 10 + 14 * p, 36 + p)
    labels = np.zeros(shape, np.uint8)
    for index in range(1, 28):
        (a, b, c), (d, e, f) = boxes[index]
        labels[a:d, b:e, c:f] = index
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -voxel * (np.array(shape) - 1) / 2
    volumes = np.prod(boxes[:, 1] - boxes[:, 0], axis=1) * voxel**3
    volumes[0] -= volumes[1:].sum()
    return Phantom(labels, affine, volumes, boxes, tuple(PAIRS))


def write_nifti(path: Path, data=None, affine=None, *, qform_code=1, sform_code=1, dtype=None) -> Path:
    """Write an image; without data a ramp of 8 x 9 x 10 voxels of 1 mm."""
    data = np.arange(720, dtype=np.int16).reshape(8, 9, 10) if data is None else np.asarray(data)
    affine = np.eye(4) if affine is None else affine
    image = nib.Nifti1Image(data if dtype is None else data.astype(dtype), affine)
    image.header.set_xyzt_units('mm', 'sec')
    image.set_qform(affine, qform_code)
    image.set_sform(affine, sform_code)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    return path


@pytest.fixture
def make_nifti(tmp_path):
    """Write an image below the test's folder: `make_nifti(name, data, affine, qform_code=..., ...)`."""

    def make(name: str = 'image.nii.gz', data=None, affine=None, **kwargs) -> Path:
        return write_nifti(tmp_path / name, data, affine, **kwargs)

    return make


@pytest.fixture
def make_bids(tmp_path):
    """Write a dataset from a mapping of paths to contents.

    None is a small image, an array (or an array and its affine) an image, a tuple of numbers an image of that
    shape, a dict JSON, and str and bytes are written as they are.
    """

    def make(files: dict[str, object], *, name: str = 'dataset', description: bool = True) -> Path:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        if description:
            files = {'dataset_description.json': {'Name': 'made by hand', 'BIDSVersion': '1.10.0'}, **files}
        for relative, content in files.items():
            path = root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                path.write_text(json.dumps(content))
            elif isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, tuple) and isinstance(content[0], np.ndarray):
                write_nifti(path, *content)
            elif isinstance(content, tuple):
                write_nifti(path, np.arange(np.prod(content), dtype=np.float32).reshape(content))
            else:
                write_nifti(path, content)
        return root

    return make


@pytest.fixture(scope='session')
def tiny_bundle(tmp_path_factory) -> Path:
    """A T1w bundle with a network of a few hundred random weights (see ``tiny.py``)."""
    from tiny import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp('bundles') / 'T1w')


@pytest.fixture
def templateflow_home(monkeypatch):
    """A function that names TemplateFlow's folder, which its client reads at the next import."""

    def name(folder: Path) -> Path:
        forget()
        monkeypatch.setenv('TEMPLATEFLOW_HOME', str(folder))
        monkeypatch.delenv('TEMPLATEFLOW_AUTOUPDATE', raising=False)
        return folder

    def forget() -> None:
        for module in list(sys.modules):  # pybids must not be told twice of what `conf.bids` tells it
            if module.startswith(('templateflow', 'niworkflows.utils.spaces')) and not module.endswith(
                'conf.bids'
            ):
                del sys.modules[module]

    yield name
    forget()

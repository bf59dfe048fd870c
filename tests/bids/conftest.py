# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest


def header(*shape: int, order: str = '<', version: int = 1) -> bytes:
    """A header alone, with the size fields that a NIfTI has; no voxel follows."""
    dim = [len(shape), *shape, *[1] * (7 - len(shape))]
    if version == 1:
        head = struct.pack(f'{order}i36x8h', 348, *dim)
        return head.ljust(348, b'\0')
    head = struct.pack(f'{order}i12x8q', 540, *dim)
    return head.ljust(540, b'\0')


@pytest.fixture
def nifti_bytes():
    return header


@pytest.fixture
def make_bids(tmp_path):
    """Write a dataset from a mapping of paths: a tuple is an image's shape, a dict JSON, a str text."""

    def make(files: dict[str, object], *, name: str = 'dataset', description: bool = True) -> Path:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        if description:
            files = {'dataset_description.json': {'Name': 'made by hand', 'BIDSVersion': '1.10.0'}, **files}
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, tuple):
                data = header(*content)
                target.write_bytes(gzip.compress(data) if path.endswith('.gz') else data)
            elif isinstance(content, dict):
                target.write_text(json.dumps(content))
            else:
                target.write_text(content or '')
        return root

    return make

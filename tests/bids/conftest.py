# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import pytest


def header(*shape: int) -> bytes:
    """A header alone; no voxel follows."""
    described = nib.Nifti1Header()
    described.set_data_shape(shape)
    described['magic'] = b'n+1'
    return described.binaryblock


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

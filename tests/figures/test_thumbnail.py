# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bids_brainseg.figures.thumbnail import GAP, HEIGHT, thumbnail


def test_slices_lie_side_by_side_at_one_scale_left_on_the_left(phantom27, tmp_path):
    image = (phantom27.labels > 0).astype(np.float32)
    image[: len(image) // 2] *= 3  # the left half, at negative x, is bright
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = len(image) - 1
    path = thumbnail(image[::-1], phantom27.labels[::-1], phantom27.affine @ flipped, tmp_path / 'a.jpg')
    picture = Image.open(path)
    inside = [np.flatnonzero((phantom27.labels > 0).any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    spans = np.array([places[-1] - places[0] + 1 for places in inside])
    x, y, z = 2 * spans + 12  # mm, with the margin
    scale = HEIGHT / max(y, z)
    assert picture.height == HEIGHT
    assert picture.width == pytest.approx(scale * (x + x + y) + 2 * GAP, abs=2)
    axial = np.asarray(picture.convert('L'), float)[:, : round(scale * x)]
    half = axial.shape[1] // 2
    assert axial[:, :half].mean() > 1.3 * axial[:, half:].mean()
    assert path.stat().st_size < 30_000


def test_a_structure_has_its_color(phantom27, tmp_path):
    labels = np.where(phantom27.labels == 7, 7, 0).astype(np.uint8)
    gray = np.asarray(
        Image.open(thumbnail(labels * 0.0, labels * 0, phantom27.affine, tmp_path / 'a.jpg')), int
    )
    colored = np.asarray(
        Image.open(thumbnail(labels * 0.0, labels, phantom27.affine, tmp_path / 'b.jpg')), int
    )
    assert np.ptp(gray, axis=2).max() < 12  # no label, no color
    assert np.ptp(colored, axis=2).max() > 60

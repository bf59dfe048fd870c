# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from bids_brainseg.data import label_table
from bids_brainseg.figures import panels, viewer


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(',')[2]))))


def unfold(sheet, shape, columns):
    """Take a mosaic apart as the page does: pixel of a voxel by the formula of viewer.js."""
    x, y, z = np.indices(shape)
    return sheet[x // columns * shape[2] + shape[2] - 1 - z, x % columns * shape[1] + y]


def test_mosaic_is_laid_out_as_the_page_reads_it():
    volume = np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2)
    sheet = viewer.mosaic(volume, 3)
    assert sheet.shape == (4, 9)
    np.testing.assert_array_equal(unfold(sheet, volume.shape, 3), volume)


@pytest.mark.parametrize('turned', [False, True])
def test_every_voxel_of_the_viewer_shows_what_is_there(phantom27, tmp_path, turned):
    labels, affine = phantom27.labels, phantom27.affine
    if turned:  # the same head, stored as LIP
        labels = labels.transpose(0, 2, 1)[::-1, ::-1, ::-1]
        affine = np.array([[-2, 0, 0, 47.0], [0, 0, -2, 55], [0, -2, 0, 39], [0, 0, 0, 1]])
    image = labels * 8.0
    entropy = np.full(labels.shape, 0.3)
    limits = [0.3 if index == 2 else 0.6 for index in range(28)]
    path = viewer.viewer_figure(image, labels, entropy, affine, tmp_path / 'viewer.json', limits=limits)
    content = json.loads(path.read_text())
    assert content['spacing_mm'] == 2  # no finer than the scan
    shape = tuple(content['shape'])
    shown = unfold(pixels(content['labels']), shape, content['columns'])
    points = np.moveaxis(np.indices(shape), 0, -1) @ np.array(content['affine'])[:3, :3].T
    np.testing.assert_array_equal(shown, phantom27.labels_at(points + np.array(content['affine'])[:3, 3]))
    assert set(np.unique(shown)) == set(range(28))
    doubt = unfold(pixels(content['uncertainty']), shape, content['columns'])
    assert abs(np.median(doubt[shown == 2]) - content['unit']) < 4  # as uncertain as usual
    assert abs(np.median(doubt[shown == 0]) - content['unit'] / 2) < 4


def test_bytes_reach_beyond_the_window_and_can_be_turned_back():
    values = np.array([[[-1000.0, 0, 40, 80, 3000]]])
    knots = viewer.intensity_knots(values, (0.0, 80.0))
    codes = viewer.as_bytes(values, knots)
    assert codes.ravel().tolist() == [0, 32, 120, 208, 255]
    np.testing.assert_allclose(np.interp(codes, *zip(*knots, strict=True)), values)


def test_thick_slices_become_cubes(tmp_path):
    labels = np.zeros((60, 60, 12), np.uint8)
    labels[10:50, 10:50, 2:10] = 4
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    content = json.loads(
        viewer.viewer_figure(labels * 9.0, labels, labels / 100, affine, tmp_path / 'v.json').read_text()
    )
    assert content['spacing_mm'] == 1
    shown = unfold(pixels(content['labels']), content['shape'], content['columns'])
    assert np.count_nonzero(shown) == np.count_nonzero(labels) * 5


def test_a_large_scan_is_made_small():
    grid = panels.canonical(np.diag([0.5, 0.5, 0.5, 1.0]), (400, 500, 400))
    shape, affine = viewer.viewer_grid(grid, ((0, 400), (0, 500), (0, 400)))
    assert 0.95 * viewer.VOXELS < np.prod(shape) < 1.1 * viewer.VOXELS
    spacing = affine[0, 0]
    np.testing.assert_allclose(affine[:3, 3], -0.25 + spacing / 2)  # the outer faces coincide
    np.testing.assert_allclose(np.array(shape) * spacing, (200, 250, 200), atol=spacing)


def test_air_is_cut_away_but_no_label():
    image = np.zeros((40, 40, 40))
    image[10:30, 10:30, 10:30] = 100
    labels = np.zeros(image.shape, int)
    labels[15:20, 15:20, 5:25] = 1
    assert viewer.head_box(image, labels, (0, 100)) == ((10, 30), (10, 30), (5, 30))
    assert viewer.head_box(np.zeros(image.shape), labels, (0, 100)) == ((15, 20), (15, 20), (5, 25))


def test_arrays_of_different_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match='one shape'):
        viewer.viewer_figure(
            np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), np.zeros((3, 3, 4)), np.eye(4), tmp_path
        )


def test_names_and_colors_for_every_class():
    tables = viewer.tables()
    assert len(tables['names']) == len(tables['colors']) == len(label_table())
    assert tables['names'][15] == 'Left Hippocampus'
    assert tables['names'][0] == tables['colors'][0] == ''
    assert len(tables['ramp']) == len(tables['weights']) == 256
    assert tables['weights'][viewer.UNIT // 2] == 0 and tables['weights'][2 * viewer.UNIT] == 1

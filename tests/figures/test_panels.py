# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest

from bids_brainseg.core.geometry import bounding_box
from bids_brainseg.figures import panels

GRIDS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def make_affine(order, signs, zooms=(1.0, 2.0, 3.0), shift=(-7.0, 11.0, 5.0)):
    """World axis w is voxel axis order[w], in the direction signs[w]."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for world, voxel in enumerate(order):
        affine[world, voxel] = signs[world] * zooms[world]
    affine[:3, 3] = shift
    return affine


@pytest.mark.parametrize(('order', 'signs'), GRIDS)
def test_canonical_view_keeps_every_voxel_at_its_place(order, signs):
    shape = (4, 5, 6)
    affine = make_affine(order, signs)
    grid = panels.canonical(affine, shape)
    world = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    for axis in range(3):
        seen = grid.view(world[..., axis])
        assert (np.diff(seen, axis=axis) > 0).all()  # right, anterior, superior are where the index grows
        indices = np.moveaxis(np.indices(seen.shape), 0, -1)
        np.testing.assert_allclose(seen, (indices @ grid.affine[:3, :3].T + grid.affine[:3, 3])[..., axis])
    np.testing.assert_allclose(grid.spacing, (1, 2, 3))


def test_canonical_of_an_oblique_grid_takes_the_nearest_axes():
    turn = np.deg2rad(35)
    affine = np.eye(4)
    affine[:2, :2] = [[-np.cos(turn), np.sin(turn)], [-np.sin(turn), -np.cos(turn)]]
    grid = panels.canonical(affine, (3, 3, 3))
    assert grid.order == (0, 1, 2)
    assert grid.reverse == (True, True, False)


def test_slices_go_where_the_structures_are():
    labels = np.zeros((10, 10, 200), np.uint8)
    labels[..., 20:180] = 1
    for structure in range(2, 12):  # ten small ones close together
        labels[structure - 2, 0, 100:110] = structure
    chosen = panels.choose_slices(labels, 2, bounding_box(labels), 6)
    assert len(chosen) == 6
    assert all(20 <= index < 180 for index in chosen)
    assert (
        sum(100 <= index < 110 for index in chosen) >= 2
    )  # evenly spread slices would hit them once at most


def test_slices_are_never_more_than_there_are():
    labels = np.ones((8, 8, 3), np.uint8)
    assert panels.choose_slices(labels, 2, bounding_box(labels), 6) == [0, 1, 2]


@pytest.mark.parametrize('zooms', [(1, 1, 1), (0.7, 0.7, 0.7), (1, 1, 5)])
def test_rows_fill_the_width_at_one_scale(zooms):
    shape = tuple(int(size / zoom) for size, zoom in zip((140, 170, 130), zooms, strict=True))
    labels = np.ones(shape, np.uint8)
    grid = panels.canonical(np.diag([*zooms, 1.0]), shape)
    layout = panels.lay_out(labels, grid)
    scales = []
    for axis in range(3):
        row = [panel for panel in layout.panels if panel.axis == axis]
        assert len({panel.y for panel in row}) == 1
        assert row[0].x == 0
        assert row[-1].x + row[-1].width == pytest.approx(panels.WIDTH)
        across, up = panels.AXES[axis][:2]
        for panel in row:
            scales.append(panel.width / ((panel.across[1] - panel.across[0]) * grid.spacing[across]))
            scales.append(panel.height / ((panel.up[1] - panel.up[0]) * grid.spacing[up]))
    np.testing.assert_allclose(scales, scales[0], rtol=0.04)  # a crop holds whole voxels
    assert max(panel.y + panel.height for panel in layout.panels) == pytest.approx(layout.height)


def test_labels_of_slices_are_millimeters():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 10] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -30
    axial = [
        panel
        for panel in panels.lay_out(labels, panels.canonical(affine, labels.shape)).panels
        if panel.axis == 2
    ]
    assert [panel.label for panel in axial] == ['z \N{MINUS SIGN}10']


def test_crop_fills_beyond_the_volume():
    volume = np.arange(27.0).reshape(3, 3, 3)
    panel = panels.Panel(2, 1, (-1, 4), (1, 5), 0, 0, 10, 10, '')
    cut = panels.crop(volume, panel, fill=-5)
    assert cut.shape == (5, 4)
    np.testing.assert_array_equal(cut[1:4, :2], volume[:, 1:, 1])
    assert (cut[[0, 4]] == -5).all() and (cut[:, 2:] == -5).all()


def test_labels_that_reach_into_the_skull_do_not_black_out_the_brain():
    rng = np.random.default_rng(0)
    image = rng.normal(32, 6, (40, 40, 40))  # HU
    image[:4] = 1000
    black, white = panels.display_window(image, np.ones(image.shape, bool))
    assert 0 < black < 25 and 40 < white < 80


def test_a_saturated_brain_is_not_shown_as_white():
    image = np.full((40, 40, 40), 110.0)  # white matter cut off at the brightest value that was stored
    image[:8], image[8:18] = 80, 99
    black, white = panels.display_window(image, np.ones(image.shape, bool))
    assert black == 80 and white > 120

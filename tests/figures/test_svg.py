# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.figures import panels, svg


def test_outline_of_a_box_has_its_corners_cut_by_half_a_voxel():
    mask = np.zeros((6, 7), bool)
    mask[2:4, 3:6] = True  # voxel centers 4..6 by 6..10 in half voxels, edges 3..7 by 5..11
    path = svg.outline(mask)
    start, steps = path.removeprefix('M').removesuffix('z').split('l')
    points = np.cumsum(
        [[int(v) for v in start.split()], *np.reshape([int(v) for v in steps.split()], (-1, 2))], axis=0
    )
    expected = {(3, 6), (4, 5), (6, 5), (7, 6), (7, 10), (6, 11), (4, 11), (3, 10)}
    assert {tuple(point) for point in points.tolist()} == expected
    assert svg.outline(np.zeros((4, 4), bool)) == ''


def test_placed_puts_voxels_on_their_pixels():
    panel = panels.Panel(2, 0, (0, 10), (0, 20), 100.0, 50.0, 40.0, 40.0, '')
    group = svg.on_panel('', panel)
    a, _, _, d, e, f = (float(value) for value in group.split('matrix(')[1].split(')')[0].split())
    assert (a * 0 + e, d * 0 + f) == (102, 89)  # voxel 0, 0: center of the pixel at the lower left
    assert (a * 18 + e, d * 38 + f) == (138, 51)  # the last voxel: upper right


def test_edges_follow_a_step():
    plane = np.zeros((40, 40))
    plane[20:] = 100
    path = svg.edges(plane, np.ones((40, 40), bool), (0.0, 100.0))
    first = [float(value) for value in path[1:].split('l')[0].split()]
    assert first[0] == pytest.approx(39, abs=0.3)  # between voxels 19 and 20, in half voxels
    assert svg.edges(np.zeros((40, 40)), np.ones((40, 40), bool), (0.0, 100.0)) == ''

# SPDX-License-Identifier: Apache-2.0
"""The color tables, taken apart by the rules of those who read them."""

from __future__ import annotations

import re

from bids_brainseg.bids.colors import color_tables
from bids_brainseg.data import label_table


def expected():
    return [(x.index, x.name, tuple(int(x.color[i : i + 2], 16) for i in (1, 3, 5))) for x in label_table()]


def test_freesurfer_reads_it():
    """Whitespace between number, name, red, green, blue and alpha (0: opaque); # begins a comment."""
    text = color_tables()['desc-brainseg_FreeSurferColorLUT.txt']
    rows = [line.split() for line in text.splitlines() if not line.startswith('#')]
    assert all(len(row) == 6 and row[5] == '0' for row in rows)
    assert [(int(r[0]), r[1], tuple(map(int, r[2:5]))) for r in rows] == expected()


def test_3d_slicer_reads_it():
    """The same columns, but 255 is opaque, and the background is not."""
    text = color_tables()['desc-brainseg_Slicer.ctbl']
    rows = [line.split() for line in text.splitlines() if not line.startswith('#')]
    assert [(int(r[0]), r[1], tuple(map(int, r[2:5]))) for r in rows] == expected()
    assert [row[5] for row in rows] == ['0'] + ['255'] * 27


def test_itk_snap_reads_it():
    """Index, red, green, blue, opacity, visible, visible in 3D, and the name in quotes."""
    text = color_tables()['desc-brainseg_ITKSNAPLabels.txt']
    pattern = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([01])\s+([01])\s+([01])\s+"([^"]*)"')
    rows = [pattern.fullmatch(line).groups() for line in text.splitlines()]
    found = [(int(r[0]), r[7], tuple(map(int, r[1:4]))) for r in rows]
    assert found[1:] == expected()[1:]
    assert rows[0][4:7] == ('0', '0', '0') and {r[4:7] for r in rows[1:]} == {('1', '1', '1')}

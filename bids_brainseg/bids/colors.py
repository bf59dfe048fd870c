# SPDX-License-Identifier: Apache-2.0
"""Names and colors of the classes, in the forms that viewers read."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import label_table


def color_tables() -> dict[str, str]:
    """Return the color tables of the output dataset.

    Returns
    -------
    dict of str
        File name to text: the tables of BIDS, of FreeSurfer (for Freeview), of 3D Slicer and of ITK-SNAP (its
        "label descriptions"). The values of the dseg images are in the first column of each; those of the
        images with FreeSurfer's numbers are in ``seg-aseg_dseg.tsv``.
    """
    return {
        'desc-brainseg_dseg.tsv': _bids(),
        'seg-aseg_dseg.tsv': _bids_freesurfer(),
        'desc-brainseg_FreeSurferColorLUT.txt': _numbers(alpha=0),  # FreeSurfer: 0 is opaque
        'desc-brainseg_Slicer.ctbl': _numbers(alpha=255),  # 3D Slicer: 255 is
        'desc-brainseg_ITKSNAPLabels.txt': _itksnap(),
    }


def _bids() -> str:
    columns = ('index', 'name', 'abbreviation', 'mapping', 'color', 'hemisphere', 'freesurfer')
    return _table(columns, [tuple(getattr(x, column) for column in columns) for x in label_table()])


def _bids_freesurfer() -> str:
    columns = ('freesurfer', 'name', 'abbreviation', 'mapping', 'color', 'hemisphere')
    rows = [tuple(getattr(x, column) for column in columns) for x in label_table()]
    return _table(('index', *columns[1:]), sorted(rows))


def _table(columns: Sequence[str], rows: Sequence[tuple]) -> str:
    return ''.join('\t'.join(str(cell) for cell in row) + '\n' for row in (columns, *rows))


def _numbers(*, alpha: int) -> str:
    rows = [
        f'{x.index:<4} {x.name:<36} {" ".join(map(str, _rgb(x.color)))} {alpha if x.index else 0}\n'
        for x in label_table()
    ]
    return '#No. Label Name:                          R   G   B   A\n' + ''.join(rows)


def _itksnap() -> str:
    # index, red, green, blue, opacity, visible, visible in 3D, name; the background is not drawn
    rows = []
    for x in label_table():
        shown, name = (1, x.name) if x.index else (0, 'Clear Label')
        color = ' '.join(f'{c:5d}' for c in _rgb(x.color))
        rows.append(f'{x.index:5d} {color} {shown:8d} {shown:2d} {shown:2d}    "{name}"\n')
    return ''.join(rows)


def _rgb(color: str) -> tuple[int, int, int]:
    """Split a color into red, green and blue.

    >>> _rgb('#FF8000')
    (255, 128, 0)
    """
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))

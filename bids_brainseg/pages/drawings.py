# SPDX-License-Identifier: Apache-2.0
"""Figure files as parts of a page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: What a viewer file must hold.
VIEWER_KEYS = {
    'shape', 'spacing_mm', 'affine', 'columns', 'intensities', 'window', 'unit', 'scan', 'labels',
    'uncertainty',
}  # fmt: skip


class Drawing(NamedTuple):
    """A figure of a page: its ``<svg>`` element, and the link to its file."""

    svg: str
    link: str


def read_viewer(path: Path) -> tuple[dict | None, str]:
    """Read what a viewer shows.

    Parameters
    ----------
    path : Path
        The file of a scan.

    Returns
    -------
    content : dict or None
    reason : str
        Why there is none; '' if there is.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        return None, f'viewer {path.name} is not shown: {error}'
    if not isinstance(content, dict):
        return None, f'viewer {path.name} is not shown: it does not describe a viewer'
    if missing := sorted(VIEWER_KEYS - set(content)):
        return None, (
            f'viewer {path.name} is not shown: another version wrote it, without {", ".join(missing)}; '
            'segment the scan again to get it'
        )
    return content, ''


def read_drawings(
    paths: Mapping[str, Path], page_folder: Path
) -> tuple[dict[str, Drawing], dict[str, str]]:
    """Read figures, and say of each damaged one what is wrong.

    Parameters
    ----------
    paths : mapping of Path
        Any key -> its figure.
    page_folder : Path
        Folder of the page, which the links start from.

    Returns
    -------
    drawings : dict of Drawing
    faults : dict of str
        The keys of the others -> a sentence without a full stop.
    """
    drawings, faults = {}, {}
    for key, path in paths.items():
        try:
            drawings[key] = read_drawing(path, page_folder)
        except (OSError, ValueError) as error:
            faults[key] = f'figure {path.name} is not shown: {error}'
    return drawings, faults


def read_drawing(path: Path, page_folder: Path) -> Drawing:
    """Read an SVG file that this program wrote, without the declaration that a page has no use for.

    Parameters
    ----------
    path : Path
        The figure.
    page_folder : Path
        Folder of the page, which the link starts from.

    Raises
    ------
    ValueError
        If the file holds no whole ``<svg>`` element.
    """
    text = path.read_text(encoding='utf-8')
    if '<svg' not in text or not text.rstrip().endswith('</svg>'):
        raise ValueError('it holds no whole drawing')
    return Drawing(text[text.index('<svg') :], Path(os.path.relpath(path, page_folder)).as_posix())

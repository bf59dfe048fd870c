# SPDX-License-Identifier: Apache-2.0
"""Figure files as parts of a page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple


class Drawing(NamedTuple):
    """A figure of a page: its ``<svg>`` element, and the link to its file."""

    svg: str
    link: str


def read_viewer(path: Path) -> dict | None:
    """Read what the viewer shows of a scan; None if another version wrote it in another form."""
    content = json.loads(path.read_text(encoding='utf-8'))
    return content if isinstance(content, dict) and 'spacing_mm' in content else None


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
        If the file holds no ``<svg>`` element.
    """
    text = path.read_text(encoding='utf-8')
    return Drawing(text[text.index('<svg') :], Path(os.path.relpath(path, page_folder)).as_posix())

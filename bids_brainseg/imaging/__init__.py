# SPDX-License-Identifier: Apache-2.0
"""Open and check an image (NIfTI, MGH); save one on exactly another's grid."""

from __future__ import annotations

from .checks import check_scan, is_hounsfield
from .headers import Image, header_facts, image_on_grid
from .reading import image_files, image_shape, load_grid, load_image, load_mask, volume_count
from .writing import compress, save_like

__all__ = [
    'Image',
    'check_scan',
    'compress',
    'header_facts',
    'image_files',
    'image_on_grid',
    'image_shape',
    'is_hounsfield',
    'load_grid',
    'load_image',
    'load_mask',
    'save_like',
    'volume_count',
]

# SPDX-License-Identifier: Apache-2.0
"""Affines as others read and write them: ITK and ANTs, FreeSurfer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from bids_brainseg.core import geometry
from bids_brainseg.errors import RegistrationError

#: "LINEAR_RAS_TO_RAS" of FreeSurfer's LTA.
RAS_TO_RAS = 1


def save_itk_affine(matrix: np.ndarray, path) -> Path:
    """Write a 4x4 RAS matrix as an ITK text transform (LPS), readable by ITK and ANTs.

    Parameters
    ----------
    matrix : (4, 4) array
        Maps points of the output space to points of the input image, RAS millimeters: the direction in which
        ITK uses a transform to resample the image.
    path : path
        File to write, ending in .txt or .tfm.
    """
    lps = geometry.ras_to_lps(matrix)
    numbers = ' '.join(repr(float(v)) for v in [*lps[:3, :3].ravel(), *lps[:3, 3]])
    text = (
        '#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n'
        f'Parameters: {numbers}\nFixedParameters: 0 0 0\n'
    )
    path = Path(path)
    path.write_text(text)
    return path


def load_itk_affine(path) -> np.ndarray:
    """Read a 4x4 RAS matrix from an ITK text transform that holds one three-dimensional affine.

    Raises
    ------
    RegistrationError
        If the file holds something else.
    """
    lines = Path(path).read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines if ':' in line and not line.startswith('#'))
    kind = fields.get('Transform', '').strip()
    if not kind.startswith(('AffineTransform_', 'MatrixOffsetTransformBase_')) or not kind.endswith('_3_3'):
        raise RegistrationError(f'{path} does not hold a 3D affine ITK transform, but {kind or "nothing"}')
    numbers = np.array([float(v) for v in fields['Parameters'].split()])
    center = np.array([float(v) for v in fields['FixedParameters'].split()])
    return geometry.ras_to_lps(about_center(numbers, center))


def about_center(numbers: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the 4x4 matrix of ITK's nine numbers and translation, which act about a center of rotation."""
    linear, translation = numbers[:9].reshape(3, 3), numbers[9:12]
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + center - linear @ center
    return matrix


def save_lta(
    matrix: np.ndarray,
    moving: tuple[Sequence[int], np.ndarray],
    fixed: tuple[Sequence[int], np.ndarray],
    path,
) -> Path:
    """Write a 4x4 RAS matrix as an LTA, FreeSurfer's linear transform.

    Parameters
    ----------
    matrix : (4, 4) array
        Maps points of the moving image to points of the fixed one, RAS millimeters: the inverse of what
        :func:`save_itk_affine` takes for the same pair, since an LTA pushes from ``src`` to ``dst``.
    moving, fixed : tuple of (3,) ints and (4, 4) array
        Shape and affine of the image that is moved (``src``) and of the one it is moved onto (``dst``).
    path : path
        File to write, ending in .lta.
    """
    from nitransforms.io.lta import FSLinearTransform, VolumeGeometry  # slow, and the search does not need it

    transform = FSLinearTransform()
    fields = transform.structarr
    fields['type'], fields['sigma'], fields['m_L'] = RAS_TO_RAS, 1.0, matrix
    for name, (shape, affine) in (('src', moving), ('dst', fixed)):
        grid = SimpleNamespace(shape=tuple(shape), affine=np.asarray(affine))
        fields[name] = np.asanyarray(VolumeGeometry.from_image(grid))
    path = Path(path)
    path.write_text(transform.to_string())
    return path

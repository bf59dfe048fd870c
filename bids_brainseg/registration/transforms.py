# SPDX-License-Identifier: Apache-2.0
"""Write affines as other software reads them: ITK and ANTs, FreeSurfer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from ..core import geometry

#: "LINEAR_RAS_TO_RAS" of FreeSurfer's LTA.
RAS_TO_RAS = 1


def save_itk_affine(matrix: NDArray, path: str | os.PathLike) -> Path:
    """Write a 4x4 RAS matrix as an ITK text transform (LPS), readable by ITK and ANTs.

    Parameters
    ----------
    matrix : (4, 4) array
        Maps points of the output space to points of the input image, RAS millimeters: the direction in which
        ITK uses a transform to resample the image.
    path : path-like
        File to write, ending in .txt or .tfm.

    Returns
    -------
    Path
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


def about_center(numbers: NDArray, center: NDArray) -> NDArray[np.float64]:
    """Return the matrix of ITK's parameters, which act about a center of rotation.

    Parameters
    ----------
    numbers : (12,) array
        The 3x3 matrix row by row, then the translation (mm).
    center : (3,) array, mm

    Returns
    -------
    (4, 4) float64 array
        In ITK's LPS frame.
    """
    linear, translation = numbers[:9].reshape(3, 3), numbers[9:12]
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + center - linear @ center
    return matrix


def save_lta(
    matrix: NDArray,
    moving: tuple[Sequence[int], NDArray],
    fixed: tuple[Sequence[int], NDArray],
    path: str | os.PathLike,
) -> Path:
    """Write a 4x4 RAS matrix as an LTA, FreeSurfer's linear transform.

    Parameters
    ----------
    matrix : (4, 4) array
        Maps points of the moving image to points of the fixed one, RAS millimeters: the inverse of what
        :func:`save_itk_affine` takes for the same pair, since an LTA maps points from ``src`` to ``dst``.
    moving, fixed : tuple of (3,) ints and (4, 4) array
        Shape and affine of the image that is moved (``src``) and of the one it is moved onto (``dst``).
    path : path-like
        File to write, ending in .lta.

    Returns
    -------
    Path
    """
    from nitransforms.io.lta import FSLinearTransform, VolumeGeometry  # slow, and only needed here

    transform = FSLinearTransform()
    fields = transform.structarr
    fields['type'], fields['sigma'], fields['m_L'] = RAS_TO_RAS, 1.0, matrix
    for name, (shape, affine) in (('src', moving), ('dst', fixed)):
        grid = SimpleNamespace(shape=tuple(shape), affine=np.asarray(affine))
        fields[name] = np.asanyarray(VolumeGeometry.from_image(grid))
    path = Path(path)
    path.write_text(transform.to_string())
    return path

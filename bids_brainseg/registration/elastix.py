# SPDX-License-Identifier: Apache-2.0
"""What is left after the search, estimated by elastix; nothing else knows ITK and its LPS frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import geometry
from ..errors import RegistrationError
from .transforms import about_center
from .volumes import Volume, dilate, sample_mask, sample_on_grid, sample_with_field, working_grid


def refine(
    moving: Volume,
    fixed: Volume,
    mask: NDArray[np.bool_],
    start: NDArray[np.float64],
    settings: Mapping,
    *,
    threads: int,
    seed: int,
) -> NDArray[np.float64]:
    """Estimate what is left between the reference and the scan that a start was applied to.

    Parameters
    ----------
    moving, fixed : Volume
        Scan and reference, values in [0, 1].
    mask : bool array
        The reference's brain, on its grid.
    start : (4, 4) array
        Maps RAS points of the reference to RAS points of the scan.
    settings : mapping
        :func:`bids_brainseg.registration.parameters`.
    threads, seed : int
        Of elastix.

    Returns
    -------
    (4, 4) float64 array
        ``start @ refine(...)`` maps RAS points of the reference to RAS points of the scan.

    Raises
    ------
    RegistrationError
        If the scan hardly overlaps the reference, or elastix gives up.
    """
    shape, affine = working_grid(fixed, mask, settings['grid'])
    reference = sample_on_grid(fixed, shape, affine, np.eye(4))
    inside = sample_mask(mask, fixed.affine, shape, affine)
    region = dilate(inside, settings['grid']['mask_dilation_mm'], affine)
    scan, field = sample_with_field(moving, shape, affine, start)
    if np.count_nonzero(region & field) < 1000:
        raise RegistrationError(
            'the scan hardly overlaps the reference after the search; check that it shows a head'
        )
    itk = _Wrapping()
    images = [itk.image(a, affine) for a in (reference, scan)]
    masks = [itk.mask(a, affine) for a in (region, field)]
    return _run_elastix(itk, images, masks, settings['elastix'], threads=threads, seed=seed)


class _Wrapping:
    """The few wrapped classes that are needed.

    Asking ``itk`` for ``ElastixRegistrationMethod`` loads some fifty libraries, which takes longer than the
    registration; the modules that wrap these classes load in a second.
    """

    def __init__(self):
        try:
            from itk import elxParameterObjectPython, itkElastixRegistrationMethodPython, itkPyBufferPython

            parameter_object = elxParameterObjectPython.elastixParameterObject
            method = itkElastixRegistrationMethodPython.itkElastixRegistrationMethodIF3IF3
            float_buffer, mask_buffer = itkPyBufferPython.itkPyBufferIF3, itkPyBufferPython.itkPyBufferIUC3
        except ImportError:  # another build of ITK: the long way round
            import itk

            image, mask = itk.Image[itk.F, 3], itk.Image[itk.UC, 3]
            parameter_object, method = itk.ParameterObject, itk.ElastixRegistrationMethod[image, image]
            float_buffer, mask_buffer = itk.PyBuffer[image], itk.PyBuffer[mask]
        self.method, self.parameters, self.buffers = method, parameter_object, (float_buffer, mask_buffer)

    def image(self, array: NDArray, affine: NDArray) -> Any:
        return self._wrap(self.buffers[0], array.astype(np.float32), affine)

    def mask(self, array: NDArray, affine: NDArray) -> Any:
        return self._wrap(self.buffers[1], array.astype(np.uint8), affine)

    def _wrap(self, buffer: Any, array: NDArray, affine: NDArray) -> Any:
        """RAS array to LPS image with an identity direction: R and A run backwards in memory."""
        array = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0))
        image = buffer._GetImageViewFromArray(array, list(array.shape[::-1]), 1)
        image.array = array  # the image is a view of this memory and does not keep it
        far = affine @ np.array([array.shape[2] - 1, array.shape[1] - 1, 0, 1.0])
        image.SetSpacing([float(s) for s in np.diag(affine)[:3]])
        image.SetOrigin([float(v) for v in (-far[0], -far[1], far[2])])
        return image


def _run_elastix(
    itk: _Wrapping, images: Sequence, masks: Sequence, options: Mapping, *, threads: int, seed: int
) -> NDArray[np.float64]:
    options = {key: tuple(v) if isinstance(v, list) else (v,) for key, v in options.items()}
    options['RandomSeed'] = (str(int(seed) + 1),)
    parameter = itk.parameters.New()
    parameter.AddParameterMap(options)
    method = itk.method.New()
    method.SetFixedImage(images[0])
    method.SetMovingImage(images[1])
    method.SetFixedMask(masks[0])
    method.SetMovingMask(masks[1])
    method.SetParameterObject(parameter)
    method.SetNumberOfThreads(int(threads))
    method.LogToConsoleOff()
    try:
        method.Update()
    except RuntimeError as error:
        raise RegistrationError('elastix stopped, too little of the scan fits') from error
    return _read_affine(method.GetTransformParameterObject().GetParameterMap(0))


def _read_affine(parameter_map: Mapping) -> NDArray[np.float64]:
    """Turn elastix' twelve numbers (six, if rigid) and center of rotation into a 4x4 RAS matrix."""
    numbers = np.array([float(v) for v in parameter_map['TransformParameters']])
    center = np.array([float(v) for v in parameter_map['CenterOfRotationPoint']])
    if len(numbers) == 6:
        numbers = np.r_[_rotation(*numbers[:3]).ravel(), numbers[3:]]
    return geometry.ras_to_lps(about_center(numbers, center))


def _rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Return ITK's Euler rotation in its usual order: about y first, then x, then z; radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y

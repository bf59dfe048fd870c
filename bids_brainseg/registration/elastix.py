# SPDX-License-Identifier: Apache-2.0
"""What is left after the search, estimated by elastix; nothing else knows ITK and its LPS frame."""

from __future__ import annotations

import numpy as np

from ..core import geometry
from ..errors import RegistrationError
from .transforms import about_center
from .volumes import dilate, regrid, regrid_mask, regrid_with_field, working_grid


def refine(moving, fixed, mask, start, settings, *, threads, seed):
    """Return the 4x4 RAS affine left between the reference and the scan brought over by ``start``."""
    shape, affine = working_grid(fixed, mask, settings['grid'])
    reference = regrid(fixed, shape, affine, np.eye(4))
    inside = regrid_mask(mask, fixed.affine, shape, affine)
    region = dilate(inside, settings['grid']['mask_dilation_mm'], affine)
    scan, field = regrid_with_field(moving, shape, affine, start)
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
    registration; its own wrapping modules load in a second.
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

    def image(self, array, affine):
        return self._wrap(self.buffers[0], array.astype(np.float32), affine)

    def mask(self, array, affine):
        return self._wrap(self.buffers[1], array.astype(np.uint8), affine)

    def _wrap(self, buffer, array, affine):
        """RAS array to LPS image with an identity direction: R and A run backwards in memory."""
        array = np.ascontiguousarray(array[::-1, ::-1].transpose(2, 1, 0))
        image = buffer._GetImageViewFromArray(array, list(array.shape[::-1]), 1)
        image.array = array  # the image looks at this memory and does not own it
        far = affine @ np.array([array.shape[2] - 1, array.shape[1] - 1, 0, 1.0])
        image.SetSpacing([float(s) for s in np.diag(affine)[:3]])
        image.SetOrigin([float(v) for v in (-far[0], -far[1], far[2])])
        return image


def _run_elastix(itk, images, masks, chosen, *, threads, seed):
    chosen = {key: tuple(v) if isinstance(v, list) else (v,) for key, v in chosen.items()}
    chosen['RandomSeed'] = (str(int(seed) + 1),)
    parameter = itk.parameters.New()
    parameter.AddParameterMap(chosen)
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


def _read_affine(found) -> np.ndarray:
    """Turn elastix' twelve numbers (six, if rigid) and center of rotation into a 4x4 RAS matrix."""
    numbers = np.array([float(v) for v in found['TransformParameters']])
    center = np.array([float(v) for v in found['CenterOfRotationPoint']])
    if len(numbers) == 6:
        numbers = np.r_[_rotation(*numbers[:3]).ravel(), numbers[3:]]
    return geometry.ras_to_lps(about_center(numbers, center))


def _rotation(x, y, z):
    """Return ITK's Euler rotation in its usual order: about y first, then x, then z; radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y

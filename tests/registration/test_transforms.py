# SPDX-License-Identifier: Apache-2.0
"""Affines as others read them."""

from __future__ import annotations

import numpy as np
from heads import SHAPE, far_away_grid, reference, scan, truth
from nitransforms.linear import load as load_linear
from scipy import ndimage

from bids_brainseg.core import geometry
from bids_brainseg.core.resampling import resample
from bids_brainseg.registration import transforms

MATRIX = np.array([[1.1, 0.1, 0, 3], [0, 0.9, 0.2, -4], [0.05, 0, 1, 5], [0, 0, 0, 1]])
SCAN = (20, 30, 16), np.array([[-0.9, 0, 0, 80], [0, 0, 1.2, -70], [0, -1.1, 0, 60], [0, 0, 0, 1]])
REFERENCE = (24, 28, 22), np.array([[1.5, 0, 0, -90], [0, 1.5, 0, -120], [0, 0, 1.5, -70], [0, 0, 0, 1]])


def test_lta_takes_points_of_the_scan_to_the_reference(tmp_path):
    path = transforms.save_lta(MATRIX, SCAN, REFERENCE, tmp_path / 'xfm.lta')
    lines = path.read_text().splitlines()
    assert 'type      = 1' in lines
    at = lines.index('1 4 4') + 1
    np.testing.assert_allclose([[float(x) for x in line.split()] for line in lines[at : at + 4]], MATRIX)
    src, dst = lines.index('src volume info'), lines.index('dst volume info')
    for start, (shape, affine) in ((src, SCAN), (dst, REFERENCE)):
        block = dict(line.split('=') for line in lines[start + 1 : start + 9])
        numbers = {key.strip(): value.split('#')[0].split() for key, value in block.items()}
        assert numbers['valid'] == ['1']
        np.testing.assert_array_equal([int(n) for n in numbers['volume']], shape)
        sizes = [float(x) for x in numbers['voxelsize']]
        np.testing.assert_allclose(sizes, geometry.voxel_sizes(affine), rtol=1e-6)
        axes = np.array([[float(x) for x in numbers[f'{axis}ras']] for axis in 'xyz']).T
        np.testing.assert_allclose(axes * sizes, affine[:3, :3], atol=1e-6)
        center = affine[:3, :3] @ (np.array(shape) / 2) + affine[:3, 3]
        np.testing.assert_allclose([float(x) for x in numbers['cras']], center, atol=1e-4)


def test_nitransforms_reads_from_lta_and_itk_the_same_transform(tmp_path):
    """Both files move images from the scan to the reference: they map points of the reference to the scan."""
    points = geometry.invert(MATRIX)
    lta = transforms.save_lta(MATRIX, SCAN, REFERENCE, tmp_path / 'xfm.lta')
    itk = transforms.save_itk_affine(points, tmp_path / 'xfm.txt')
    np.testing.assert_allclose(load_linear(lta, fmt='fs').matrix, points, atol=1e-4)
    np.testing.assert_allclose(load_linear(itk, fmt='itk').matrix, points, atol=1e-9)


def test_itk_reads_and_applies_the_transform(tmp_path):
    """ITK, given the file, resamples the scan to the same image as our own resampling."""
    # Wrapping modules by name: asking `itk` for a filter loads every library it could ever need.
    from itk import (
        itkAffineTransformPython,
        itkResampleImageFilterPython,
        itkTransformFileReaderPython,
        itkTxtTransformIOPython,
    )

    matrix = truth(17, -9, (1.1, 0.95, 1.02), (12, -7, 20))
    path = transforms.save_itk_affine(matrix, tmp_path / 'xfm.txt')
    np.testing.assert_allclose(load_linear(path, fmt='itk').matrix, matrix, atol=1e-12)

    affine, shape = far_away_grid()
    affine[:3, 3] -= (300, -250, 400)
    moving = scan(truth(), affine, shape)
    fixed, fixed_affine, _ = reference()
    ours = resample(moving, affine, SHAPE, fixed_affine, matrix, order=1, antialias=False)

    reader = itkTransformFileReaderPython.itkTransformFileReaderTemplateD.New()
    reader.SetFileName(str(path))
    reader.SetTransformIO(itkTxtTransformIOPython.itkTxtTransformIOTemplateD.New())
    reader.Update()
    resampler = itkResampleImageFilterPython.itkResampleImageFilterIF3IF3.New()
    source, target = to_itk(moving, affine), to_itk(fixed, fixed_affine)  # named: they look at our memory
    resampler.SetInput(source)
    resampler.SetReferenceImage(target)
    resampler.UseReferenceImageOn()
    found = itkAffineTransformPython.itkAffineTransformD3.cast(reader.GetTransformList().front())
    resampler.SetTransform(found)
    resampler.Update()
    theirs = from_itk(resampler.GetOutput())
    inner = ndimage.binary_erosion(
        ours != 0, iterations=2
    )  # what lies beyond the scan is each one's own business
    assert inner.sum() > 0.3 * inner.size
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-2)


def to_itk(array, affine):
    from itk import itkPyBufferPython

    array = np.ascontiguousarray(array.transpose(2, 1, 0), dtype=np.float32)
    image = itkPyBufferPython.itkPyBufferIF3._GetImageViewFromArray(array, list(array.shape[::-1]), 1)
    image.array = array  # the image looks at this memory
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    sizes = geometry.voxel_sizes(affine)
    image.SetSpacing(sizes.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(lps[:3, :3] / sizes)
    return image


def from_itk(image):
    from itk import itkPyBufferPython

    shape = [int(n) for n in image.GetBufferedRegion().GetSize()][::-1]
    view = itkPyBufferPython.itkPyBufferIF3._GetArrayViewFromImage(image)
    return np.frombuffer(view, np.float32).reshape(shape).transpose(2, 1, 0).copy()

# SPDX-License-Identifier: Apache-2.0
"""Registration: a head of ellipsoids is moved by a known affine, which must come back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_brainseg import registration, transforms
from bids_brainseg.core import geometry
from bids_brainseg.data.quality import qc_rules
from bids_brainseg.errors import RegistrationError

SPACING = 3.0
SHAPE = (60, 72, 66)


def grid_affine(shape=SHAPE, spacing=SPACING):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    return affine


def head_at(x, y, z, *, stripped=False):
    """Scalp, skull, cortex, white matter, ventricles and one bright spot on the LEFT, at RAS points."""

    def inside(centre, radii):
        return sum(((v - c) / r) ** 2 for v, c, r in zip((x, y, z), centre, radii, strict=True)) < 1

    image = np.zeros(np.broadcast(x, y, z).shape, np.float32)
    if not stripped:
        image[inside((0, 0, 0), (78, 94, 84))] = 90
        image[inside((0, 0, 0), (73, 89, 79))] = 15
    image[inside((0, 0, 4), (66, 82, 66))] = 55
    folds = np.sin(x / 6) * np.sin(y / 7) * np.sin(z / 6)
    image[inside((0, 0, 4), (58, 74, 58)) & (folds > -0.35)] = 85
    image[inside((-22, -50, -44), (20, 20, 14)) | inside((22, -50, -44), (20, 20, 14))] = 65
    image[inside((-9, 0, 12), (6, 30, 10)) | inside((9, 0, 12), (6, 30, 10))] = 20
    image[inside((0, 20, -30), (10, 24, 8))] = 35
    image[inside((-35, 25, 15), (12, 12, 12))] = 110
    return image


def reference():
    affine = grid_affine()
    x, y, z = points_of(affine, SHAPE)
    mask = ((x / 66) ** 2 + (y / 82) ** 2 + ((z - 4) / 66) ** 2) < 1
    return head_at(x, y, z), affine, mask


def points_of(affine, shape):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij')).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def scan(reference_to_scan, affine, shape, **kwargs):
    """What a scanner with the grid `affine` sees of a head moved by `reference_to_scan`."""
    back = np.linalg.inv(reference_to_scan)
    points = points_of(affine, shape).reshape(3, -1)
    noise = np.random.default_rng(5).normal(0, 2, np.prod(shape))
    where = back[:3, :3] @ points + back[:3, 3:]
    return (head_at(*where, **kwargs) + noise).reshape(shape).astype(np.float32)


def truth(pitch=0.0, yaw=0.0, scales=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0)):
    p, w = np.deg2rad([pitch, yaw])
    about_r = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_s = np.array([[np.cos(w), -np.sin(w), 0], [np.sin(w), np.cos(w), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_s @ about_r @ np.diag(scales)
    matrix[:3, 3] = shift
    return matrix


def error_mm(found, expected, mask, affine):
    """Mean distance between where two matrices send the points of the brain."""
    points = affine[:3, :3] @ np.stack(np.nonzero(mask)) + affine[:3, 3:]
    difference = found - expected
    return float(np.linalg.norm(difference[:3, :3] @ points + difference[:3, 3:], axis=0).mean())


def far_away_grid():
    """An oblique LPS grid of unequal voxels whose origin is far from the head."""
    affine = np.eye(4)
    affine[:3, :3] = truth(pitch=8, yaw=5)[:3, :3] @ np.diag([-2.5, -2.5, 4.0])
    shape = (84, 92, 48)
    affine[:3, 3] = np.array([300.0, -250.0, 400.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


CASES = {
    'scales': (truth(scales=(1.06, 0.95, 1.03), shift=(4, -6, 9)), grid_affine(), SHAPE, {}),
    'tilted and far away': (truth(26, 12, (1.03,) * 3, (300, -250, 400)), *far_away_grid(), {}),
    'skull-stripped': (
        truth(-10, 4, (0.97, 0.95, 1.0), (-5, 8, 0)),
        grid_affine(),
        SHAPE,
        {'stripped': True},
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_known_affine_comes_back(case):
    expected, affine, shape, kind = CASES[case]
    fixed, fixed_affine, mask = reference()
    found = registration.register_affine(
        scan(expected, affine, shape, **kind), affine, fixed, fixed_affine, fixed_mask=mask
    )
    assert found.model == 'affine', found.notes
    assert error_mm(found.matrix, expected, mask, fixed_affine) < 1.0
    assert found.similarity > 0.6
    assert found.coverage > 0.99


def test_contrast_may_be_reversed():
    fixed, affine, mask = reference()
    expected = truth(pitch=7, shift=(3, 5, -8))
    moving = scan(expected, affine, SHAPE)
    moving = np.where(moving > 10, 130 - moving, 0)
    found = registration.register_affine(moving, affine, fixed, affine, fixed_mask=mask)
    assert error_mm(found.matrix, expected, mask, affine) < 1.5


def test_half_a_head_is_aligned_and_its_coverage_told():
    fixed, affine, mask = reference()
    expected = truth(shift=(0, 0, 12))
    moving = scan(expected, affine, SHAPE)[:, :, 24:]
    moved = affine.copy()
    moved[2, 3] += 24 * SPACING
    found = registration.register_affine(moving, moved, fixed, affine, fixed_mask=mask)
    assert error_mm(found.matrix, expected, mask, affine) < 2.0
    lowest = moved[2, 3] - 12 - SPACING / 2
    z = points_of(affine, SHAPE)[2]
    assert found.coverage == pytest.approx(np.mean(z[mask] > lowest), abs=0.05)


def test_same_seed_and_threads_give_the_same_matrix():
    fixed, affine, mask = reference()
    moving = scan(truth(pitch=5, shift=(3, 0, 0)), affine, SHAPE)
    first, again = (
        registration.register_affine(moving, affine, fixed, affine, fixed_mask=mask, threads=2, seed=4)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert first.similarity == again.similarity


def test_wrong_alignments_and_noise_fall_below_the_threshold():
    limits = qc_rules('T1w')['alignment']
    fixed, affine, mask = reference()
    moving = scan(np.eye(4), affine, SHAPE)
    right = registration.local_agreement((moving, affine), (fixed, affine), mask, np.eye(4))
    assert right > limits['look_below']
    for wrong in (truth(shift=(0, 0, 20)), truth(pitch=40)):
        number = registration.local_agreement((moving, affine), (fixed, affine), mask, wrong)
        assert number < limits['look_below']
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random(SHAPE), 2).astype(np.float32)
    found = registration.register_affine(noise, affine, fixed, affine, fixed_mask=mask)
    assert found.similarity < limits['fail_below']


def test_agreement_is_one_for_the_same_image_and_nothing_outside():
    fixed, affine, mask = reference()
    same = registration.local_agreement((fixed, affine), (fixed, affine), mask, np.eye(4))
    assert same == pytest.approx(1, abs=1e-4)
    reversed_ = registration.local_agreement((200 - fixed, affine), (fixed, affine), mask, np.eye(4))
    assert reversed_ == pytest.approx(1, abs=1e-3)
    nothing = registration.local_agreement((fixed, affine), (fixed, affine), mask, truth(shift=(1000, 0, 0)))
    assert nothing == 0


def test_coverage_counts_the_mask_inside_the_scan():
    mask = np.zeros((10, 10, 10), bool)
    mask[:, 4:6, 2:8] = True
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    shifted = truth(shift=(0, 0, -4))
    assert registration.field_coverage((10, 10, 10), affine, mask, affine, np.eye(4)) == 1
    assert registration.field_coverage((10, 10, 4), affine, mask, affine, np.eye(4)) == pytest.approx(2 / 6)
    assert registration.field_coverage((10, 10, 4), affine, mask, affine, shifted) == pytest.approx(4 / 6)


def test_input_that_cannot_be_aligned():
    fixed, affine, mask = reference()
    with pytest.raises(RegistrationError, match='no contrast'):
        registration.register_affine(np.full(SHAPE, 7.0), affine, fixed, affine)
    with pytest.raises(ValueError, match='moving must be three-dimensional'):
        registration.register_affine(fixed[0], affine, fixed, affine)
    with pytest.raises(ValueError, match='fixed_mask has shape'):
        registration.register_affine(fixed, affine, fixed, affine, fixed_mask=mask[1:])


@pytest.mark.parametrize(
    ('matrix', 'complaint'),
    [
        (truth(30, 20, (1.1, 0.9, 1.0)), None),
        (np.diag([-1.0, 1, 1, 1]), 'mirrors'),
        (np.diag([1.0, 1, 1.6, 1]), 'scale 1.60'),
        (np.diag([1.2, 1, 0.8, 1]), 'stretch 1.50'),
        (truth(yaw=120), 'rotation by 120'),
        (np.full((4, 4), np.nan), 'mirrors or collapses'),
    ],
)
def test_implausible(matrix, complaint):
    found = registration.implausible(matrix)
    assert found is None if complaint is None else complaint in found


def test_implausible_affine_is_not_used(monkeypatch):
    fixed, affine, mask = reference()
    monkeypatch.setattr(registration, '_refine', lambda *a, **k: np.diag([1.0, 1.0, 2.0, 1.0]))
    found = registration.register_affine(fixed, affine, fixed, affine, fixed_mask=mask)
    assert found.model == 'similarity'
    assert 'scale' in found.notes[0]
    assert error_mm(found.matrix, np.eye(4), mask, affine) < 3


def test_shrink_keeps_world_positions():
    affine = far_away_grid()[0]
    image = points_of(affine, (20, 21, 22))[1]
    small = registration._shrink(image, affine, 10.0)
    assert small.data.shape == (5, 5, 11)
    np.testing.assert_allclose(small.data, points_of(small.affine, small.data.shape)[1], rtol=1e-5)


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
    np.testing.assert_allclose(transforms.load_itk_affine(path), matrix, atol=1e-12)

    affine, shape = far_away_grid()
    affine[:3, 3] -= (300, -250, 400)
    moving = scan(truth(), affine, shape)
    fixed, fixed_affine, _ = reference()
    ours = geometry.resample(moving, affine, SHAPE, fixed_affine, matrix, order=1, antialias=False)

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


# === Scans of one person ===


def test_a_known_rotation_and_shift_comes_back():
    fixed, affine, mask = reference()
    for expected, grid in ((truth(3, 2, shift=(2, -1, 3)), (affine, SHAPE)), (FAR, far_away_grid())):
        moving = scan(expected, *grid)
        moving = np.where(moving > 10, 130 - moving, 0)  # another contrast
        found = registration.register_rigid(moving, grid[0], fixed, affine, fixed_mask=mask)
        assert found.model == 'rigid', found.notes
        assert error_mm(found.matrix, expected, mask, affine) < 0.5
        np.testing.assert_allclose(found.matrix[:3, :3] @ found.matrix[:3, :3].T, np.eye(3), atol=1e-9)
        assert found.similarity > 0.6 and found.scales == (1, 1, 1)


FAR = truth(20, 15, shift=(300, -250, 400))


def test_labels_that_do_not_fit_score_low():
    fixed, affine, mask = reference()
    labels = np.digitize(fixed, [17, 40, 60, 80]) * mask
    numbers = []
    for shift in (0, 1, 2, 4):  # voxels of 3 mm
        numbers.append(registration.label_agreement(np.roll(fixed, shift, 1), labels, affine))
    assert numbers[0] > 0.9
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] < 0.4
    assert registration.label_agreement(fixed, np.zeros_like(labels), affine) == 0

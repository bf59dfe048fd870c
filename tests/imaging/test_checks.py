# SPDX-License-Identifier: Apache-2.0
"""Values of scans: units of CT, outliers, field of view."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg import imaging
from bids_brainseg.errors import GeometryError, InputError

SIZE = np.diag([5.0, 5.0, 5.0, 1.0])


def ct(shift=0.0, slope=1.0) -> np.ndarray:
    """Air, a skull, a brain and fluid, in HU if the arguments are left alone."""
    data = np.full((40, 40, 40), -1000.0)
    data[10:30, 10:30, 10:30] = 1200
    data[11:29, 11:29, 11:29] = 35
    data[18:22, 18:22, 18:22] = 8
    return (data * slope + shift).astype(np.float32)


def test_hounsfield_units_are_accepted():
    image = imaging.check_scan(imaging.image_on_grid(ct(), SIZE), hounsfield=True)
    np.testing.assert_array_equal(image.data, ct())


def test_what_kind_of_image_it_is_can_be_told_only_with_air():
    values = [ct(), ct(shift=-24), np.maximum(ct(), -150), ct(shift=1024), ct(slope=0.1) + 100]
    found = [imaging.is_hounsfield(imaging.image_on_grid(data, SIZE)) for data in values]
    assert found == [True, True, False, False, False]


def test_an_offset_is_taken_away():
    image = imaging.check_scan(imaging.image_on_grid(ct(shift=-24), SIZE), hounsfield=True)
    np.testing.assert_array_equal(image.data, ct())
    assert len(image.notes) == 1 and 'off by -24 HU' in image.notes[0]


def test_padding_and_metal_come_near_what_a_head_holds():
    data = ct()
    data[0], data[20, 20, 20] = -3024, 1e9
    image = imaging.check_scan(imaging.image_on_grid(data, SIZE), hounsfield=True)
    assert (image.data[0] == -1000).all() and image.data[20, 20, 20] == 4000
    assert 'cut to' in image.notes[0] and 'taken for air (voxels: 1600)' in image.notes[-1]


@pytest.mark.parametrize(
    ('data', 'found'),
    [
        (ct(shift=1024), 'air at 24 and soft tissue at 1059'),
        (np.clip(ct(), 0, 80) * 255 / 80, 'values from 0 to 255'),
        (ct(slope=1e-3), 'values from -1 to 1.2'),
        (ct(shift=-1024), 'no soft tissue'),
    ],
)
def test_a_ct_in_other_units_is_refused(data, found):
    with pytest.raises(InputError, match='CT is not in Hounsfield units') as raised:
        imaging.check_scan(imaging.image_on_grid(data, SIZE), hounsfield=True)
    assert found in str(raised.value) and 'rescale slope' in str(raised.value)


def test_a_ct_for_bone_is_smoothed_and_asks_for_review():
    noise = np.random.default_rng(0).normal(0, 60, (40, 40, 40)).astype(np.float32)
    image = imaging.check_scan(imaging.image_on_grid(ct() + noise, SIZE), hounsfield=True)
    assert len(image.doubts) == 1 and image.doubts[0].startswith('The noise of the CT is')
    brain = ct() == 35
    assert image.data[brain].std() < 0.7 * (ct() + noise)[brain].std()


def test_an_outlier_is_cut_and_an_ordinary_scan_is_not_touched():
    data = np.random.default_rng(0).rayleigh(100, (20, 20, 20)).astype(np.float32)
    scan = imaging.image_on_grid(data, SIZE)
    assert imaging.check_scan(scan, hounsfield=False) is scan
    data = data.copy()
    data[3, 3, 3], data[4, 4, 4] = 1e9, -1e9
    image = imaging.check_scan(imaging.image_on_grid(data, SIZE), hounsfield=False)
    limit = 10 * np.percentile(np.abs(data), 99.9)
    assert image.data[3, 3, 3] == pytest.approx(limit) == -image.data[4, 4, 4]
    assert np.count_nonzero(image.data != data) == 2
    assert image.notes[0].startswith('Values of up to 1e+09 were cut') and '(voxels: 2)' in image.notes[0]


@pytest.mark.parametrize('size', [0.001, 1000.0])
def test_a_field_of_view_without_room_for_a_head_is_refused(size):
    scan = imaging.image_on_grid(ct(), np.diag([size, size, size, 1]))
    with pytest.raises(GeometryError, match='cannot hold a head, found 0.04 x|cannot hold a head, found 4e'):
        imaging.check_scan(scan, hounsfield=False)

# SPDX-License-Identifier: Apache-2.0
"""A drawn CT as scanners, exports and other programs leave it: in HU, nearly, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.hounsfield import calibrate_hounsfield, find_landmarks


def ct(noise: float = 5.0, *, head: float = 1.0, fluid: float = 0.3) -> np.ndarray:
    """Air, padding in the corners, fat, a skull, a brain and fluid, in HU."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (60, 60, 40)], indexing='ij')
    r = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.9) ** 2)
    data = np.full(r.shape, -1000.0)
    for radius, value in ((head, -95), (0.93, 950), (0.85, 32), (fluid, 8)):
        data[r < radius] = value
    data[(r < 0.93) & (r >= 0.85)] += rng.normal(0, 250, r.shape)[(r < 0.93) & (r >= 0.85)]
    data += rng.normal(0, noise, r.shape)
    data[np.hypot(x, y) > 1.1] = -1024
    return data.astype(np.float32)


DATA = ct()
PADDING, BRAIN = DATA == -1024, (DATA > 0) & (DATA < 60)


def calibrate(data: np.ndarray):
    return calibrate_hounsfield(find_landmarks(data.astype(np.float32)))


@pytest.mark.parametrize('noise', [0.5, 5, 40])
@pytest.mark.parametrize('padding', [-1024, -2000, -3024, -1000])
def test_a_ct_in_hounsfield_units_has_nothing_to_say(noise, padding):
    data = ct(noise)
    data[data == -1024] = padding
    assert calibrate(data) == (0, (), ())


@pytest.mark.parametrize(('head', 'fluid'), [(1.0, 0.75), (1.2, 0.3)], ids=['ventricles', 'fat'])
def test_fluid_or_fat_may_have_a_larger_peak_than_the_brain(head, fluid):
    data = ct(head=head, fluid=fluid)
    assert find_landmarks(data).tissue < 10
    assert calibrate(data) == (0, (), ())


def test_an_offset_is_found_beside_much_fat():
    assert calibrate(ct(head=1.2) + 50).offset == pytest.approx(50, abs=1)


@pytest.mark.parametrize('offset', [-50, -24, 24, 50])
@pytest.mark.parametrize('padding', [None, -2000])
def test_a_small_offset_is_found_by_air_and_brain(offset, padding):
    data = DATA + offset
    if padding is not None:
        data[PADDING] = padding
    found = calibrate(data)
    assert found.offset == pytest.approx(offset, abs=1)
    assert f'off by {found.offset:+.0f} HU' in found.notes[0] and not found.doubts


@pytest.mark.parametrize(
    'data',
    [np.maximum(DATA, -150), np.clip(DATA, 0, 80), *(np.where(BRAIN, DATA, v) for v in (0, -1000, -1024))],
    ids=['clipped at -150', 'clipped to 0, 80', 'stripped, 0', 'stripped, -1000', 'stripped, -1024'],
)
def test_a_ct_without_air_is_used_with_a_remark(data):
    found = calibrate(data)
    assert found.offset == 0 and not found.doubts
    assert len(found.notes) == 1 and 'no air' in found.notes[0]


def test_air_and_brain_that_disagree_are_a_doubt():
    data = np.where(DATA < -500, DATA + 40, DATA)
    found = calibrate(data)
    assert found.offset == 0 and 'Air lies at -960 HU, soft tissue at 3' in found.doubts[0]


@pytest.mark.parametrize(
    ('data', 'told'),
    [
        (DATA + 1024, 'air at 24 and soft tissue at 1056: the intercept of about -1024 was not applied'),
        (np.maximum(DATA + 1000, 0), 'soft tissue at 1032: the intercept of about -1003 was not applied'),
        (np.where(PADDING, 0, DATA + 1024), 'the intercept of about -1024 was not applied'),
        (DATA * 2, 'most voxels lie at -2000'),
        (DATA * 0.5, 'most voxels lie at -500'),
        (np.clip(DATA, 0, 80) * 255 / 80, 'besides constant 0, 255'),
        (DATA * 1e-3, 'most voxels lie at -1'),
        (DATA - 1024, 'no soft tissue'),
        (np.where(BRAIN, DATA + 50, -1000), 'most voxels lie at 8'),
    ],
    ids='raw clipped padded doubled halved bytes thousandth lower stripped'.split(),
)
def test_other_units_are_refused(data, told):
    with pytest.raises(ValueError) as raised:
        calibrate(data)
    assert told in str(raised.value)

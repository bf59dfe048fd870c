# SPDX-License-Identifier: Apache-2.0
"""Hounsfield units."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg import imaging
from bids_brainseg.errors import InputError


def ct(shift=0.0, slope=1.0) -> np.ndarray:
    """Air, a skull, a brain and fluid, in HU if the arguments are left alone."""
    data = np.full((20, 20, 20), -1000.0)
    data[5:15, 5:15, 5:15] = 1200
    data[6:14, 6:14, 6:14] = 35
    data[9:11, 9:11, 9:11] = 8
    return (data * slope + shift).astype(np.float32)


def test_hounsfield_units_are_accepted():
    imaging.check_hounsfield(imaging.image_on_grid(ct(), np.eye(4)))


@pytest.mark.parametrize(
    ('data', 'found'),
    [
        (ct(shift=1024), 'no air: values from 24 to 2224'),
        (np.clip(ct(), 0, 80) * 255 / 80, 'no air: values from 0 to 255'),
        (ct(slope=1e-3), 'no air: values from -1 to 1.2'),
        (ct(shift=-1024), '0.0 % of the voxels between 0 and 100, values from -2024 to 176'),
    ],
)
def test_a_ct_in_other_units_is_refused(data, found):
    with pytest.raises(InputError, match='CT is not in Hounsfield units') as raised:
        imaging.check_hounsfield(imaging.image_on_grid(data, np.eye(4)))
    assert found in str(raised.value) and 'rescale slope' in str(raised.value)

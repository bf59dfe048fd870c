# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.pages.remarks import remarks

GOOD = {
    'modality': 'T1w',
    'header': {
        'voxel_size_mm': [1.0, 1.0, 1.2], 'anisotropy': 1.2, 'qform_code': 1, 'sform_code': 1,
        'obliquity_degrees': 4.0, 'shear_degrees': 0.0, 'value_range': [0.0, 900.0],
        'slice_thickness_mm': 1.2, 'slice_spacing_mm': 1.2,
    },
    'numbers': {'fov_truncation': 0.0, 'fov_coverage': 1.0, 'saturation_fraction': 0.0},
}  # fmt: skip


def test_nothing_to_say_about_a_good_scan():
    assert remarks(GOOD) == remarks({}) == []


@pytest.mark.parametrize(
    ('section', 'changed', 'phrase'),
    [
        ('header', {'sform_code': 4}, 'sform code is 4 (MNI space)'),
        ('header', {'sform_code': 0}, 'the qform gives the position'),
        ('header', {'qform_code': 0}, 'qform code is 0'),
        ('header', {'obliquity_degrees': 31.2}, 'oblique by 31°'),
        ('header', {'shear_degrees': 12.5}, '12.5° away from right angles'),
        ('header', {'voxel_size_mm': [0.5, 0.5, 5.0], 'anisotropy': 10.0, 'slice_spacing_mm': 5.0,
                    'slice_thickness_mm': 5.0}, 'Voxels are 5 mm long and 0.5 mm wide'),
        ('header', {'slice_spacing_mm': 1.5}, 'slice spacing of 1.5 mm, but no axis'),
        ('header', {'slice_thickness_mm': 0.9}, 'Slices are 0.9 mm thick but 1.2 mm apart'),
        ('header', {'value_range': [-20.0, 900.0]}, 'The lowest value is -20'),
        ('numbers', {'fov_truncation': 0.25}, 'more than 25 % of their largest'),
        ('numbers', {'fov_coverage': 0.9}, '10.0 % of the brain lies outside'),
        ('numbers', {'saturation_fraction': 0.05}, '5.0 % of the brain has the largest value'),
    ],
)  # fmt: skip
def test_each_peculiarity_has_one_sentence(section, changed, phrase):
    told = remarks({**GOOD, section: GOOD[section] | changed})
    assert len(told) == 1
    assert phrase in told[0]


def test_hounsfield_units_have_limits_of_their_own():
    header = GOOD['header'] | {'value_range': [-1024.0, 3071.0]}
    assert remarks({**GOOD, 'modality': 'ct', 'header': header}) == []
    header['value_range'] = [-1024.0, 30000.0]
    assert 'beyond any tissue' in remarks({**GOOD, 'modality': 'ct', 'header': header})[0]


def test_numbers_that_were_not_measured_are_passed_over():
    assert (
        remarks({'numbers': {'fov_truncation': 'n/a', 'fov_coverage': 'n/a'}, 'header': {'qform_code': None}})
        == []
    )

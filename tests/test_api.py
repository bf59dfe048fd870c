# SPDX-License-Identifier: Apache-2.0
"""The call for notebooks: its errors are exceptions. A whole run is the example of ``segment``."""

from __future__ import annotations

import pytest

import bids_brainseg
from bids_brainseg.errors import BrainsegError


@pytest.mark.parametrize(
    ('image', 'options', 'phrase'),
    [
        ('absent.nii.gz', {}, 'absent.nii.gz does not exist'),
        ('ramp.nii.gz', {}, r'the modality of ramp\.nii\.gz is not known'),
        ('ramp.nii.gz', {'modality': 'photo'}, "unknown modality 'photo'"),
        ('ramp.nii.gz', {'mc_sample': 3}, 'unknown option --mc-sample; did you mean --mc-samples'),
    ],
)
def test_what_the_command_says_is_raised(make_nifti, tmp_path, image, options, phrase):
    make_nifti('ramp.nii.gz')
    with pytest.raises(BrainsegError, match=phrase):
        bids_brainseg.segment(tmp_path / image, output_dir=tmp_path / 'out', **options)


def test_there_is_nothing_else():
    with pytest.raises(AttributeError, match='no attribute'):
        bids_brainseg.segmentation  # noqa: B018

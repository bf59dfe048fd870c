# SPDX-License-Identifier: Apache-2.0
"""What ``.bidsignore`` leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_brainseg.bids.query import select_images
from bids_brainseg.bids.unused import IgnoreFile

T1W = Path('sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz')


@pytest.mark.parametrize(
    ('line', 'covered'),
    [
        ('*_run-2_*', True), ('*_T1w.nii.gz', True), ('sub-01/', True), ('/sub-01', True),
        ('**/anat/*', True), ('sub-01/ses-1/anat/*_T1w.nii.gz', True), ('sub-0[1-3]/**', True), ('*', True),
        ('ses-1', True),
        ('sub-01/anat', False), ('anat/*_run-2_*', False), ('sub-0[!1]/', False), ('*_run-?_T2w*', False),
        ('# sub-01', False), ('T1w', False), ('', False),
    ],
)  # fmt: skip
def test_lines_are_patterns_as_in_gitignore(line, covered):
    assert (IgnoreFile([line]).line_for(T1W, is_bids=True) == line) == covered


def test_a_later_line_takes_an_image_back():
    assert IgnoreFile(['*_T1w*', '!*_run-2_*']).line_for(T1W, is_bids=True) is None


def test_what_bids_does_not_know_is_left_out_only_where_a_participant_is_named(make_bids):
    root = make_bids(
        {
            '.bidsignore': '\ufeff**/ct\n*_TRACE.nii.gz\n*_run-2_T1w.nii.gz\nsub-2/ct/\n',
            'sub-1/ct/sub-1_ct.nii.gz': None,
            'sub-1/dwi/sub-1_TRACE.nii.gz': (4, 4, 4),
            'sub-1/anat/sub-1_run-1_T1w.nii.gz': None,
            'sub-1/anat/sub-1_run-2_T1w.nii.gz': None,
            'sub-2/ct/sub-2_ct.nii.gz': None,
        }
    )
    selection = select_images(root)
    assert [record.path.name for record in selection.records] == [
        'sub-1_run-1_T1w.nii.gz', 'sub-1_TRACE.nii.gz', 'sub-1_ct.nii.gz'
    ]  # fmt: skip
    assert [(image.path.name, image.reason) for image in selection.unused] == [
        ('sub-1_run-2_T1w.nii.gz',
         'the line *_run-2_T1w.nii.gz of .bidsignore leaves it out; remove the line to use it'),
        ('sub-2_ct.nii.gz', 'the line sub-2/ct/ of .bidsignore leaves it out; remove the line to use it'),
    ]  # fmt: skip

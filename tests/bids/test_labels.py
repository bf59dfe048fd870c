# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from bids_brainseg.bids.labels import find_labels
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.errors import InputError


def scan(name: str = 'sub-01_T1w', folder: str = 'sub-01/anat', modality: str = 'T1w'):
    return record_from_path(Path(f'/data/{folder}/{name}.nii.gz'), modality)


@pytest.fixture
def labels(tmp_path):
    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def found(record, root, **options) -> str:
    return find_labels(record, root, table='brainseg', **options).path.relative_to(root).as_posix()


def test_labels_with_the_entities_of_the_scan(labels):
    root = labels(
        'sub-01/anat/sub-01_desc-manual_dseg.nii.gz',
        'sub-01/anat/sub-01_acq-2D_desc-manual_dseg.nii.gz',
        'sub-02/anat/sub-02_desc-manual_dseg.nii.gz',
    )
    assert found(scan(), root) == 'sub-01/anat/sub-01_desc-manual_dseg.nii.gz'
    assert found(scan('sub-01_acq-2D_T1w'), root) == 'sub-01/anat/sub-01_acq-2D_desc-manual_dseg.nii.gz'
    assert found(scan('sub-01_acq-3D_T1w'), root) == 'sub-01/anat/sub-01_desc-manual_dseg.nii.gz'


def test_labels_of_another_contrast_space_or_session_are_not_taken(labels):
    root = labels(
        'sub-01/anat/sub-01_desc-T1w_dseg.nii.gz',
        'sub-01/anat/sub-01_space-MNI152NLin2009cAsym_desc-x_dseg.nii.gz',
        'sub-01/anat/sub-01_space-T1w_desc-x_dseg.nii.gz',
        'sub-01/ses-1/anat/sub-01_ses-1_desc-x_dseg.nii.gz',
    )
    with pytest.raises(InputError, match='no reference labels in'):
        find_labels(scan('sub-01_FLAIR', modality='FLAIR'), root)
    flair = 'sub-01/anat/sub-01_space-orig_seg-x_desc-FLAIR_dseg.nii.gz'
    labels(flair)
    assert found(scan('sub-01_FLAIR', modality='FLAIR'), root) == flair


def test_the_segmentation_of_the_brain_is_preferred_to_that_of_tissues(labels):
    root = labels(
        'sub-01/anat/sub-01_dseg.nii.gz',
        'sub-01/anat/sub-01_desc-aseg_dseg.nii.gz',
        'sub-01/anat/sub-01_desc-aparcaseg_dseg.nii.gz',
    )
    assert found(scan(), root) == 'sub-01/anat/sub-01_desc-aparcaseg_dseg.nii.gz'
    assert found(scan(), root, entities={'desc': 'aseg'}) == 'sub-01/anat/sub-01_desc-aseg_dseg.nii.gz'


def test_labels_that_fit_alike_are_an_error_that_says_how_to_choose(labels):
    root = labels('sub-01/anat/sub-01_desc-anna_dseg.nii.gz', 'sub-01/anat/sub-01_desc-bert_dseg.nii.gz')
    with pytest.raises(InputError, match='2 label images fit .*anna.*bert.*--label-filter desc=anna'):
        find_labels(scan(), root)
    assert found(scan(), root, entities={'desc': 'bert'}).endswith('desc-bert_dseg.nii.gz')


def test_the_folders_of_freesurfer(labels):
    root = labels('sub-01/mri/aseg.mgz', 'sub-01/mri/brain.mgz', 'sub-02_ses-1/mri/wmparc.mgz')
    assert found(scan('sub-01_rec-brain_T1w'), root) == 'sub-01/mri/aseg.mgz'
    labels('sub-01/mri/aparc+aseg.mgz')
    assert found(scan(), root) == 'sub-01/mri/aparc+aseg.mgz'
    assert find_labels(scan(), root).table.name == 'freesurfer'
    second = scan('sub-02_ses-1_T1w', 'sub-02/ses-1/anat')
    assert found(second, root) == 'sub-02_ses-1/mri/wmparc.mgz'
    with pytest.raises(InputError, match='no reference labels'):
        find_labels(scan('sub-01_FLAIR', modality='FLAIR'), root)  # FreeSurfer saw the T1w


def test_a_missing_folder_of_labels(tmp_path):
    with pytest.raises(InputError, match='--derivatives labels=DIR'):
        find_labels(scan(), tmp_path / 'absent')

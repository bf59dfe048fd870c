# SPDX-License-Identifier: Apache-2.0
"""Which scans are trained on, with which labels, and who validates."""

from __future__ import annotations

import pytest

from bids_brainseg.bids.query import find_images
from bids_brainseg.bids.training_cases import (
    find_cases,
    find_label_maps,
    pair_paths,
    read_exclusions,
    split_subjects,
    subject_of,
)
from bids_brainseg.errors import BidsError, InputError
from bids_brainseg.records import TrainingCase

FILES = {
    'sub-01/anat/sub-01_T1w.nii.gz': None,
    'sub-01/anat/sub-01_FLAIR.nii.gz': None,
    'sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz': None,
    'sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz': None,
    'sub-02/ses-2/anat/sub-02_ses-2_FLAIR.nii.gz': None,
    'sub-03/anat/sub-03_FLAIR.nii.gz': None,
    'sub-04/anat/sub-04_FLAIR.nii.gz': None,
    'derivatives/fs/sub-01/mri/aseg.mgz': '',
    'derivatives/fs/sub-01/mri/aparc+aseg.mgz': '',
    'derivatives/fs/sub-02_ses-2/mri/wmparc.mgz': '',
    'derivatives/fs/sub-03/mri/aseg.mgz': '',
    'derivatives/fs/sub-03/mri/orig.mgz': '',
}


@pytest.fixture
def cases(make_bids):
    root = make_bids(FILES)

    def find(modality, excluded=()):
        records = find_images(root, modalities=dict.fromkeys([modality, 'T1w']))
        found = find_cases(records, modality, freesurfer=root / 'derivatives' / 'fs', excluded=excluded)
        return {case.record.bids_name: case for case in found}

    return find


def name(path):
    return path and '/'.join(path.parts[-3:])


def test_labels_of_the_t1w_are_used_for_the_other_scans(cases):
    t1w, flair = cases('T1w'), cases('FLAIR')
    assert name(t1w['sub-01_T1w'].labels) == 'sub-01/mri/aparc+aseg.mgz'
    assert t1w['sub-01_T1w'].t1w is None
    assert flair['sub-01_FLAIR'].t1w == t1w['sub-01_T1w'].record.path
    # the labels belong to the session that their folder names
    assert t1w['sub-02_ses-2_T1w'].t1w is None
    assert t1w['sub-02_ses-1_T1w'].skip.startswith('no labels')
    assert flair['sub-02_ses-2_FLAIR'].t1w == t1w['sub-02_ses-2_T1w'].record.path
    # no T1w in the dataset: FreeSurfer kept one
    assert name(flair['sub-03_FLAIR'].t1w) == 'sub-03/mri/orig.mgz'
    assert flair['sub-04_FLAIR'].skip.startswith('no labels: none of aparc+aseg')


def test_another_t1w_of_the_subject_is_aligned_too(make_bids):
    root = make_bids(
        {
            'sub-01/anat/sub-01_run-1_T1w.nii.gz': None,
            'sub-01/anat/sub-01_run-2_T1w.nii.gz': None,
            'fs/sub-01/mri/aseg.mgz': '',
        }
    )
    first, second = find_cases(find_images(root, modalities=['T1w']), 'T1w', freesurfer=root / 'fs')
    assert first.t1w is None and second.t1w == first.record.path


def test_segmentations_of_this_program_serve_where_freesurfer_is_absent(make_bids):
    root = make_bids(FILES)

    def find(modality, freesurfer, **reasons):
        records = find_images(root, modalities=dict.fromkeys([modality, 'T1w']))
        own = {
            record.path: TrainingCase(record, root / record.bids_name, skip=reasons.get(record.subject))
            for record in records
            if record.modality == 'T1w'
        }
        found = find_cases(records, modality, freesurfer=freesurfer, own=own)
        return {case.record.bids_name: case for case in found}

    flair = find('FLAIR', None)
    case = flair['sub-01_FLAIR']
    assert (case.labels.name, case.table.name, case.t1w.name) == (
        'sub-01_T1w', 'brainseg', 'sub-01_T1w.nii.gz'
    )  # fmt: skip
    # that of the same session, although another one comes first
    assert flair['sub-02_ses-2_FLAIR'].labels.name == 'sub-02_ses-2_T1w'
    assert flair['sub-04_FLAIR'].skip == 'no labels: there is no T1w of the participant'
    both = find('FLAIR', root / 'derivatives' / 'fs')
    assert name(both['sub-01_FLAIR'].labels) == 'sub-01/mri/aparc+aseg.mgz'
    assert both['sub-01_FLAIR'].table.name == 'freesurfer'
    refused = find('FLAIR', root / 'derivatives' / 'fs', **{'04': 'blurred'})['sub-04_FLAIR'].skip
    assert refused.startswith('no labels: none of aparc+aseg')
    assert refused.endswith('no T1w of the participant')
    assert find('FLAIR', None, **{'01': 'blurred'})['sub-01_FLAIR'].skip == 'blurred'
    t1w = find('T1w', None)
    assert t1w['sub-01_T1w'].skip == 'a network does not learn from its own segmentation of the same scan'
    # the T1w of another session can teach it
    assert t1w['sub-02_ses-1_T1w'].labels.name == 'sub-02_ses-2_T1w'


def test_excluded_participants_keep_the_reason(cases, tmp_path):
    path = tmp_path / 'exclude.tsv'
    path.write_text('participant\tsession\treason\nsub-01\tn/a\tmoved\n02\tses-1\tartifact\n04\t\t\n')
    rows = read_exclusions(path)
    assert rows[1] == {'participant_id': '02', 'session_id': '1', 'reason': 'artifact'}
    found = cases('T1w', rows)
    assert found['sub-01_T1w'].skip == 'excluded: moved'
    assert found['sub-02_ses-1_T1w'].skip == 'excluded: artifact'
    assert found['sub-02_ses-2_T1w'].skip is None
    assert cases('FLAIR', rows)['sub-04_FLAIR'].skip == 'excluded: no reason given'


@pytest.mark.parametrize('text', ['who,why\n1,2\n', 'participant_id\n01\n'])
def test_a_table_without_the_columns_is_refused(tmp_path, text):
    (tmp_path / 'exclude.tsv').write_text(text)
    with pytest.raises(BidsError, match='needs the columns participant_id and reason') as caught:
        read_exclusions(tmp_path / 'exclude.tsv')
    assert caught.value.exit_code == 2


def test_label_maps_are_files_folders_or_a_derivative(make_bids, tmp_path):
    root = make_bids({**FILES, 'maps/a.nii.gz': None, 'maps/b.mgz': '', 'maps/readme.txt': ''})
    fs = find_label_maps([root / 'derivatives' / 'fs'])
    assert [name(path) for path in fs] == [
        'sub-01/mri/aparc+aseg.mgz', 'sub-02_ses-2/mri/wmparc.mgz', 'sub-03/mri/aseg.mgz'
    ]  # fmt: skip
    assert [subject_of(path) for path in fs] == ['01', '02', '03']
    own = find_label_maps([root / 'maps', root / 'maps' / 'a.nii.gz'])
    assert [path.name for path in own] == ['a.nii.gz', 'b.mgz']
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='no label map found'):
        find_label_maps([tmp_path / 'empty'])


def test_the_split_is_by_subject_and_repeats():
    subjects = [f'{n:02}' for n in range(20)] * 3
    train, validate = split_subjects(subjects, share=0.1, seed=3)
    assert (train, validate) == split_subjects(reversed(subjects), share=0.1, seed=3)
    assert len(validate) == 2 and len(train) == 18 and not set(train) & set(validate)
    assert split_subjects(subjects, share=0.1, seed=4)[1] != validate
    assert split_subjects('ab', share=0.01, seed=0)[1] != []
    assert split_subjects('abc', share=0.5, seed=0, chosen=('b',)) == (['a', 'c'], ['b'])


def test_pairs_of_different_scans_have_different_names(make_bids, tmp_path):
    names = ('sub-01_T1w', 'sub-01_desc-defaced_T1w', 'sub-01_run-1_T1w', 'sub-01_FLAIR')
    root = make_bids({f'sub-01/anat/{name}.nii.gz': None for name in names})
    records = find_images(root, modalities=['T1w', 'FLAIR'])
    paths = [path for record in records for path in pair_paths(record, tmp_path, 'Ref').values()]
    assert len(set(paths)) == 4 * len(names)
    assert pair_paths(records[0], tmp_path, 'Ref')['image'].name.endswith('_T1w.nii.gz')

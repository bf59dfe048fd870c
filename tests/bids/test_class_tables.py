# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from bids_brainseg.bids.class_tables import brainseg_table, class_table, read_class_table
from bids_brainseg.data import label_table
from bids_brainseg.errors import InputError


@pytest.fixture
def table(tmp_path):
    def write(text: str, name: str = 'labels.tsv') -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_numbers_to_indices(table):
    found = read_class_table(table('manual\tindex\tname\n44\t3\tx\n71\t7|20\tvermis\n*\t0\tother\n'))
    assert found.mapping == {44: 3}
    assert found.split == {71: (7, 20)}
    assert found.default == 0
    assert read_class_table(table('manual\tindex\n44\t3\n')).default is None


def test_a_lookup_table_of_bids_names_the_classes(table):
    found = read_class_table(table('index\tname\n10\tLeft-Thalamus\n3\tBackground\n'))
    assert found.mapping == {10: 8, 3: 0}


@pytest.mark.parametrize(
    ('text', 'phrase'),
    [
        ('a\tb\n1\t2\n', "has the columns ['a', 'b']"),
        ('', 'not a class table'),
        ('manual\tindex\n', 'not a class table'),
        ('manual\tindex\n44\t28\n', 'line 2'),
        ('manual\tindex\n1\t1\n-4\t3\n', 'line 3'),
        ('manual\tindex\n44\t3|4|5\n', 'line 2'),
        ('index\tname\n17\tLeft-Hippocampus\n4\tThe-Amygdala\n', "'The-Amygdala'"),
    ],
)
def test_invalid_tables_are_refused(table, text, phrase):
    with pytest.raises(InputError) as error:
        read_class_table(table(text))
    assert phrase in str(error.value)


def test_a_table_that_is_absent(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        read_class_table(tmp_path / 'absent.tsv')


def test_the_table_of_the_user_wins(table, tmp_path):
    image = tmp_path / 'sub-01' / 'anat' / 'sub-01_desc-aseg_dseg.nii.gz'
    assert class_table(image, tmp_path, 'brainseg') == brainseg_table()
    assert class_table(image, tmp_path, 'freesurfer').name == 'freesurfer'
    assert class_table(image, tmp_path, table('n\tindex\n5\t1\n', 'mine.tsv')).mapping == {5: 1}


def test_tables_are_found_by_inheritance(table, tmp_path):
    image = tmp_path / 'sub-01' / 'anat' / 'sub-01_desc-manual_dseg.nii.gz'
    table('n\tindex\n5\t1\n')
    assert class_table(image, tmp_path).mapping == {5: 1}
    table('n\tindex\n5\t2\n', 'desc-manual_dseg.tsv')
    table('n\tindex\n5\t4\n', 'desc-other_dseg.tsv')
    assert class_table(image, tmp_path).mapping == {5: 2}
    table('n\tindex\n5\t3\n', 'sub-01/anat/sub-01_desc-manual_dseg.tsv')
    assert class_table(image, tmp_path).mapping == {5: 3}


def test_packaged_tables_are_recognized(table, tmp_path):
    image = tmp_path / 'sub-01' / 'anat' / 'sub-01_desc-x_dseg.nii.gz'
    ours = ''.join(f'{label.index}\t{label.name}\n' for label in label_table())
    table('index\tname\n' + ours, 'desc-x_dseg.tsv')
    assert class_table(image, tmp_path) == brainseg_table()
    lookup = 'index\tname\n0\tUnknown\n2\tLeft-Cerebral-White-Matter\n17\tLeft-Hippocampus\n77\tWM-hypo\n'
    table(lookup, 'desc-x_dseg.tsv')
    assert class_table(image, tmp_path).name == 'freesurfer'


def test_without_a_table_the_name_gives_the_scheme(tmp_path):
    folder = tmp_path / 'sub-01' / 'anat'
    for name in ('sub-01_desc-aparcaseg_dseg', 'sub-01_seg-aseg_dseg'):
        assert class_table(folder / f'{name}.nii.gz', tmp_path).name == 'freesurfer'
    assert class_table(folder / 'sub-01_seg-brainseg_dseg.nii.gz', tmp_path) == brainseg_table()
    assert class_table(tmp_path / 'sub-01/mri/aseg.mgz', tmp_path).name == 'freesurfer'
    with pytest.raises(InputError, match='--label-table freesurfer'):
        class_table(folder / 'sub-01_desc-manual_dseg.nii.gz', tmp_path)

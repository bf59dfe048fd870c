# SPDX-License-Identifier: Apache-2.0
"""A dataset of single scans: names, modalities and labels; what the user has stays as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_brainseg.bids.dicom import Series
from bids_brainseg.bids.query import find_images
from bids_brainseg.bids.single_scans import find_modality, make_dataset
from bids_brainseg.errors import BidsError


def listing(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob('*'))}


@pytest.mark.parametrize(
    ('name', 'entities'),
    [
        ('scan_T1.nii.gz', {'sub': 'scanT1'}),
        ('IXI002-Guys-0828-T1.nii', {'sub': 'IXI002Guys0828T1'}),
        ('sub-01_ses-2_acq-2D_T1w.nii.gz', {'sub': '01', 'ses': '2', 'acq': '2D'}),
        ('sub-01_T1.nii.gz', {'sub': '01'}),
        ('t1 (2).nii.gz', {'sub': 't12'}),
    ],
)
def test_the_label_is_made_of_the_name(make_nifti, tmp_path, name, entities):
    scan = make_nifti(f'mine/{name}')
    before = listing(tmp_path / 'mine')
    [(origin, record)] = make_dataset([scan], tmp_path / 'set')
    assert (origin, record.entities, record.modality, record.suffix) == (scan, entities, 'T1w', 'T1w')
    assert record.path.is_symlink() and os.readlink(record.path) == str(scan)
    assert listing(tmp_path / 'mine') == before
    assert [found.path for found in find_images(tmp_path / 'set')] == [record.path]


def test_scans_of_one_name_get_labels_of_their_own(make_nifti, tmp_path):
    first, second, third = (make_nifti(f'{folder}/t1.nii.gz') for folder in 'abc')
    other = make_nifti('a/T1_.nii.gz')  # the same name on a disk that ignores case
    labels = [record.subject for _, record in make_dataset([first, second, other], tmp_path / 'set')]
    assert labels == ['t1', 't1x2', 'T1x3']
    again = make_dataset([third, second, first], tmp_path / 'set')  # in another order, in a later run
    assert [record.subject for _, record in again] == ['t1x4', 't1x2', 't1']
    assert [os.readlink(record.path) for _, record in again] == [str(third), str(second), str(first)]


def test_scans_with_names_of_bids_share_a_participant(make_nifti, tmp_path):
    scans = [make_nifti(f'a/sub-01_{suffix}.nii.gz') for suffix in ('T1w', 'FLAIR')]
    elsewhere = make_nifti('b/sub-01_T1w.nii.gz')
    records = [record for _, record in make_dataset([*scans, elsewhere], tmp_path / 'set')]
    assert [record.bids_name for record in records] == ['sub-01_T1w', 'sub-01_FLAIR', 'sub-01x2_T1w']


@pytest.mark.parametrize(
    ('name', 'sidecar', 'expected'),
    [
        ('sub-01_FLAIR', {}, 'FLAIR'),
        ('t2_flair_ax', {}, 'FLAIR'),
        ('sag_MPRAGE', {}, 'T1w'),
        ('AX_T2_TSE', {}, 'T2w'),
        ('t2_star_ax', {}, None),
        ('t2_tirm_tra_dark-fluid', {}, None),
        ('dti_trace', {}, 'dwi'),
        ('head CT 5mm', {}, 'ct'),
        ('headCTA', {}, None),
        ('t1_flair', {}, None),
        ('ep2d_diff_ADC', {}, None),
        ('0042', {}, None),
        ('0042', {'SeriesDescription': 'AX T2 FLAIR'}, 'FLAIR'),
        ('0042', {'Modality': 'CT'}, 'ct'),
        ('0042', {'SeriesDescription': 'DWI', 'ImageType': ['DERIVED', 'PRIMARY', 'DIFFUSION', 'ADC']}, None),
        ('0042', {'Modality': 'MR', 'ProtocolName': 't1_mprage_sag'}, 'T1w'),
    ],
)
def test_the_modality_is_read_from_name_or_sidecar(make_nifti, name, sidecar, expected):
    assert find_modality(make_nifti(f'{name}.nii.gz'), sidecar) == expected


def test_the_modality_is_read_from_the_values(make_nifti):
    values = np.full((8, 8, 8), -1000, np.int16)
    values[2:6, 2:6, 2:6] = 30
    assert find_modality(make_nifti('0042.nii.gz', values), {}) == 'ct'
    assert find_modality(make_nifti('0043.nii.gz', values + 1024), {}) is None


def test_a_diffusion_series_brings_its_b_values(make_nifti, tmp_path):
    scan = make_nifti('0042.nii.gz', np.ones((8, 8, 8, 2), np.float32))
    (tmp_path / '0042.bval').write_text('0 1000\n')
    (tmp_path / '0042.json').write_text('{"EchoTime": 0.1}')
    make_dataset([scan], tmp_path / 'set')
    [record] = find_images(tmp_path / 'set')
    assert (record.modality, record.volumes, record.metadata['EchoTime']) == ('dwi', (1,), 0.1)


def test_an_unknown_modality_is_an_error(make_nifti, tmp_path):
    scans = [make_nifti('a.nii.gz'), make_nifti('T1.nii.gz'), make_nifti('b.nii.gz')]
    with pytest.raises(BidsError, match=r'the modality of a\.nii\.gz, b\.nii\.gz is not known') as error:
        make_dataset(scans, tmp_path / 'set')
    assert error.value.exit_code == 2
    assert not (tmp_path / 'set').exists()
    [(_, record)] = make_dataset(scans[:1], tmp_path / 'set', modality='FLAIR')
    assert record.bids_name == 'sub-a_FLAIR'


@pytest.mark.parametrize(
    ('kind', 'names'), [(nib.MGHImage, ['T1.mgz']), (nib.Nifti1Pair, ['T1.img', 'T1.hdr'])]
)
def test_an_image_that_is_no_nifti_file_is_converted(tmp_path, kind, names):
    data = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    for values in (data, data + 1):  # exported again
        kind(values, np.diag([2, 2, 2, 1])).to_filename(tmp_path / names[0])
        [(_, record)] = make_dataset([tmp_path / name for name in names], tmp_path / 'set')
        image = nib.load(record.path)
        assert record.bids_name == 'sub-T1_T1w'
        assert np.array_equal(image.get_fdata(), values)
        assert np.array_equal(image.affine, np.diag([2, 2, 2, 1]))


def test_a_disk_without_links_gets_a_copy(make_nifti, tmp_path, monkeypatch):
    scan = make_nifti('T1.nii.gz')

    def refuse(self, target):
        raise OSError('no links here')

    monkeypatch.setattr(Path, 'symlink_to', refuse)
    [(_, record)] = make_dataset([scan], tmp_path / 'set')
    assert not record.path.is_symlink()
    assert record.path.read_bytes() == scan.read_bytes()


def write_dicom(
    folder: Path, *, number: int = 3, description: str = 'head', slices: int = 8, positions=None, **tags
) -> None:
    """Write a series of CT slices of 1 x 1 x 5 mm, in Hounsfield units, numbered from below."""
    pydicom = pytest.importorskip('pydicom')
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    for index, position in enumerate(positions or range(0, 5 * slices, 5)):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        about = {
            'Modality': 'CT', 'ImageType': ['ORIGINAL', 'PRIMARY', 'AXIAL'], 'PatientName': 'Doe^Jane',
            'PatientID': '7', 'PatientBirthDate': '19700101', 'StudyInstanceUID': '1.2.3',
            'SeriesInstanceUID': series, 'SeriesNumber': number, 'InstanceNumber': index + 1,
            'SeriesDescription': description, 'AcquisitionDate': '20200101', 'AcquisitionTime': '101010',
            'InstitutionName': 'Somewhere', 'Manufacturer': 'SIEMENS', 'Rows': 16, 'Columns': 12,
            'PixelSpacing': [1, 1], 'SliceThickness': 5, 'ImageOrientationPatient': [1, 0, 0, 0, 1, 0],
            'ImagePositionPatient': [-6, -8, position], 'SamplesPerPixel': 1, 'BitsAllocated': 16,
            'PhotometricInterpretation': 'MONOCHROME2', 'BitsStored': 16, 'HighBit': 15,
            'PixelRepresentation': 1, 'RescaleIntercept': -1024, 'RescaleSlope': 1,
        }  # fmt: skip
        for tag, value in (about | tags).items():
            setattr(data, tag, value)
        data.PixelData = np.full((16, 12), 1024 + index, np.int16).tobytes()
        data.save_as(folder / f'{number}_{index}.dcm', enforce_file_format=True)


def test_a_dicom_folder_becomes_a_scan(tmp_path):
    folder = tmp_path / 'patient 7'
    write_dicom(folder)
    write_dicom(folder / 'scout', number=1, description='scout', slices=2)
    before = listing(folder)
    [(origin, record)] = make_dataset([folder], tmp_path / 'set')
    assert listing(folder) == before
    assert (origin, record.bids_name, record.modality) == (folder, 'sub-patient7_ct', 'ct')
    image = nib.load(record.path)
    assert image.shape == (12, 16, 8)
    assert sorted(set(image.get_fdata().ravel())) == list(range(8))  # Hounsfield units
    assert np.allclose(nib.affines.voxel_sizes(image.affine), (1, 1, 5))
    text = record.path.with_name('sub-patient7_ct.json').read_text()
    assert not [word for word in ('Doe', '1970', 'Somewhere', '1.2.3') if word in text]
    assert json.loads(text)['SeriesDescription'] == 'head'


def test_series_of_one_modality_are_numbered(tmp_path):
    write_dicom(tmp_path / 'd', number=5, description='bone')
    write_dicom(tmp_path / 'd', number=4, description='brain')
    records = [record for _, record in make_dataset([tmp_path / 'd'], tmp_path / 'set')]
    assert [record.bids_name for record in records] == ['sub-d_run-1_ct', 'sub-d_run-2_ct']
    again = [record for _, record in make_dataset([tmp_path / 'd'], tmp_path / 'set')]
    assert [record.path for record in again] == [record.path for record in records]


def test_a_series_of_unequal_slices_is_used_once_and_corrected(tmp_path):
    write_dicom(tmp_path / 'd', positions=(0, 5, 10, 15, 25, 35, 45, 55))
    [(_, record)] = make_dataset([tmp_path / 'd'], tmp_path / 'set')
    assert record.bids_name == 'sub-d_ct'
    assert nib.load(record.path).shape == (12, 16, 12)  # every 5 mm
    assert json.loads(record.path.with_name('sub-d_ct.json').read_text())['SeriesDescription'] == 'head'


@pytest.mark.parametrize(
    ('tags', 'phrase'),
    [
        ({'PatientID': '8', 'PatientName': 'Roe'}, 'scans of 2 people'),
        (None, 'no DICOM image found in'),
    ],
)
def test_a_folder_that_is_no_scan_of_one_person(tmp_path, tags, phrase):
    folder = tmp_path / 'd'
    folder.mkdir()
    (folder / 'notes.txt').write_text('hello')
    if tags is not None:
        write_dicom(folder, number=3)
        write_dicom(folder, number=4, **tags)
    with pytest.raises(BidsError, match=phrase) as error:
        make_dataset([folder], tmp_path / 'set')
    assert error.value.exit_code == 2


def test_a_series_that_does_not_say_its_modality_needs_it(tmp_path):
    write_dicom(tmp_path / 'd', Modality='MR', SOPClassUID='1.2.840.10008.5.1.4.1.1.4', RescaleIntercept=0)
    with pytest.raises(BidsError, match='found: 3 head. Give the folder of one series with --modality'):
        make_dataset([tmp_path / 'd'], tmp_path / 'set')
    [(_, record)] = make_dataset([tmp_path / 'd'], tmp_path / 'set', modality='T1w')
    assert record.bids_name == 'sub-d_T1w'


@pytest.mark.parametrize(
    ('kinds', 'has_b_values', 'expected'),
    [
        (['ORIGINAL', 'PRIMARY', 'DIFFUSION'], True, 'dwi'),
        (['DERIVED', 'PRIMARY', 'DIFFUSION', 'TRACEW'], False, 'dwi'),
        (['DERIVED', 'PRIMARY', 'DIFFUSION', 'ADC'], True, None),
        (['ORIGINAL', 'PRIMARY', 'M'], False, None),
    ],
)
def test_which_series_are_diffusion(tmp_path, kinds, has_b_values, expected):
    if has_b_values:
        (tmp_path / '3.bval').write_text('0 1000')
    assert Series(tmp_path / '3.nii.gz', {'ImageType': kinds}).diffusion == expected

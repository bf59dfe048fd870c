# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import logging
import os
from copy import deepcopy

import pytest

from bids_brainseg.bids import layout
from bids_brainseg.bids.filters import load_filters
from bids_brainseg.bids.query import find_images, select_images
from bids_brainseg.errors import BidsError


def names(records) -> list[str]:
    return [record.path.name for record in records]


def usable(records) -> list[str]:
    return [record.path.name for record in records if record.skip is None]


@pytest.fixture
def mixed(make_bids):
    """Sessions, runs, acquisitions, magnitude and phase, and much that is not for us."""
    return make_bids(
        {
            'participants.tsv': 'participant_id\n',
            'sub-01/anat/sub-01_T1w.nii.gz': None,
            'sub-01/anat/sub-01_PDw.nii.gz': None,
            'sub-01/anat/sub-01_acq-hires_run-01_T1w.nii.gz': None,
            'sub-01/anat/sub-01_acq-hires_run-02_T1w.nii.gz': None,
            'sub-01/anat/sub-01_rec-defaced_T1w.nii.gz': None,
            'sub-01/anat/sub-01_part-mag_FLAIR.nii.gz': None,
            'sub-01/anat/sub-01_part-phase_FLAIR.nii.gz': None,
            'sub-01/anat/sub-01_echo-1_FLAIR.nii': None,
            'sub-01/anat/sub-01_mod-T1w_defacemask.nii.gz': None,
            'sub-01/func/sub-01_task-rest_bold.nii.gz': None,
            'sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz': None,
            'sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz': None,
            'sub-02/ses-2/ct/sub-02_ses-2_ct.nii.gz': None,
            'sub-10/anat/sub-10_CT.nii.gz': None,
            'derivatives/x/sub-01/anat/sub-01_T1w.nii.gz': None,
            'sourcedata/sub-01/anat/sub-01_T1w.nii.gz': None,
            'code/sub-01/anat/sub-01_T1w.nii.gz': None,
        }
    )


EVERYTHING = [
    'sub-01_acq-hires_run-01_T1w.nii.gz',
    'sub-01_acq-hires_run-02_T1w.nii.gz',
    'sub-01_rec-defaced_T1w.nii.gz',
    'sub-01_T1w.nii.gz',
    'sub-01_echo-1_FLAIR.nii',
    'sub-01_part-mag_FLAIR.nii.gz',
    'sub-02_ses-1_T1w.nii.gz',
    'sub-02_ses-2_T1w.nii.gz',
    'sub-02_ses-2_ct.nii.gz',
    'sub-10_CT.nii.gz',
]


def test_every_scan_is_its_own_record(mixed):
    records = find_images(mixed)
    assert names(records) == EVERYTHING
    assert len({(record.subject, record.key) for record in records}) == len(EVERYTHING)
    hires = records[1]
    assert hires.entities == {'sub': '01', 'acq': 'hires', 'run': '02'}
    assert (hires.modality, hires.subject, hires.session, hires.suffix) == ('T1w', '01', None, 'T1w')
    assert (hires.key, hires.bids_name) == ('acq_hires_run_02_T1w', 'sub-01_acq-hires_run-02_T1w')
    assert [record.modality for record in records[-2:]] == ['ct', 'ct']


def test_the_folders_above_the_dataset_do_not_matter(make_bids):
    """pybids reads entities from the whole path; a dataset may lie in a folder called sub-x or anat."""
    files = {'sub-01/anat/sub-01_T1w.nii.gz': None, 'sub-01/func/sub-01_T1w.nii.gz': None}
    (record,) = find_images(make_bids(files, name='sub-study/ses-9/dwi'))
    assert (record.subject, record.session, record.modality) == ('01', None, 'T1w')
    assert find_images(record.path.parents[2], participant_label=['01']) == [record]


@pytest.mark.parametrize(
    ('selection', 'expected'),
    [
        ({'participant_label': ['10']}, EVERYTHING[-1:]),
        ({'participant_label': ['sub-10', '02']}, EVERYTHING[6:]),
        ({'session_label': ['ses-2']}, EVERYTHING[7:9]),
        ({'session_label': ['1'], 'participant_label': ['02']}, EVERYTHING[6:7]),
        ({'modalities': ['FLAIR', 'ct']}, EVERYTHING[4:6] + EVERYTHING[8:]),
        ({'bids_filters': {'T1w': {'session': None, 'acquisition': '*'}}, 'modalities': ['T1w']},
         EVERYTHING[:2]),
        ({'bids_filters': {'t1w': {'acq': None}}, 'modalities': ['T1w'], 'participant_label': ['01']},
         EVERYTHING[2:4]),
        ({'bids_filters': {'T1w': {'run': 2}}, 'modalities': ['T1w']}, EVERYTHING[1:2]),
        ({'bids_filters': {'T1w': {'run': ['1', '02']}}, 'modalities': ['T1w']}, EVERYTHING[:2]),
        ({'bids_filters': {'T1w': {'reconstruction': ['defaced', None], 'session': None, 'run': None}},
          'modalities': ['T1w']}, EVERYTHING[2:4]),
        ({'bids_filters': {'ct': {'suffix': 'CT'}}, 'modalities': ['ct']}, EVERYTHING[-1:]),
        ({'bids_filters': {'FLAIR': {'extension': 'nii'}}, 'modalities': ['FLAIR']}, EVERYTHING[4:5]),
    ],
)  # fmt: skip
def test_selection(mixed, selection, expected):
    assert names(find_images(mixed, **selection)) == expected


def test_filters_of_one_modality_leave_the_others_alone(mixed):
    found = names(find_images(mixed, bids_filters={'T1w': {'session': '2'}}))
    assert found == [*EVERYTHING[4:6], *EVERYTHING[7:]]


def test_filters_of_other_programs_are_named_and_not_used(mixed, caplog):
    with caplog.at_level(logging.WARNING):
        assert names(find_images(mixed, bids_filters={'bold': {'session': '1'}})) == EVERYTHING
    assert 'filters for bold are not used' in caplog.text


BABS = {
    'fmap': {'datatype': 'fmap'},
    'sbref': {'datatype': 'func', 'session': '2', 'suffix': 'sbref'},
    'flair': {'datatype': 'anat', 'session': '2', 'suffix': 'FLAIR'},
    't2w': {'datatype': 'anat', 'session': '2', 'suffix': 'T2w'},
    't1w': {'datatype': 'anat', 'session': '2', 'suffix': 'T1w'},
    'roi': {'datatype': 'anat', 'session': '2', 'suffix': 'roi'},
}


@pytest.mark.parametrize(
    ('filters', 'taken'),
    [
        (BABS, ['T1w', 'dwi', 'ct']),
        (BABS | {'dwi': {'datatype': 'dwi', 'session': '2', 'suffix': 'dwi'}}, ['T1w', 'dwi', 'ct']),
        (BABS | {'ct': {'run': None}}, ['T1w', 'dwi', 'ct']),
        (BABS | {'ct': {'session': '1'}}, ['T1w', 'dwi', 'dwi', 'ct']),  # not for one session
        ({'T1w': {'session': '2'}, 'FLAIR': {'session': '2'}}, ['T1w', 'dwi', 'dwi', 'ct', 'ct']),
        ({'t1w': {'session': '*'}, 't2w': {'session': '*'}}, ['T1w', 'T1w', 'dwi', 'dwi', 'ct', 'ct']),
    ],
)
def test_the_filter_file_of_a_job_for_one_session_holds_for_all_modalities(make_bids, filters, taken):
    root = make_bids(
        {
            f'sub-1/ses-{session}/{folder}/sub-1_ses-{session}_{suffix}.nii.gz': (4, 4, 4)
            for session in (1, 2)
            for folder, suffix in (('anat', 'T1w'), ('dwi', 'dwi'), ('ct', 'ct'))
        }
    )
    records = find_images(root, bids_filters=filters)
    assert sorted(record.modality for record in records) == sorted(taken)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_filter_file_with_a_byte_order_mark(mixed, tmp_path, encoding):
    path = tmp_path / 'filters.json'
    path.write_bytes(json.dumps({'T1w': {'session': '2'}}).encode(encoding))
    assert names(find_images(mixed, modalities=['T1w'], bids_filters=path)) == EVERYTHING[7:8]


@pytest.mark.parametrize('filters', [{'T1w': {'sesion': '1'}}, {'T1w': 'x'}])
def test_invalid_filters_are_refused(mixed, filters):
    with pytest.raises(BidsError) as raised:
        find_images(mixed, bids_filters=filters)
    assert raised.value.exit_code == 2


def test_nothing_selected_says_what_there_is(mixed):
    with pytest.raises(BidsError, match='found 7 T1w|found 6 T1w') as raised:
        find_images(mixed, participant_label=['sub-99'], session_label=['3'])
    message = str(raised.value)
    assert raised.value.exit_code == 18
    assert '6 T1w, 2 FLAIR, 2 ct of 3 participants (01 02 10) and 2 sessions (1 2)' in message
    assert 'participants 99, sessions 3' in message


def test_an_unknown_participant_beside_a_known_one_is_named(mixed, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(find_images(mixed, participant_label=['10', '77'])) == 1
    assert 'participant 77' in caplog.text


@pytest.mark.parametrize('content', [None, 'not json', '[]'])
def test_a_folder_without_a_dataset_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / 'dataset_description.json').write_text(content)
    with pytest.raises(BidsError, match='not a BIDS dataset') as raised:
        find_images(tmp_path)
    assert raised.value.exit_code == 16


def test_a_missing_folder_is_no_dataset(tmp_path):
    with pytest.raises(BidsError, match='is not a folder') as raised:
        find_images(tmp_path / 'missing')
    assert raised.value.exit_code == 16


def test_a_description_without_fields_is_enough(make_bids):
    root = make_bids({'dataset_description.json': {}, 'sub-1/anat/sub-1_T1w.nii': None}, description=False)
    assert names(find_images(root)) == ['sub-1_T1w.nii']


def test_ct_names(make_bids):
    root = make_bids(
        {
            f'sub-1/{path}.nii.gz': None
            for path in (
                'ct/sub-1_ct', 'ct/sub-1_acq-bone_ct', 'anat/sub-1_acq-head_CT', 'ct/sub-1_cta',
                'ct/sub-1_ctp',
                'ct/sub-1_acq-CTA_ct', 'ct/sub-1_acq-perfusion_ct', 'anat/sub-1_acq-headCTangio_CT',
                'ct/sub-1_rec-ctp_ct', 'ct/sub-1_acq-scout_ct', 'dwi/sub-1_ct', 'ct/sub-1_T1w',
            )
        }
    )  # fmt: skip
    assert names(find_images(root)) == [
        'sub-1_acq-bone_ct.nii.gz', 'sub-1_acq-head_CT.nii.gz', 'sub-1_ct.nii.gz'
    ]  # fmt: skip


def test_scans_whose_outputs_would_have_one_name(make_bids):
    root = make_bids(
        {
            'sub-1/anat/sub-1_T1w.nii': None,
            'sub-1/anat/sub-1_T1w.nii.gz': None,
            'sub-1/anat/sub-1_CT.nii.gz': None,
            'sub-1/ct/sub-1_ct.nii.gz': None,
        }
    )
    records = find_images(root)
    assert usable(records) == ['sub-1_T1w.nii.gz', 'sub-1_ct.nii.gz']
    refused = [record for record in records if record.skip]
    assert all(record.broken for record in refused)
    assert [record.skip.split(';')[0] for record in refused] == [
        'same name as sub-1/anat/sub-1_T1w.nii.gz',
        'same name as sub-1/ct/sub-1_ct.nii.gz',
    ]


def test_the_index_holds_what_is_there_whatever_the_times_say(make_bids, tmp_path, monkeypatch):
    made = []
    index = layout._index
    monkeypatch.setattr(layout, '_index', lambda *args, **kw: made.append(1) or index(*args, **kw))
    root = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': None, 'sub-2/anat/sub-2_T1w.nii.gz': None})
    database, anat = tmp_path / 'database', root / 'sub-2' / 'anat'

    def found_as_of_long_ago() -> list[str]:
        for folder in (root, anat.parent, anat, *anat.iterdir()):
            os.utime(folder, (1e9, 1e9))
        return names(find_images(root, database_dir=database))

    t1w = ['sub-1_T1w.nii.gz', 'sub-2_T1w.nii.gz']
    assert (found_as_of_long_ago(), found_as_of_long_ago(), len(made)) == (t1w, t1w, 1)
    (anat / 'sub-2_FLAIR.nii.gz').touch()  # added
    assert found_as_of_long_ago() == [*t1w, 'sub-2_FLAIR.nii.gz']
    (anat / 'sub-2_FLAIR.nii.gz').rename(anat / 'sub-2_FLAIR.nii')  # replaced
    assert found_as_of_long_ago() == [*t1w, 'sub-2_FLAIR.nii']
    (anat / 'sub-2_T1w.nii.gz').unlink()  # deleted
    assert found_as_of_long_ago() == [t1w[0], 'sub-2_FLAIR.nii']
    assert (found_as_of_long_ago(), len(made)) == ([t1w[0], 'sub-2_FLAIR.nii'], 4)
    assert [path.name for path in database.rglob('*') if path.is_file()] == ['layout_index.sqlite']


def test_a_job_for_some_participants_reads_their_folders_and_no_index(make_bids, tmp_path):
    root = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': None, 'sub-2/anat/sub-2_T1w.nii.gz': None})
    database = tmp_path / 'database'
    assert names(find_images(root, database_dir=database, participant_label=['2'])) == ['sub-2_T1w.nii.gz']
    assert not database.exists()


def test_a_damaged_index_is_made_anew(make_bids, tmp_path, caplog):
    root = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': None})
    assert len(find_images(root, database_dir=tmp_path)) == 1
    (index,) = tmp_path.rglob('*.sqlite')
    index.write_bytes(index.read_bytes()[:5000])
    assert len(find_images(root, database_dir=tmp_path)) == 1
    assert 'is made anew' in caplog.text and index.stat().st_size > 5000


def test_without_a_writable_index_the_dataset_is_indexed_in_memory(make_bids, tmp_path, caplog):
    root = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': None})
    database = tmp_path / 'a file'
    database.touch()
    assert len(find_images(root, database_dir=database)) == 1
    assert 'cannot be written' in caplog.text


def test_two_datasets_may_share_a_database_folder(make_bids, tmp_path):
    first = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': None}, name='a')
    second = make_bids({'sub-2/anat/sub-2_T1w.nii.gz': None}, name='b')
    for root in (first, second, first):
        (record,) = find_images(root, database_dir=tmp_path / 'database')
        assert record.path.is_relative_to(root)


def test_metadata_by_inheritance(make_bids):
    root = make_bids(
        {
            'T1w.json': {'Manufacturer': 'root', 'MagneticFieldStrength': 3, 'A': 0},
            'acq-x_T1w.json': {'A': 1},
            'FLAIR.json': {'Manufacturer': 'not mine'},
            'sub-1/sub-1_T1w.json': {'Manufacturer': 'subject'},
            'sub-1/ses-2/sub-1_ses-2_T1w.json': {'B': 2},
            'sub-1/ses-1/anat/sub-1_ses-1_T1w.json': '{broken',
            'sub-1/ses-2/anat/sub-1_ses-2_acq-x_T1w.json': '\ufeff{"C": 3}',
            'sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz': None,
            'sub-1/ses-2/anat/sub-1_ses-2_acq-x_T1w.nii.gz': None,
        }
    )
    first, second = find_images(root)
    assert first.metadata == {'Manufacturer': 'subject', 'MagneticFieldStrength': 3, 'A': 0}
    assert 'sidecar cannot be read: sub-1_ses-1_T1w.json' in first.warnings[0]
    assert second.metadata == {'Manufacturer': 'subject', 'MagneticFieldStrength': 3, 'A': 1, 'B': 2, 'C': 3}


def test_bids_examples_layout_of_niworkflows(tmp_path):
    """A skeleton as the NiPreps make them: two sessions, dwi in two directions, a field map."""
    testing = pytest.importorskip('niworkflows.utils.testing')
    root = tmp_path / 'skeleton'
    session = {
        'anat': [{'suffix': 'T1w', 'metadata': {'EchoTime': 1}}, {'suffix': 'FLAIR'}],
        'dwi': [{'suffix': 'dwi', 'dir': 'AP'}, {'suffix': 'dwi', 'dir': 'PA'}],
        'fmap': [{'suffix': 'phasediff'}],
    }
    testing.generate_bids_skeleton(
        str(root), {'01': [{'session': name, **deepcopy(session)} for name in ('pre', 'post')]}
    )
    records = find_images(root)
    assert names(records) == [
        f'sub-01_ses-{session}_{rest}.nii.gz'
        for session in ('post', 'pre')
        for rest in ('T1w', 'FLAIR', 'dir-AP_dwi', 'dir-PA_dwi')
    ]
    assert records[0].metadata == {'EchoTime': 1}


def test_every_other_image_has_its_reason(make_bids):
    """One image of each kind that is seen and not taken, beside one scan."""
    reasons = {
        'anat/sub-1_PDw.nii.gz': 'there is no model for PDw',
        'anat/sub-1_UNIT1.nii.gz': 'there is no model for UNIT1',
        'anat/sub-1_inv-1_part-mag_MP2RAGE.nii.gz': 'there is no model for MP2RAGE',
        'anat/sub-1_mod-T1w_defacemask.nii.gz': 'there is no model for defacemask',
        'anat/sub-1_t1w.nii.gz': 'its suffix is t1w; rename it to T1w',
        'anat/sub-1_run-2_T1w.NII.GZ': 'its extension is .NII.GZ; rename it to .nii.gz',
        'anat/sub-1_T1w.mgz': '.mgz is not read; convert it to .nii.gz',
        'anat/sub-1_part-phase_T1w.nii.gz': 'part-phase: only magnitude images are segmented',
        'anat/sub-2_T1w.nii.gz': 'its name contradicts its folder',
        'anat/T1w.nii.gz': 'its name does not begin with sub-LABEL_',
        'dwi/sub-1_T1w.nii.gz': 'T1w does not belong in dwi/; move it to anat/',
        'dwi/sub-1_ADC.nii.gz': 'there is no model for ADC',
        'dwi/sub-1_acq-FAmap_dwi.nii.gz': 'acq-FAmap: by its name it is no plain diffusion-weighted scan',
        'ct/sub-1_acq-headcta_ct.nii.gz': 'acq-headcta: by its name it is no plain CT scan',
        'Anat/sub-1_FLAIR.nii.gz': 'it lies in Anat/; scans are looked for in anat, dwi, ct',
        'sub-1_FLAIR.nii.gz': 'it lies in no folder of its own; scans are looked for in anat, dwi, ct',
    }
    beside = ['anat/sub-1_T1w.nii.gz', 'func/sub-1_task-rest_bold.nii.gz', 'anat/sub-1_T1w.json']
    root = make_bids({f'sub-1/{path}': '{}' for path in (*reasons, *beside)})
    selection = select_images(root)
    assert names(selection.records) == ['sub-1_T1w.nii.gz']
    found = {str(image.path.relative_to('sub-1')): image.reason for image in selection.unused}
    assert found == reasons
    assert {(image.subject, image.session) for image in selection.unused} == {('1', None)}


def test_what_the_options_leave_out_is_counted(mixed):
    selection = select_images(
        mixed, modalities=['T1w', 'ct'], session_label=['2'], bids_filters={'ct': {'run': '*'}}
    )
    assert names(selection.records) == ['sub-02_ses-2_T1w.nii.gz']
    assert selection.left_out == {'--modalities': 2, '--session-label': 6, '--bids-filter-file (ct)': 1}


def test_an_empty_selection_says_what_was_seen(make_bids):
    root = make_bids({'sub-1/anat/sub-1_PDw.nii.gz': None, 'sub-1/anat/sub-1_t1w.nii.gz': None})
    with pytest.raises(BidsError, match='found no scan') as raised:
        find_images(root)
    assert (
        'Not used: 1 image, there is no model for PDw: sub-1/anat/sub-1_PDw.nii.gz; 1 image, its suffix is'
        in str(raised.value)
    )


def test_a_folder_that_cannot_be_read_leaves_out_its_own_scans_only(make_bids, monkeypatch, caplog):
    root = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': None, 'sub-2/anat/sub-2_T1w.nii.gz': None})

    def scandir(folder, scandir=os.scandir):
        if str(folder).endswith('sub-1/anat'):
            raise PermissionError(13, 'Permission denied')
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert names(find_images(root)) == ['sub-2_T1w.nii.gz']
    assert 'sub-1/anat cannot be read and is left out: Permission denied' in caplog.text


@pytest.mark.parametrize(
    'content', ['/annex/objects/MD5E-s1--0', 'version https://git-lfs.github.com/spec/v1']
)
def test_a_scan_that_was_not_fetched_says_how_to_fetch_it(make_bids, content):
    root = make_bids({'sub-1/anat/sub-1_T1w.nii.gz': content, 'sub-1/anat/sub-1_FLAIR.nii.gz': None})
    (root / 'sub-1' / 'anat' / 'sub-1_FLAIR.nii.gz').unlink()
    (root / 'sub-1' / 'anat' / 'sub-1_FLAIR.nii.gz').symlink_to('../../.git/annex/objects/x')
    t1w, flair = find_images(root)
    assert t1w.broken and flair.broken
    assert t1w.skip.endswith(('datalad get sub-1_T1w.nii.gz', 'git lfs pull --include sub-1_T1w.nii.gz'))
    assert flair.skip == 'its link is broken; fetch its content: datalad get sub-1_FLAIR.nii.gz'


def test_a_pair_of_header_and_image_is_one_scan(make_bids):
    files = {'sub-01/anat/sub-01_T1w.img': 'x', 'sub-01/anat/sub-01_T1w.hdr': 'x'}
    root = make_bids({**files, 'sub-02/anat/sub-02_T1w.img.gz': 'x', 'sub-02/anat/sub-02_T1w.nii': None})
    records = find_images(root)
    assert [(r.path.name, r.skip is None) for r in records] == [
        ('sub-01_T1w.img', True), ('sub-02_T1w.nii', True), ('sub-02_T1w.img.gz', False),
    ]  # fmt: skip


def test_words_of_pybids_in_a_filter():
    words = {'session': 'Query.NONE', 'run': ['1', 'Query.NONE'], 'acq': 'Query.OPTIONAL', 'rec': 'Query.ANY'}
    assert load_filters({'t1w': words}) == {'T1w': {'ses': None, 'run': ['1', None], 'rec': '*'}}


def test_a_folder_that_cannot_be_read_is_left_out(make_bids, monkeypatch, caplog):
    """Neither our list nor pybids stops there; root may read everything, so the system is made to refuse."""
    root = make_bids({f'sub-0{n}/anat/sub-0{n}_T1w.nii.gz': None for n in (1, 2, 3)})
    scandir, stat = os.scandir, os.stat

    def refuse(call, path, *more, **options):
        if f'{root}/sub-02' in str(path) and str(path) != f'{root}/sub-02':
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return call(path, *more, **options)

    monkeypatch.setattr(os, 'scandir', lambda path='.': refuse(scandir, f'{path}/'.replace('//', '/')))
    monkeypatch.setattr(os, 'stat', lambda path, *more, **options: refuse(stat, path, *more, **options))
    assert [record.subject for record in find_images(root)] == ['01', '03']
    assert 'sub-02 cannot be read and is left out: Permission denied' in caplog.text

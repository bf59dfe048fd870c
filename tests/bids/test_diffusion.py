# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.bids.diffusion import choose_volumes, read_bval
from bids_brainseg.bids.query import find_images

RULE = {'b_range': [700, 1300], 'fallback_range': [400, 3000], 'b0_below': 50}
SERIES = (4, 4, 4, 5)
BVAL = '0 700 1000 1300 2000'


def only(records):
    (record,) = records
    return record


@pytest.mark.parametrize(
    ('count', 'b_values', 'volumes', 'b_value'),
    [
        (4, [0, 1000, 1000, 1000], (1, 2, 3), 1000),
        (6, [0, 699.9, 700, 1300, 1300.1, 5], (2, 3), 1000),
        (None, [5, 995, 1005], (1, 2), 1000),  # the header cannot be read: opening the image will say so
        (1, [1000], None, 1000),
        (2, [0, 800], (1,), 800),
    ],
)
def test_volumes_within_the_range_are_taken(count, b_values, volumes, b_value):
    choice = choose_volumes(count, b_values, RULE, is_trace=False)
    assert (choice.volumes, choice.skip) == (volumes, None)
    assert choice.b_value == pytest.approx(b_value)


@pytest.mark.parametrize(
    ('count', 'b_values', 'is_trace', 'reason', 'broken'),
    [
        (3, [0, 0, 5], False, 'only b = 0', False),
        (1, [0], True, 'only b = 0', False),
        (
            3,
            [0, 200, 5000],
            False,
            r'no volume with b from 700 to 1300 s/mm2: found b = 0, 200, 5000',
            False,
        ),
        (3, [0, 1000], False, 'bval does not fit: 2 b-values for 3 volumes', True),
        (1, [0, 1000], False, 'bval does not fit', True),
        (7, None, False, 'no bval: the image has 7 volumes', True),
        (2, None, True, 'no bval: the image has 2 volumes', True),
    ],
)
def test_reasons_to_skip(count, b_values, is_trace, reason, broken):
    choice = choose_volumes(count, b_values, RULE, is_trace=is_trace)
    assert choice.skip.startswith(reason)
    assert choice.broken is broken


@pytest.mark.parametrize(
    ('b_values', 'volumes', 'b_value'),
    [
        ([0, 1500, 1500], (1, 2), 1500),
        ([0, 500, 2000, 500], (1, 3), 500),
        ([0, 2000, 3000, 2000], (1, 3), 2000),
        ([5, 1495, 1500, 1505, 2500], (1, 2, 3), 1500),
        ([0, 1400, 600, 1400], (1, 3), 1400),
        ([2000], None, 2000),
    ],
)
def test_the_nearest_shell_is_used_with_a_warning(b_values, volumes, b_value):
    choice = choose_volumes(len(b_values), b_values, RULE, is_trace=False)
    assert (choice.skip, choice.volumes, choice.b_value) == (None, volumes, pytest.approx(b_value))
    assert f'the nearest, b = {b_value}, is used' in choice.warnings[0]


@pytest.mark.parametrize(('is_trace', 'warnings'), [(True, 0), (False, 1)])
def test_a_3d_image_without_bval_is_used_with_a_warning(is_trace, warnings):
    choice = choose_volumes(1, None, RULE, is_trace=is_trace)
    assert (choice.volumes, choice.skip, len(choice.warnings)) == (None, None, warnings)


@pytest.mark.parametrize('text', ['0 1000 1000', '0\n1000\n1000\n', '0,1000,\t1000 ', '0  1e3   1000.0\n\n'])
def test_read_bval(tmp_path, text):
    path = tmp_path / 'x.bval'
    path.write_text(text)
    assert read_bval(path) == [0, 1000, 1000]


@pytest.mark.parametrize('text', ['', ' \n', 'nan 1', '0 b', '-5 1000', 'inf'])
def test_read_bval_refuses(tmp_path, text):
    path = tmp_path / 'x.bval'
    path.write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011
        read_bval(path)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_read_bval_with_a_byte_order_mark(tmp_path, encoding):
    path = tmp_path / 'x.bval'
    path.write_bytes('0 1000'.encode(encoding))
    assert read_bval(path) == [0, 1000]


@pytest.mark.parametrize(
    ('b_values', 'volumes', 'b_value', 'skip'),
    [
        ([0, 1, 1, 2], (1, 2), 1000, None),
        ([0, 0.7, 1.3], (1, 2), 1000, None),
        ([0.005, 0.995], (1,), 995, None),
        ([0, 0, 5], None, None, 'only b = 0: there is no diffusion-weighted volume'),  # 5 s/mm2
        ([0, 1, 1000], (2,), 1000, None),
    ],
)
def test_b_values_in_milliseconds_per_square_micrometer(b_values, volumes, b_value, skip):
    choice = choose_volumes(len(b_values), b_values, RULE, is_trace=False)
    assert (choice.volumes, choice.skip) == (volumes, skip)
    assert choice.b_value == (b_value and pytest.approx(b_value))
    converted = b_value is not None and max(b_values) < 50
    assert [note.partition(' are read')[0] for note in choice.warnings] == (
        [f'b-values up to {max(b_values):g}'] if converted else []
    )


@pytest.mark.parametrize(
    ('name', 'b_value', 'skip'),
    [
        ('acq-b1000_dwi', 1000, None),
        ('acq-b2000_dwi', None, 'by its name it has b = 2000, not 700 to 1300 s/mm2'),
        ('acq-b2000_rec-trace_dwi', None, 'by its name it has b = 2000, not 700 to 1300 s/mm2'),
        ('acq-DWIb500b1000_dwi', None, None),
        ('acq-mb3_dwi', None, None),
    ],
)
def test_without_a_bval_the_name_says_the_b_value(make_bids, name, b_value, skip):
    record = only(find_images(make_bids({f'sub-1/dwi/sub-1_{name}.nii.gz': (4, 4, 4)})))
    assert (record.b_value, record.skip, record.broken) == (b_value, skip, False)


def test_a_bval_file_says_more_than_the_name(make_bids):
    root = make_bids({'sub-1/dwi/sub-1_acq-b2000_dwi.nii.gz': SERIES, 'sub-1/dwi/sub-1_dwi.bval': BVAL})
    assert only(find_images(root)).volumes == (1, 2, 3)


@pytest.mark.parametrize(
    'where',
    [
        'dwi.bval',
        'sub-1/sub-1_dwi.bval',
        'sub-1/ses-1/sub-1_ses-1_dwi.bval',
        'sub-1/ses-1/dwi/sub-1_ses-1_dwi.bval',
        'sub-1/ses-1/dwi/sub-1_ses-1_acq-x_dwi.bval',
    ],
)
def test_bval_by_inheritance(make_bids, where):
    root = make_bids({'sub-1/ses-1/dwi/sub-1_ses-1_acq-x_dwi.nii.gz': SERIES, where: BVAL})
    record = only(find_images(root))
    assert (record.volumes, record.b_value, record.skip) == ((1, 2, 3), 1000, None)


def test_the_nearest_bval_wins(make_bids):
    root = make_bids(
        {
            'dwi.bval': '0 0 0 0 0',
            'acq-y_dwi.bval': '0 0',
            'sub-1/dwi/sub-1_dwi.bval': BVAL,
            'sub-1/dwi/sub-1_dwi.nii.gz': SERIES,
            'sub-2/dwi/sub-2_dwi.nii.gz': SERIES,
        }
    )
    first, second = find_images(root)
    assert first.volumes == (1, 2, 3)
    assert second.skip.startswith('only b = 0')


def test_the_bval_of_another_image_does_not_apply(make_bids):
    root = make_bids(
        {
            'sub-1/dwi/sub-1_run-1_dwi.nii.gz': SERIES,
            'sub-1/dwi/sub-1_run-2_dwi.bval': BVAL,
        }
    )
    record = only(find_images(root))
    assert record.skip.startswith('no bval')
    assert record.broken


def test_a_bval_that_cannot_be_read_is_named(make_bids):
    root = make_bids({'sub-1/dwi/sub-1_dwi.nii.gz': SERIES, 'sub-1/dwi/sub-1_dwi.bval': 'b0 b1'})
    record = only(find_images(root))
    assert record.skip.startswith('bval cannot be read: sub-1_dwi.bval')
    assert record.broken


@pytest.mark.parametrize(
    'name',
    [
        'sub-1_trace',
        'sub-1_rec-TRACE_dwi',
        'sub-1_rec-TRACEW_dwi',
        'sub-1_desc-trace_dwi',
        'sub-1_acq-trace_dwi',
    ],
)
def test_the_trace_image_replaces_its_series(make_bids, name):
    root = make_bids(
        {
            f'sub-1/dwi/{name}.nii.gz': (4, 4, 4),
            'sub-1/dwi/sub-1_dwi.nii.gz': SERIES,
            'sub-1/dwi/sub-1_dwi.bval': BVAL,
            'sub-1/dwi/sub-1_acq-other_dwi.nii.gz': SERIES,
            'sub-1/dwi/sub-1_acq-other_dwi.bval': BVAL,
        }
    )
    records = {record.bids_name: record for record in find_images(root)}
    trace, series = records[name], records['sub-1_dwi']
    assert (trace.skip, trace.volumes, trace.warnings) == (None, None, ())
    assert series.skip == f"the scanner's trace image is used instead: {name}.nii.gz"
    assert not series.broken
    assert records['sub-1_acq-other_dwi'].skip is None


def test_a_trace_image_with_its_b0(make_bids):
    root = make_bids(
        {'sub-1/dwi/sub-1_rec-TRACE_dwi.nii.gz': (4, 4, 4, 2), 'sub-1/dwi/sub-1_rec-TRACE_dwi.bval': '0 1000'}
    )
    record = only(find_images(root))
    assert (record.volumes, record.b_value) == ((1,), 1000)


def test_a_trace_image_of_b0_does_not_hide_the_series(make_bids):
    root = make_bids(
        {
            'sub-1/dwi/sub-1_rec-TRACE_dwi.nii.gz': (4, 4, 4),
            'sub-1/dwi/sub-1_rec-TRACE_dwi.bval': '0',
            'sub-1/dwi/sub-1_dwi.nii.gz': SERIES,
            'sub-1/dwi/sub-1_dwi.bval': BVAL,
        }
    )
    records = {record.bids_name: record for record in find_images(root)}
    assert records['sub-1_rec-TRACE_dwi'].skip.startswith('only b = 0')
    assert records['sub-1_dwi'].skip is None


def test_maps_are_never_taken(make_bids):
    files = {
        f'sub-1/dwi/{name}.nii.gz': (4, 4, 4)
        for name in (
            'sub-1_adc', 'sub-1_ADC', 'sub-1_FA', 'sub-1_colFA', 'sub-1_expADC', 'sub-1_sbref', 'sub-1_S0map',
            'sub-1_rec-ADC_dwi', 'sub-1_desc-FA_dwi', 'sub-1_acq-colFA_dwi', 'sub-1_rec-expADC_dwi',
            'sub-1_acq-sbref_dwi',
            'sub-1_acq-DWIADC_dwi', 'sub-1_rec-adcdwi_dwi',
            'sub-1_rec-exp_dwi', 'sub-1_part-phase_dwi', 'sub-1_acq-headcoil_dwi',
        )
    }  # fmt: skip
    assert only(find_images(make_bids(files))).bids_name == 'sub-1_acq-headcoil_dwi'


def test_a_b0_image_without_bval_is_skipped_by_its_name(make_bids):
    record = only(find_images(make_bids({'sub-1/dwi/sub-1_acq-b0_dwi.nii.gz': (4, 4, 4)})))
    assert record.skip.startswith('only b = 0')
    assert not record.broken

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.data import label_table
from bids_brainseg.pages.drawings import read_viewer
from bids_brainseg.pages.scan_view import (
    durations,
    header_facts,
    quality_numbers,
    rank,
    run_facts,
    usual_uncertainty,
    volumes_table,
)
from bids_brainseg.records import ScanResult

TOTALS = {'brain': 1.2e6, 'ventricles': 2.5e4, 'eTIV': 1.5e6}


def rows(**changes):
    """Rows of a table of volumes; `changes` by name of the structure."""
    usual = {
        'volume_mm3': '1000.0',
        'mc_mean_mm3': '1010.0',
        'mc_std_mm3': '5.0',
        'cv_mc': '0.5',
        'flag': 'n/a',
    }
    table = [
        {
            'index': str(label.index),
            'name': label.name,
            **usual,
            **changes.get(label.name.replace('-', '_'), {}),
        }
        for label in label_table()[1:]
    ]
    empty = dict.fromkeys(usual, 'n/a')
    return table + [
        {'index': 'n/a', 'name': name, **empty, 'volume_mm3': str(value)} for name, value in TOTALS.items()
    ]


def structure(table, name):
    (row,) = [row for row in [*table.paired, *table.midline] if row.name == name]
    return row


def test_volumes_put_left_beside_right():
    table = volumes_table(
        rows(Left_Hippocampus={'volume_mm3': '3600.4'}, Right_Hippocampus={'volume_mm3': '4400.0'}),
        cv_threshold=1.0,
    )
    row = structure(table, 'Hippocampus')
    assert [side[:3] for side in row.sides] == [
        ('3.60', '1.01 ± 0.01', '0.50'), ('4.40', '1.01 ± 0.01', '0.50')
    ]  # fmt: skip
    assert row.asymmetry == '\N{MINUS SIGN}20.0'  # the left is smaller
    (side,) = structure(table, 'Brain Stem').sides
    assert side[:3] == ('1.00', '1.01 ± 0.01', '0.50')
    assert not table.has_interval and not table.compared
    assert table.meaning.startswith('Volume of')
    assert (len(table.paired), len(table.midline)) == (12, 3)


def test_a_cv_above_the_threshold_and_a_doubtful_volume_are_marked():
    changed = rows(
        Left_Caudate={'cv_mc': '1.01'},
        Right_Caudate={'cv_mc': '1.0'},
        Left_Putamen={'flag': 'touches <edge>'},
        Right_Putamen={'flag': 'cv above 1; touches <edge>'},
    )
    table = volumes_table(changed, cv_threshold=1.0)
    assert [side.high for side in structure(table, 'Caudate').sides] == [True, False]
    assert [(side.doubts, side.high) for side in structure(table, 'Putamen').sides] == [
        ('touches <edge>', False), ('touches <edge>', True)
    ]  # fmt: skip
    assert table.doubts == ['Left Putamen: touches <edge>', 'Right Putamen: touches <edge>']
    assert not any(side.high for side in structure(volumes_table(changed), 'Caudate').sides)


def test_absent_numbers_are_said_to_be_absent():
    table = rows(Left_Amygdala={'volume_mm3': '0.0', 'mc_mean_mm3': '0', 'cv_mc': 'n/a'})
    table = [row for row in table if row['name'] != 'Right-Amygdala']
    row = structure(volumes_table(table, cv_threshold=1.0), 'Amygdala')
    assert [side[:3] for side in row.sides] == [('0.00', '0.00 ± 0.01', 'n/a'), ('n/a', 'n/a', 'n/a')]
    assert row.asymmetry == 'n/a'


def test_totals_are_given_in_milliliters():
    assert volumes_table(rows()).totals == [
        ('Brain without ventricles', '1200.0\u2009ml'), ('Ventricles', '25.00\u2009ml'),
        ('eTIV', '1500.0\u2009ml'),
    ]  # fmt: skip


def test_stages_are_timed():
    assert durations({'Seconds': {'registration': 12.34, 'network_pass': 1.5}}) == [
        ('Registration', '12.3 s'), ('Network, each further pass', '1.5 s')
    ]  # fmt: skip


def test_run_facts_leave_out_what_is_not_known():
    qc = {
        'Model': {'Name': 'm', 'SHA256': 'ab' * 32},
        'MonteCarloSamples': 0,
        'Device': 'cpu',
        'BValue': 'n/a',
    }
    assert run_facts(qc) == [
        ('Model', 'm'), ('Weights (SHA-256)', 'ab' * 8), ('Monte-Carlo passes', '0'), ('Device', 'cpu')
    ]  # fmt: skip


def test_header_facts():
    header = {
        'shape': [256, 256, 35],
        'voxel_size_mm': [1.0, 1.0, 4.8],
        'orientation': 'IPR',
        'qform_code': None,
        'new_fact': 3,
        'value_range': [-1024.0, 3071.0],
    }
    assert header_facts({'header': header}) == [
        ('Voxels', '256 × 256 × 35'), ('Voxel size', '1 × 1 × 4.8 mm'), ('Orientation', 'IPR'),
        ('New fact', '3'), ('Value range', '-1024 to 3071'),
    ]  # fmt: skip


def test_the_interval_is_shown_where_there_is_one():
    interval = {'volume_low_mm3': '900.0', 'volume_high_mm3': '101234.0'}
    table = volumes_table(rows(Brain_Stem=interval, Left_Caudate={'volume_low_mm3': 'n/a'}))
    assert table.has_interval
    assert structure(table, 'Brain Stem').sides[0].spread == '0.9 to 101.2'
    assert structure(table, 'Caudate').sides[0].spread == 'n/a'


def test_uncertainty_is_a_multiple_of_the_usual_one():
    usual = [0.1] * 28
    found = rows(Left_Caudate={'entropy_mean': '0.15'}, Right_Caudate={'entropy_mean': '0.12'})
    table = volumes_table(found, usual=usual)
    assert table.compared
    assert [side.uncertainty for side in structure(table, 'Caudate').sides] == ['1.50', '1.20']
    assert [side.unusual for side in structure(table, 'Caudate').sides] == [True, False]
    assert structure(table, 'Brain Stem').sides[0].uncertainty == 'n/a'
    assert not volumes_table(found).compared


@pytest.mark.parametrize('usual', [None, {}, {'mean': [0.1]}, {'mean': 'x'}])
def test_a_card_without_usual_values_gives_none(usual):
    assert usual_uncertainty({'usual_entropy': usual}) == usual_uncertainty({}) == ()


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('{"shape": [1', 'delimiter'),
        ('[1]', 'does not describe a viewer'),
        ('{"shape": [1, 2, 3]}', 'without affine, columns,'),
        (b'\xff\xfe', 'decode'),
    ],
)
def test_a_damaged_viewer_is_said_to_be_so(tmp_path, content, words):
    path = tmp_path / 'v.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found, reason = read_viewer(path)
    assert found is None
    assert reason.startswith('viewer v.json is not shown: ') and words in reason


def test_numbers_for_developers_stand_apart_unless_they_were_judged():
    qc = {'numbers': {'mc_iou_mean': 0.1, 'rotation': 70.0}, 'Rules': {'rotation': {'review_above': 60}}}
    shown, details = quality_numbers(qc)
    assert [row['name'] for row in shown] == ['rotation']
    assert [row['name'] for row in details] == ['mc_iou_mean']


def test_quality_numbers_keep_their_units_and_rules():
    qc = {
        'numbers': {'etiv_mm3': 1.5e6},
        'Units': {'etiv_mm3': 'mm^3'},
        'Rules': {'etiv_mm3': {'review_above': 2e6}},
    }
    assert quality_numbers(qc)[0] == [
        {'name': 'etiv_mm3', 'value': '1500.0', 'unit': 'ml', 'bounds': 'review above 2000', 'meaning': ''}
    ]
    qc = {
        'numbers': {'fov_truncation': 0.1},
        'Rules': {'fov_truncation': {'review_above': 0.3, 'label': 'cut', 'unit': ''}},
        'Meaning': {'fov_truncation': {'Description': 'how <much>'}},
    }
    ((row,), _) = quality_numbers(qc)
    assert (row['value'], row['bounds'], row['meaning']) == ('0.1', 'review above 0.3', 'how <much>')
    assert quality_numbers({}) == ([], [])


def scan(modality, value, **qc):
    qc = {'numbers': {'alignment': value}, **qc}
    return ScanResult(f'sub-1_{modality}', modality, modality, '1', None, {'sub': '1'}, qc=qc)


@pytest.mark.parametrize(('value', 'others', 'lower'), [(0.5, [0.9, 0.3, 0.5, 0.7], 1), (0.3, [0.3, 0.9], 0)])
def test_the_place_among_all_scans(value, others, lower):
    place = rank(scan('T1w', value), {'T1w': others, 'ct': [0.0]})
    assert (place.value, place.others, place.lower) == (value, sorted(others), lower)


def test_the_place_comes_with_its_bounds_and_needs_a_number():
    rules = {'alignment': {'review_below': 0.45, 'fail_below': 0.33}}
    assert rank(scan('ct', 0.5, Rules=rules), {}).bounds == 'review below 0.45, fail below 0.33'
    assert rank(scan('ct', 'n/a'), {}) is None

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.data import label_table
from bids_brainseg.pages.scan_view import (
    durations,
    header_facts,
    quality_numbers,
    rank,
    run_facts,
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
        ('3\u2009600', '1\u2009010 ± 5', '0.50'), ('4\u2009400', '1\u2009010 ± 5', '0.50')
    ]  # fmt: skip
    assert row.asymmetry == '\N{MINUS SIGN}20.0'  # the left is smaller
    (side,) = structure(table, 'Brain Stem').sides
    assert side[:3] == ('1\u2009000', '1\u2009010 ± 5', '0.50')
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
    assert [side[:3] for side in row.sides] == [('0', '0 ± 5', 'n/a'), ('n/a', 'n/a', 'n/a')]
    assert row.asymmetry == 'n/a'


def test_totals_are_given_in_milliliters():
    assert volumes_table(rows()).totals == [
        ('Brain without ventricles', '1\u2009200.0\u2009ml'), ('Ventricles', '25.0\u2009ml'),
        ('eTIV', '1\u2009500.0\u2009ml'),
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


def test_quality_numbers_keep_their_units_and_rules():
    assert quality_numbers({'numbers': {'etiv_mm3': 1.5e6}, 'Units': {'etiv_mm3': 'mm^3'}}) == [
        {'name': 'etiv_mm3', 'value': '1500000', 'unit': 'mm^3', 'bounds': '', 'meaning': ''}
    ]
    qc = {
        'numbers': {'fov_truncation': 0.1},
        'Rules': {'fov_truncation': {'review_above': 0.3, 'label': 'cut', 'unit': ''}},
        'Meaning': {'fov_truncation': {'Description': 'how <much>'}},
    }
    (row,) = quality_numbers(qc)
    assert (row['value'], row['bounds'], row['meaning']) == ('0.1', 'review above 0.3', 'how <much>')
    assert quality_numbers({}) == []


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

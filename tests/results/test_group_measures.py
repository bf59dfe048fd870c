# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.group import MAD_TO_SD, MINIMUM
from bids_brainseg.records import ScanResult
from bids_brainseg.results.group_measures import (
    NAMES,
    choose_reference,
    compare_pairs,
    measure_group,
    pairs,
    scan_pairs,
)


def scan(
    subject, volume=1000.0, *, etiv=1.5e6, modality='T1w', session=None, verdict='pass', run='1', **named
):
    rows = [{'volume_mm3': named.get(name.replace('-', '_'), volume)} for name in NAMES[:-1]]
    rows.append({'volume_mm3': etiv})
    name = f'sub-{subject}_ses-{session}_run-{run}_{modality}'
    return ScanResult(name, modality, modality, subject, session, {}, qc={'verdict': verdict}, rows=rows)


def test_every_pair_has_a_left_and_a_right():
    for name, (left, right) in pairs().items():
        assert (NAMES[left], NAMES[right]) == (f'Left-{name}', f'Right-{name}')


def test_percent_and_asymmetry():
    found = measure_group([scan('1', 900.0, etiv=1.8e6, Left_Amygdala=1100.0)])
    left, right = pairs()['Amygdala']
    assert found.percent[0, right] == pytest.approx(0.05)
    assert found.asymmetry[0, [left, right]] == pytest.approx([20, 20])
    assert np.isnan(found.asymmetry[0, NAMES.index('Brain-Stem')])
    assert np.isnan(found.percent[0, NAMES.index('eTIV')])


def test_one_outlier_is_named_with_the_number_of_scans_behind_it():
    crowd = [scan(str(n), 1000.0 + n, etiv=1.4e6 + 1e3 * n) for n in range(11)]
    monster = scan('99', 1005.0, etiv=1.405e6, Brain_Stem=5000.0)
    found = measure_group([*crowd, monster])
    stem = NAMES.index('Brain-Stem')
    # twelve values 1000..1010 and 5000: median 1005.5, MAD 3
    assert found.z['volume'][11, stem] == pytest.approx((5000 - 1005.5) / (3 * MAD_TO_SD))
    assert found.reasons['volume'][11, stem] == (
        f'volume 5.00 ml, {3994.5 / 3 / MAD_TO_SD:.1f} robust SD above the median of 1.01 ml '
        '(12 T1w scans)'
    )
    assert set(zip(*np.nonzero(found.reasons['volume'] != ''), strict=True)) == {(11, stem)}
    assert found.outlier[11, stem].startswith('volume 5.00 ml')
    assert (found.count == 12).all()


def test_nothing_is_judged_by_too_few_or_by_another_modality():
    crowd = [scan(str(n), 1000.0 + n, etiv=1.4e6 + 1e3 * n) for n in range(MINIMUM - 1)]
    others = [scan(str(n), 1000.0 + n, modality='ct') for n in range(MINIMUM)]
    found = measure_group([*crowd, *others])
    assert np.isnan(found.z['volume'][: len(crowd)]).all()
    assert np.isnan(found.residual[: len(crowd)]).all()
    assert np.isfinite(found.z['volume'][len(crowd) :, 0]).all()


def test_volumes_that_follow_head_size_leave_no_residual():
    crowd = [scan(str(n), 500.0 + 20 * n, etiv=1e6 + 1e5 * n) for n in range(12)]
    found = measure_group(crowd)
    assert found.residual[:, :-1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(found.residual[:, -1]).all()


def test_reference_is_one_scan_of_each_participant_and_modality():
    scans = [
        scan('1', verdict='review'), scan('1', run='2'), scan('1', run='3'),
        scan('1', modality='ct', verdict='review'),
        scan('2', verdict='fail'), scan('3', verdict='None'), scan('4', session='1'), scan('4', session='2'),
    ]  # fmt: skip
    assert np.flatnonzero(choose_reference(scans)).tolist() == [1, 3, 6]


def test_pairs_are_of_one_session_and_repeats_of_one_participant():
    scans = [
        scan('1', session='1'), scan('1', session='1', run='2'), scan('1', session='1', modality='FLAIR'),
        scan('1', session='2', modality='FLAIR'), scan('2'), scan('2', modality='FLAIR', verdict='fail'),
    ]  # fmt: skip
    assert scan_pairs(scans) == {
        ('T1w', 'T1w'): [(0, 1)],
        ('T1w', 'FLAIR'): [(0, 2)],
        ('FLAIR', 'FLAIR'): [(2, 3)],
    }


def test_agreement_of_modalities():
    people = [scan(str(n), 1000.0 + n) for n in range(3)]
    people += [scan(str(n), 1010.0 + n, modality='dwi') for n in range(3)]
    rows = compare_pairs(measure_group(people))
    assert len(rows) == len(NAMES)
    assert (rows[0]['modality_a'], rows[0]['modality_b'], rows[0]['n_pairs']) == ('T1w', 'dwi', 3)
    assert rows[0]['difference_mm3'] == -10
    assert compare_pairs(measure_group([])) == []

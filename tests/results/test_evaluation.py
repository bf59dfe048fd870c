# SPDX-License-Identifier: Apache-2.0
"""How often intervals hold the reference, how far they are too narrow; labels off the brain."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bids_brainseg.results.evaluation import misplaced_labels, summarize_evaluation


def frames(errors):
    """Two structures of each scan: intervals of 1000 / 1.1 to 1100 mm3, references off by `errors`."""
    scans = pd.DataFrame({
        'modality': 'T1w', 'corrupted': None, 'structures_missed': 0,
        **dict.fromkeys(('D_A', 'D_V', 'ASSD_mm', 'cv_mean'), np.linspace(0.7, 0.9, len(errors))),
    })  # fmt: skip
    rows = [
        {'modality': 'T1w', 'corrupted': None, 'index': index, 'name': name, 'dice': 0.8, 'assd_mm': 1.0,
         'volume_mm3': 1000.0, 'volume_low_mm3': 1000 / 1.1, 'volume_high_mm3': 1100.0,
         'reference_volume_mm3': 1000 * 1.1**error}
        for error in errors for index, name in ((8, 'Left-Thalamus'), (14, 'Brain-Stem'))
    ]  # fmt: skip
    return pd.DataFrame(rows), scans


def test_intervals_are_counted_and_the_missing_width_is_told():
    errors = [0.1, -0.5, 0.9, -0.9, 0.2, 0.3, -0.4, 1.5, -2.0, 0.6]
    structures, scans = frames(errors)
    found = summarize_evaluation(structures, scans, bundles={}, labels='/labels')['modalities']['T1w']
    intervals = found['intervals']
    assert intervals['volumes'] == 20
    assert intervals['coverage'] == 0.8
    assert intervals['structures'] == {'Left-Thalamus': 0.8, 'Brain-Stem': 0.8}
    assert intervals['inflation'] == pytest.approx(2.0)  # the 19th of 20 distances, sorted


def test_without_intervals_there_is_nothing_to_count():
    structures, scans = frames([0.1, 0.2, 0.3, 0.4])
    structures['volume_low_mm3'] = np.nan
    found = summarize_evaluation(structures, scans, bundles={}, labels='/labels')['modalities']['T1w']
    assert 'intervals' not in found


RIGHT = {
    'scan': 'sub-01_T1w', 'modality': 'T1w', 'corrupted': None, 'label_distance_mm': 1.2, 'label_fit': 0.7,
}  # fmt: skip


@pytest.mark.parametrize(
    ('changed', 'told'),
    [
        ({}, None),
        ({'label_distance_mm': 40.0, 'label_fit': 0.1}, '40 mm from where the segmentation has them'),
        ({'label_distance_mm': float('nan'), 'label_fit': 0.0}, 'no structure in common'),
        ({'label_distance_mm': 40.0}, None),  # the segmentation failed, the labels fit
        ({'label_fit': 0.1}, None),  # a few structures, or a poor scan
        ({'label_distance_mm': 40.0, 'label_fit': 0.1, 'corrupted': 'noise'}, None),
    ],
)
def test_both_numbers_must_speak_against_the_labels(changed, told):
    found = misplaced_labels(pd.DataFrame([RIGHT | changed]))
    assert bool(found) is (told is not None)
    if told:
        assert told in found['sub-01_T1w'] and '--keep-misplaced-labels' in found['sub-01_T1w']


def test_results_of_a_version_without_these_numbers_are_kept():
    assert misplaced_labels(pd.DataFrame([{'scan': 'x', 'modality': 'T1w', 'corrupted': None}])) == {}

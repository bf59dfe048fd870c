# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bids_brainseg.levels.bundles import quality_rules


def test_a_bundle_wins_over_the_package_and_the_user_over_both():
    plain = quality_rules('T1w', {}, {})['alignment']
    assert quality_rules('T1w', {'alignment': {'review_below': 0.6}}, {})['alignment'] == {
        **plain,
        'review_below': 0.6,
    }
    user = {
        'all': {'alignment': {'review_below': 0.7, 'fail_below': None}},
        'ct': {'alignment': {'review_below': 0.8}},
    }
    changed = quality_rules('T1w', {'alignment': {'review_below': 0.6}}, user)['alignment']
    assert changed['review_below'] == 0.7
    assert 'fail_below' not in changed
    assert quality_rules('ct', {}, user)['alignment']['review_below'] == 0.8


def test_rules_of_a_number_can_be_taken_away():
    assert 'fov_truncation' in quality_rules('T1w', {}, {})
    assert 'fov_truncation' not in quality_rules('T1w', {}, {'T1w': {'fov_truncation': None}})
    assert 'fov_truncation' in quality_rules('ct', {}, {'T1w': {'fov_truncation': None}})

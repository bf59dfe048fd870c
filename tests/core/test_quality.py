# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bids_brainseg.core.quality import verdict

THRESHOLDS = {
    'cv_mean': {'review_above': 2.5, 'label': 'mean CV', 'unit': '%'},
    'alignment': {'fail_below': 0.3, 'review_below': 0.5, 'required': 'fail'},
    'brain_mm3': {'review_below': 8e5, 'review_above': 1.7e6, 'unit': 'mm3'},
}
GOOD = {'cv_mean': 1.0, 'alignment': 0.8, 'brain_mm3': 1.2e6}


def test_good_numbers_pass_without_a_reason():
    assert verdict(GOOD, THRESHOLDS) == ('pass', [])


@pytest.mark.parametrize(
    ('changed', 'level', 'reason'),
    [
        ({'cv_mean': 3.25}, 'review', 'mean CV is 3.25 %, above 2.5 %'),
        ({'alignment': 0.4}, 'review', 'alignment is 0.4, below 0.5'),
        ({'alignment': 0.2}, 'fail', 'alignment is 0.2, below 0.3'),
        ({'brain_mm3': 723456.7}, 'review', 'brain_mm3 is 723.5 ml, below 800 ml'),
        ({'brain_mm3': 1.9e6}, 'review', 'brain_mm3 is 1900 ml, above 1700 ml'),
        ({'alignment': float('nan')}, 'fail', 'alignment could not be measured'),
    ],
)
def test_one_bad_number(changed, level, reason):
    assert verdict({**GOOD, **changed}, THRESHOLDS) == (level, [reason])


def test_the_worst_number_decides_and_comes_first():
    found = verdict({'cv_mean': 5.0, 'alignment': 0.1, 'brain_mm3': 0.0}, THRESHOLDS)
    assert found.verdict == 'fail'
    assert [reason.split()[0] for reason in found.reasons] == ['alignment', 'mean', 'brain_mm3']


def test_the_bound_itself_is_still_good():
    assert verdict({**GOOD, 'cv_mean': 2.5, 'alignment': 0.5}, THRESHOLDS).verdict == 'pass'


def test_a_missing_number_counts_only_if_it_is_required():
    assert verdict({'alignment': 0.8, 'cv_mean': None}, THRESHOLDS).verdict == 'pass'
    assert verdict({}, THRESHOLDS) == ('fail', ['alignment could not be measured'])


def test_infinity_is_a_number_out_of_bounds():
    found = verdict({**GOOD, 'cv_mean': float('inf')}, THRESHOLDS)
    assert found == ('review', ['mean CV is inf %, above 2.5 %'])


@pytest.mark.parametrize('rules', [{'look_over': 3}, {'required': 'pass'}])
def test_an_unknown_rule_is_refused(rules):
    with pytest.raises(ValueError, match="'cv_mean' hold an unknown rule"):
        verdict(GOOD, {'cv_mean': rules})

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from bids_brainseg.core.quality import check_rules, merge_rules, verdict
from bids_brainseg.data import modalities, structure_pairs
from bids_brainseg.data.quality import packaged_rules, population, qc_numbers, reference_centers


def test_every_number_is_described():
    for name, entry in qc_numbers().items():
        assert set(entry) == {'label', 'unit', 'range', 'description'}, name
        low, high = entry['range']
        assert low is None or high is None or low < high


def test_thresholds_are_about_numbers_that_exist_and_within_their_range():
    for modality in modalities():
        rules = merge_rules(packaged_rules(modality), qc_numbers())
        assert set(rules) <= set(qc_numbers())
        verdict({}, rules)  # refuses rules that do not exist
        for name, bounds in rules.items():
            low, high = qc_numbers()[name]['range']
            for rule, bound in bounds.items():
                if rule.endswith(('below', 'above')):
                    assert (low is None or low <= bound) and (high is None or bound <= high), (name, rule)


@pytest.mark.parametrize(
    ('content', 'phrase'),
    [
        ([], 'must hold'),
        ({'alignment': {'review_below': 1}}, "unknown section 'alignment'; known: all, T1w"),
        ({'all': {'algnment': {'review_below': 1}}}, "unknown number 'algnment'; known: alignment"),
        ({'all': {'alignment': {'below': 1}}}, "unknown rule 'below'; known: fail_below"),
        ({'all': {'alignment': {'review_below': 'low'}}}, "review_below of alignment cannot be 'low'"),
        ({'all': {'alignment': 0.5}}, 'alignment must hold'),
    ],
)
def test_what_a_user_wrote_is_checked(content, phrase):
    with pytest.raises(ValueError, match=phrase):
        check_rules(content, modalities(), qc_numbers())


def test_good_rules_are_accepted():
    content = {
        'all': {'alignment': {'review_below': 0.5, 'required': 'review'}},
        'ct': {'fov_truncation': None},
    }
    assert check_rules(content, modalities(), qc_numbers()) == content


def test_the_population_is_one_of_adult_heads():
    norm = population()
    assert norm.n == 15
    assert math.isnan(norm.mean[0]) and len(norm.mean) == 28
    assert 0.75 < sum(norm.mean[1:]) < 0.95  # the rest of the cavity is fluid around the brain
    for mean, sd, log_mean, log_sd in zip(*(column[1:] for column in norm[1:5]), strict=True):
        assert 0 < sd < mean
        assert math.exp(log_mean) <= mean  # geometric and arithmetic mean
        assert log_sd > 0


def test_pairs_of_the_population_are_nearly_alike_on_both_sides():
    norm, centers = population(), reference_centers()
    for left, right in structure_pairs():
        assert norm.asymmetry_mean[left] == norm.asymmetry_mean[right] and norm.asymmetry_sd[left] > 1
        assert abs(norm.asymmetry_mean[left]) < 10
        (x, y, z), (mirrored_x, *rest) = centers[left], centers[right]
        assert x < 0 < mirrored_x and (-x, y, z) == pytest.approx((mirrored_x, *rest), abs=3)
    unpaired = {index for index in range(1, 28)} - {index for pair in structure_pairs() for index in pair}
    assert all(math.isnan(norm.asymmetry_sd[index]) for index in unpaired) and len(unpaired) == 3

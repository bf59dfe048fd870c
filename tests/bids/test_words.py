# SPDX-License-Identifier: Apache-2.0
"""Words in labels of names: neither good scans left out, nor maps taken."""

from __future__ import annotations

import pytest

from bids_brainseg.bids.words import has_word, is_composed


@pytest.mark.parametrize(
    ('label', 'word'),
    [
        ('CTA', 'cta'), ('CTA2', 'cta'), ('preCTA', 'cta'), ('headcta', 'cta'), ('ctahead', 'cta'),
        ('HEADCTA', 'cta'), ('neckctathin', 'cta'), ('CTangio', 'angio'), ('adc', 'adc'),
        ('b1000ADC', 'adc'), ('ADCmap', 'adc'), ('DWIADC', 'adc'), ('isoadc', 'adc'), ('headctp', 'ctp'),
        ('TRACEW', 'tracew'), ('isotrace', 'trace'), ('b0', 'b0'),
    ],
)  # fmt: skip
def test_a_word_is_found(label, word):
    assert has_word([label], [word])


@pytest.mark.parametrize(
    ('label', 'word'),
    [
        ('CTAxial', 'cta'), ('ctaxial', 'cta'), ('ctplain', 'ctp'), ('CTPost', 'ctp'), ('headc', 'adc'),
        ('headcoil', 'adc'), ('headct', 'cta'), ('octavo', 'cta'), ('fat', 'fa'), ('', 'adc'),
    ],
)  # fmt: skip
def test_a_short_word_in_another_one_is_not(label, word):
    assert not has_word([label], [word])


@pytest.mark.parametrize(
    ('label', 'found'),
    [('FA', True), ('FAmap', True), ('dwifa', True), ('FA90', False), ('fast', False), ('fat', False)],
)
def test_a_value_makes_up_the_label_with_usual_words_and_without_digits(label, found):
    assert is_composed([label], ['fa']) == found

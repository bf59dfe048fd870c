# SPDX-License-Identifier: Apache-2.0
"""Scores of a bundle, and its threshold of the CV; the passes themselves are those of test_predict.py."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import pytest

from bids_brainseg.data import label_table, modalities
from bids_brainseg.network.bundle import load_bundle
from bids_brainseg.training import scores
from bids_brainseg.training.scores import (
    calibrate_bundle,
    correlation,
    corrupted_copy,
    measure_copies,
    score_bundle,
)

PAIRS = [(np.full((4, 4, 4), value, np.float32), np.zeros((4, 4, 4), np.uint8)) for value in (10, 20, 30, 40)]


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture
def passes(monkeypatch):
    """Scans as they are have a mean Dice of 0.8 and a CV of 2 %, corrupted ones 0.5 and 9 %."""

    def measure(image, labels, bundle, mc_samples, seed):
        good = image.std() == 0
        errors = np.linspace(-0.1, 0.1, 28) * (1 if good else 3)
        cv = 2.0 if good else 9.0
        return scores.Measured(np.full(28, 0.8 if good else 0.5), cv, errors, np.full(28, cv / 100))

    monkeypatch.setattr(scores, 'measure', measure)


def test_scores_name_structures_and_passes(bundle, passes):
    found = score_bundle(bundle, PAIRS, 3, 0)
    scored = found['dice']['validation']
    assert scored['what'] == '4 held-out scans, network grid, mean of 3 passes'
    assert scored['average'] == scored['Brain-Stem'] == 0.8
    assert set(scored) == {'what', 'average', *(label.name for label in label_table()[1:])}
    assert found['cv_and_dice'] == 'n/a: all held-out scans have the same mean Dice or CV'
    assert score_bundle(bundle, [], 3, 0)['dice'] == {'validation': 'n/a: no scan was held out'}


def test_the_threshold_lies_between_good_and_bad(bundle, passes):
    noisy = [(image + np.indices((4, 4, 4))[0], labels) for image, labels in PAIRS]
    options = {'copies': 0, 'mc_samples': 2, 'seed': 0}
    threshold, text = calibrate_bundle(measure_copies(bundle, [*PAIRS, *noisy], **options), 0.7)
    assert threshold == 5.5
    assert 'of 8 synthetic scans' in text and 'flags 100 % of the 4' in text
    assert calibrate_bundle(measure_copies(bundle, PAIRS, **options), 0.7) == (
        None, 'not calibrated: 0 of 4 synthetic scans of held-out label maps, corrupted or not, have a mean '
        'Dice below 0.700',
    )  # fmt: skip


@pytest.mark.parametrize('modality', ['T1w', 'ct'])
def test_copies_stay_in_range_and_depend_on_their_number(bundle, modality):
    intensity = modalities()[modality].intensity
    of_modality = replace(bundle, modality=modality, intensity=intensity)
    image = np.random.default_rng(0).uniform(0, 100, (12, 12, 12)).astype(np.float32)
    copies = [corrupted_copy(image, of_modality, 0, number, 5) for number in range(4)]
    for copy in copies:
        assert copy.shape == image.shape and copy.dtype == np.float32
        assert 0 <= copy.min() and copy.max() <= 100 and not np.array_equal(copy, image)
    assert not np.array_equal(copies[0], copies[1])
    np.testing.assert_array_equal(copies[0], corrupted_copy(image, of_modality, 0, 0, 5))


def test_the_correlation_of_cv_and_dice_needs_scans():
    assert correlation([0.8, 0.7], [1, 2]).startswith('n/a: 2 held-out scans')
    found = correlation([0.9, 0.8, 0.7, 0.6, np.nan], [1, 2, 3, 4, 9])
    assert (found['pearson_r'], found['scans']) == (-1.0, 4)
    low, high = correlation([0.9, 0.7, 0.8, 0.6], [1, 2, 3, 4])['interval']
    assert -1 < low < -0.8 < high < 1
    assert correlation([0.9] * 5, [1, 2, 3, 4, 5]).startswith('n/a: all')

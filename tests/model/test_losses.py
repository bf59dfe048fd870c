# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy as np
import pytest

from bids_brainseg.model.losses import DiceCrossEntropy


def loss(labels, probabilities):
    return float(DiceCrossEntropy()(np.asarray(labels)[None], np.asarray(probabilities, np.float32)[None]))


def test_a_perfect_answer_scores_minus_one_per_structure_present():
    labels = np.array([0, 1, 2, 2]).reshape(4, 1, 1)
    assert loss(labels, np.eye(4)[labels]) == pytest.approx(-2, abs=1e-5)


def test_an_even_answer_has_the_value_by_hand():
    labels = np.array([0, 1]).reshape(2, 1, 1)
    # structure 1: overlap 1/2, sizes 1 and 1, Dice 1/2; cross-entropy log 2
    assert loss(labels, np.full((2, 1, 1, 2), 0.5)) == pytest.approx(np.log(2) - 0.5, rel=1e-5)


def test_an_absent_structure_counts_for_nothing():
    labels = np.zeros((2, 1, 1), int)
    assert loss(labels, np.full((2, 1, 1, 2), 0.5)) == pytest.approx(np.log(2), rel=1e-5)


def test_balance_gives_each_class_the_same_share():
    labels = np.array([0, 0, 0, 1]).reshape(4, 1, 1)
    probabilities = np.array([[0.9, 0.1]] * 3 + [[0.8, 0.2]]).reshape(4, 1, 1, 2)
    dice = 2 * 0.2 / (1 + 0.5)
    entropies = -np.log(0.9), -np.log(0.2)
    plain = DiceCrossEntropy()(labels[None], probabilities[None].astype(np.float32))
    balanced = DiceCrossEntropy(balance=1.0)(labels[None], probabilities[None].astype(np.float32))
    assert float(plain) == pytest.approx(0.75 * entropies[0] + 0.25 * entropies[1] - dice, rel=1e-5)
    assert float(balanced) == pytest.approx(np.mean(entropies) - dice, rel=1e-5)

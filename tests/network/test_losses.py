# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import numpy as np
import pytest

from bids_brainseg.network.losses import DiceCrossEntropy


def loss(labels, probabilities):
    return float(DiceCrossEntropy()(np.asarray(labels)[None], np.asarray(probabilities, np.float32)[None]))


def plainly(labels, probabilities, class_balance, cross_entropy_weight):
    """Value and gradient of the loss of one scan, class by class."""
    truth = np.eye(probabilities.shape[-1])[labels]
    size, total = truth.sum((0, 1, 2)), probabilities.sum((0, 1, 2))
    overlap = (truth * probabilities).sum((0, 1, 2))
    counted = size > 0
    counted[0] = False  # the background has no part in the Dice
    value = -(2 * overlap / (size + total))[counted].sum()
    slope = -2.0 * counted * (truth * (size + total) - overlap) / (size + total) ** 2
    weight = np.where(size > 0, np.maximum(size, 1e-9) ** -class_balance, 0)
    weight = weight / (weight * size).sum()
    chosen = (truth * probabilities).sum(-1)
    value -= cross_entropy_weight * (weight[labels] * np.log(chosen)).sum()
    return value, slope - cross_entropy_weight * truth * (weight[labels] / chosen)[..., None]


@pytest.mark.parametrize(('class_balance', 'cross_entropy_weight'), [(0.0, 1.0), (0.4, 10.0)])
def test_value_and_gradient_are_those_of_the_plain_formula(class_balance, cross_entropy_weight):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 3, 4, 5))
    labels[labels == 3] = 2  # one class is absent
    logits = rng.normal(0, 1, (2, 3, 4, 5, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    layer = keras.Sequential([keras.Input((3, 4, 5, 6)), Offset()])
    layer.compile(
        keras.optimizers.SGD(1.0), loss=DiceCrossEntropy(class_balance, cross_entropy_weight, reduction='sum')
    )
    expected = [
        plainly(*pair, class_balance, cross_entropy_weight)
        for pair in zip(labels, probabilities, strict=True)
    ]
    found = layer.train_on_batch(probabilities.astype(np.float32), labels)
    assert float(found) == pytest.approx(sum(value for value, _ in expected), rel=1e-5)
    slopes = -keras.ops.convert_to_numpy(layer.layers[-1].offset)
    np.testing.assert_allclose(slopes, [slope for _, slope in expected], atol=1e-5)


class Offset(keras.layers.Layer):
    """Add a weight to every number, so that a step of the optimizer shows the gradient."""

    def build(self, shape):
        self.offset = self.add_weight(shape=(2, *shape[1:]), initializer='zeros')

    def call(self, inputs):
        return inputs + self.offset

    def compute_output_shape(self, shape):
        return shape


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
    balanced = DiceCrossEntropy(class_balance=1.0)(labels[None], probabilities[None].astype(np.float32))
    assert float(plain) == pytest.approx(0.75 * entropies[0] + 0.25 * entropies[1] - dice, rel=1e-5)
    assert float(balanced) == pytest.approx(np.mean(entropies) - dice, rel=1e-5)


def test_the_cross_entropy_alone_can_weigh_more():
    labels = np.array([0, 1]).reshape(1, 2, 1, 1)
    even = np.full((1, 2, 1, 1, 2), 0.5, np.float32)
    heavy = DiceCrossEntropy(cross_entropy_weight=30.0)
    assert float(heavy(labels, even)) == pytest.approx(30 * np.log(2) - 0.5, rel=1e-5)
    again = DiceCrossEntropy.from_config(heavy.get_config())
    assert float(again(labels, even)) == float(heavy(labels, even))


def test_dice_wants_all_of_what_is_uncertain_and_cross_entropy_its_true_share():
    # one certain voxel of structure 1, and ten of which nobody can say which four belong to it
    labels = np.array([1] + [1] * 4 + [0] * 6).reshape(1, 11, 1, 1)
    chances = np.linspace(0.02, 0.98, 97)

    def share_wanted(weight):
        loss = DiceCrossEntropy(cross_entropy_weight=weight)
        ones = [np.array([0.99] + [chance] * 10).reshape(1, 11, 1, 1) for chance in chances]
        found = [float(loss(labels, np.stack([1 - p, p], -1).astype(np.float32))) for p in ones]
        return chances[int(np.argmin(found))]

    assert share_wanted(0.0) == chances[-1]
    assert share_wanted(30.0) == pytest.approx(0.4, abs=0.03)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bids_brainseg.pages.model_cards import software, used_cards

MODEL = {
    'name': 'ct', 'version': '1.2', 'license': 'Apache-2.0', 'grid_shape': [112, 144, 128],
    'usual_entropy': {'what': '2 real ct scans'},
    'card': {
        'training': {'data': 'label maps', 'pairs_seen': 100},
        'dice': {'heads': {'what': 'two heads', 'average': 0.671, 'Left-Caudate': 0.1},
                 'scans': {'what': 'two scans', 'sub-1_ct': 0.5, 'sub-2_ct': 0.7}, 'note': 'no row'},
        'limits': ['adults only'], 'intervals': 'they hold 90 %',
    },
}  # fmt: skip


def test_the_card_of_a_model_is_shown_once():
    qc = {'Model': {'Name': 'ct', 'SHA256': 'abc'}}
    (card,) = used_cards([qc, {}, qc], {('ct', 'abc'): MODEL, ('other', 'abc'): MODEL | {'name': 'other'}})
    assert card.name == 'ct'
    assert dict(card.facts) == {
        'Version': '1.2', 'License': 'Apache-2.0', 'Network grid': '112 × 144 × 128', 'Training pairs': '100'
    }  # fmt: skip
    assert (card.trained_on, card.intervals) == ('label maps', 'they hold 90 %')
    assert card.usual == '2 real ct scans'
    assert card.limits == ['adults only']


def test_scores_are_means_given_or_computed():
    (card,) = used_cards([{'Model': {'Name': 'ct', 'SHA256': 'abc'}}], {('ct', 'abc'): MODEL})
    assert card.scores == [('two heads', '0.67'), ('two scans', '0.60')]


def test_every_version_is_listed():
    qcs = [{'Versions': {'keras': '3.1'}}, {'Versions': {'keras': '3.0', 'numpy': '2'}}, {}]
    assert software(qcs) == [('keras', '3.0, 3.1'), ('numpy', '2')]

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from bids_brainseg.data import label_table
from bids_brainseg.figures import comparison, slices

SVG = '{http://www.w3.org/2000/svg}'
WHITE = comparison.REFERENCE_INK
HIPPOCAMPUS, PALLIDUM = 10, 9


def layers(path):
    """What is drawn in which order: the class of each layer, and (class, stroke, points) of its lines."""
    return [
        (
            group.get('class'),
            [(line.get('class'), line.get('stroke'), line.get('d')) for line in group.iter(f'{SVG}path')],
        )
        for group in ElementTree.parse(path).getroot().findall(f'{SVG}g')
    ]


def draw(phantom, found, reference, path):
    image = np.random.default_rng(0).normal(10.0 * phantom.labels).astype(np.float32)
    return comparison.comparison_figure(image, found, reference, phantom.affine, path)


def test_the_reference_lies_in_white_on_what_was_found(phantom27, tmp_path):
    path = draw(phantom27, phantom27.labels, phantom27.labels, tmp_path / 'a.svg')
    drawn = layers(path)
    assert [kind for kind, _ in drawn] == ['bb-scan', 'bb-lines bb-under', 'bb-lines', 'bb-marks']
    under, over = drawn[1][1], drawn[2][1]
    assert {stroke for *_, stroke, _ in over} == {WHITE}
    colors = {(f'bb-{label.index}', slices.outline_color(label)) for label in label_table()[1:]}
    assert {line[:2] for line in under} <= colors
    assert len({name for name, *_ in under}) > 20  # few slices: not every structure is in one
    # where both agree, every line lies on its partner
    assert [(name, points) for name, _, points in under] == [(name, points) for name, _, points in over]
    pictures = list(ElementTree.parse(path).getroot().iter(f'{SVG}image'))
    assert len(pictures) == sum(comparison.SLICES)


def test_what_is_missed_is_white_only_and_what_is_too_much_is_colored_only(phantom27, tmp_path):
    found = np.where(phantom27.labels == HIPPOCAMPUS, 0, phantom27.labels)
    reference = np.where(phantom27.labels == PALLIDUM, 0, phantom27.labels)
    drawn = layers(draw(phantom27, found, reference, tmp_path / 'a.svg'))
    under, over = ({name for name, *_ in lines} for _, lines in drawn[1:3])
    assert over - under == {f'bb-{HIPPOCAMPUS}'}
    assert under - over == {f'bb-{PALLIDUM}'}


def test_a_segmentation_without_any_structure_is_still_drawn(phantom27, tmp_path):
    drawn = layers(draw(phantom27, np.zeros_like(phantom27.labels), phantom27.labels, tmp_path / 'a.svg'))
    assert drawn[1][1] == []
    assert drawn[2][1]


def test_shapes_have_to_agree(phantom27, tmp_path):
    with pytest.raises(ValueError, match=r"one shape, found .*'reference': \(47, 56, 40\)"):
        draw(phantom27, phantom27.labels, phantom27.labels[1:], tmp_path / 'a.svg')
    assert not (tmp_path / 'a.svg').exists()

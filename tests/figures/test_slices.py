# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from bids_brainseg.data import label_table
from bids_brainseg.figures import slices

SVG = '{http://www.w3.org/2000/svg}'
PANELS = 17


@pytest.fixture
def boxes():
    """27 boxes, structures of the left at x < 0, and an image of them, on an LPS grid of 1 x 1 x 2 mm."""
    labels = np.zeros((80, 90, 40), np.uint8)
    affine = np.array([[-1, 0, 0, 39.5], [0, -1, 0, 40], [0, 0, 2, -40], [0, 0, 0, 1.0]])
    left = [label.index for label in label_table() if label.hemisphere == 'L']
    right = [label.index for label in label_table() if label.hemisphere == 'R']
    middle = [label.index for label in label_table()[1:] if label.hemisphere == 'n/a']
    for side, columns in ((right, (8, 34)), (left, (46, 72)), (middle, (36, 44))):
        for place, index in enumerate(side):
            row, level = divmod(place, 4)
            labels[slice(*columns), 6 + 28 * row : 28 + 28 * row, 4 + 8 * level : 10 + 8 * level] = index
    image = 10.0 * labels + np.random.default_rng(0).normal(size=labels.shape)
    return image.astype(np.float32), labels, affine


def paths_of(path, kind):
    """(class, x in figure units) of each point of each outline, through its group's matrix."""
    found = []
    for group in ElementTree.parse(path).iter(f'{SVG}g'):
        if 'transform' not in group.attrib:
            continue
        a, _, _, _, e, _ = (float(value) for value in re.findall(r'[-\d.e]+', group.get('transform')[7:]))
        for line in group.iter(f'{SVG}path'):
            for part in line.get('d').split('M')[1:]:
                start, steps = part.rstrip('z').split('l')
                moves = np.array(steps.split(), float)[::2]
                x = float(start.split()[0]) + np.concatenate(([0], np.cumsum(moves)))
                found.append((line.get('class'), a * x + e))
    return [(name, x) for name, x in found if kind is None or name == kind]


def test_contours_outline_every_structure_on_its_own_side(boxes, tmp_path):
    image, labels, affine = boxes
    path = slices.contours_figure(image, labels, affine, tmp_path / 'a.svg')
    root = ElementTree.parse(path).getroot()
    assert len(list(root.iter(f'{SVG}image'))) == PANELS
    axial = [float(image.get('width')) for image in root.iter(f'{SVG}image')][0]
    for label in label_table()[1:]:
        lines = paths_of(path, f'bb-{label.index}')
        assert lines, f'{label.name} is in no panel'
    top = min(float(image.get('y')) for image in root.iter(f'{SVG}image'))
    row = [float(image.get('x')) for image in root.iter(f'{SVG}image') if float(image.get('y')) == top]
    for label in label_table()[1:]:
        for _, x in paths_of(path, f'bb-{label.index}')[:1]:  # axial panels come first
            within = (x - max(start for start in row if start <= x.min())) / axial
            if label.hemisphere == 'L':
                assert (within < 0.5).all()
            elif label.hemisphere == 'R':
                assert (within > 0.5).all()


def test_contours_do_not_depend_on_how_the_grid_is_stored(boxes, tmp_path):
    image, labels, affine = boxes
    one = slices.contours_figure(image, labels, affine, tmp_path / 'a.svg').read_text()
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = labels.shape[0] - 1
    swap = np.eye(4)[[0, 2, 1, 3]]
    other = slices.contours_figure(
        image[::-1].swapaxes(1, 2), labels[::-1].swapaxes(1, 2), affine @ flip @ swap, tmp_path / 'b.svg'
    ).read_text()
    assert one == other


def test_colors_are_those_of_the_table(boxes, tmp_path):
    image, labels, affine = boxes
    root = ElementTree.parse(slices.contours_figure(image, labels, affine, tmp_path / 'a.svg')).getroot()
    seen = {(line.get('class'), line.get('stroke')) for line in root.iter(f'{SVG}path')}
    assert seen == {(f'bb-{label.index}', slices.outline_color(label)) for label in label_table()[1:]}
    names = {text.text for text in root.iter(f'{SVG}text')}
    assert {'Hippocampus', 'Brain Stem', 'L', 'R', 'A', 'P'} <= names


def test_an_empty_segmentation_still_shows_the_scan(boxes, tmp_path):
    image, labels, affine = boxes
    path = slices.contours_figure(image, np.zeros_like(labels), affine, tmp_path / 'a.svg')
    root = ElementTree.parse(path).getroot()
    assert len(list(root.iter(f'{SVG}image'))) == PANELS
    assert not list(root.iter(f'{SVG}path'))


def test_uncertainty_uses_the_slices_of_the_contours(boxes, tmp_path):
    image, labels, affine = boxes
    drawn = [
        ElementTree.parse(path).getroot()
        for path in (
            slices.contours_figure(image, labels, affine, tmp_path / 'a.svg'),
            slices.uncertainty_figure(image, np.zeros(labels.shape), labels, affine, tmp_path / 'b.svg'),
        )
    ]
    places = [[dict(item.attrib, href='') for item in root.iter(f'{SVG}image')] for root in drawn]
    assert places[0] == places[1]
    assert '2 times that, or more' in {text.text for text in drawn[1].iter(f'{SVG}text')}


def test_the_legend_says_what_the_uncertainty_is_compared_with(boxes, tmp_path):
    image, labels, affine = boxes
    entropy = np.zeros(labels.shape)
    for limits, words in ((None, slices.UNKNOWN), ([0.1] * 28, slices.USUAL)):
        path = slices.uncertainty_figure(image, entropy, labels, affine, tmp_path / 'a.svg', limits=limits)
        texts = {text.text for text in ElementTree.parse(path).getroot().iter(f'{SVG}text')}
        assert texts >= set(words)


def test_outlines_of_the_right_are_dashed(boxes, tmp_path):
    image, labels, affine = boxes
    text = slices.contours_figure(image, labels, affine, tmp_path / 'a.svg').read_text()
    dashed = re.search(r'([^}]*){stroke-dasharray', text)[1]
    numbers = {int(number) for number in re.findall(r'\.bb-(\d+)', dashed)}
    assert numbers == {label.index for label in label_table() if label.hemisphere == 'R'}
    assert slices.SIDES in text


def test_sagittal_slices_keep_away_from_the_fissure(boxes):
    image, labels, affine = boxes
    grid, (labels,) = slices.panels.oriented(affine, labels=labels)
    sagittal = [panel.index for panel in slices.panels.lay_out(labels, grid).panels if panel.axis == 0]
    x = [(grid.affine @ [index, 0, 0, 1])[0] for index in sagittal]
    assert len(x) == 5
    assert min(map(abs, x)) >= slices.panels.FISSURE_MM


def test_blend_leaves_usual_voxels_gray_and_saturates():
    base = np.full((1, 4), 100, np.uint8)
    colors = slices.blend(base, np.array([[0.0, 0.9, 2.0, 5.0]]))
    assert (colors[0, :2] == 100).all()
    assert (colors[0, 2] == colors[0, 3]).all()
    assert colors[0, 2].tolist() != [100, 100, 100]
    assert (slices.blend(base, np.full((1, 4), np.nan)) == 100).all()


def test_alignment_holds_both_images_and_the_outline(boxes, tmp_path):
    image, labels, affine = boxes
    path = slices.alignment_figure(image, image[::-1], labels > 0, affine, tmp_path / 'a.svg', quality=0.8765)
    root = ElementTree.parse(path).getroot()
    groups = {group.get('class'): group for group in root.iter(f'{SVG}g')}
    for kind in ('bb-scan', 'bb-reference'):
        assert len(list(groups[kind].iter(f'{SVG}image'))) == PANELS
    assert sum(bool(line.get('d')) for line in groups['bb-lines'].iter(f'{SVG}path')) >= PANELS // 2
    assert 'alignment 0.88<' in path.read_text()
    assert (
        'alignment '
        not in slices.alignment_figure(
            image, image, labels, affine, tmp_path / 'b.svg', quality=float('nan')
        ).read_text()
    )


def test_shapes_have_to_agree(boxes, tmp_path):
    image, labels, affine = boxes
    with pytest.raises(ValueError, match=r"one shape, found .*'labels': \(79, 90, 40\)"):
        slices.contours_figure(image, labels[1:], affine, tmp_path / 'a.svg')
    with pytest.raises(ValueError, match='3D arrays'):
        slices.alignment_figure(image[0], image[0], labels[0], affine, tmp_path / 'a.svg')
    assert not (tmp_path / 'a.svg').exists()


def test_dark_colors_are_lightened_and_others_kept():
    assert slices.legible('#F5F5F5') == '#F5F5F5'
    dark = [int(slices.legible('#781286')[i : i + 2], 16) for i in (1, 3, 5)]
    assert np.dot(dark, (0.2126, 0.7152, 0.0722)) == pytest.approx(105, abs=1)

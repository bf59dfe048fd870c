# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_brainseg.core.arrays import NumpyOps
from bids_brainseg.data import freesurfer_to_index, label_table, mirrored_classes, modalities
from bids_brainseg.synthesis.anatomy import Variation, sample_contrast
from bids_brainseg.synthesis.effect import LESION, Context, Grids, Rendering
from bids_brainseg.synthesis.fields import along_axes
from bids_brainseg.synthesis.generator import Synthesizer
from bids_brainseg.synthesis.label_map import Deformation, LabelMap, priors, split_layers, tissue_names
from bids_brainseg.synthesis.ranges import AugmentationRanges
from bids_brainseg.synthesis.render import render_labels
from bids_brainseg.synthesis.scene import EFFECTS, sample_deformation
from bids_brainseg.synthesis.view import sample_crop

STILL = AugmentationRanges(
    rotation=0,
    shear=0,
    scale=0,
    translation=0,
    displacement=0,
    crop=0,
    deface=0,
    lesions=0,
    random_contrast=0,
    flip=False,
)


@pytest.fixture(scope='module')
def head():
    """A head whose left half of the brain is white matter and right half cortex, in a skull."""
    labels = np.zeros((40, 48, 40), np.int16)
    labels[4:36, 4:44, 4:36] = 515
    labels[8:20, 8:40, 8:32] = 2
    labels[20:32, 8:40, 8:32] = 42
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-78, -94, -78]
    return LabelMap.from_labels(labels, affine, np.eye(4))


@pytest.fixture(scope='module')
def grid():
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-78, -94, -78]
    return (40, 48, 40), affine


def test_every_prior_covers_every_tissue():
    names = set(priors()['tissues'])
    for modality in modalities().values():
        assert set(modality.contrast['means']) == names
    assert set(priors()['outside_brain']) <= names


def test_structures_have_a_tissue():
    known = {number for numbers in priors()['tissues'].values() for number in numbers}
    assert {label.freesurfer for label in label_table()} <= known


def test_an_unknown_label_is_named():
    with pytest.raises(ValueError, match=r'\[999\]'):
        LabelMap.from_labels(np.full((2, 2, 2), 999), np.eye(4), np.eye(4))


def test_sampling_on_its_own_grid_gives_the_classes_back(head, grid):
    classes = head.class_of[head.sample(*grid)]
    assert classes[10, 20, 20] == 1 and classes[25, 20, 20] == 4
    assert np.count_nonzero(classes == 1) == 12 * 32 * 24
    assert np.count_nonzero(classes == 4) == 12 * 32 * 24


def test_outside_the_map_is_air(head):
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = 500
    assert not head.sample((3, 3, 3), affine).any()


def test_a_translation_moves_by_whole_voxels(head, grid):
    move = np.eye(4)
    move[:3, 3] = [8, 0, -4]
    shape, affine = grid
    still = head.class_of[head.sample(shape, affine)]
    corners = np.array([affine[:3, 3], affine[:3, 3] + 100])
    moved = head.class_of[
        head.sample(shape, affine, deformation=Deformation(move, np.zeros((3, 6, 6, 6)), corners))
    ]
    np.testing.assert_array_equal(moved[4:30, :, 4:30], still[6:32, :, 3:29])


def test_a_constant_displacement_is_a_translation(head, grid):
    shape, affine = grid
    corners = np.array([affine[:3, 3], affine[:3, 3] + 4.0 * (np.array(shape) - 1)])
    control = np.zeros((3, 6, 6, 6))
    control[1] = 8
    moved = head.class_of[head.sample(shape, affine, deformation=Deformation(np.eye(4), control, corners))]
    still = head.class_of[head.sample(shape, affine)]
    np.testing.assert_array_equal(moved[:, 4:40], still[:, 6:42])


def test_left_stays_left(head, grid):
    shape, affine = grid
    pairs = Synthesizer(
        [head],
        shape,
        affine,
        {'T1w': {'type': 'percentile', 'low': 0.5, 'high': 99.5}},
        ranges=AugmentationRanges(),
        seed=2,
    )
    for number in range(6):
        _, labels = pairs.pair(number)
        # a mirrored head has its white matter on the right, and is told so
        left, right = ((1, 4), (2, 3))[int((labels == 3).any())]
        assert np.argwhere(labels == left)[:, 0].mean() < np.argwhere(labels == right)[:, 0].mean()


def test_mirroring_swaps_sides_once(head, grid):
    swapped = np.array(mirrored_classes())
    np.testing.assert_array_equal(swapped[swapped], np.arange(28))
    names = [label.name for label in label_table()]
    assert names[swapped[names.index('Left-Amygdala')]] == 'Right-Amygdala'
    assert swapped[names.index('Brain-Stem')] == names.index('Brain-Stem')


def test_a_pair_depends_on_seed_and_number_alone(head, grid):
    rule = {
        'T1w': {'type': 'percentile', 'low': 0.5, 'high': 99.5},
        'ct': {'type': 'window', 'low': 0, 'high': 80},
    }
    one, two = (Synthesizer([head], *grid, rule, seed=3) for _ in range(2))
    for number in (7, 2):
        for a, b in zip(one.pair(number), two.pair(number), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.pair(2)[0], one.pair(3)[0])
    assert not np.array_equal(one.pair(2)[0], Synthesizer([head], *grid, rule, seed=4).pair(2)[0])


def test_images_are_what_the_network_reads(head, grid):
    rule = {'ct': {'type': 'window', 'low': 0, 'high': 80}}
    image, labels = Synthesizer([head], *grid, rule, ranges=STILL, seed=1).pair(0)
    assert image.dtype == np.float32 and labels.dtype == np.uint8
    assert image.min() >= 0 and image.max() <= 100
    # white matter near 27 HU, cortex near 36 HU, in a window of 80 HU
    assert 15 < np.median(image[labels == 1]) < 50
    assert np.median(image[labels == 1]) < np.median(image[labels == 4])


def test_contrasts_follow_the_modality():
    names = tissue_names()
    rng = np.random.default_rng(0)
    draws = np.array(
        [
            sample_contrast(rng, modalities()['T1w'].contrast, names, random_contrast=False)['mean']
            for _ in range(50)
        ]
    )
    white, gray, fluid = (draws[:, names.index(n)].mean() for n in ('wm', 'gm', 'ventricle'))
    assert white > gray > fluid
    free = np.array(
        [
            sample_contrast(rng, modalities()['T1w'].contrast, names, random_contrast=True)['mean']
            for _ in range(50)
        ]
    )
    assert 0.2 < (free[:, names.index('wm')] > free[:, names.index('gm')]).mean() < 0.8


def test_layers_are_as_thick_as_they_should_be():
    names = tissue_names()
    codes = np.ones((20, 3, 3), np.uint8)  # white matter up to 10 mm, then cortex, 1 mm voxels
    codes[10:], codes[:2] = 2, 0
    tissue_of = np.array([names.index(name) for name in ('air', 'wm', 'gm')], np.uint8)
    split, parent, tissues = split_layers(codes, tissue_of, names, (0.5, 2, 2))
    found = [names[tissues[code]] for code in split[:, 1, 1]]
    assert found == ['air'] * 2 + ['wm'] * 3 + ['wm_middle'] * 2 + ['wm_outer'] * 3 + ['gm'] * 10
    np.testing.assert_array_equal(parent[split], codes)
    unchanged = split_layers(np.minimum(codes, 1), tissue_of, names, (1, 1, 1))[0]
    np.testing.assert_array_equal(unchanged, np.minimum(codes, 1))


def test_a_layer_lies_between_its_neighbors():
    contrast, names = modalities()['T1w'].contrast, tissue_names()
    shares = []
    for seed in range(20):
        mean = sample_contrast(np.random.default_rng(seed), contrast, names, random_contrast=seed % 2 == 0)[
            'mean'
        ]
        white, outer, middle, gray = (mean[names.index(n)] for n in ('wm', 'wm_outer', 'wm_middle', 'gm'))
        shares.append((outer - white) / (gray - white))
        assert middle - white == pytest.approx(0.4 * (outer - white), abs=1e-5)
    assert 0 <= min(shares) < 0.1 and 0.3 < max(shares) <= contrast['rim'][1] + 1e-5


def test_tissues_vary_from_place_to_place_by_what_was_drawn():
    names, rng, deviations = tissue_names(), np.random.default_rng(0), []
    air = LabelMap.from_labels(np.zeros((2, 2, 2)), np.eye(4), np.eye(4))
    grids, tables = Grids.around((29, 29, 29), np.eye(4)), {'variation': np.ones(len(names), np.float32)}
    context = Context(air, modalities()['T1w'], False, np.float32(0), STILL, grids, tables)
    for _ in range(40):
        field = Variation().sample(rng, context)
        smooth = along_axes(field.control, field.basis)
        deviations.append(np.mean(smooth**2))
        assert np.abs(np.diff(smooth, axis=0)).max() < np.abs(smooth).max() / 2
    assert np.sqrt(np.mean(deviations)) == pytest.approx(1, rel=0.1)


def test_fine_grid_covers_the_same_field_of_view(grid):
    shape, affine = grid
    _, _, fine_shape, fine = Grids.around(shape, affine)
    for axis in range(3):
        low = affine[axis, 3] - affine[axis, axis] / 2
        assert fine[axis, 3] - fine[axis, axis] / 2 == pytest.approx(low)
        assert fine_shape[axis] * fine[axis, axis] == pytest.approx(shape[axis] * affine[axis, axis])


def test_a_mirrored_deformation_reverses_orientation(grid):
    rng = np.random.default_rng(0)
    assert np.linalg.det(sample_deformation(rng, AugmentationRanges(), *grid, mirror=True).affine[:3, :3]) < 0
    assert (
        np.linalg.det(sample_deformation(rng, AugmentationRanges(), *grid, mirror=False).affine[:3, :3]) > 0
    )


def test_freesurfer_numbers_of_cortex_parcels():
    index = freesurfer_to_index()
    assert (index[1024], index[2024], index[77] if 77 in index else None) == (2, 4, None)


def test_a_window_is_a_part_of_the_grid(head, grid):
    shape, affine = grid
    rules = {'T1w': {'type': 'percentile', 'low': 0.5, 'high': 99.5}}
    whole = Synthesizer([head], shape, affine, rules, ranges=STILL).pair(0)[1]
    window = (16, 32, 16)
    corners = set()
    for number in range(6):
        image, labels = Synthesizer([head], shape, affine, rules, ranges=STILL, window=window).pair(number)
        assert image.shape == labels.shape == window
        views = np.lib.stride_tricks.sliding_window_view(whole, window)
        found = np.argwhere((views == labels).all((3, 4, 5)))
        assert len(found)
        corners.add(tuple(found[0]))
    assert len(corners) > 1


def test_cropping_takes_less_than_a_quarter_from_a_side():
    drawn = [sample_crop(np.random.default_rng(n), (40, 48, 44)) for n in range(40)]
    assert [len(shown) for shown in drawn[0]] == [40, 48, 44]
    lost = [(~shown).mean() for axes in drawn for shown in axes]
    assert 0 < np.mean(lost) < 0.15 and max(lost) <= 0.5
    for shown in (shown for axes in drawn for shown in axes):
        assert np.count_nonzero(np.diff(np.flatnonzero(shown)) != 1) == 0  # from the sides alone


@pytest.mark.parametrize(
    ('contrast', 'expected'),
    [
        ('T1w', [(15.737, 30.559, 46072), (27.439, 37.182, 50216), (9.693, 24.92, 27472)]),
        ('FLAIR', [(18.418, 33.592, 46072), (27.439, 37.182, 50216), (10.597, 26.462, 27472)]),
        ('dwi', [(18.637, 34.245, 46072), (27.439, 37.182, 50216), (11.276, 27.678, 27472)]),
        ('ct', [(36.212, 42.77, 46072), (43.699, 43.66, 50216), (22.423, 37.88, 27472)]),
    ],
)
def test_the_same_seed_gives_the_pairs_that_it_always_gave(head, grid, contrast, expected):
    """An effect that is added must not change the pairs of trainings that were begun without it."""
    rule = {'type': 'percentile', 'low': 0.5, 'high': 98}
    if contrast == 'ct':
        rule = {'type': 'window', 'low': 0, 'high': 80}
    often = AugmentationRanges(crop=0.5, deface=0.5, lesions=0.9)
    pairs = [Synthesizer([head], *grid, {contrast: rule}, ranges=often, seed=11).pair(n) for n in range(3)]
    found = [(float(image.mean()), float(image.std()), int(labels.sum())) for image, labels in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_hyperintensities_are_white_matter_around_the_ventricles():
    """A slab of ventricle in white matter, with cortex beyond it, voxels of 2 mm."""
    labels = np.full((40, 48, 40), 2, np.int16)
    labels[18:22], labels[:4], labels[36:] = 4, 3, 3
    affine = np.diag([2.0, 2, 2, 1])
    slab, grid = LabelMap.from_labels(labels, affine, np.eye(4)), ((40, 48, 40), affine)
    assert 'hyperintensities' not in Synthesizer([slab], *grid, {}, ranges=STILL).effects  # off by default
    ranges = replace(STILL, effects={'hyperintensities': 1.0})
    source = Synthesizer([slab], *grid, {'FLAIR': {'type': 'window', 'low': 0, 'high': 1}}, ranges=ranges)
    effect = EFFECTS['hyperintensities']
    for number in range(4):
        scene, _ = source.sample(np.random.default_rng(number), noisy=False)
        codes = slab.sample(source.grids.fine_shape, source.grids.fine_affine)
        at = Rendering(codes, (), False, 0.0, NumpyOps)
        found = effect.on_codes(codes, scene.effects['hyperintensities'], at) == LESION
        ventricle = slab.class_of[codes] == slab.class_of[codes[28, 0, 0]]
        distance = 2 / 1.4 * np.abs(np.arange(56) - 27.5)[:, None, None] - 4 + 0 * codes  # mm from its wall
        assert found.any() and not (found & ventricle).any()
        assert found[(distance > 0) & (distance < 2)].mean() > 0.5
        assert not found[distance > 25].any()
        np.testing.assert_array_equal(render_labels(scene, slab.codes), slab.class_of[slab.sample(*grid)])


def test_unknown_ranges_are_refused():
    with pytest.raises(ValueError, match=r'unknown ranges: rot; known: .*hyperintensities'):
        AugmentationRanges.from_mapping({'rot': 3})

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erfinv

from bids_brainseg.core.arrays import NumpyOps
from bids_brainseg.data import freesurfer_to_index, label_table, mirrored_classes, modalities
from bids_brainseg.synthesis.acquisition import motion_matrix, sample_steps
from bids_brainseg.synthesis.anatomy import Variation, sample_contrast
from bids_brainseg.synthesis.effect import LESION, Context, Grids, OptionalEffect, Rendering
from bids_brainseg.synthesis.fields import along_axes
from bids_brainseg.synthesis.generator import Synthesizer
from bids_brainseg.synthesis.label_map import Deformation, LabelMap, priors, split_layers, tissue_names
from bids_brainseg.synthesis.ranges import AugmentationRanges
from bids_brainseg.synthesis.render import render_labels
from bids_brainseg.synthesis.scene import EFFECTS, enabled_effects, sample_deformation
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


# === Optional effects ===


def drawn(labels, name, contrast, number=0, spacing=2.0):
    """Return the parameters of one effect that always happens, the codes on the fine grid, and their map."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * np.array(labels.shape) / 2
    label_map = LabelMap.from_labels(labels, affine, np.eye(4))
    ranges = replace(STILL, effects={name: 1.0})
    rule = {'type': 'window', 'low': 0, 'high': 1}
    source = Synthesizer([label_map], labels.shape, affine, {contrast: rule}, ranges=ranges)
    scene, _ = source.sample(np.random.default_rng(number), noisy=False)
    grids = source.grids
    return scene.effects.get(name), label_map.sample(grids.fine_shape, grids.fine_affine), label_map, grids


def rendering(codes=None):
    return Rendering(codes, (), False, 0.0, NumpyOps)


def test_optional_effects_are_off_and_of_their_own_kind_of_scan():
    names = set(priors()['effects'])
    assert {effect.name for effect in EFFECTS.values() if isinstance(effect, OptionalEffect)} == names
    always = AugmentationRanges(effects=dict.fromkeys(names, 1.0))
    everywhere = set(enabled_effects(AugmentationRanges(), ['FLAIR', 'ct']))
    assert not everywhere & names
    only_mr, only_ct = {'low_contrast', 'flow', 'motion'}, {'dura', 'calcifications', 'beam_hardening'}
    assert set(enabled_effects(always, ['FLAIR'])) - everywhere == names - only_ct
    assert set(enabled_effects(always, ['ct'])) - everywhere == names - only_mr
    assert set(enabled_effects(always, ['FLAIR', 'ct'])) - everywhere == names


def test_low_contrast_moves_gray_towards_white(monkeypatch):
    prior = {**priors()['effects']['low_contrast'], 'share': [0.75, 0.75]}
    monkeypatch.setitem(priors()['effects'], 'low_contrast', prior)
    names = tissue_names()
    ranges = AugmentationRanges(effects={'low_contrast': 1.0})
    mean = np.linspace(0, 1, len(names), dtype=np.float32)
    label_map = LabelMap(None, None, None, None, None, names)
    context = Context(
        label_map, modalities()['FLAIR'], False, np.float32(0), ranges, None, {'mean': mean.copy()}
    )
    EFFECTS['low_contrast'].sample(np.random.default_rng(0), context)
    found = dict(zip(names, context.tissues['mean'], strict=True))
    before = dict(zip(names, mean, strict=True))
    for name in names:
        white = {'cerebellar_gm': 'cerebellar_wm'}.get(name, 'wm')
        moved = name in ('cerebellar_gm', *prior['tissues']['wm'])
        expected = 0.25 * before[name] + 0.75 * before[white] if moved else before[name]
        assert found[name] == pytest.approx(expected, rel=1e-6), name


def test_inflow_brightens_fluid_near_the_base():
    labels = np.full((24, 24, 48), 3, np.int16)
    labels[8:16] = 24
    parameters, codes, label_map, grids = drawn(labels, 'flow', 'FLAIR')
    prior = priors()['effects']['flow']
    assert drawn(labels, 'flow', 'ct')[0] is None  # CT knows no inflow
    fluid = label_map.class_of[codes] == 0
    gain = parameters.gain[codes[fluid][0]]
    still = parameters._replace(control=np.zeros_like(parameters.control))
    found = EFFECTS['flow'].on_image(np.ones(codes.shape, np.float32), still, rendering(codes))
    np.testing.assert_allclose(found[~fluid], 1)
    away = np.exp(prior['patchiness'] * prior['threshold'])  # the field is 0: no patch
    expected = np.broadcast_to(1 + gain * parameters.level / (1 + away), codes.shape)
    np.testing.assert_allclose(found[fluid], expected[fluid], rtol=1e-5)
    assert gain > 0 and (np.diff(parameters.level) <= 0).all() and parameters.level[0] > parameters.level[-1]


def test_motion_of_the_whole_scan_is_a_shift_and_later_motion_keeps_the_mean():
    scan = np.random.default_rng(0).uniform(size=(6, 7, 5)).astype(np.float32)
    eyes = [np.eye(n, dtype=np.float32) for n in scan.shape]
    still = EFFECTS['motion'].Parameters(True, tuple(eyes), tuple(np.zeros_like(m) for m in eyes))
    np.testing.assert_allclose(EFFECTS['motion'].on_slices(scan, still, rendering()), scan, rtol=1e-6)
    matrix = motion_matrix(np.full(7, 2.0))
    real, imaginary = list(eyes), list(eyes)
    real[1], imaginary[1] = matrix.real.astype(np.float32), matrix.imag.astype(np.float32)
    moved = EFFECTS['motion'].Parameters(True, tuple(real), tuple(imaginary))
    found = EFFECTS['motion'].on_slices(scan, moved, rendering())
    np.testing.assert_allclose(found, np.roll(scan, 2, axis=1), atol=1e-5)
    steps = sample_steps(np.random.default_rng(1), 64, [3, 3], [2.0, 2.0])
    assert steps[32] == 0 and 1 < len(np.unique(steps)) <= 4
    np.testing.assert_allclose(motion_matrix(steps).sum(0), 1, atol=1e-12)  # frequency 0 was read at rest


def test_motion_is_along_an_axis_of_many_slices():
    for number in range(8):
        parameters, *_ = drawn(np.full((20, 40, 30), 3, np.int16), 'motion', 'FLAIR', number)
        changed = [not np.array_equal(m, np.eye(len(m))) for m in parameters.real]
        shortest = int(np.argmin([len(m) for m in parameters.real]))
        assert sum(changed) == 1 and not changed[shortest]


def test_dura_is_a_sheet_midway_of_the_thickness_that_was_drawn():
    labels = np.full((40, 24, 40), 3, np.int16)
    labels[20:] = 42
    labels[:, :, :16] = 8
    parameters, codes, label_map, grids = drawn(labels, 'dura', 'ct')
    reach, step = priors()['effects']['dura']['reach'], grids.fine_affine[0, 0]
    found = EFFECTS['dura'].on_image(np.zeros(codes.shape, np.float32), parameters, rendering(codes))
    assert set(np.unique(found)) == {0, parameters.value}
    # |Phi(x) - Phi(-x)| is erf(|x| / sqrt 2): within half the thickness of the border
    half = reach * np.sqrt(2) * erfinv(float(parameters.width))
    classes = label_map.class_of[codes[:, codes.shape[1] // 2]]
    left, below = (classes[:, -1] == 2).sum(), (classes[8] == 7).sum()  # where the others begin
    x, z = (
        step * (np.arange(n) - n_first + 0.5) for n, n_first in zip(classes.shape, (left, below), strict=True)
    )
    middle = found[:, codes.shape[1] // 2]
    np.testing.assert_array_equal(middle[:, -10] > 0, np.abs(x) <= half + 1e-6)  # falx
    np.testing.assert_array_equal(middle[8] > 0, np.abs(z) <= half + 1e-6)  # tentorium
    assert 0.5 <= half <= 1.25
    white = np.where(labels == 8, 8, 2)
    plain, codes, *_ = drawn(white.astype(np.int16), 'dura', 'ct')
    assert not EFFECTS['dura'].on_image(np.zeros(codes.shape, np.float32), plain, rendering(codes)).any()


def test_calcifications_are_spots_of_choroid_plexus_and_pallidum():
    labels = np.full((40, 40, 40), 2, np.int16)
    labels[5:15], labels[25:35] = 31, 13
    shares = []
    for number in range(6):
        parameters, codes, *_ = drawn(labels, 'calcifications', 'ct', number)
        image = np.full(codes.shape, 30, np.float32)
        found = EFFECTS['calcifications'].on_image(image, parameters, rendering(codes)) > 30
        assert not (found & ~parameters.places[codes]).any()
        smooth = along_axes(parameters.control, parameters.basis)
        np.testing.assert_array_equal(found, parameters.places[codes] & (smooth > parameters.threshold))
        shares.append(found.mean())
    assert 0 < np.mean(shares) < 0.1


def test_beam_hardening_is_the_product_of_bone_on_both_sides():
    labels = np.full((60, 60, 60), 2, np.int16)
    labels[:5], labels[-10:], labels[:3], labels[-3:] = 515, 515, 0, 0
    parameters, codes, label_map, grids = drawn(labels, 'beam_hardening', 'ct')
    plain = parameters._replace(brightening=np.float32(0))
    found = EFFECTS['beam_hardening'].on_image(np.zeros(codes.shape, np.float32), plain, rendering(codes))
    step, bone = grids.fine_affine[0, 0], label_map.intracranial[codes] == 0
    sides = [
        np.count_nonzero(parameters.bone[codes][part, 42, 42]) * step
        for part in (slice(0, 42), slice(42, 84))
    ]
    assert sides[0] == pytest.approx(4, abs=step) and sides[1] == pytest.approx(14, abs=step)
    np.testing.assert_allclose(found[~bone], -parameters.darkening * sides[0] * sides[1], rtol=1e-4)
    np.testing.assert_array_equal(found[bone], 0)
    rim = parameters._replace(darkening=np.float32(0))
    found = EFFECTS['beam_hardening'].on_image(np.zeros(codes.shape, np.float32), rim, rendering(codes))
    near = found[np.flatnonzero(~bone[:, 42, 42])[0], 42, 42]
    assert 0 <= found[40, 42, 42] < near <= 0.5 * parameters.brightening + 1e-3


def test_unknown_ranges_are_refused():
    with pytest.raises(ValueError, match=r'unknown ranges: rot; known: .*hyperintensities'):
        AugmentationRanges.from_mapping({'rot': 3})

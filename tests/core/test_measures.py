# SPDX-License-Identifier: Apache-2.0
"""A phantom of known volumes, seen by a network grid of another size, is measured exactly."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.inspection import structure_rotation
from bids_brainseg.core.measures import Alignment, Norm, Passes, Structures, measure_scan
from bids_brainseg.core.volume_errors import VolumeErrors
from bids_brainseg.core.volumes import etiv
from bids_brainseg.data.quality import qc_numbers

STRUCTURES = Structures(
    white_matter=(1, 3), cortex=(2, 4), ventricles=(5, 12, 13, 18), pairs=((1, 3), (2, 4), (5, 18))
)
#: Reference to scan: a volume of the reference is 0.88 of it in the scan.
ALIGNMENT = Alignment(np.diag([1.1, 1.0, 0.8, 1.0]), similarity=0.6, coverage=0.95, scales=(0.8, 1.0, 1.1))
#: The logarithm of volume over eTIV is normal about 1/1000, with a factor of 2 as its standard deviation.
NORM = Norm(
    log_mean=np.full(28, np.log(1e-3)),
    log_sd=np.full(28, np.log(2)),
    asymmetry_mean=np.zeros(28),
    asymmetry_sd=np.full(28, 5.0),
    centers=np.full((28, 3), np.nan),
)
OVERLAP = np.array([0.9, 0.5, np.nan, *[0.75] * 25])


@pytest.fixture
def measured(phantom27):
    def measure(labels=phantom27.labels, *, counts=None, alignment=ALIGNMENT, norm=NORM, errors=None):
        if counts is None:
            voxels = np.bincount(phantom27.labels.ravel(), minlength=28)
            counts = np.array([voxels, voxels], float)
            counts[:, 1] *= 0.9, 1.1
        scan = np.choose(np.minimum(labels, 5), [0.0, 120, 80, 120, 80, 40])  # white, gray, the rest
        entropy = np.where(labels > 0, 0.25, 0.0)
        return measure_scan(
            scan,
            labels,
            entropy,
            phantom27.posterior,
            phantom27.affine,
            alignment=alignment,
            passes=Passes(counts, voxel_mm3=8.0, overlap=OVERLAP, mutual_information=0.01),
            structures=STRUCTURES,
            norm=norm,
            cv_threshold=5.0,
            errors=errors,
        )

    return measure


def test_volumes_are_those_of_the_phantom(measured, phantom27):
    columns, _, totals, numbers = measured()
    exact = phantom27.volumes_mm3
    np.testing.assert_allclose(columns['volume_mm3'], exact)  # on the scan's grid
    np.testing.assert_allclose(
        columns['volume_soft_mm3'], 0.88 * exact
    )  # on the network's, through the affine
    np.testing.assert_allclose(columns['mc_mean_mm3'], 0.88 * exact)
    fluid = exact[[5, 12, 13, 18]].sum()
    cranium = etiv(phantom27.labels, phantom27.affine, (1, 2, 3, 4))
    assert totals == pytest.approx({'Brain': exact[1:].sum() - fluid, 'Ventricles': fluid, 'eTIV': cranium})
    assert [numbers[name] for name in ('brain_mm3', 'ventricles_mm3', 'etiv_mm3')] == list(totals.values())
    np.testing.assert_allclose(columns['etiv_percent'], 100 * exact / cranium)


def test_the_spread_over_the_passes_is_flagged_above_the_threshold(measured):
    columns, flags, _, numbers = measured()
    assert columns['cv_mc'][1] == pytest.approx(10)
    assert columns['mc_std_mm3'][1] == pytest.approx(0.1 * columns['mc_mean_mm3'][1])
    assert [index for index, reason in flags.items() if 'cv above 5 %' in reason] == [1]
    assert numbers['cv_mean'] == pytest.approx(10 / 27)
    assert numbers['mc_iou_mean'] == pytest.approx((0.5 + 25 * 0.75) / 26)
    assert numbers['mutual_information_mean'] == 0.01


def test_a_single_pass_has_no_spread(measured, phantom27):
    columns, _, _, numbers = measured(counts=np.bincount(phantom27.labels.ravel(), minlength=28)[None])
    assert np.isnan(columns['cv_mc']).all()
    assert all(np.isnan(numbers[name]) for name in ('cv_mean', 'mc_iou_mean', 'mutual_information_mean'))
    assert numbers['entropy_mean'] == 0.25


def test_numbers_of_the_alignment(measured):
    _, _, _, numbers = measured()
    names = ('alignment', 'fov_coverage', 'scale_min', 'scale_max')
    assert [numbers[name] for name in names] == [0.6, 0.95, 0.8, 1.1]
    assert numbers['rotation'] == pytest.approx(0, abs=1e-4)
    quarter = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    turned = measured(alignment=ALIGNMENT._replace(matrix=quarter)).numbers
    assert turned['rotation'] == pytest.approx(90) and turned['etiv_mm3'] == numbers['etiv_mm3']


def test_numbers_of_the_scan(measured):
    _, _, _, numbers = measured()
    assert numbers['contrast_wm_gm'] == pytest.approx(40)
    assert np.isnan(numbers['cnr_wm_gm']) and np.isnan(numbers['snr_wm'])  # without any spread
    assert numbers['fov_truncation'] == 0
    assert 0 < numbers['saturation_fraction'] < 1


def test_volumes_are_compared_with_a_population(measured, phantom27):
    columns, flags, _, numbers = measured()
    cranium = etiv(phantom27.labels, phantom27.affine, (1, 2, 3, 4))
    scores = np.log2(phantom27.volumes_mm3 / cranium / 1e-3)
    np.testing.assert_allclose(columns['population_score'], scores)
    implausible = [index for index in range(1, 28) if abs(scores[index]) > 5]
    assert numbers['volumes_implausible'] == len(implausible)
    assert [index for index, reason in flags.items() if 'training population' in reason] == implausible
    assert numbers['volume_score_max'] == pytest.approx(np.abs(scores[1:]).max())


def test_asymmetry_is_that_of_white_matter_and_cortex(measured, phantom27):
    assert measured().numbers['lr_asymmetry_wm'] == measured().numbers['lr_asymmetry_gm'] == 0
    labels = phantom27.labels.copy()
    (a, b, c), (d, e, f) = phantom27.boxes[3]
    labels[(a + d) // 2 : d, b:e, c:f] = 0  # half of the right white matter
    half = ((a + d) // 2 - a) / (d - a)
    numbers = measured(labels).numbers
    assert numbers['lr_asymmetry_wm'] == pytest.approx(200 * (1 - half) / (1 + half))
    assert numbers['lr_asymmetry_gm'] == 0


def test_a_fragmented_structure_is_flagged(measured, phantom27):
    labels = phantom27.labels.copy()
    (a, _, _), (d, _, _) = phantom27.boxes[2]
    middle = (a + d) // 2
    labels[middle] = np.where(labels[middle] == 2, 0, labels[middle])
    fraction = max(middle - a, d - middle - 1) / (d - a - 1)
    columns, flags, _, numbers = measured(labels)
    assert columns['largest_component_fraction'][2] == pytest.approx(fraction)
    assert f'fragmented: {100 * fraction:.0f} % in one piece' in flags[2]
    assert (numbers['structures_fragmented'], numbers['largest_component_fraction_min']) == (1, fraction)


def test_a_structure_that_the_field_of_view_cuts_is_flagged(measured, phantom27):
    columns, flags, _, _ = measured()
    assert columns['fov_truncation'][1:].tolist() == [0] * 27
    assert not any('field of view' in reason for reason in flags.values())
    middle = len(phantom27.labels) // 2  # through the structures of the midline, and no other
    columns, flags, _, _ = measured(phantom27.labels[:middle])
    cut = [index for index in range(1, 28) if (phantom27.boxes[index, :, 0] - middle).prod() < 0]
    assert [index for index, reason in flags.items() if 'cut by the field of view' in reason] == cut != []
    assert columns['fov_truncation'][cut].tolist() == [1] * len(cut)
    assert np.isnan(columns['fov_truncation'][columns['volume_mm3'] == 0]).all()


def test_an_empty_segmentation_has_numbers_too(measured, phantom27):
    columns, flags, totals, numbers = measured(np.zeros_like(phantom27.labels))
    assert set(flags.values()) == {'absent'} and len(flags) == 27
    assert totals['Brain'] == totals['Ventricles'] == 0
    assert np.isnan(columns['population_score'][1:]).all()
    assert numbers['structures_absent'] == numbers['volumes_implausible'] == 27
    for name in (
        'entropy_mean', 'volume_score_max', 'largest_component_fraction_min', 'fov_truncation', 'etiv_mm3'
    ):  # fmt: skip
        assert np.isnan(numbers[name]), name


def test_every_number_has_a_row_in_the_table_and_every_row_a_number(measured):
    assert set(measured().numbers) == set(qc_numbers())


def test_intervals_come_from_errors_on_labeled_scans(measured, phantom27):
    assert np.isnan(measured().columns['volume_low_mm3']).all()  # nothing is known of the model
    errors = VolumeErrors(np.full(28, 0.1), np.full(28, 0.05), 1.0, np.zeros(28), 2.0)
    columns = measured(errors=errors).columns
    exact = phantom27.volumes_mm3 * np.exp(-0.1)
    assert columns['volume_low_mm3'][2:] == pytest.approx(exact[2:] * np.exp(-0.1))
    assert columns['volume_high_mm3'][2:] == pytest.approx(exact[2:] * np.exp(0.1))
    # the passes differ by 10 % of the volume of the first class: population SD of two
    reach = 2 * (0.05 + 0.1 * np.sqrt(2))
    assert columns['volume_high_mm3'][1] == pytest.approx(exact[1] * np.exp(reach))


def test_structures_are_looked_for_where_the_population_has_them(measured, phantom27):
    """The alignment takes them there, apart from 7 mm along one axis."""
    centers = np.array([phantom27.center(index) for index in range(28)])
    places = centers @ np.linalg.inv(ALIGNMENT.matrix)[:3, :3].T
    norm = NORM._replace(centers=places + [0, 7, 0])
    assert measured(norm=norm).numbers['structure_offset'] == pytest.approx(7)
    assert measured(norm=norm).numbers['structure_rotation'] == pytest.approx(0, abs=1e-5)
    assert np.isnan(measured().numbers['structure_offset'])
    assert np.isnan(measured().numbers['structure_rotation'])


def test_the_turn_of_the_structures_is_found_whatever_a_few_of_them_do(phantom27):
    places = np.array([phantom27.center(index) for index in range(28)])
    angle, shift = np.deg2rad(10), [3, -2, 5]
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned[:3, 3] = shift
    assert structure_rotation(places, places, turned) == pytest.approx(10, abs=1e-6)
    displaced = places.copy()
    displaced[[4, 9]] += [0, 60, 0]
    displaced[13] = np.nan
    assert structure_rotation(displaced, places, turned) == pytest.approx(10, abs=1)
    mirrored = np.diag([-1.0, 1, 1, 1])
    assert 0 <= structure_rotation(places, places, mirrored) <= 180
    assert np.isnan(structure_rotation(places[:3], places[:3] * np.nan, turned))


def test_a_structure_that_is_small_on_one_side_is_flagged(measured, phantom27):
    labels = phantom27.labels.copy()
    box = np.argwhere(labels == 18)
    labels[tuple(box[: len(box) * 2 // 5].T)] = 0
    found = measured(labels)
    size = np.count_nonzero(labels == 18) / np.count_nonzero(phantom27.labels == 18)
    score = 200 * (1 - size) / (1 + size) / 5
    assert found.numbers['asymmetry_score_max'] == pytest.approx(score) and score > 5
    assert 'left and right differ by' in found.flags[5] and 'left and right differ by' in found.flags[18]
    assert 'differ' not in found.flags.get(1, '')

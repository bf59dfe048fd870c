# SPDX-License-Identifier: Apache-2.0
"""A phantom of known volumes, seen by a network grid of another size, is measured exactly."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.data.quality import population, qc_numbers
from bids_brainseg.interfaces.measures import ComputeMeasures

SCALE = np.diag(
    [1.1, 1.0, 0.8, 1.0]
)  # reference to scan: a volume of the reference is 0.88 of it in the scan


@pytest.fixture
def measured(phantom27, make_nifti, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')

    def measure(labels=phantom27.labels, image=None, **model):
        np.save('posterior.npy', phantom27.posterior)
        counts = np.bincount(phantom27.labels.ravel(), minlength=28)
        passes = np.array([counts, counts])
        passes[0, 1], passes[1, 1] = 0.9 * counts[1], 1.1 * counts[1]
        files = {
            'samples': {
                'counts': passes.tolist(), 'voxel_mm3_grid': phantom27.affine[0, 0] ** 3,
                'mc_samples': 2, 'mirrored': True, 'seed': 4, 'device': 'cpu', 'backend': 'tensorflow',
                'mutual_information_mean': 0.01, 'mc_iou': [0.9, 0.5, None, *[0.75] * 25],
                'seconds': {'total': 5.0, 'pass': 1.5}, 'versions': {'keras': '3'},
            },
            'registration': {
                'reference_to_scan': SCALE.tolist(), 'similarity': 0.6, 'coverage': 0.95,
                'scales': [0.8, 1.0, 1.1], 'seconds': 4.5, 'notes': ['the alignment has a note'],
            },
            'facts': {'header': {'orientation': 'RAS'}, 'notes': ['the image has a note']},
        }  # fmt: skip
        for name, content in files.items():
            Path(f'{name}.json').write_text(json.dumps(content))
        described = {
            'name': 'tiny', 'weights_sha256': 'f' * 64, 'reference_name': 'Tiny',
            'icv_mm3': 1e6, 'cv_threshold': 5.0, 'qc': {'alignment': {'fail_below': 0.5}},
        }  # fmt: skip
        entropy = np.where(labels > 0, 0.25, 0.0)
        bright = np.choose(np.minimum(labels, 5), [0, 120, 80, 120, 80, 40]).astype(
            float
        )  # white, gray, rest
        outputs = ComputeMeasures(
            in_file=str(make_nifti('scan.nii.gz', bright if image is None else image, phantom27.affine)),
            dseg=str(make_nifti('dseg.nii.gz', labels, phantom27.affine)),
            uncertainty=str(make_nifti('entropy.nii.gz', entropy, phantom27.affine)),
            posterior=str(tmp_path / 'posterior.npy'),
            record=record_from_path(Path('/d/sub-01/anat/sub-01_T1w.nii.gz'), 'T1w', warnings=('a warning',)),
            model=described | model,
            label_resampling='nearest',
            **{name: str(tmp_path / f'{name}.json') for name in files},
        ).run().outputs  # fmt: skip
        with open(outputs.morph) as stream:
            rows = {row['name']: row for row in csv.DictReader(stream, delimiter='\t')}
        return (
            rows,
            json.loads(Path(outputs.qc).read_text()),
            json.loads(Path(outputs.provenance).read_text()),
        )

    return measure


def test_volumes_are_those_of_the_phantom(measured, phantom27):
    rows, _, _ = measured()
    structures = [row for row in rows.values() if row['index'] != 'n/a']
    assert len(structures) == 27
    for row in structures:
        exact = phantom27.volumes_mm3[int(row['index'])]
        assert float(row['volume_mm3']) == pytest.approx(exact)  # on the scan's grid
        assert float(row['volume_soft_mm3']) == pytest.approx(
            0.88 * exact
        )  # on the network's, through the affine
        assert float(row['mc_mean_mm3']) == pytest.approx(0.88 * exact, rel=0.01)
    ventricles = phantom27.volumes_mm3[[5, 12, 13, 18]].sum()
    assert float(rows['Ventricles']['volume_mm3']) == pytest.approx(ventricles)
    assert float(rows['Brain']['volume_mm3']) == pytest.approx(phantom27.volumes_mm3[1:].sum() - ventricles)
    assert float(rows['eTIV']['volume_mm3']) == pytest.approx(0.88e6)


def test_spread_is_flagged_where_it_is_above_the_threshold(measured):
    rows, quality, _ = measured()
    first = rows['Left-Cerebral-White-Matter']
    assert float(first['cv_mc']) == pytest.approx(10, rel=0.02)
    assert first['flag'].split('; ')[0] == 'cv above 5 %'
    assert not any('cv' in row['flag'] for row in rows.values() if row is not first)
    assert quality['numbers']['cv_mean'] == pytest.approx(10 / 27, rel=0.02)
    assert quality['verdict'] == 'pass'


def test_threshold_of_the_cv_drives_the_verdict(measured):
    _, quality, provenance = measured(cv_threshold=0.1)
    assert quality['verdict'] == 'review'
    assert 'mean CV' in quality['reasons'][0]
    assert provenance['thresholds'] == {'cv_percent': 0.1}


def test_alignment_can_fail_a_scan(measured):
    _, quality, _ = measured(qc={'alignment': {'fail_below': 0.7}})
    assert quality['verdict'] == 'fail'


def test_every_number_has_a_unit_and_every_note_arrives(measured):
    _, quality, _ = measured()
    assert (
        list(quality['numbers']) == list(quality['Units']) == list(quality['Meaning']) == list(qc_numbers())
    )
    assert all(meaning['Description'] and meaning['Units'] for meaning in quality['Meaning'].values())
    assert quality['Meaning']['brain_mm3']['Units'] == quality['Units']['brain_mm3'] == 'mm^3'
    assert quality['Seconds'] == {'registration': 4.5, 'network': 5.0, 'network_pass': 1.5}
    assert quality['warnings'] == ['a warning', 'the image has a note', 'the alignment has a note']
    assert quality['numbers']['entropy_mean'] == pytest.approx(0.25)
    assert quality['numbers']['lr_asymmetry_wm'] == pytest.approx(0)
    assert quality['numbers']['structures_absent'] == 0


def test_numbers_of_the_scan_and_of_the_passes(measured):
    _, quality, _ = measured()
    numbers = quality['numbers']
    assert numbers['contrast_wm_gm'] == pytest.approx(40)
    assert numbers['cnr_wm_gm'] == 'n/a'  # without any spread
    assert numbers['mc_iou_mean'] == pytest.approx((0.5 + 25 * 0.75) / 26)
    assert numbers['fov_truncation'] == 0
    assert numbers['rotation'] == pytest.approx(0, abs=1e-4)
    assert (numbers['structures_fragmented'], numbers['largest_component_fraction_min']) == (0, 1)


def test_volumes_are_compared_with_the_training_population(measured, phantom27):
    """The eTIV is 0.88 litres, the hippocampus of the phantom of known volume."""
    rows, quality, _ = measured()
    norm, index = population(), 15
    share = phantom27.volumes_mm3[index] / 0.88e6
    row = rows['Left-Hippocampus']
    assert float(row['etiv_percent']) == pytest.approx(100 * share)
    assert float(row['population_score']) == pytest.approx(
        (np.log(share) - norm.log_mean[index]) / norm.log_sd[index]
    )
    odd = [row for row in rows.values() if 'training population' in row['flag']]
    assert quality['numbers']['volumes_implausible'] == len(odd) > 0
    assert all(abs(float(row['population_score'])) > 5 for row in odd)
    largest = max(abs(float(row['population_score'])) for row in rows.values() if row['index'] != 'n/a')
    assert quality['numbers']['volume_score_max'] == pytest.approx(largest)


def test_a_structure_in_pieces_is_flagged(measured, phantom27):
    labels = phantom27.labels.copy()
    (a, b, c), (d, e, f) = phantom27.boxes[2]
    labels[(a + d) // 2] = np.where(labels[(a + d) // 2] == 2, 0, labels[(a + d) // 2])
    rows, quality, _ = measured(labels=labels)
    share = max((a + d) // 2 - a, d - (a + d) // 2 - 1) / (d - a - 1)
    assert share < 0.8
    assert float(rows['Left-Cerebral-Cortex']['largest_component_fraction']) == pytest.approx(share)
    assert 'in pieces' in rows['Left-Cerebral-Cortex']['flag']
    assert quality['numbers']['structures_fragmented'] == 1


def test_the_threshold_of_the_cv_may_come_from_the_rules(measured):
    _, quality, _ = measured(qc={'cv_mean': {'fail_above': 0.2}}, cv_threshold=50.0)
    assert quality['verdict'] == 'fail'
    assert quality['Rules']['cv_mean']['review_above'] == 50


def test_nothing_found_is_told_and_no_error(measured, phantom27):
    rows, quality, _ = measured(labels=np.zeros_like(phantom27.labels))
    assert rows['Brain-Stem']['flag'] == 'absent'
    assert quality['numbers']['entropy_mean'] == 'n/a'
    assert quality['numbers']['structures_absent'] == quality['numbers']['volumes_implausible'] == 27
    assert quality['numbers']['cnr_wm_gm'] == quality['numbers']['fov_truncation'] == 'n/a'

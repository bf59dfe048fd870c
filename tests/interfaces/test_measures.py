# SPDX-License-Identifier: Apache-2.0
"""The node reads what the steps before it left, and writes table, quality and provenance."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.core.volumes import etiv
from bids_brainseg.data.quality import population, qc_numbers
from bids_brainseg.interfaces.measures import ComputeMeasures
from bids_brainseg.workflows.examples import example_provenance

CEREBRUM = (1, 2, 3, 4)
SCALE = np.diag(
    [1.1, 1.0, 0.8, 1.0]
)  # reference to scan: a volume of the reference is 0.88 of it in the scan


@pytest.fixture
def measured(phantom27, make_nifti, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')

    def measure(labels=phantom27.labels, image=None, cv_threshold=5.0, rules=None, doubts=()):
        np.save('posterior.npy', phantom27.posterior)
        counts = np.bincount(phantom27.labels.ravel(), minlength=28)
        passes = np.array([counts, counts])
        passes[0, 1], passes[1, 1] = 0.9 * counts[1], 1.1 * counts[1]
        files = {
            'samples': {
                'counts': passes.tolist(), 'voxel_mm3_grid': phantom27.affine[0, 0] ** 3,
                'device': 'cpu', 'backend': 'tensorflow',
                'mutual_information_mean': 0.01, 'mc_iou': [0.9, 0.5, None, *[0.75] * 25],
                'seconds': {'total': 5.0, 'pass': 1.5}, 'versions': {'keras': '3'},
            },
            'registration': {
                'reference_to_scan': SCALE.tolist(), 'similarity': 0.6, 'coverage': 0.95,
                'scales': [0.8, 1.0, 1.1], 'seconds': 4.5, 'notes': ['the alignment has a note'],
            },
            'facts': {'header': {'orientation': 'RAS'}, 'notes': ['the image has a note'], 'doubts': doubts},
        }  # fmt: skip
        for name, content in files.items():
            Path(f'{name}.json').write_text(json.dumps(content))
        provenance = example_provenance(
            model='tiny', mc_samples=2, label_resampling='nearest', cv_threshold=cv_threshold
        )
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
            provenance=provenance,
            rules=rules or {'alignment': {'fail_below': 0.5}},
            **{name: str(tmp_path / f'{name}.json') for name in files},
        ).run().outputs  # fmt: skip
        with open(outputs.morph) as stream:
            rows = {row['name']: row for row in csv.DictReader(stream, delimiter='\t')}
        return (
            rows,
            json.loads(Path(outputs.qc).read_text()),
            outputs.provenance,
        )

    return measure


def test_the_table_holds_what_was_measured(measured, phantom27):
    rows, quality, _ = measured()
    structures = [row for row in rows.values() if row['index'] != 'n/a']
    assert len(structures) == 27
    for row in structures:
        exact = phantom27.volumes_mm3[int(row['index'])]
        assert float(row['volume_mm3']) == pytest.approx(exact)  # on the scan's grid
        assert float(row['volume_soft_mm3']) == pytest.approx(0.88 * exact)  # through the affine
    cranium = etiv(phantom27.labels, phantom27.affine, CEREBRUM)
    assert float(rows['eTIV']['volume_mm3']) == pytest.approx(cranium) == quality['numbers']['etiv_mm3']
    assert rows['Left-Cerebral-White-Matter']['flag'].split('; ')[0] == 'cv above 5 %'
    assert quality['verdict'] == 'pass'


def test_volumes_are_compared_with_the_training_population(measured, phantom27):
    rows, _, _ = measured()
    norm, index = population(), 15
    cranium = etiv(phantom27.labels, phantom27.affine, CEREBRUM)
    score = (np.log(phantom27.volumes_mm3[index] / cranium) - norm.log_mean[index]) / norm.log_sd[index]
    assert float(rows['Left-Hippocampus']['population_score']) == pytest.approx(score)


def test_threshold_of_the_cv_drives_the_verdict(measured):
    _, quality, provenance = measured(cv_threshold=0.1)
    assert quality['verdict'] == 'review'
    assert 'mean CV' in quality['reasons'][0]
    assert quality['Thresholds'] == {'cv_percent': provenance.cv_threshold} == {'cv_percent': 0.1}


def test_alignment_can_fail_a_scan(measured):
    _, quality, _ = measured(rules={'alignment': {'fail_below': 0.7}})
    assert quality['verdict'] == 'fail'


def test_a_doubt_about_the_header_asks_for_review(measured):
    _, quality, _ = measured(doubts=['which side is left?'])
    assert (quality['verdict'], quality['reasons']) == ('review', ['which side is left?'])
    _, quality, _ = measured(doubts=['which side is left?'], rules={'alignment': {'fail_below': 0.7}})
    assert quality['verdict'] == 'fail' and quality['reasons'][1] == 'which side is left?'


def test_every_number_has_a_unit_and_every_note_arrives(measured):
    _, quality, _ = measured()
    assert (
        list(quality['numbers']) == list(quality['Units']) == list(quality['Meaning']) == list(qc_numbers())
    )
    assert all(meaning['Description'] and meaning['Units'] for meaning in quality['Meaning'].values())
    assert quality['Meaning']['brain_mm3']['Units'] == quality['Units']['brain_mm3'] == 'mm^3'
    assert quality['Seconds'] == {'registration': 4.5, 'network': 5.0, 'network_pass': 1.5}
    assert quality['warnings'] == ['a warning', 'the image has a note', 'the alignment has a note']


def test_the_threshold_of_the_cv_may_come_from_the_rules(measured):
    _, quality, _ = measured(rules={'cv_mean': {'fail_above': 0.2}}, cv_threshold=50.0)
    assert quality['verdict'] == 'fail'
    assert quality['Rules']['cv_mean']['review_above'] == 50


def test_nothing_found_is_told_and_no_error(measured, phantom27):
    rows, quality, _ = measured(labels=np.zeros_like(phantom27.labels))
    assert rows['Brain-Stem']['flag'] == 'absent'
    assert quality['numbers']['entropy_mean'] == 'n/a'
    assert quality['numbers']['structures_absent'] == quality['numbers']['volumes_implausible'] == 27
    assert quality['numbers']['cnr_wm_gm'] == quality['numbers']['fov_truncation'] == 'n/a'

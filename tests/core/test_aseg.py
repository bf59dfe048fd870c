# SPDX-License-Identifier: Apache-2.0
"""Global measures and intensities of FreeSurfer's tables, on a phantom of known volumes."""

from __future__ import annotations

import numpy as np
import pytest

from bids_brainseg.core.aseg import global_measures, label_intensities
from bids_brainseg.data import aseg_measures, label_table


def test_measures_are_sums_of_structures(phantom27):
    volumes = {label.name: phantom27.volumes_mm3[label.index] for label in label_table()[1:]}
    found = global_measures(volumes, 1e6)
    assert set(found) == {one.field for one in aseg_measures()}
    whole, stem = phantom27.volumes_mm3[1:].sum(), volumes['Brain-Stem']
    fluid = sum(volume for name, volume in volumes.items() if 'Ventricle' in name)
    cerebellum = sum(volume for name, volume in volumes.items() if 'Cerebellum' in name)
    assert found['BrainSegVol'] == whole - stem
    assert found['BrainSegVolNotVent'] == whole - stem - fluid
    assert found['SupraTentorialVol'] == whole - stem - cerebellum
    assert found['SupraTentorialVolNotVent'] == whole - stem - cerebellum - fluid
    assert found['CortexVol'] == found['lhCortexVol'] + found['rhCortexVol']
    white = found['lhCerebralWhiteMatterVol'] + found['rhCerebralWhiteMatterVol']
    assert found['CerebralWhiteMatterVol'] == white
    # gray matter is what is neither white matter, nor fluid, nor brain stem
    gray = whole - stem - fluid - white - sum(v for k, v in volumes.items() if 'Cerebellum-White' in k)
    assert found['TotalGrayVol'] == pytest.approx(gray)
    assert found['BrainSegVol-to-eTIV'] == (whole - stem) / 1e6


def test_many_scans_at_once():
    volumes = {label.name: np.array([1.0, 2.0]) for label in label_table()[1:]}
    found = global_measures(volumes, np.array([52.0, np.nan]))
    assert found['BrainSegVol'].tolist() == [26, 52]
    assert found['BrainSegVol-to-eTIV'][0] == 0.5 and np.isnan(found['BrainSegVol-to-eTIV'][1])


def test_intensities_of_each_structure(phantom27):
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, phantom27.labels.shape).astype(np.float32) + phantom27.labels
    found = label_intensities(image, phantom27.labels, 29)
    for index in (1, 12, 27):
        values = image[phantom27.labels == index].astype(float)
        expected = (values.size, values.mean(), values.std(ddof=1), values.min(), values.max())
        assert [one[index] for one in found] == pytest.approx(expected)
    assert [one[28] for one in found] == [0, 0, 0, 0, 0]  # no such voxel


def test_no_structure_at_all():
    found = label_intensities(np.ones((2, 2, 2)), np.zeros((2, 2, 2), int), 3)
    assert found.count.tolist() == [0, 0, 0]

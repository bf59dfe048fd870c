# SPDX-License-Identifier: Apache-2.0
"""Nodes around images: what is loaded, what is handed on, and on which grid it is saved."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from bids_brainseg.core.resampling import resample_labels_nearest
from bids_brainseg.errors import InputError
from bids_brainseg.interfaces.images import CheckImage, ResampleAndNormalize, ResampleToScan
from bids_brainseg.interfaces.probabilities import ScanProbabilities

VOXELS = np.array([1, -2, 3])  # by so many voxels of the phantom the scan lies from the reference


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')


@pytest.fixture
def shift(phantom27):
    matrix = np.eye(4)
    matrix[:3, 3] = VOXELS * phantom27.affine[0, 0]
    return matrix


@pytest.fixture
def registration(tmp_path, shift):
    path = tmp_path / 'registration.json'
    path.write_text(json.dumps({'reference_to_scan': shift.tolist(), 'similarity': 0.5}))
    return str(path)


def test_check_keeps_the_grid_and_says_what_the_header_says(make_nifti):
    affine = np.array([[-8, 0, 0, 5], [0, 0, 9, 6], [0, 8, 0, 7], [0, 0, 0, 1.0]])
    path = make_nifti('a.nii.gz', affine=affine, qform_code=1, sform_code=0)
    outputs = CheckImage(in_file=str(path)).run().outputs
    checked = nib.load(outputs.out_file)
    np.testing.assert_array_equal(checked.affine, nib.load(path).affine)
    assert (checked.header['qform_code'], checked.header['sform_code']) == (1, 0)
    assert checked.get_data_dtype() == np.float32
    np.testing.assert_array_equal(checked.get_fdata(), nib.load(path).get_fdata())
    facts = json.loads(open(outputs.facts).read())
    assert facts['header']['orientation'] == 'LSA'
    assert facts['notes'] == facts['doubts'] == []


def test_check_averages_the_volumes_that_were_chosen(make_nifti):
    data = np.stack(
        [np.full((4, 4, 4), 100.0), np.arange(64.0).reshape(4, 4, 4), np.full((4, 4, 4), 2.0)], -1
    )
    path = make_nifti('a.nii.gz', data, np.diag([20.0, 20, 20, 1]))
    outputs = CheckImage(in_file=str(path), volumes=[1, 2]).run().outputs
    np.testing.assert_allclose(nib.load(outputs.out_file).get_fdata(), data[..., 1:].mean(-1))


def test_check_refuses(make_nifti):
    with pytest.raises(InputError, match='not found'):
        CheckImage(in_file='/absent.nii.gz').run()
    with pytest.raises(InputError, match='Hounsfield'):
        CheckImage(in_file=str(make_nifti(affine=np.diag([9.0, 9, 9, 1]))), modality='ct').run()


def test_prepare_follows_the_registration(phantom27, make_nifti, registration):
    """What lies some voxels from the reference comes back by as many on the reference's grid."""
    path = make_nifti('scan.nii.gz', phantom27.labels.astype(np.float32), phantom27.affine)
    prepared = ResampleAndNormalize(
        in_file=str(path),
        registration=registration,
        grid_shape=phantom27.labels.shape,
        grid_affine=phantom27.affine.tolist(),
        intensity={'type': 'window', 'low': 0, 'high': 50},
        mask=str(path),
    ).run()
    image = nib.load(prepared.outputs.out_file)
    expected = np.roll(phantom27.labels, -VOXELS, (0, 1, 2)) * 2.0
    inside = (slice(4, -4),) * 3
    np.testing.assert_allclose(image.get_fdata()[inside], expected[inside], atol=0.01)
    np.testing.assert_array_equal(image.affine, phantom27.affine)


def test_prepare_reads_the_brain_where_the_reference_has_its_cavity(make_nifti, tmp_path):
    scan = np.zeros((24, 24, 24), np.float32)
    scan[2:22, 2:22, 2:22] = 3000  # fat
    scan[6:18, 6:18, 6:18] = np.linspace(300, 800, 12**3).reshape(12, 12, 12)
    cavity = np.zeros((12, 12, 12), np.float32)  # on a coarser grid than the network's
    cavity[4:8, 4:8, 4:8] = 1
    still = tmp_path / 'still.json'
    still.write_text(json.dumps({'reference_to_scan': np.eye(4).tolist(), 'similarity': 0.5}))
    coarse = np.diag([2.0, 2, 2, 1])
    coarse[:3, 3] = 0.5
    prepared = ResampleAndNormalize(
        in_file=str(make_nifti('scan.nii.gz', scan, np.eye(4))),
        registration=str(still),
        grid_shape=scan.shape,
        grid_affine=np.eye(4).tolist(),
        intensity={'type': 'percentile', 'low': 0, 'high': 100, 'region': 'cavity'},
        mask=str(make_nifti('mask.nii.gz', cavity, coarse)),
    ).run()
    found = nib.load(prepared.outputs.out_file).get_fdata()
    core = (slice(8, 16),) * 3
    np.testing.assert_allclose(found[core], scan[core] / scan[core].max() * 100, atol=0.1)
    assert found[3, 3, 3] == 100 and found[0, 0, 0] == pytest.approx(0, abs=1e-3)


@pytest.fixture
def predicted(phantom27, shift, tmp_path, make_nifti):
    np.save(tmp_path / 'posterior.npy', phantom27.posterior)
    entropy = np.where(phantom27.labels > 0, 0.5, 0.0).astype(np.float32)
    # The grid of the scan is another one: finer along x, and turned.
    shape, mm = np.array([120, 50, 40]), phantom27.affine[0, 0]
    affine = np.array([[0, -mm, 0, 0], [mm / 2, 0, 0, 0], [0, 0, mm, 0], [0, 0, 0, 1.0]])
    affine[:3, 3] = shift[:3, 3] - affine[:3, :3] @ (shape - 1) / 2
    scan = make_nifti('scan.nii.gz', np.arange(float(shape.prod())).reshape(shape), affine)
    return {
        'in_file': str(scan),
        'posterior': str(tmp_path / 'posterior.npy'),
        'uncertainty': str(make_nifti('entropy.nii.gz', entropy, phantom27.affine)),
    }


@pytest.mark.parametrize('method', ['posterior', 'nearest'])
def test_back_puts_every_structure_where_it_lies(phantom27, shift, predicted, registration, method):
    outputs = ResampleToScan(
        **predicted, registration=registration, grid_affine=phantom27.affine.tolist(), method=method
    ).run()
    labels = nib.load(outputs.outputs.dseg)
    entropy = nib.load(outputs.outputs.uncertainty)
    scan = nib.load(predicted['in_file'])
    voxels = np.stack(np.meshgrid(*map(np.arange, scan.shape), indexing='ij'), -1)
    points = nib.affines.apply_affine(np.linalg.inv(shift) @ scan.affine, voxels)
    found, expected = np.asarray(labels.dataobj), phantom27.labels_at(points)
    assert labels.get_data_dtype() == np.uint8
    for image in (labels, entropy):
        np.testing.assert_array_equal(image.affine, scan.affine)
    assert (found != expected).mean() < 0.03  # voxels cut by the border of a box
    assert set(np.unique(expected)) == set(range(28)) == set(np.unique(found))
    inside = resample_labels_nearest(
        phantom27.labels, phantom27.affine, scan.shape, scan.affine, np.linalg.inv(shift)
    )
    assert entropy.get_fdata()[inside > 0].mean() == pytest.approx(0.5, abs=0.05)
    assert entropy.get_fdata().max() == pytest.approx(0.5, abs=1 / 255)
    for name in ('dseg', 'uncertainty'):
        packed, plain = (Path(getattr(outputs.outputs, field)) for field in (f'{name}_gz', name))
        assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def test_back_carries_no_uncertainty_unless_given(phantom27, predicted, registration):
    del predicted['uncertainty']
    node = ResampleToScan(**predicted, registration=registration, grid_affine=phantom27.affine.tolist())
    outputs = node.run().outputs
    assert not isdefined(outputs.uncertainty)
    assert not isdefined(outputs.uncertainty_gz)
    assert not list(Path(outputs.dseg).parent.glob('uncertainty.nii*'))


def test_probabilities_sum_to_one(phantom27, predicted, registration):
    outputs = ScanProbabilities(
        in_file=predicted['in_file'],
        posterior=predicted['posterior'],
        registration=registration,
        grid_affine=phantom27.affine.tolist(),
    ).run()
    series = nib.load(outputs.outputs.out_file)
    scan = nib.load(predicted['in_file'])
    assert series.shape == (*scan.shape, 28)
    np.testing.assert_array_equal(series.affine, scan.affine)
    values = series.get_fdata()
    np.testing.assert_allclose(values.sum(-1), 1, atol=4 / 255)
    assert values[0, 0, 0, 0] == pytest.approx(1)  # beyond the network's grid there is background

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil

import pytest

from bids_brainseg.data import label_table, modalities
from bids_brainseg.errors import ModelError
from bids_brainseg.network.bundle import find_bundle, load_bundle, write_volume_errors


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / 'bundle')


def edit(folder, **changes):
    path = folder / 'model.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_bundle_comes_back_as_written(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    assert (bundle.modality, bundle.grid_shape, bundle.mc_samples) == ('T1w', (44, 48, 40), 2)
    assert bundle.weights_path.is_file() and bundle.reference_path.is_file() and bundle.mask_path.is_file()
    assert len(bundle.weights_sha256) == 64


@pytest.mark.parametrize('name', ['weights.safetensors', 'reference.nii.gz', 'mask.nii.gz'])
def test_a_changed_or_missing_file_is_noticed(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match=f'damaged.*{name}'):
        load_bundle(copy)
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f'incomplete.*{name}'):
        load_bundle(copy)


def test_other_classes_are_refused(copy):
    edit(copy, classes='0' * 64)
    with pytest.raises(ModelError, match='other classes'):
        load_bundle(copy)


def test_a_grid_that_cannot_be_pooled_is_refused(copy):
    edit(copy, grid_shape=[44, 48, 42])
    with pytest.raises(ModelError, match='multiple of 4'):
        load_bundle(copy)


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(ModelError, match='not a model bundle'):
        load_bundle(tmp_path)
    (tmp_path / 'model.json').write_text('{"format": 99}')
    with pytest.raises(ModelError, match='format 99'):
        load_bundle(tmp_path)


def test_missing_fields_are_named(copy):
    path = copy / 'model.json'
    content = json.loads(path.read_text())
    del content['cv_threshold']
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match='lacks cv_threshold'):
        load_bundle(copy)


def test_what_older_bundles_say_besides_is_left_alone(copy):
    path = copy / 'model.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'icv_mm3': 1.5e6}))
    assert load_bundle(copy).modality == 'T1w'


def test_a_bundle_that_does_not_say_mirrors_nothing(copy):
    path = copy / 'model.json'
    content = json.loads(path.read_text())
    content.pop('mirrored_passes', None)
    path.write_text(json.dumps(content))
    assert not load_bundle(copy).mirrored_passes
    edit(copy, mirrored_passes=True)
    assert load_bundle(copy).mirrored_passes


def test_a_bundle_need_not_know_what_uncertainty_is_usual(copy):
    assert load_bundle(copy).entropy_limits == ()
    edit(copy, usual_entropy={'limit': [0.2] * 28})
    assert load_bundle(copy).entropy_limits == (0.2,) * 28


def test_every_modality_has_a_packaged_bundle():
    for modality in modalities():
        bundle = load_bundle(find_bundle(modality))
        assert bundle.modality == modality
        assert {'dice', 'limits', 'training'} <= set(bundle.card)
        assert len(bundle.entropy_limits) == len(bundle.usual_entropy['mean']) == 28
        assert all(0 < value < 1 for kind in ('mean', 'limit') for value in bundle.usual_entropy[kind])
        assert bundle.usual_entropy['what']


def test_an_unknown_modality_names_the_way_out():
    with pytest.raises(ModelError, match='--model'):
        find_bundle('PET')


ERRORS = {
    'slope': 1.0,
    'factor': 2.0,
    'structures': {'Brain-Stem': {'bias': 0, 'scale': 0.1, 'usual_spread': 0.01}},
}


def test_errors_of_volumes_lie_beside_the_bundle_and_belong_to_its_weights(copy):
    assert load_bundle(copy).volume_errors == {}
    bundle = write_volume_errors(load_bundle(copy), ERRORS, 'hold 90 %')
    assert bundle.volume_errors == {'weights': bundle.weights_sha256, **ERRORS}
    assert bundle.card['intervals'] == 'hold 90 %'
    path = copy / 'volumes.json'
    path.write_text(path.read_text().replace(bundle.weights_sha256, '0' * 64))
    with pytest.raises(ModelError, match='other weights.*process calibrate'):
        load_bundle(copy)
    path.write_text(json.dumps({'weights': bundle.weights_sha256, 'slope': 1.0}))
    with pytest.raises(ModelError, match='lacks factor, structures'):
        load_bundle(copy)
    path.write_text('{')
    with pytest.raises(ModelError, match='cannot be read'):
        load_bundle(copy)


@pytest.mark.parametrize('modality', modalities())
def test_packaged_intervals_hold_the_labels_as_often_as_they_promise(modality):
    errors = load_bundle(find_bundle(modality)).volume_errors
    assert list(errors['structures']) == [label.name for label in label_table()[1:]]
    assert 0.85 <= errors['coverage']['all'] <= 0.95
    assert errors['inflation'] >= 1 and errors['because'] != 'n/a'
    sides = {name: row for name, row in errors['structures'].items() if name.startswith('Left')}
    assert all(row == errors['structures'][name.replace('Left', 'Right')] for name, row in sides.items())

# SPDX-License-Identifier: Apache-2.0
"""The scans that are bad on purpose are bad in the way that they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bids_brainseg.imaging import load_image

SCRIPT = Path(__file__).parents[1] / 'benchmarks' / 'bad_scans.py'


@pytest.fixture(scope='module')
def script():
    if not SCRIPT.is_file():
        pytest.skip('the benchmarks are not part of an installed package')
    spec = importlib.util.spec_from_file_location('bad_scans', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def dataset(script, tmp_path_factory):
    """A head of two boxes in LPS, and a CT of the same; returns images by case."""
    head = np.zeros((40, 50, 30), np.float32)
    head[10:30, 10:40, 5:25] = 600
    head[20:25, 15:35, 10:20] = 900  # on the person's left
    affine = np.array([[-4, 0, 0, 78.0], [0, -4, 0, 98], [0, 0, 5, -70], [0, 0, 0, 1]])
    root = tmp_path_factory.mktemp('bad')
    labels = script.write_dataset(root, {'t1w': (head, affine), 'ct': (head / 10 - 20, affine)})
    return (
        head,
        affine,
        {label: load_image(next((root / f'sub-{label}').rglob('*.nii.gz'))) for label in labels},
    )


def test_every_case_is_written_and_differs_from_the_good_one(script, dataset):
    head, affine, images = dataset
    assert set(images) == set(script.CASES)
    for label, image in images.items():
        good = images['goodct' if script.CASES[label].source == 'ct' else 'good']
        same = image.data.shape == good.data.shape and np.array_equal(image.data, good.data)
        moved = not np.allclose(image.affine, good.affine)
        assert (same and not moved) == (label in ('good', 'goodct', 'misnamed')), label
    assert images['misnamed'].path.name == 'sub-misnamed_FLAIR.nii.gz'


@pytest.mark.parametrize(('label', 'signs'), [('leftright', (-1, 1, 1)), ('upsidedown', (1, -1, -1))])
def test_headers_lie_about_the_center_of_the_image(dataset, label, signs):
    head, affine, images = dataset
    np.testing.assert_array_equal(images[label].data, head)
    middle = [*((np.array(head.shape) - 1) / 2), 1]
    np.testing.assert_allclose(images[label].affine @ middle, affine @ middle, atol=1e-4)
    np.testing.assert_allclose(images[label].affine[:3, :3], np.diag(signs) @ affine[:3, :3], atol=1e-5)


def test_half_a_head_is_the_upper_half(dataset):
    head, _, images = dataset
    np.testing.assert_array_equal(images['halfhead'].data, head[:, :, 15:])
    assert images['halfhead'].affine[2, 3] == pytest.approx(-70 + 5 * 15)


def test_units_of_the_ct(dataset):
    head, _, images = dataset
    np.testing.assert_array_equal(images['unitsct'].data, images['goodct'].data + 1024)
    assert (images['windowct'].data.min(), images['windowct'].data.max()) == (0, 70)

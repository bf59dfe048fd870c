# SPDX-License-Identifier: Apache-2.0
"""Figure nodes hand the right arrays, on the right grid, to the drawing functions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bids_brainseg.interfaces import figures as module
from bids_brainseg.interfaces.figures import AlignmentFigure, ContoursFigure, UncertaintyFigure, ViewerFigure

GRID = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    calls = {}
    for name in ('alignment_figure', 'contours_figure', 'uncertainty_figure', 'viewer_figure'):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.update(args=args, **kwargs))
    return calls


def test_alignment_is_drawn_on_the_grid_of_the_reference(drawn, make_nifti, tmp_path):
    ramp = np.broadcast_to(np.arange(8.0)[:, None, None], (8, 9, 10))
    mask = np.zeros((4, 5, 5), np.uint8)
    mask[1:3] = 1
    (tmp_path / 'registration.json').write_text(json.dumps({'similarity': 0.4}))
    outputs = AlignmentFigure(
        preprocessed=str(make_nifti('preprocessed.nii', ramp, GRID)),
        reference=str(make_nifti('reference.nii', np.arange(100.0).reshape(4, 5, 5), 2 * GRID)),
        reference_mask=str(make_nifti('mask.nii', mask, 2 * GRID)),
        registration=str(tmp_path / 'registration.json'),
    ).run()
    moved, reference, brain, affine, path = drawn['args']
    np.testing.assert_allclose(moved[1:3, 2, 2], [2, 4], atol=0.01)
    assert moved.shape == reference.shape == brain.shape == (4, 5, 5)
    np.testing.assert_array_equal(brain, mask == 1)
    assert affine[0, 0] == 6
    assert drawn['quality'] == 0.4
    assert path == outputs.outputs.out_file == str(tmp_path / 'alignment.svg')


def test_labels_and_entropy_may_be_empty(drawn, make_nifti):
    scan = str(make_nifti('scan.nii', affine=GRID))
    dseg = str(make_nifti('dseg.nii', np.zeros((8, 9, 10), np.uint8), GRID))
    entropy = str(make_nifti('entropy.nii', np.zeros((8, 9, 10), np.float32), GRID))
    ContoursFigure(in_file=scan, dseg=dseg).run()
    image, labels, affine, _ = drawn['args']
    assert image.shape == labels.shape == (8, 9, 10)
    assert labels.dtype == np.uint8
    UncertaintyFigure(in_file=scan, dseg=dseg, uncertainty=entropy).run()
    assert [array.shape for array in drawn['args'][:3]] == [(8, 9, 10)] * 3
    drawn.clear()
    outputs = ViewerFigure(in_file=scan, dseg=dseg, uncertainty=entropy).run().outputs
    assert [array.shape for array in drawn['args'][:3]] == [(8, 9, 10)] * 3
    assert drawn['args'][4] == outputs.out_file
    assert outputs.out_file.endswith('viewer.json')

# SPDX-License-Identifier: Apache-2.0
"""Sinks: the right name, whole or absent, with a sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.interfaces.outputs import DerivativeSink, FigureSink, TransformSink
from bids_brainseg.workflows.examples import example_provenance

RECORD = record_from_path(Path('/d/sub-01/ses-b/ct/sub-01_ses-b_acq-thin_run-02_ct.nii.gz'), 'ct')


@pytest.fixture
def common(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    (tmp_path / 'result').write_text('result')
    return {
        'in_file': str(tmp_path / 'result'),
        'record': RECORD,
        'output_dir': str(tmp_path / 'out'),
        'provenance': example_provenance(model_sha256='f' * 64),
    }


@pytest.mark.parametrize(
    ('sink', 'values', 'name', 'key'),
    [
        (
            DerivativeSink,
            {'suffix': 'dseg'},
            'space-orig_seg-brainseg_desc-ct_dseg.nii.gz',
            'SpatialReference',
        ),
        (
            DerivativeSink,
            {
                'suffix': 'dseg',
                'entities': {'space': 'X', 'res': '1'},
                'spatial_reference': 'tpl-X_T1w.nii.gz',
            },
            'space-X_seg-brainseg_res-1_desc-ct_dseg.nii.gz',
            'Resolution',
        ),
        (
            DerivativeSink,
            {'suffix': 'dseg', 'entities': {'seg': 'aseg'}},
            'space-orig_seg-aseg_desc-ct_dseg.nii.gz',
            'SpatialReference',
        ),
        (DerivativeSink, {'suffix': 'mask'}, 'space-orig_label-brain_desc-ct_mask.nii.gz', 'Type'),
        (
            DerivativeSink,
            {'suffix': 'morph', 'extension': '.tsv'},
            'seg-brainseg_desc-ct_morph.tsv',
            'volume_mm3',
        ),
        (TransformSink, {'reference': 'Tiny'}, 'from-ct_to-Tiny_mode-image_xfm.txt', 'From'),
        (TransformSink, {'reference': 'Tiny', 'inverse': True}, 'from-Tiny_to-ct_mode-image_xfm.txt', 'To'),
    ],
)
def test_names_and_sidecars(common, tmp_path, sink, values, name, key):
    path = Path(sink(**common, **values).run().outputs.out_file)
    assert path == tmp_path / 'out' / 'sub-01' / 'ses-b' / 'ct' / f'sub-01_ses-b_acq-thin_run-02_{name}'
    assert path.read_text() == 'result'
    described = json.loads((path.parent / f'{path.name.partition(".")[0]}.json').read_text())
    assert key in described
    assert described['Model']['SHA256'] == 'f' * 64
    assert {file.suffix for file in path.parent.iterdir()} == {path.suffix, '.json'}


def test_figures_have_no_sidecar(common, tmp_path):
    del common['provenance']
    path = Path(FigureSink(**common, kind='contours').run().outputs.out_file)
    assert path == tmp_path / 'out/sub-01/figures/sub-01_ses-b_acq-thin_run-02_desc-contours_ct.svg'
    assert list(path.parent.iterdir()) == [path]


def test_sinks_always_run(common):
    assert DerivativeSink(**common, suffix='dseg').always_run

# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for a scan and a model bundle, enough to draw any graph: for the examples of the docstrings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace


def example_bundle(**changes) -> SimpleNamespace:
    """Describe a bundle whose files do not exist.

    >>> example_bundle(modality='ct').modality
    'ct'
    """
    folder = Path('/models/t1w')
    described = {
        'path': folder,
        'name': 't1w',
        'modality': 'T1w',
        'reference_name': 'BrainsegAdult',
        'reference_path': folder / 'reference.nii.gz',
        'mask_path': folder / 'mask.nii.gz',
        'grid_shape': (112, 144, 128),
        'grid_affine': (
            (1.4, 0.0, 0.0, -78.0),
            (0.0, 1.4, 0.0, -112.0),
            (0.0, 0.0, 1.4, -78.0),
            (0.0, 0.0, 0.0, 1.0),
        ),
        'intensity': {'type': 'percentile', 'low': 1.0, 'high': 99.0},
        'mc_samples': 15,
        'mirrored_passes': True,
        'cv_threshold': 1.0,
        'icv_mm3': 1.5e6,
        'weights_sha256': '0' * 64,
        'reference_sha256': ('0' * 64, '0' * 64),
        'qc': {},
    }
    return SimpleNamespace(**described | changes)


def example_template(**changes) -> SimpleNamespace:
    """Describe a template whose file does not exist.

    >>> example_template().entities
    {'space': 'MNI152NLin2009cAsym', 'res': '01'}
    """
    described = {
        'label': 'MNI152NLin2009cAsym',
        'entities': {'space': 'MNI152NLin2009cAsym', 'res': '01'},
        'path': Path('/templates/tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz'),
        'aligned_to': example_bundle(),
    }
    return SimpleNamespace(**described | changes)


def example_record(**changes) -> SimpleNamespace:
    """Describe a scan whose file does not exist.

    >>> example_record(subject='02').key
    'T1w'
    """
    described = {
        'path': Path('/data/sub-01/anat/sub-01_T1w.nii.gz'),
        'modality': 'T1w',
        'subject': '01',
        'session': None,
        'entities': {'subject': '01', 'suffix': 'T1w'},
        'suffix': 'T1w',
        'volumes': None,
        'b_value': None,
        'metadata': {},
        'warnings': (),
        'skip': None,
        'key': 'T1w',
        'bids_name': 'sub-01/anat/sub-01_T1w.nii.gz',
    }
    return SimpleNamespace(**described | changes)


def example_labels(**changes) -> SimpleNamespace:
    """Describe reference labels whose file does not exist.

    >>> example_labels().uri
    'bids:labels:sub-01/anat/sub-01_dseg.nii.gz'
    """
    described = {
        'path': Path('/labels/sub-01/anat/sub-01_dseg.nii.gz'),
        'uri': 'bids:labels:sub-01/anat/sub-01_dseg.nii.gz',
        'table': SimpleNamespace(name='brainseg', mapping={0: 0}, split={}, default=None),
    }
    return SimpleNamespace(**described | changes)


def example_case(**changes) -> SimpleNamespace:
    """Describe a scan with labels, whose files do not exist.

    >>> example_case().labels.name
    'aseg.mgz'
    """
    described = {
        'record': example_record(),
        'labels': Path('/freesurfer/sub-01/mri/aseg.mgz'),
        't1w': None,
        'skip': None,
    }
    return SimpleNamespace(**described | changes)

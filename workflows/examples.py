# SPDX-License-Identifier: Apache-2.0
"""A scan, a model bundle and their kind without files, enough to build any graph: for docstring examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..records import (
    MASK,
    REFERENCE,
    WEIGHTS,
    Bundle,
    ClassTable,
    ImageRecord,
    Provenance,
    ReferenceLabels,
    Template,
    TrainingCase,
)


def example_bundle(**changes: object) -> Bundle:
    """Return a bundle whose files do not exist.

    >>> example_bundle(modality='ct').modality
    'ct'
    """
    bundle = Bundle(
        path=Path('/models/t1w'),
        name='t1w',
        version='1.0.0',
        modality='T1w',
        license='Apache-2.0',
        reference_name='BrainsegAdult',
        grid_shape=(112, 144, 128),
        grid_affine=(
            (1.4, 0.0, 0.0, -78.0),
            (0.0, 1.4, 0.0, -112.0),
            (0.0, 0.0, 1.4, -78.0),
            (0.0, 0.0, 0.0, 1.0),
        ),
        intensity={'type': 'percentile', 'low': 1.0, 'high': 99.0},
        architecture={'depth': 4},
        mc_samples=15,
        mirrored_passes=True,
        cv_threshold=1.0,
        sha256=dict.fromkeys((WEIGHTS, REFERENCE, MASK), '0' * 64),
    )
    return replace(bundle, **changes)


def example_template(**changes: object) -> Template:
    """Return a template whose file does not exist.

    >>> example_template().entities
    {'space': 'MNI152NLin2009cAsym', 'res': '01'}
    """
    template = Template(
        label='MNI152NLin2009cAsym',
        entities={'space': 'MNI152NLin2009cAsym', 'res': '01'},
        path=Path('/templates/tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz'),
        aligned_to=example_bundle(),
    )
    return replace(template, **changes)


def example_record(
    modality: str = 'T1w', subject: str = '01', session: str | None = None, **changes: object
) -> ImageRecord:
    """Return a scan whose file does not exist.

    >>> example_record('FLAIR', session='2').path.name
    'sub-01_ses-2_FLAIR.nii.gz'
    """
    entities = {'sub': subject} | ({} if session is None else {'ses': session})
    names = [f'{name}-{label}' for name, label in entities.items()]
    record = ImageRecord(
        path=Path('/data', *names, 'anat', '_'.join([*names, f'{modality}.nii.gz'])),
        modality=modality,
        subject=subject,
        session=session,
        entities=entities,
        suffix=modality,
    )
    return replace(record, **changes)


def example_provenance(**changes: object) -> Provenance:
    """Return how outputs might have been made.

    >>> example_provenance().mc_samples
    15
    """
    provenance = Provenance(
        model='t1w',
        model_sha256='0' * 64,
        reference='BrainsegAdult',
        mc_samples=15,
        mirrored=True,
        seed=0,
        label_resampling='posterior',
        cv_threshold=1.0,
        device='cpu',
        backend='tensorflow',
    )
    return replace(provenance, **changes)


def example_labels(**changes: object) -> ReferenceLabels:
    """Return reference labels whose file does not exist.

    >>> example_labels().uri
    'bids:labels:sub-01/anat/sub-01_dseg.nii.gz'
    """
    labels = ReferenceLabels(
        path=Path('/labels/sub-01/anat/sub-01_dseg.nii.gz'),
        uri='bids:labels:sub-01/anat/sub-01_dseg.nii.gz',
        table=ClassTable('brainseg', {0: 0}),
    )
    return replace(labels, **changes)


def example_case(**changes: object) -> TrainingCase:
    """Return a scan with labels, whose files do not exist.

    >>> example_case().labels.name
    'aseg.mgz'
    """
    case = TrainingCase(example_record(), labels=Path('/freesurfer/sub-01/mri/aseg.mgz'))
    return replace(case, **changes)

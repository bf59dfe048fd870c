# SPDX-License-Identifier: Apache-2.0
"""What the participant level writes of each scan: the one list of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..bids.paths import figure_path, output_path, xfm_path
from ..bids.sidecars import FREESURFER_SEG
from ..records import ImageRecord, Template

#: A scan is done once these exist.
_RESULT = ('dseg', 'morph', 'qc')
_FIGURES = ('alignment', 'contours', 'viewer', 'uncertainty', 'thumbnail')


def result_files(record: ImageRecord, output_dir: Path, *, compared: bool = False) -> list[Path]:
    """List the files without which a scan is not done.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    output_dir : Path
        Root of the derivatives.
    compared : bool
        The scan is compared with reference labels as well.
    """
    kinds = (*_RESULT, 'agreement') if compared else _RESULT
    return [output_path(record, output_dir, suffix=suffix) for suffix in kinds]


def expected_files(
    record: ImageRecord,
    output_dir: Path,
    *,
    reference_name: str,
    templates: Sequence[Template] = (),
    save_probseg: bool = False,
) -> list[Path]:
    """List all files that a scan gets, without their sidecars.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    output_dir : Path
        Root of the derivatives.
    reference_name : str
        Name of the reference of the model.
    templates : sequence of Template
        Further spaces that the labels are resampled to.
    save_probseg : bool
        The probabilities are saved.
    """
    images = ['dseg', *(['probseg'] if save_probseg else []), 'uncertainty', 'mask']
    files = [output_path(record, output_dir, suffix=suffix) for suffix in images]
    files += [output_path(record, output_dir, suffix='dseg', seg=FREESURFER_SEG)]
    files += [output_path(record, output_dir, suffix='dseg', **template.entities) for template in templates]
    files += [output_path(record, output_dir, suffix=suffix) for suffix in ('morph', 'aseg', 'qc')]
    for name in (reference_name, *(template.label for template in templates)):
        files += [
            xfm_path(record, output_dir, reference=name),
            xfm_path(record, output_dir, reference=name, inverse=True),
            xfm_path(record, output_dir, reference=name, extension='.lta'),
        ]
    return files + [figure_path(record, output_dir, kind=kind) for kind in _FIGURES]

# SPDX-License-Identifier: Apache-2.0
"""The text of ``aseg.stats``, as FreeSurfer lays it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .. import __version__
from ..data import Label, aseg_measures, modalities
from ..records import ImageRecord, Provenance

#: The reader of the package freesurfer-stats wants this line first; to all others it is a comment.
_SIGNATURE = 'Table of FreeSurfer cortical parcellation anatomical statistics'
#: Digits after the point of the volume of a structure, mm3, and of a global measure.
VOLUME_DIGITS, MEASURE_DIGITS = 1, 6
#: FreeSurfer gives cerebral cortex and white matter as global measures only.
EXCLUDED = (0, 2, 3, 41, 42)
#: Header, name and unit of each column; the unit of intensities is that of the scan.
_COLUMNS = (
    ('Index', 'Index', 'NA'),
    ('SegId', 'Segmentation Id', 'NA'),
    ('NVoxels', 'Number of Voxels', 'unitless'),
    ('Volume_mm3', 'Volume', 'mm^3'),
    ('StructName', 'Structure Name', 'NA'),
    ('normMean', 'Intensity normMean', None),
    ('normStdDev', 'Intensity normStdDev', None),
    ('normMin', 'Intensity normMin', None),
    ('normMax', 'Intensity normMax', None),
    ('normRange', 'Intensity normRange', None),
)


class AsegRow(NamedTuple):
    """A structure: voxels, volume in mm3, and intensities in the unit of the scan."""

    label: Label
    voxels: int
    volume: float
    mean: float
    std: float
    minimum: float
    maximum: float


def aseg_stats(
    record: ImageRecord,
    rows: Sequence[AsegRow],
    measures: Mapping[str, float],
    *,
    voxel_mm3: float,
    provenance: Provenance,
) -> str:
    """Write the statistics of a segmentation as ``mri_segstats`` of FreeSurfer does.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    rows : sequence of AsegRow
        Structures; those that FreeSurfer's table excludes are left out.
    measures : mapping of str to float
        By the fields of ``aseg_measures.tsv``.
    voxel_mm3 : float
        Volume of a voxel.
    provenance : Provenance
        How the segmentation was made.

    Returns
    -------
    str
        The order of the header is that of FreeSurfer's ``*.aparc.stats``, which more readers accept.
    """
    unit = 'HU' if modalities()[record.modality].hounsfield else 'MR'
    lines = [
        'Title Segmentation Statistics',
        '',
        f'generating_program bids_brainseg {__version__}',
        f'model {provenance.model} {provenance.model_sha256}',
        'anatomy_type volume',
        f'subjectname sub-{record.subject}' + (f'_ses-{record.session}' if record.session else ''),
        f'InVolFile {record.relative_path.as_posix()}',
        'Excluding Cortical Gray and White Matter',
        f'ExcludeSegId {" ".join(map(str, EXCLUDED))}',
        f'VoxelVolume_mm3 {voxel_mm3:g}',
    ]
    lines += [
        f'Measure {one.measure}, {one.field}, {one.description}, '
        f'{measures[one.field]:.{MEASURE_DIGITS}f}, {one.unit}'
        for one in aseg_measures()
        if measures[one.field] == measures[one.field]  # nan cannot be read
    ]
    kept = sorted(
        (row for row in rows if row.label.freesurfer not in EXCLUDED), key=lambda row: row.label.freesurfer
    )
    lines += [f'NTableCols {len(_COLUMNS)}']
    for number, (header, name, unit_of_column) in enumerate(_COLUMNS, start=1):
        described = {'ColHeader': header, 'FieldName': name, 'Units': unit_of_column or unit}
        lines += [f'TableCol {number:2d} {key:9} {value}' for key, value in described.items()]
    lines += [f'ColHeaders {" ".join(header for header, *_ in _COLUMNS)}']
    return ''.join(
        [
            f'# {_SIGNATURE}\n#\n',
            *(f'# {line}\n' for line in lines),
            *(_table_row(number, row) for number, row in enumerate(kept, start=1)),
        ]
    )


def _table_row(number: int, row: AsegRow) -> str:
    intensities = (row.mean, row.std, row.minimum, row.maximum, row.maximum - row.minimum)
    return (
        f'{number:3d} {row.label.freesurfer:3d} {row.voxels:9d} {row.volume:10.{VOLUME_DIGITS}f}  '
        f'{row.label.name:30} '
        + ' '.join(f'{value:10.4f}' for value in intensities)
        + '\n'
    )

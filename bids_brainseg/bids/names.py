# SPDX-License-Identifier: Apache-2.0
"""Parse BIDS file names; the folders above a file play no part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..records import ImageRecord

#: Of images, those first that are preferred; an .img has its .hdr beside it.
EXTENSIONS = ('.nii.gz', '.nii', '.img', '.img.gz')

# Names of the keys in pybids and the NiPreps; a filter file may use either.
LONG_NAMES = {
    'subject': 'sub',
    'session': 'ses',
    'acquisition': 'acq',
    'nucleus': 'nuc',
    'volume': 'voi',
    'ceagent': 'ce',
    'contrast_enhancement': 'ce',
    'tracer': 'trc',
    'staining': 'stain',
    'reconstruction': 'rec',
    'direction': 'dir',
    'modality': 'mod',
    'inversion': 'inv',
    'mtransfer': 'mt',
    'processing': 'proc',
    'hemisphere': 'hemi',
    'segmentation': 'seg',
    'resolution': 'res',
    'density': 'den',
    'description': 'desc',
}


def split_name(name: str) -> tuple[dict[str, str], str, str]:
    """Split a BIDS file name into entities, suffix and extension.

    Parameters
    ----------
    name : str

    Returns
    -------
    entities : dict of str
        Key to value in the order of the name, as written (``'01'`` stays ``'01'``).
    suffix, extension : str
        ``'T1w'``, ``'.nii.gz'``.

    Examples
    --------
    >>> split_name('sub-01_run-02_T1w.nii.gz')
    ({'sub': '01', 'run': '02'}, 'T1w', '.nii.gz')
    >>> split_name('dwi.bval')
    ({}, 'dwi', '.bval')
    """
    stem, dot, extension = name.partition('.')
    *pairs, suffix = stem.split('_')
    entities = {}
    for pair in pairs:
        key, _, value = pair.partition('-')
        entities[key] = value
    return entities, suffix, dot + extension


def strip_prefix(label: object, key: str) -> str:
    """Remove ``sub-`` or ``ses-`` from a label.

    Parameters
    ----------
    label : object
        Converted to text.
    key : str
        ``'sub'`` or ``'ses'``.

    Returns
    -------
    str

    Examples
    --------
    >>> strip_prefix('sub-01', 'sub'), strip_prefix(2, 'ses')
    ('01', '2')
    """
    return str(label).strip().removeprefix(f'{key}-')


def sort_key(label: str | None) -> tuple:
    """Return a key that sorts labels naturally: 2 before 10, none first.

    Parameters
    ----------
    label : str, optional

    Returns
    -------
    tuple

    Examples
    --------
    >>> sorted(['10', 'b2', '2', None], key=sort_key)
    [None, '2', '10', 'b2']
    """
    if label is None:
        return (0, 0, '')
    return (1, int(label), label) if label.isdigit() else (2, 0, label)


def record_from_path(path: Path, modality: str, **values: Any) -> ImageRecord:
    """Make a record from the name of an image.

    Parameters
    ----------
    path : Path
    modality : str
    **values : object
        Further fields of the record.

    Returns
    -------
    ImageRecord
    """
    entities, suffix, _ = split_name(path.name)
    return ImageRecord(
        path=path,
        modality=modality,
        subject=entities['sub'],
        session=entities.get('ses'),
        entities=entities,
        suffix=suffix,
        **values,
    )

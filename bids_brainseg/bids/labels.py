# SPDX-License-Identifier: Apache-2.0
"""Find the reference labels of a scan in a dataset of derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..data import anatomical_modality, modalities
from ..errors import InputError
from ..records import ImageRecord, ReferenceLabels
from .class_tables import AUTO, class_table
from .names import EXTENSIONS, split_name
from .paths import scan_label
from .sidecars import output_rules
from .training_cases import find_segmentation

#: Values of ``space`` that name the space of the scan itself.
NATIVE_SPACES = ('orig', 'individual', 'scanner', 'native')


def find_labels(
    record: ImageRecord,
    root: Path,
    *,
    table: str | Path = AUTO,
    entities: Mapping[str, str] | None = None,
) -> ReferenceLabels:
    """Find the reference labels of a scan.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    root : Path
        A BIDS derivative with ``*_dseg.nii.gz``, or a folder of FreeSurfer subjects
        (``sub-01[_ses-1]/mri/aparc+aseg.mgz``).
    table : str or Path
        See :func:`bids_brainseg.bids.class_tables.class_table`.
    entities : mapping of str, optional
        Entities that the name of the label image must have: ``{'desc': 'manual'}``.

    Returns
    -------
    ReferenceLabels

    Raises
    ------
    InputError
        If there are none, or several images fit.
    """
    root, wanted = Path(root), dict(entities or {})
    if not root.is_dir():
        raise InputError(f'not a folder: {root}; give the dataset of labels with --derivatives labels=DIR')
    candidates = [path for path in _bids_labels(record, root) if _has(path, wanted)]
    ranks = [_rank(path, record) for path in candidates]
    best = [path for path, rank in zip(candidates, ranks, strict=True) if rank == max(ranks)]
    anatomical = record.modality == anatomical_modality()
    if not best and not wanted and anatomical:  # FreeSurfer's labels lie on its T1w
        best = [path for path in [find_segmentation(root, record)] if path]
    if not best:
        raise InputError(
            f'no reference labels in {root}: no *_dseg.nii.gz with the entities of the scan'
            + (', no mri/aparc+aseg.mgz of FreeSurfer' if anatomical else '')
        )
    if len(best) > 1:
        names = ', '.join(path.name for path in best)
        raise InputError(
            f'{len(best)} label images fit {record.relative_path}: {names}; choose one, e.g. --label-filter '
            f'{_difference(best)}'
        )
    uri = f'bids:labels:{best[0].relative_to(root).as_posix()}'
    return ReferenceLabels(best[0], uri, class_table(best[0], root, table))


def _bids_labels(record: ImageRecord, root: Path) -> list[Path]:
    """List the dseg images whose entities are those of the scan, or some of them."""
    top = root / f'sub-{record.subject}'
    top = top / f'ses-{record.session}' if record.session is not None else top
    paths = [path for path in sorted(top.glob('*/*_dseg.nii*')) if split_name(path.name)[2] in EXTENSIONS]
    return [path for path in paths if _is_of(path, record)]


def _is_of(path: Path, record: ImageRecord) -> bool:
    """Check whether a label image belongs to a scan: same source and space, no other contrast in its name."""
    entities, _, _ = split_name(path.name)
    folded, label = output_rules()['folded_into_desc'], scan_label(record)
    source = {key: value for key, value in entities.items() if key not in folded}
    others = {suffix for rule in modalities().values() for suffix in rule.suffixes} - {
        label,
        record.suffix,
    }
    return (
        all(record.entities.get(key) == value for key, value in source.items())
        and entities.get('space', 'orig') in (*NATIVE_SPACES, label, record.suffix)
        and entities.get('desc') not in others
    )


def _rank(path: Path, record: ImageRecord) -> tuple:
    """Rank labels: more of the scan's entities first, then made for its contrast, then the usual names."""
    entities, _, _ = split_name(path.name)
    shared = sum(record.entities.get(key) == value for key, value in entities.items())
    of_contrast = scan_label(record) in (entities.get('desc'), entities.get('space'))
    # fMRIPrep and sMRIPrep also write a dseg of three tissues, which are no labels of structures.
    aseg = 'aseg' in f'{entities.get("seg", "")} {entities.get("desc", "")}'.casefold()
    parcels = 'aparc' in f'{entities.get("seg", "")} {entities.get("desc", "")}'.casefold()
    return shared, of_contrast, aseg, parcels


def _has(path: Path, wanted: Mapping[str, str]) -> bool:
    entities, _, _ = split_name(path.name)
    return all(entities.get(key) == value for key, value in wanted.items())


def _difference(paths: list[Path]) -> str:
    """Name an entity in which the first of several images differs from the others."""
    first, *others = (split_name(path.name)[0] for path in paths)
    for key, value in first.items():
        if all(other.get(key) != value for other in others):
            return f'{key}={value}'
    return 'KEY=VALUE'

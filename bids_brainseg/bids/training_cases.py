# SPDX-License-Identifier: Apache-2.0
"""Training data: scans with labels of their T1w, label maps, exclusions, and the split by subject."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..data import anatomical_modality
from ..errors import BidsError, InputError
from ..files import write_json, write_tsv
from ..records import ImageRecord, TrainingCase
from .class_tables import brainseg_table
from .names import sort_key, split_name, strip_prefix
from .paths import figure_path, output_path, scan_label

#: Segmentations of FreeSurfer, which all become the same classes; the first that exists is used.
SEGMENTATIONS = ('aparc+aseg', 'aparc.DKTatlas+aseg', 'wmparc', 'aseg')
#: FreeSurfer's T1w, for datasets without one.
FREESURFER_IMAGES = ('orig', 'T1', 'brain', 'norm')
EXTENSIONS = ('.mgz', '.mgh', '.nii.gz', '.nii')
COLUMNS = {
    'participant_id': ('participant_id', 'participant', 'subject', 'sub'),
    'session_id': ('session_id', 'session', 'ses'),
    'reason': ('reason', 'reasons'),
}


#: Columns of the table of cases, as its data dictionary describes them.
CASE_COLUMNS = {
    'participant_id': {'Description': 'Participant.'},
    'session_id': {'Description': 'Session, n/a without one.'},
    'scan': {'Description': 'Path of the scan in the dataset.'},
    'status': {
        'Description': 'What the scan is used for.',
        'Levels': {
            'train': 'learned from',
            'validate': 'held out: decides when to stop, and gives the scores of the card',
            'rejected': 'left out, the reason is given',
            'failed': 'could not be prepared, the reason is given',
        },
    },
    'agreement': {
        'Description': 'How well the labels fit the scan: about 0.9 for a T1w with its own labels, half '
        'of that when they are 5 mm off.',
        'Units': 'squared local correlation, [0, 1]',
    },
    'labels': {
        'Description': 'Where the labels come from.',
        'Levels': {
            'freesurfer': 'FreeSurfer',
            'brainseg': 'this program, from the T1w of the participant',
        },
    },
    'reason': {'Description': 'Why the scan is left out, n/a otherwise.'},
}


def find_cases(
    records: Sequence[ImageRecord],
    modality: str,
    *,
    freesurfer: Path | None = None,
    own: Mapping[Path, TrainingCase] | None = None,
    excluded: Sequence[Mapping] = (),
) -> list[TrainingCase]:
    """Match the scans of one modality with labels of the T1w: FreeSurfer's, or else those of this program.

    Parameters
    ----------
    records : sequence of ImageRecord
        The scans of the modality and the T1w of the dataset.
    modality : str
        Modality to train.
    freesurfer : Path, optional
        ``SUBJECTS_DIR``, or a derivative of this layout: ``sub-01[_ses-1]/mri/aseg.mgz``.
    own : mapping of Path to TrainingCase, optional
        Path of a T1w to its segmentation by this program, or why that cannot be used.
    excluded : sequence of mapping
        From :func:`read_exclusions`.

    Returns
    -------
    list of TrainingCase
        One for each scan; those that cannot be used have a reason in `skip`.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    if freesurfer is not None and not freesurfer.is_dir():
        raise InputError(f'the folder of FreeSurfer does not exist: {freesurfer}; correct --derivatives')
    anatomical = anatomical_modality()
    anchors = [record for record in records if record.modality == anatomical and record.skip is None]
    cases = []
    for record in (record for record in records if record.modality == modality):
        reason = record.skip or _exclusion(record, excluded)
        found = [TrainingCase(record, skip=reason)] if reason else []
        if not reason and freesurfer is not None:
            found.append(_freesurfer_case(record, freesurfer, anchors))
        if own is not None and all(case.skip for case in found) and not reason:
            found.append(_own_case(record, own, anchors))
        cases.append(found[-1] if found[-1].skip is None else _refused(record, found))
    return cases


def _exclusion(record: ImageRecord, excluded: Sequence[Mapping]) -> str:
    for row in excluded:
        if row['participant_id'] == record.subject and row['session_id'] in (None, record.session):
            return f'excluded: {row["reason"]}'
    return ''


def _refused(record: ImageRecord, found: Sequence[TrainingCase]) -> TrainingCase:
    return TrainingCase(record, skip='; '.join(str(case.skip) for case in found))


def _own_case(
    record: ImageRecord, own: Mapping[Path, TrainingCase], anchors: Sequence[ImageRecord]
) -> TrainingCase:
    """Take the segmentation of a T1w of the same session, or else of the same participant."""
    case = TrainingCase(record, table=brainseg_table())
    of_subject = [a for a in anchors if a.subject == record.subject]
    reasons = []
    for anchor in sorted(of_subject, key=lambda a: a.session != record.session):
        if anchor.path == record.path:
            reasons.append('a network does not learn from its own segmentation of the same scan')
            continue
        if own[anchor.path].skip is None:
            return replace(case, labels=own[anchor.path].labels, t1w=anchor.path)
        reasons.append(own[anchor.path].skip)
    return replace(case, skip='; '.join(reasons) or 'no labels: there is no T1w of the participant')


def _freesurfer_case(record: ImageRecord, freesurfer: Path, anchors: Sequence[ImageRecord]) -> TrainingCase:
    case = TrainingCase(record)
    folder, session = _freesurfer_folder(freesurfer, record)
    labels = folder and _first(folder / 'mri', SEGMENTATIONS)
    if labels is None:
        where = folder or freesurfer / f'sub-{record.subject}'
        return replace(case, skip=f'no labels: none of {", ".join(SEGMENTATIONS)} in {where / "mri"}')
    of_subject = [a for a in anchors if a.subject == record.subject and session in (None, a.session)]
    if of_subject and of_subject[0].path == record.path:
        return replace(case, labels=labels)
    t1w = of_subject[0].path if of_subject else _first(folder / 'mri', FREESURFER_IMAGES)
    if t1w is None:
        return replace(case, skip='no T1w: neither in the dataset nor beside the labels')
    return replace(case, labels=labels, t1w=t1w)


def find_segmentation(root: Path, record: ImageRecord) -> Path | None:
    """Find FreeSurfer's segmentation of a participant.

    Parameters
    ----------
    root : Path
        ``SUBJECTS_DIR``.
    record : ImageRecord
        A scan of the participant.

    Returns
    -------
    Path or None
    """
    folder, _ = _freesurfer_folder(root, record)
    return folder and _first(folder / 'mri', SEGMENTATIONS)


def _freesurfer_folder(root: Path, record: ImageRecord) -> tuple[Path | None, str | None]:
    """Find FreeSurfer's folder, and the session it belongs to if it names one."""
    subject = root / f'sub-{record.subject}'
    named = []
    if record.session is not None:
        named = [root / f'{subject.name}_ses-{record.session}', subject / f'ses-{record.session}']
    for folder, session in [*((path, record.session) for path in named), (subject, None)]:
        if (folder / 'mri').is_dir():
            return folder, session
    return None, None


def _first(folder: Path, names: Iterable[str]) -> Path | None:
    candidates = (folder / f'{name}{extension}' for name in names for extension in EXTENSIONS)
    return next((path for path in candidates if os.path.lexists(path)), None)  # also a link, to be fetched


def read_exclusions(path: Path) -> list[dict]:
    """Read the table of exclusions.

    Parameters
    ----------
    path : Path
        Tab-separated, with ``participant_id``, ``session_id`` and ``reason``.

    Returns
    -------
    list of dict
        Labels without prefix; the session is None if all sessions are excluded.

    Raises
    ------
    BidsError
        With exit code 2 if the file cannot be read or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, sep='\t', dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise BidsError(f'--exclude {path} cannot be read as a table: {error}', 2) from error
    columns = {
        name: next((column for column in spellings if column in table.columns), None)
        for name, spellings in COLUMNS.items()
    }
    if columns['participant_id'] is None or columns['reason'] is None:
        raise BidsError(
            f'--exclude {path} needs the columns participant_id and reason (and session_id, if only one '
            f'session is meant), separated by tabs; found: {", ".join(table.columns)}',
            2,
        )
    rows = []
    for row in table.to_dict('records'):
        session = row.get(columns['session_id'] or '', '').strip()
        rows.append(
            {
                'participant_id': strip_prefix(row[columns['participant_id']], 'sub'),
                'session_id': None if session in ('', 'n/a') else strip_prefix(session, 'ses'),
                'reason': row[columns['reason']].strip() or 'no reason given',
            }
        )
    return rows


def find_label_maps(paths: Sequence[Path]) -> list[Path]:
    """List label maps.

    Parameters
    ----------
    paths : sequence of Path
        Files, or folders: all images below them, of a folder of FreeSurfer one per subject.

    Returns
    -------
    list of Path
        Without duplicates.

    Raises
    ------
    InputError
        If a folder does not exist or holds none.
    """
    maps = []
    for path in paths:
        if path.is_file():
            maps.append(path)
            continue
        subjects = sorted(folder.parent for folder in path.glob('*/mri') if folder.is_dir())
        inside = [_first(subject / 'mri', SEGMENTATIONS) for subject in subjects]
        inside = [image for image in inside if image] or sorted(
            image for image in path.rglob('*') if image.is_file() and image.name.endswith(EXTENSIONS)
        )
        if not inside:
            raise InputError(
                f'no label map found: {path}; give files, or a folder with {", ".join(EXTENSIONS)} images'
            )
        maps += inside
    return list(dict.fromkeys(maps))


def subject_of(path: Path) -> str:
    """Return the subject of a label map.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        The label after ``sub-`` in its name or folder, else the name itself.

    Examples
    --------
    >>> subject_of(Path('fs/sub-01/mri/aseg.mgz')), subject_of(Path('maps/training_seg_01.nii.gz'))
    ('01', 'training_seg_01')
    """
    for part in reversed(path.parts):
        entities = split_name(part)[0] if '_' in part else {}
        if label := entities.get('sub') or (part.startswith('sub-') and part.partition('.')[0][4:]):
            return label
    return path.name.partition('.')[0]


def split_subjects(
    subjects: Iterable[str], *, share: float, seed: int, chosen: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Split subjects, not scans, into training and validation.

    Parameters
    ----------
    subjects : iterable of str
    share : float
        Fraction of subjects for validation; at least one if there are two or more and it is not 0.
    seed : int
        The same arguments give the same split.
    chosen : sequence of str
        Subjects for validation, instead of a fraction.

    Returns
    -------
    train, validate : list of str

    Examples
    --------
    >>> train, validate = split_subjects('abcdefghij', share=0.2, seed=0)
    >>> len(train), len(validate)
    (8, 2)
    >>> split_subjects(['a'], share=0.5, seed=0)
    (['a'], [])
    """
    ordered = sorted(set(subjects), key=sort_key)
    validate = {subject for subject in ordered if subject in chosen}
    if not chosen and share > 0 and len(ordered) > 1:
        count = min(max(1, round(share * len(ordered))), len(ordered) - 1)
        validate = set(random.Random(seed).sample(ordered, count))
    return [s for s in ordered if s not in validate], [s for s in ordered if s in validate]


def pair_paths(record: ImageRecord, output_dir: Path, space: str) -> dict[str, Path]:
    """Return the paths of a training pair.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    output_dir : Path
        Root of the derivatives.
    space : str
        Name of the reference of the model.

    Returns
    -------
    dict of str to Path
        ``image``, ``labels``, ``info`` and ``figure``.
    """
    image = {'suffix': record.suffix, 'space': space, 'desc': _joined('prepared', record)}
    return {
        'image': output_path(record, output_dir, extension='.nii.gz', **image),
        'labels': output_path(record, output_dir, suffix='dseg', extension='.nii.gz', space=space),
        'info': output_path(
            record, output_dir, suffix='training', extension='.json', desc=scan_label(record)
        ),
        'figure': figure_path(record, output_dir, kind='labels'),
    }


def _joined(word: str, record: ImageRecord) -> str:
    """Distinguish scans that differ only in entities that the output names need for themselves."""
    label = scan_label(record)
    return word if label == record.suffix else f'{word}{label[:1].upper()}{label[1:]}'


def write_case_table(rows: Sequence[Mapping], path: Path) -> None:
    """Write the table of cases and its data dictionary.

    Parameters
    ----------
    rows : sequence of mapping
        With the names of ``CASE_COLUMNS``.
    path : Path
        ``*.tsv``.
    """
    import pandas as pd

    columns = list(CASE_COLUMNS)
    write_tsv(pd.DataFrame([{name: row[name] for name in columns} for row in rows], columns=columns), path)
    write_json(CASE_COLUMNS, path.with_suffix('.json'))

# SPDX-License-Identifier: Apache-2.0
"""Index the images of a dataset with pybids, without metadata."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..data import datatypes, resource
from ..errors import BidsError
from ..files import write_whole
from .names import EXTENSIONS

LOGGER = logging.getLogger('bids_brainseg')
DATABASE = 'layout_index.sqlite'


def check_dataset(bids_dir: Path) -> dict:
    """Read the description of a dataset.

    Parameters
    ----------
    bids_dir : Path
        Its root.

    Returns
    -------
    dict

    Raises
    ------
    BidsError
        With exit code 16 if this is no folder with a readable ``dataset_description.json``.
    """
    target = Path(bids_dir) / 'dataset_description.json'
    if not Path(bids_dir).is_dir():
        raise BidsError(f'not a BIDS dataset: {bids_dir} is not a folder; give the root of the dataset', 16)
    if not target.is_file():
        raise BidsError(
            f'not a BIDS dataset: {bids_dir} has no dataset_description.json; give the root of the dataset, '
            'or add the file',
            16,
        )
    try:
        description = json.loads(target.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError) as error:
        message = f'not a BIDS dataset: {target} cannot be read: {error}; correct the file'
        raise BidsError(message, 16) from error
    if not isinstance(description, dict):
        raise BidsError(f'not a BIDS dataset: {target} is not a mapping; correct the file', 16)
    return description


def find_niftis(
    bids_dir: Path, *, subjects: Sequence[str] = (), database_dir: Path | None = None
) -> list[Path]:
    """List the NIfTI images in the folders of all modalities (``sub-*/[ses-*/]anat`` ...), sorted.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    subjects : sequence of str
        Labels; none means all. Without a database folder only their folders are searched.
    database_dir : Path, optional
        Folder for an index of the whole dataset that later runs read. It is built again when a folder of the
        subjects, or the root, is newer than the index. Many jobs may share it: the index is written to a
        temporary file and moved into place.

    Returns
    -------
    list of Path
    """
    bids_dir = Path(os.path.abspath(bids_dir))
    if database_dir is None:
        layout = _index(bids_dir, subjects=subjects)
    else:
        layout = _reusable(bids_dir, subjects, Path(database_dir))
    names = layout.get(return_type='filename', extension=list(EXTENSIONS), datatype=list(datatypes()))
    paths = sorted(Path(name) for name in names)
    wanted = {f'sub-{subject}' for subject in subjects}
    return [path for path in paths if not wanted or path.name.split('_')[0] in wanted]


def _index(bids_dir: Path, *, subjects: Sequence[str] = (), database: Path | None = None):
    from bids.layout import BIDSLayout, BIDSLayoutIndexer  # slow to import, and --help does not need it

    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=_ignored(subjects))
    config = str(resource('pybids.json'))
    return BIDSLayout(bids_dir, validate=False, config=config, indexer=indexer, database_path=database)


def _ignored(subjects: Sequence[str]) -> list[re.Pattern]:
    """Return patterns of paths without scans; paths begin with a slash at the root of the dataset."""
    folders = '|'.join(map(re.escape, datatypes()))
    labels = '|'.join(re.escape(subject) for subject in subjects) or '[^/]+'
    return [
        re.compile(rf'^/(?!sub-(?:{labels})(?:/|$))'),
        re.compile(rf'^/sub-[^/]+/(?!ses-|(?:{folders})(?:/|$))'),
        re.compile(rf'^/sub-[^/]+/ses-[^/]+/(?!(?:{folders})(?:/|$))'),
        re.compile(rf'/(?:{folders})/[^/]+(?<!\.nii)(?<!\.nii\.gz)$'),
        re.compile(rf'/(?:{folders})/[^/]+/'),
    ]


def _reusable(bids_dir: Path, subjects: Sequence[str], database_dir: Path):
    from bids.layout import BIDSLayout

    # One folder for each dataset and each set of rules: indices of other programs stay untouched.
    identity = f'{bids_dir}\n{resource("pybids.json").read_text()}\n{_ignored(())}'
    folder = database_dir / f'bids_brainseg-{hashlib.sha256(identity.encode()).hexdigest()[:12]}'
    target = folder / DATABASE
    if not target.is_file() or _is_stale(target, bids_dir, subjects):
        try:
            with write_whole(target) as temporary, tempfile.TemporaryDirectory(dir=folder) as scratch:
                _index(bids_dir, database=Path(scratch))
                shutil.move(Path(scratch) / DATABASE, temporary)
        except OSError as error:
            LOGGER.warning(
                'The BIDS database folder cannot be written, the dataset is indexed again: %s', error
            )
            return _index(bids_dir, subjects=subjects)
    return BIDSLayout(bids_dir, validate=False, database_path=folder)


def _is_stale(target: Path, bids_dir: Path, subjects: Sequence[str]) -> bool:
    indexed = target.stat().st_mtime_ns
    chosen = [bids_dir / f'sub-{subject}' for subject in subjects] or list(bids_dir.glob('sub-*'))
    folders = [bids_dir, *chosen]
    for top in chosen:
        for pattern in ('ses-*', *datatypes(), *(f'ses-*/{folder}' for folder in datatypes())):
            folders += top.glob(pattern)
    return any(folder.stat().st_mtime_ns > indexed for folder in folders if folder.is_dir())

# SPDX-License-Identifier: Apache-2.0
"""Index the images of a dataset with pybids, without metadata."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import datatypes, resource
from ..errors import BidsError
from ..files import read_text, unfetched, write_whole
from .names import EXTENSIONS, split_name

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

LOGGER = logging.getLogger('bids_brainseg')
DATABASE = 'layout_index.sqlite'
#: Folders of kinds of data that are never segmented; what lies there is not listed.
_OTHER_DATATYPES = (
    'func', 'fmap', 'perf', 'pet', 'meg', 'eeg', 'ieeg', 'beh', 'micr', 'motion', 'mrs', 'nirs', 'phenotype',
)  # fmt: skip
#: What the name of an image ends with, in any spelling and in formats that are not read.
_IMAGE = re.compile(r'\.(?:nii|nii\.\w+|img|img\.gz|mgz|mgh|nrrd|nhdr|mha|mhd|mnc|dcm)$', re.IGNORECASE)


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
    if not target.is_file() and not unfetched(target):
        raise BidsError(
            f'not a BIDS dataset: {bids_dir} has no dataset_description.json; give the root of the dataset, '
            'or add the file',
            16,
        )
    try:
        description = json.loads(read_text(target))
    except (OSError, ValueError) as error:
        message = f'not a BIDS dataset: {target} cannot be read: {error}; correct the file'
        raise BidsError(message, 16) from error
    if not isinstance(description, dict):
        raise BidsError(f'not a BIDS dataset: {target} is not a mapping; correct the file', 16)
    return description


def list_images(bids_dir: Path, subjects: Sequence[str] = ()) -> list[Path]:
    """List all files of participants that look like images, also those that nothing can be made of.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    subjects : sequence of str
        Labels; none means all.

    Returns
    -------
    list of Path
        Below the root, sorted. Folders of other kinds of data (``func`` ...) are not searched; a folder that
        cannot be read is told in the log.
    """
    images = []
    for path, problem in _walk(Path(os.path.abspath(bids_dir)), _ignored(subjects)):
        if problem is not None:
            LOGGER.warning('%s cannot be read and is left out: %s', path.lstrip('/'), problem)
        elif _IMAGE.search(path):
            images.append(Path(path.lstrip('/')))
    return sorted(images)


def _walk(bids_dir: Path, ignored: Sequence[re.Pattern]) -> Iterator[tuple[str, str | None]]:
    """Yield the path of each file, and of each folder that cannot be read together with the reason."""
    folders = ['']
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(f'{bids_dir}{folder}'))
            if not os.access(f'{bids_dir}{folder}', os.X_OK):  # its files can be listed and not opened
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            yield folder, error.strerror
            continue
        for entry in entries:
            path = f'{folder}/{entry.name}'
            if any(pattern.search(path) for pattern in ignored):
                continue
            if entry.is_dir():
                folders.append(path)
            else:
                yield path, None


def find_niftis(
    bids_dir: Path,
    *,
    listed: Sequence[Path],
    subjects: Sequence[str] = (),
    database_dir: Path | None = None,
) -> list[Path]:
    """Ask pybids for the NIfTI images in the folders of all modalities (``sub-*/[ses-*/]anat`` ...).

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    listed : sequence of Path
        What :func:`list_images` found.
    subjects : sequence of str
        Labels; none means all.
    database_dir : Path, optional
        Folder for an index of the whole dataset that later runs over all participants read. It is made anew
        unless it holds exactly the images that are there. Where participants are named it plays no part,
        since their folders are read sooner. Many jobs may share it: the index is written to a temporary file
        and moved into place.

    Returns
    -------
    list of Path
        Absolute, sorted.
    """
    bids_dir = Path(os.path.abspath(bids_dir))
    if database_dir is None or subjects:
        return _images_of(_index(bids_dir, subjects=subjects))
    here = [
        bids_dir / path
        for path in listed
        if path.parent.name in datatypes() and split_name(path.name)[2] in EXTENSIONS
    ]
    return _from_database(bids_dir, here, Path(database_dir))


def _images_of(layout: BIDSLayout) -> list[Path]:
    names = layout.get(return_type='filename', extension=list(EXTENSIONS), datatype=list(datatypes()))
    return sorted(Path(name) for name in names)


def _index(bids_dir: Path, *, subjects: Sequence[str] = (), database: Path | None = None) -> BIDSLayout:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer  # slow to import, and --help does not need it

    folders = '|'.join(map(re.escape, datatypes()))
    endings = ''.join(f'(?<!{re.escape(extension)})' for extension in EXTENSIONS)
    others = [
        re.compile(rf'^/sub-[^/]+/(?!ses-|(?:{folders})(?:/|$))'),
        re.compile(rf'^/sub-[^/]+/ses-[^/]+/(?!(?:{folders})(?:/|$))'),
        re.compile(rf'/(?:{folders})/[^/]+{endings}$'),
    ]
    config, ignored = str(resource('pybids.json')), [*_ignored(subjects), *others]

    def layout() -> BIDSLayout:
        indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignored)
        return BIDSLayout(bids_dir, validate=False, config=config, indexer=indexer, database_path=database)

    try:
        return layout()
    except OSError:  # pybids stops at a folder that cannot be read
        unreadable = [path for path, problem in _walk(bids_dir, ignored) if problem is not None]
        if not unreadable or '' in unreadable:
            raise
        ignored += [re.compile(rf'^{re.escape(path)}(?:/|$)') for path in unreadable]
        return layout()


def _ignored(subjects: Sequence[str]) -> list[re.Pattern]:
    """Return patterns of paths without scans; paths begin with a slash at the root of the dataset."""
    labels = '|'.join(re.escape(subject) for subject in subjects) or '[^/]+'
    return [
        re.compile(rf'^/(?!sub-(?:{labels})(?:/|$))'),
        re.compile(rf'^/sub-[^/]+/(?:ses-[^/]+/)?(?:{"|".join(_OTHER_DATATYPES)})(?:/|$)'),
        re.compile(r'^/sub-[^/]+/(?:ses-[^/]+/[^/]+/[^/]+/|(?!ses-)[^/]+/[^/]+/)'),
    ]


def _from_database(bids_dir: Path, here: Sequence[Path], database_dir: Path) -> list[Path]:
    from bids.layout import BIDSLayout

    # One folder for each dataset and each set of rules: indices of other programs stay untouched.
    identity = f'{bids_dir}\n{resource("pybids.json").read_text()}\n{_ignored(())}\n{datatypes()}{EXTENSIONS}'
    folder = database_dir / f'bids_brainseg-{hashlib.sha256(identity.encode()).hexdigest()[:12]}'
    target = folder / DATABASE
    if target.is_file():
        try:
            indexed = _images_of(BIDSLayout(bids_dir, validate=False, database_path=folder))
        except Exception as error:  # SQLAlchemy has no end of kinds for a damaged file
            LOGGER.warning('The index of the dataset cannot be read and is made anew: %s', error)
        else:
            if indexed == sorted(here):
                return indexed
            LOGGER.info('The index of the dataset is out of date and is made anew: %s', target)
    try:
        with write_whole(target) as temporary, tempfile.TemporaryDirectory(dir=folder) as scratch:
            images = _images_of(_index(bids_dir, database=Path(scratch)))
            shutil.move(Path(scratch) / DATABASE, temporary)
            return images
    except Exception as error:  # of the disk, or of SQLAlchemy where it was full
        LOGGER.warning('The BIDS database folder cannot be written, the dataset is indexed again: %s', error)
        return _images_of(_index(bids_dir))

# SPDX-License-Identifier: Apache-2.0
"""Say of an image in a dataset why no scan is made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data import Modality, datatypes, modalities
from ..files import read_text
from .names import EXTENSIONS, split_name
from .words import has_word, is_composed

# Entities that, beside the suffix, may say what an image is.
DESCRIPTIVE = ('acq', 'rec', 'desc')


def modality_of(datatype: str, suffix: str) -> str | None:
    """Return the modality of the scans with a suffix in a folder; None if there is none.

    Parameters
    ----------
    datatype, suffix : str
        ``'anat'``, ``'T1w'``.

    Returns
    -------
    str or None
    """
    for name, rule in modalities().items():
        if datatype in rule.datatypes and suffix in rule.suffixes:
            return name
    return None


def reason_unused(path: Path, ignored: IgnoreFile) -> str | None:
    """Say why an image is no scan that can be segmented, from its path alone.

    Parameters
    ----------
    path : Path
        Below the root of the dataset: ``sub-01/anat/sub-01_PDw.nii.gz``.
    ignored : IgnoreFile
        ``.bidsignore`` of the dataset.

    Returns
    -------
    str or None
        The same words for all images of a kind; None for a scan.
    """
    entities, suffix, extension = split_name(path.name)
    folder = path.parent.name
    if extension not in EXTENSIONS:
        return _reason_of_extension(extension)
    if folder not in datatypes():
        where = 'in no folder of its own' if folder.startswith(('sub-', 'ses-')) else f'in {folder}/'
        return f'it lies {where}; scans are looked for in {", ".join(datatypes())}'
    if not entities.get('sub'):
        return 'its name does not begin with sub-LABEL_'
    modality = modality_of(folder, suffix)
    if modality is None:
        return _reason_of_suffix(folder, suffix)
    if (_folder_label(path, 'sub-'), _folder_label(path, 'ses-')) != (entities['sub'], entities.get('ses')):
        return 'its name contradicts its folder'
    rule = modalities()[modality]
    if entities.get('part', 'mag') != 'mag':
        return f'part-{entities["part"]}: only magnitude images are segmented'
    labels = [f'{key}-{entities[key]}' for key in DESCRIPTIVE if key in entities]
    if marks := [label for label in labels if _is_excluded(label.partition('-')[2], rule)]:
        return f'{" and ".join(marks)}: by its name it is no plain {rule.title} scan'
    if line := ignored.line_for(path, is_bids=suffix == rule.suffixes[0] and not rule.bidsignore):
        return f'the line {line} of .bidsignore leaves it out; remove the line to use it'
    return None


def _reason_of_extension(extension: str) -> str:
    if extension.casefold() in EXTENSIONS:
        return f'its extension is {extension}; rename it to {extension.casefold()}'
    return f'{extension} is not read; convert it to .nii.gz'


def _reason_of_suffix(folder: str, suffix: str) -> str:
    elsewhere = [name for name in datatypes() if modality_of(name, suffix)]
    if elsewhere:
        return f'{suffix} does not belong in {folder}/; move it to {" or ".join(f"{x}/" for x in elsewhere)}'
    spellings = [
        known for rule in modalities().values() for known in rule.suffixes
        if folder in rule.datatypes and known.casefold() == suffix.casefold()
    ]  # fmt: skip
    if spellings:
        return f'its suffix is {suffix}; rename it to {spellings[0]}'
    return f'there is no model for {suffix}'


def _is_excluded(label: str, rule: Modality) -> bool:
    return has_word([label], rule.excluded_words) or is_composed([label], rule.excluded_values)


def _folder_label(path: Path, prefix: str) -> str | None:
    names = [parent.name for parent in path.parents if parent.name.startswith(prefix)]
    return names[0].removeprefix(prefix) if names else None


class IgnoreFile:
    """The lines of ``.bidsignore``, which are patterns as in ``.gitignore``.

    The file is made for the validator, which has to be kept from what BIDS does not know, such as CT. It
    leaves out scans where that cannot be meant: a line names participants, or the scan is valid BIDS.

    Parameters
    ----------
    lines : sequence of str
        Of the file; comments and empty lines count for nothing.

    Examples
    --------
    >>> ignored = IgnoreFile(['**/ct', '*_rec-bad_*', 'sub-03/'])
    >>> ignored.line_for(Path('sub-01/ct/sub-01_ct.nii.gz'), is_bids=False)
    >>> ignored.line_for(Path('sub-03/ct/sub-03_ct.nii.gz'), is_bids=False)
    'sub-03/'
    >>> ignored.line_for(Path('sub-01/anat/sub-01_rec-bad_T1w.nii.gz'), is_bids=True)
    '*_rec-bad_*'
    """

    def __init__(self, lines: Sequence[str] = ()):
        stripped = [line.strip() for line in lines]
        self._patterns: Mapping[str, re.Pattern] = {
            line: _pattern(line.removeprefix('!')) for line in stripped if line and not line.startswith('#')
        }

    @classmethod
    def read(cls, bids_dir: Path) -> IgnoreFile:
        """Read ``.bidsignore`` of a dataset; without one, or if it cannot be read, nothing is ignored."""
        try:
            return cls(read_text(bids_dir / '.bidsignore').splitlines())
        except (OSError, ValueError):
            return cls()

    def line_for(self, path: Path, *, is_bids: bool) -> str | None:
        """Return the line that leaves a scan out; None if no line does.

        Parameters
        ----------
        path : Path
            Below the root of the dataset.
        is_bids : bool
            The scan is part of BIDS, so that the validator needs no such line.

        Returns
        -------
        str or None
        """
        found = None
        for line, pattern in self._patterns.items():
            names_participant = re.search(r'sub-[A-Za-z0-9]', line) is not None
            if (is_bids or names_participant) and pattern.fullmatch(path.as_posix()):
                found = None if line.startswith('!') else line
        return found


def _pattern(line: str) -> re.Pattern:
    """Translate a pattern of ``.gitignore``: it covers a path, and what lies below it."""
    anchored = '/' in line.rstrip('/')
    words = re.split(r'(\*\*/|/\*\*|\*|\?|\[[^\]]+\])', line.strip('/'))
    meaning = {'**/': '(?:.*/)?', '/**': '/.*', '*': '[^/]*', '?': '[^/]'}
    meaning |= {word: word.replace('[!', '[^') for word in words if re.fullmatch(r'\[.+\]', word)}
    body = ''.join(meaning.get(word, re.escape(word)) for word in words)
    return re.compile(('' if anchored else '(?:.*/)?') + body + '(?:/.*)?')

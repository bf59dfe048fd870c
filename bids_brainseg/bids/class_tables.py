# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a label image mean: FreeSurfer's, our own classes, or a table that says so."""

from __future__ import annotations

import csv
from pathlib import Path

from ..data import label_table
from ..errors import InputError
from ..records import ClassTable
from .names import split_name

FREESURFER, BRAINSEG, AUTO = 'freesurfer', 'brainseg', 'auto'
ANY_OTHER = '*'


def brainseg_table() -> ClassTable:
    """Return the table of labels that are class indices already."""
    return ClassTable(BRAINSEG, {label.index: label.index for label in label_table()})


def read_class_table(path: Path) -> ClassTable:
    """Read a table that maps label numbers to classes.

    Parameters
    ----------
    path : Path
        Tab-separated, with a header. The first column holds the numbers of the label image, ``*`` standing
        for any other number. A column ``index`` holds the class: an index from 0 to 27, or ``7|20`` for a
        structure that belongs to class 7 on the left of the midplane and to class 20 on the right. Where the
        first column itself is called ``index`` (a BIDS lookup table), the column ``name`` holds the name of
        the class.

    Raises
    ------
    InputError
        If it is no such table; names the row.
    """
    rows = _rows(path)
    header, *body = rows or [[]]
    by_name = bool(header) and header[0] == 'index'
    column = 'name' if by_name else 'index'
    if column not in header[1:] or not body:
        raise InputError(
            f'not a class table: {path} has the columns {header}; give a tab-separated table whose first '
            'column holds label numbers and whose column "index" holds class indices (or "index" and "name")'
        )
    names = {label.name: str(label.index) for label in label_table()}
    mapping, split, default = {}, {}, None
    for line, row in enumerate(body, start=2):
        try:
            number, text = row[0].strip(), row[header.index(column)].strip()
            classes = [_class_index(part) for part in (names[text] if by_name else text).split('|')]
            if number == ANY_OTHER and len(classes) == 1:
                default = classes[0]
            elif len(classes) == 1:
                mapping[_number(number)] = classes[0]
            else:
                left, right = classes
                split[_number(number)] = (left, right)
        except (LookupError, ValueError) as error:
            raise InputError(
                f'class table {path}, line {line}: {row} does not map a number to a class ({error}); the '
                f'classes are 0 to {len(names) - 1} of labels.tsv'
            ) from error
    return ClassTable(str(path), mapping, split, default)


def class_table(labels: Path, root: Path, choice: str | Path = AUTO) -> ClassTable:
    """Find out what the numbers of a label image mean.

    Parameters
    ----------
    labels : Path
        The image.
    root : Path
        Root of its dataset.
    choice : str or Path
        ``'freesurfer'``, ``'brainseg'``, a table, or ``'auto'``: a ``*_dseg.tsv`` that belongs to the image
        by the inheritance of BIDS, a ``labels.tsv`` in its folders, or the image's own name.

    Raises
    ------
    InputError
        If nothing says it, or the table makes no sense.
    """
    if choice == FREESURFER:
        return ClassTable(FREESURFER)
    if choice == BRAINSEG:
        return brainseg_table()
    if choice != AUTO:
        return read_class_table(Path(choice))
    if labels.suffix in ('.mgz', '.mgh'):
        return ClassTable(FREESURFER)
    for table in _beside(labels, root):
        return _known(table) or read_class_table(table)
    entities, _, _ = split_name(labels.name)
    told = f'{entities.get("seg", "")} {entities.get("desc", "")}'.casefold()
    if 'aseg' in told or 'wmparc' in told or FREESURFER in told:
        return ClassTable(FREESURFER)
    if BRAINSEG in told:
        return brainseg_table()
    raise InputError(
        f'nothing says what the numbers in {labels} mean: no *_dseg.tsv or labels.tsv was found in {root}; '
        'use --label-table freesurfer, --label-table brainseg, or --label-table FILE.tsv'
    )


def _known(table: Path) -> ClassTable | None:
    """Recognise our own table and FreeSurfer's by the number that a name has there."""
    header, *body = _rows(table) or [[]]
    if not {'index', 'name'} <= set(header) or header[0] != 'index':
        return None
    found = {row[header.index('name')]: row[0] for row in body if len(row) == len(header)}
    ours = {label.name: str(label.index) for label in label_table()}
    numbers = {label.name: str(label.freesurfer) for label in label_table()[1:]}
    if all(ours.get(name) == number for name, number in found.items()):
        return brainseg_table()
    shared = found.keys() & numbers.keys()
    if len(shared) > 1 and all(found[name] == numbers[name] for name in shared):
        return ClassTable(FREESURFER)
    return None


def _beside(labels: Path, root: Path) -> list[Path]:
    """List the lookup tables that belong to a label image, the nearest first."""
    entities, suffix, _ = split_name(labels.name)
    found = []
    for folder in [labels.parent, *labels.parent.parents]:
        for path in sorted(folder.glob('*.tsv')):
            own, kind, _ = split_name(path.name)
            if kind == suffix and all(entities.get(key) == value for key, value in own.items()):
                found.append(path)
        found += [folder / 'labels.tsv'] if (folder / 'labels.tsv').is_file() else []
        if folder.resolve() == Path(root).resolve():
            break
    return found


def _rows(path: Path) -> list[list[str]]:
    try:
        with Path(path).open(newline='', encoding='utf-8-sig') as stream:
            return [row for row in csv.reader(stream, delimiter='\t') if row]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'class table cannot be read: {path} ({error}); check the path') from error


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError('a label number is negative')
    return number


def _class_index(text: str) -> int:
    index = int(text)
    if not 0 <= index < len(label_table()):
        raise ValueError(f'no class {index}')
    return index

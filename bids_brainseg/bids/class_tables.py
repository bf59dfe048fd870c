# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a label image mean: FreeSurfer labels, class indices, or a table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..data import label_table
from ..errors import InputError
from ..files import read_text
from ..records import ClassTable
from .names import split_name

FREESURFER, BRAINSEG, AUTO = 'freesurfer', 'brainseg', 'auto'
ANY_OTHER = '*'


def brainseg_table() -> ClassTable:
    """Return the table for label images that hold class indices.

    Returns
    -------
    ClassTable
    """
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

    Returns
    -------
    ClassTable

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
    """Find the class table of a label image.

    Parameters
    ----------
    labels : Path
        The image.
    root : Path
        Root of its dataset.
    choice : str or Path
        ``'freesurfer'``, ``'brainseg'``, a table, or ``'auto'``: a ``*_dseg.tsv`` that belongs to the image
        by the inheritance of BIDS, a ``labels.tsv`` in its folders, or the image's own name.

    Returns
    -------
    ClassTable

    Raises
    ------
    InputError
        If none is found, or the table cannot be read.
    """
    if choice == FREESURFER:
        return ClassTable(FREESURFER)
    if choice == BRAINSEG:
        return brainseg_table()
    if choice != AUTO:
        return read_class_table(Path(choice))
    if labels.suffix in ('.mgz', '.mgh'):
        return ClassTable(FREESURFER)
    for table in _lookup_tables(labels, root):
        return _packaged_table(table) or read_class_table(table)
    entities, _, _ = split_name(labels.name)
    scheme = f'{entities.get("seg", "")} {entities.get("desc", "")}'.casefold()
    if 'aseg' in scheme or 'wmparc' in scheme or FREESURFER in scheme:
        return ClassTable(FREESURFER)
    if BRAINSEG in scheme:
        return brainseg_table()
    raise InputError(
        f'the numbers in {labels} have no class table: no *_dseg.tsv or labels.tsv was found in {root}; '
        'use --label-table freesurfer, --label-table brainseg, or --label-table FILE.tsv'
    )


def _packaged_table(table: Path) -> ClassTable | None:
    """Recognize the table of this program, or FreeSurfer's, by the numbers of the names in it."""
    header, *body = _rows(table) or [[]]
    if not {'index', 'name'} <= set(header) or header[0] != 'index':
        return None
    numbers = {row[header.index('name')]: row[0] for row in body if len(row) == len(header)}
    brainseg = {label.name: str(label.index) for label in label_table()}
    freesurfer = {label.name: str(label.freesurfer) for label in label_table()[1:]}
    if all(brainseg.get(name) == number for name, number in numbers.items()):
        return brainseg_table()
    shared = numbers.keys() & freesurfer.keys()
    if len(shared) > 1 and all(numbers[name] == freesurfer[name] for name in shared):
        return ClassTable(FREESURFER)
    return None


def _lookup_tables(labels: Path, root: Path) -> list[Path]:
    """List the lookup tables that belong to a label image, the nearest first."""
    entities, suffix, _ = split_name(labels.name)
    tables = []
    for folder in [labels.parent, *labels.parent.parents]:
        for path in sorted(folder.glob('*.tsv')):
            of_table, kind, _ = split_name(path.name)
            if kind == suffix and all(entities.get(key) == value for key, value in of_table.items()):
                tables.append(path)
        tables += [folder / 'labels.tsv'] if (folder / 'labels.tsv').is_file() else []
        if folder.resolve() == Path(root).resolve():
            break
    return tables


def _rows(path: Path) -> list[list[str]]:
    try:
        stream = io.StringIO(read_text(path), newline='')
        return [row for row in csv.reader(stream, delimiter='\t') if row]
    except (OSError, ValueError, csv.Error) as error:
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

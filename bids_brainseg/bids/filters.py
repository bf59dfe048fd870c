# SPDX-License-Identifier: Apache-2.0
"""Select scans by the filter file of the NiPreps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..data import modalities
from ..errors import BidsError
from ..files import read_text
from .names import LONG_NAMES, strip_prefix

USAGE = 2
#: Words of pybids for values, in filter files of other programs.
QUERIES = {'Query.NONE': None, 'Query.ANY': '*', 'Query.REQUIRED': '*'}
OPTIONAL = 'Query.OPTIONAL'
# No entities of a name; pybids and the NiPreps filter by them as well.
FILE_PROPERTIES = ('suffix', 'extension', 'datatype')


def load_filters(source: Path | str | Mapping | None) -> dict[str, dict]:
    """Read a filter file: ``{"T1w": {"session": null, "acquisition": "*"}}``.

    A value is a label, a list of labels, ``null`` (the entity must be absent) or ``"*"`` (any label, but
    present); ``"Query.NONE"``, ``"Query.ANY"``, ``"Query.OPTIONAL"`` of pybids mean absent, present, either.
    Entities go by their pybids name (``acquisition``) or by the key in the file name (``acq``).

    A file for a job of one session, as BABS writes it, gives that session in every entry, also in those for
    other programs, but has none for modalities that only this program knows. They get the session as well.

    Parameters
    ----------
    source : path, mapping or None
        The file, or what was read from it.

    Returns
    -------
    dict
        Modality to filter, entities by the key in the file name.

    Raises
    ------
    BidsError
        With exit code 2 if the file is no such mapping or names an unknown entity.
    """
    filters = _read(source)
    canonical = {name.casefold(): name for name in modalities()}
    filters_of: dict[str, dict] = {}
    for modality, conditions in filters.items():
        if not isinstance(conditions, Mapping):
            raise BidsError(
                f'BIDS filters: {modality!r} holds {conditions!r}; expected a mapping of entities to labels, '
                'such as {"session": "1"}',
                USAGE,
            )
        name = canonical.get(str(modality).casefold())
        if name is not None:  # a file shared with another pipeline may hold bold, fmap, ...
            filters_of[name] = {
                _key(entity, modality): _plain(value)
                for entity, value in conditions.items()
                if value != OPTIONAL
            }
    if session := session_of_job(filters):
        for name in modalities():
            filters_of.setdefault(name, {}).setdefault('ses', session)
    return filters_of


def session_of_job(source: Path | str | Mapping | None) -> str | None:
    """Return the session that a filter file was written for.

    Parameters
    ----------
    source : path, mapping or None
        As in :func:`load_filters`.

    Returns
    -------
    str or None
        Its label, if several entries name it, one for another program among them, and none names another.

    Examples
    --------
    >>> session_of_job({'t1w': {'session': '1'}, 'bold': {'session': '1'}, 'fmap': {}})
    '1'
    >>> session_of_job({'T1w': {'session': '1'}})
    """
    filters = _read(source)
    named = {
        name: conditions.get('session', conditions.get('ses'))
        for name, conditions in filters.items()
        if isinstance(conditions, Mapping) and {'session', 'ses'} & conditions.keys()
    }
    others = named.keys() & set(unknown_filters(filters))
    label = next(iter(named.values()), None)
    same = all(other == label for other in named.values()) and isinstance(label, str) and label != '*'
    return label if same and others and len(named) > 1 else None


def unknown_filters(source: Path | str | Mapping | None) -> list[str]:
    """Return the names in a filter file that are not a modality of this program.

    Parameters
    ----------
    source : path, mapping or None
        As in :func:`load_filters`.

    Returns
    -------
    list of str
    """
    names = {name.casefold() for name in modalities()}
    return [str(name) for name in _read(source) if str(name).casefold() not in names]


def matches(properties: Mapping[str, str], conditions: Mapping) -> bool:
    """Check whether a scan meets all conditions of one modality.

    Parameters
    ----------
    properties : mapping of str
        Entities of the scan by their key, with ``suffix``, ``extension`` and ``datatype``.
    conditions : mapping
        As :func:`load_filters` returns them.

    Returns
    -------
    bool

    Examples
    --------
    >>> matches({'sub': '01', 'run': '02'}, {'ses': None, 'run': 2})
    True
    >>> matches({'sub': '01'}, {'acq': '*'})
    False
    """
    return all(_meets(properties.get(key), value, key) for key, value in conditions.items())


def _read(source: Path | str | Mapping | None) -> Mapping:
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return source
    try:
        content = json.loads(read_text(source))
    except (OSError, ValueError) as error:
        raise BidsError(f'BIDS filter file cannot be read: {source}: {error}', USAGE) from error
    if not isinstance(content, dict):
        raise BidsError(
            f'BIDS filter file is not a mapping: {source}; expected {{"T1w": {{"session": "1"}}}}', USAGE
        )
    return content


def _plain(value: object) -> object:
    """Write what pybids calls a query as ``null`` or ``"*"``.

    >>> _plain(['1', 'Query.NONE']), _plain('Query.ANY')
    (['1', None], '*')
    """
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return QUERIES.get(value, value) if isinstance(value, str) else value


def _key(entity: str, modality: str) -> str:
    key = LONG_NAMES.get(entity, entity)
    if key not in {*LONG_NAMES.values(), *FILE_PROPERTIES, *_OTHER_KEYS}:
        raise BidsError(
            f'BIDS filters: unknown entity {entity!r} for {modality}; known are '
            f'{", ".join(sorted({*LONG_NAMES, *FILE_PROPERTIES, *_OTHER_KEYS}))}',
            USAGE,
        )
    return key


_OTHER_KEYS = (
    'sample', 'task', 'tracksys', 'run', 'echo', 'flip', 'part', 'space', 'split', 'recording', 'chunk',
    'atlas', 'scale', 'label', *LONG_NAMES.values(),
)  # fmt: skip


def _meets(value: str | None, wanted: object, key: str) -> bool:
    if isinstance(wanted, (list, tuple)):
        return any(_meets(value, one, key) for one in wanted)
    if wanted is None:
        return value is None
    if value is None:
        return False
    if wanted == '*':
        return True
    wanted = strip_prefix(wanted, key)
    if key == 'extension':
        wanted = '.' + wanted.lstrip('.')
    if key in ('run', 'echo', 'flip', 'inv', 'split', 'chunk') and value.isdigit() and wanted.isdigit():
        return int(value) == int(wanted)  # indices: run-1 and run-01 are the same, ses-1 and ses-01 are not
    return value == wanted

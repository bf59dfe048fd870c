# SPDX-License-Identifier: Apache-2.0
"""Templates for ``--output-spaces``, packaged or of TemplateFlow, named as in the other NiPreps.

Of the templates in ``templates.json`` the grid and the affine to a reference are packaged, so that they need
neither a network nor a folder.

TemplateFlow's client, and niworkflows' grammar of spaces that needs it, are imported only where a template
is asked for: the import indexes TemplateFlow's folder, and fills it with thousands of empty files where
it is empty. Nothing is fetched unless TemplateFlow's own setting, ``TEMPLATEFLOW_AUTOUPDATE``, is
switched on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import anatomical_modality, modalities, resource
from ..errors import BidsError
from ..records import Bundle, PackagedAlignment, Template
from .names import split_name

if TYPE_CHECKING:
    from niworkflows.utils.spaces import Reference

HOME_VARIABLE, FETCH_VARIABLE = 'TEMPLATEFLOW_HOME', 'TEMPLATEFLOW_AUTOUPDATE'
SWITCHED_ON = ('true', 'on', '1', 'yes', 'y')  # as TemplateFlow reads its variables
#: Names of the scan's own space.
OWN_SPACES = ('orig', 'scanner', 'native', 'individual', 'anat')
MODIFIERS = ('res', 'cohort')
DEFAULT_RESOLUTION = '1'


def template_home() -> Path:
    """Return TemplateFlow's folder on this machine, which may not exist."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    home = os.environ.get(HOME_VARIABLE) or Path(cache) / 'templateflow'
    return Path(os.path.expanduser(home)).absolute()


def may_fetch() -> bool:
    """Tell whether the user lets TemplateFlow use the network."""
    return os.environ.get(FETCH_VARIABLE, '').lower() in SWITCHED_ON


def find_templates(spaces: Iterable[str], aligned_to: Bundle) -> list[Template]:
    """Find the templates that output spaces name.

    Parameters
    ----------
    spaces : iterable of str
        ``NAME[:res-N][:cohort-N]``; several resolutions or cohorts mean all their combinations. The
        resolution is 1 if none is given.
    aligned_to : Bundle
        Kept in the results.

    Returns
    -------
    list of Template
        Each once, in the order asked for.

    Raises
    ------
    BidsError
        With exit code 2 if a name is no template, or if its T1w image is neither on this disk nor to be
        fetched. Packaged templates need neither.
    """
    spaces = list(dict.fromkeys(spaces))
    for text in spaces:
        _refuse_own_space(text)
    packaged = {text: _packaged_templates(text, aligned_to) for text in spaces}
    others = [text for text, templates in packaged.items() if not templates]
    found = {}
    if others:
        home = template_home()
        _import_client(home, others)
        found = {
            text: [_template(reference, aligned_to, home) for reference in _references(text, home)]
            for text in others
        }
    templates = [template for text in spaces for template in packaged[text] or found[text]]
    return list({tuple(template.entities.items()): template for template in templates}.values())


@cache
def packaged_templates() -> dict:
    """Return what is packaged of templates, by their names (``templates.json``)."""
    return json.loads(resource('templates.json').read_text(encoding='utf-8'))


def _packaged_templates(text: str, aligned_to: Bundle) -> list[Template]:
    """Make the templates that a space names, where it is packaged; none where it is not."""
    name, *modifiers = text.split(':')
    entry = packaged_templates().get(name)
    if entry is None or entry['reference'] != aligned_to.reference_name:
        return []
    keys = [modifier.partition('-')[::2] for modifier in modifiers]
    if any(key != 'res' for key, _ in keys):
        raise BidsError(f'--output-spaces {text}: {name} has no cohorts; expected {name}[:res-N]', 2)
    resolutions = [value for _, value in keys] or [DEFAULT_RESOLUTION]
    grids = {number: entry['grids'].get(str(_whole(text, number))) for number in resolutions}
    if missing := [number for number, grid in grids.items() if grid is None]:
        raise BidsError(
            f'--output-spaces {text}: {name} has no resolution {missing[0]}; choose '
            f'{" or ".join(entry["grids"])}',
            2,
        )
    return [
        Template(
            name,
            {'space': name, 'res': number},
            Path(f'tpl-{name}_res-{int(number):02d}_T1w.nii.gz'),
            aligned_to,
            PackagedAlignment(
                tuple(map(tuple, entry['reference_to_template'])), tuple(grid['shape']), _affine(grid)
            ),
        )
        for number, grid in grids.items()
    ]


def _affine(grid: Mapping) -> tuple[tuple[float, ...], ...]:
    """Return the affine of a grid whose axes are those of space.

    >>> _affine({'zoom': 2.0, 'origin': [-1.0, -2.0, -3.0]})[1]
    (0.0, 2.0, 0.0, -2.0)
    """
    rows = [
        tuple(grid['zoom'] * (row == column) for column in range(3)) + (float(grid['origin'][row]),)
        for row in range(3)
    ]
    return (*rows, (0.0, 0.0, 0.0, 1.0))


def _refuse_own_space(text: str) -> None:
    name = text.partition(':')[0]
    suffixes = {suffix for modality in modalities().values() for suffix in modality.suffixes}
    if name in OWN_SPACES or name in suffixes:
        raise BidsError(
            f"--output-spaces {text}: {name} is no template but the scan's own space, in which the "
            'segmentation is always written; leave it out',
            2,
        )


def _import_client(home: Path, spaces: Iterable[str]) -> None:
    """Import TemplateFlow's client, which reads its folder at that moment."""
    if not may_fetch() and not (home.is_dir() and any(home.iterdir())):
        raise _absent(next(iter(spaces)), f'there is no TemplateFlow folder {home}')
    os.environ[HOME_VARIABLE] = str(home)
    try:
        from templateflow import conf

        if may_fetch():  # the folder may hold some templates only: add what else can be fetched
            conf.update(local=True, overwrite=False, silent=True)
        import niworkflows.utils.spaces  # noqa: F401
    except OSError as error:
        raise BidsError(
            f"TemplateFlow's folder cannot be used: {home} ({error.strerror}); set {HOME_VARIABLE} to "
            'another one',
            2,
        ) from error


def _references(text: str, home: Path) -> list[Reference]:
    """Read an output space by the grammar of niworkflows."""
    from niworkflows.utils.spaces import Reference
    from templateflow import api

    name, *modifiers = text.split(':')
    if any(
        modifier.partition('-')[0] not in MODIFIERS or not modifier.partition('-')[2]
        for modifier in modifiers
    ):
        raise BidsError(f'--output-spaces {text}: expected NAME[:res-N][:cohort-N]', 2)
    if name not in api.templates():
        raise _absent(text, f'no folder tpl-{name} in {home}')
    try:
        references = Reference.from_string(text)
    except (ValueError, KeyError) as error:  # KeyError: a surface of a density that does not exist
        raise BidsError(f'--output-spaces {text}: {" ".join(str(error).split())}', 2) from error
    if any(not reference.standard or reference.dim != 3 for reference in references):
        raise BidsError(
            f'--output-spaces {text}: a surface, not a volume; name a template with a T1w image', 2
        )
    return references


def _template(reference: Reference, aligned_to: Bundle, home: Path) -> Template:
    """Find the T1w image of a template."""
    from templateflow import api

    text, cohort, resolution = str(reference), reference.spec.get('cohort'), reference.spec.get('res')
    entities = {'suffix': anatomical_modality(), 'extension': '.nii.gz', 'desc': None}
    entities |= {} if cohort is None else {'cohort': int(cohort)}
    # A template of a single resolution does not always say which.
    wanted = [DEFAULT_RESOLUTION, None] if resolution is None else [resolution]
    queries = [
        entities | {'resolution': number if number is None else _whole(text, number)} for number in wanted
    ]
    query = next((query for query in queries if api.ls(reference.space, **query)), queries[0])
    paths = api.ls(reference.space, **query)
    if may_fetch() and paths and not _is_there(paths[0]):
        _fetch(text, reference.space, query)
    if not paths or not _is_there(paths[0]):
        where = home / f'tpl-{reference.space}' / ('' if cohort is None else f'cohort-{cohort}')
        raise _absent(text, f'no T1w image of resolution {query["resolution"]} in {where}')
    label = '+'.join([reference.space, *([] if cohort is None else [str(cohort)])])
    named = {'space': label}
    if 'res' in split_name(paths[0].name)[0]:
        named['res'] = str(resolution or DEFAULT_RESOLUTION)
    return Template(label, named, paths[0], aligned_to)


def _whole(text: str, number: str) -> int:
    if not number.isdigit():
        raise BidsError(
            f'--output-spaces {text}: a resolution of a template is a number, found {number!r}', 2
        )
    return int(number)


def _is_there(path: Path) -> bool:
    """Tell a file from the empty one that TemplateFlow keeps for what it has not fetched."""
    return path.is_file() and path.stat().st_size > 0


def _fetch(text: str, name: str, query: Mapping) -> None:
    from templateflow import api

    try:
        api.get(name, **query)
    except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
        raise BidsError(f'the template {text} could not be fetched: {error}', 2) from error


def _absent(text: str, why: str) -> BidsError:
    return BidsError(
        f'the template {text} is not on this disk: {why}; where there is a network, the same command with '
        f'{FETCH_VARIABLE}=on fetches it; {HOME_VARIABLE} says where to',
        2,
    )

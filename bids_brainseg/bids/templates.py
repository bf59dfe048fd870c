# SPDX-License-Identifier: Apache-2.0
"""Templates of TemplateFlow that lie on this disk; nothing is fetched."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import BidsError
from ..records import Bundle, Template
from .names import split_name

HOME_VARIABLE = 'TEMPLATEFLOW_HOME'
SPECIFICATION = re.compile(r'^(?P<name>[A-Za-z0-9]+)(?P<rest>(:(res|cohort)-[A-Za-z0-9]+)*)$')


def parse_space(text: str) -> tuple[str, dict[str, str]]:
    """Take an output space apart.

    Raises
    ------
    ValueError
        If it is not ``NAME``, with ``:res-`` and ``:cohort-`` as may be.

    Examples
    --------
    >>> parse_space('MNI152NLin2009cAsym:res-2')
    ('MNI152NLin2009cAsym', {'res': '2'})
    """
    match = SPECIFICATION.match(text)
    if not match:
        raise ValueError(f'{text!r} is not NAME[:res-N][:cohort-N]')
    return match['name'], dict(part.split('-') for part in match['rest'].split(':')[1:])


def find_template(text: str, aligned_to: Bundle) -> Template:
    """Find a template in the folder of TemplateFlow.

    Parameters
    ----------
    text : str
        ``NAME[:res-N][:cohort-N]``; the resolution is 1 if it is not given.
    aligned_to : Bundle
        Kept in the result.

    Raises
    ------
    BidsError
        With exit code 2 if its T1w image is not on this disk.

    Notes
    -----
    The client of TemplateFlow is not asked: it would set up a folder where there is none, index thousands of
    files, and fetch what is missing.
    """
    name, wanted = parse_space(text)
    wanted = {'res': '1', **wanted}
    home = Path(os.environ.get(HOME_VARIABLE) or Path.home() / '.cache' / 'templateflow')
    folder = home / f'tpl-{name}'
    if cohort := wanted.get('cohort'):
        folder /= f'cohort-{cohort}'
    for path in sorted(folder.glob('tpl-*_T1w.nii.gz')):
        entities, _, _ = split_name(path.name)
        res = entities.get('res')
        fits = entities.get('desc') is None and (res is None or _number(res) == _number(wanted['res']))
        if fits and path.stat().st_size:  # TemplateFlow keeps an empty file for what it has not fetched
            label = '+'.join([name, *([cohort] if cohort else [])])
            own = {'space': label} | ({'res': wanted['res']} if res is not None else {})
            return Template(label, own, path, aligned_to)
    asked = f"'{name}', resolution={wanted['res']}, suffix='T1w', desc=None"
    asked += f', cohort={cohort}' if cohort else ''
    raise BidsError(
        f'the template {text} is not on this disk: no T1w image of resolution {wanted["res"]} in {folder}; '
        f'fetch it where there is a network (python -c "from templateflow.api import get; get({asked})") '
        f'and set {HOME_VARIABLE} to its folder',
        2,
    )


def _number(text: str) -> str:
    """Compare ``01`` and ``1`` alike.

    >>> _number('01'), _number('native')
    ('1', 'native')
    """
    return text.lstrip('0') or '0'

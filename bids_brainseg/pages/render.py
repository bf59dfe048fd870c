# SPDX-License-Identifier: Apache-2.0
"""The one way to make a page: a Jinja2 template of ``templates/``, styles and scripts of ``assets/``.

A page is one file that opens offline. Text is escaped unless a template says that it is safe, which only
our own assets and drawings are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from .. import __version__
from . import formats

FOLDER = Path(__file__).parent


def render(template: str, **context: object) -> str:
    """Fill in a template.

    Parameters
    ----------
    template : str
        File of ``pages/templates``.
    **context
        What the template names; a name that it lacks is an error, not an empty string.

    Returns
    -------
    str
        The page.

    Raises
    ------
    jinja2.TemplateNotFound
        If there is no such template.
    jinja2.UndefinedError
        If the template names something that is not in `context`.
    """
    return _environment().get_template(template).render(context)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / 'templates'),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # keys keep their order, which a page shows; `tojson` escapes what would end the element around it
    environment.policies['json.dumps_kwargs'] = {
        'ensure_ascii': False, 'separators': (',', ':'), 'allow_nan': False
    }  # fmt: skip
    environment.filters |= {
        'number': formats.number,
        'milliliters': formats.milliliters,
        'plain': formats.plain,
        'paragraphs': formats.paragraphs,
        'spread': formats.spread,
        'quartiles': formats.quartiles,
        'correlation': formats.correlation,
    }
    environment.globals |= {'asset': _asset, 'version': __version__}
    return environment


@cache
def _asset(name: str) -> str:
    """Return the text of a style sheet or script of ``assets/``."""
    return (FOLDER / 'assets' / name).read_text(encoding='utf-8')

# SPDX-License-Identifier: Apache-2.0
"""Configuration of the manual."""

import sys
from pathlib import Path

import bids_brainseg

sys.path.insert(0, str(Path(__file__).parent / '_ext'))

project = 'bids_brainseg'
author = 'The bids_brainseg developers'
copyright = author  # noqa: A001
release = bids_brainseg.__version__
version = release.split('+')[0]

extensions = [
    'sphinx.ext.autodoc',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
    'sphinxarg.ext',
    'workflow_graph',
]
exclude_patterns = ['_build', '_ext']
highlight_language = 'none'

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
napoleon_google_docstring = False
napoleon_custom_sections = ['Inputs', 'Outputs']

html_theme = 'furo'
html_title = f'bids_brainseg {version}'
html_static_path = ['_static']
html_css_files = ['manual.css']


def setup(app):
    """Leave constants of modules out of the API."""
    app.connect('autodoc-skip-member', lambda app, what, name, *_: True if name.isupper() else None)

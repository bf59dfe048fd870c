# SPDX-License-Identifier: Apache-2.0
"""Configuration of the manual."""

import bids_brainseg

project = 'bids_brainseg'
author = 'The bids_brainseg developers'
copyright = author  # noqa: A001
release = bids_brainseg.__version__
version = release.split('+')[0]

extensions = ['sphinx.ext.mathjax', 'sphinxarg.ext']
exclude_patterns = ['_build']
html_theme = 'alabaster'
html_theme_options = {'description': 'Brain scans in, structures out', 'page_width': '1080px'}
highlight_language = 'none'

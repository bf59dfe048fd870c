# SPDX-License-Identifier: Apache-2.0
"""Segment the brain scans of a BIDS dataset and say how sure the segmentation is.

Importing this package loads nothing else; ``__version__`` is looked up when it is asked for.
"""

from __future__ import annotations

__all__ = ['__version__']


def __getattr__(name: str) -> str:
    if name != '__version__':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version('bids_brainseg')
    except PackageNotFoundError:  # run from a source folder that was never installed
        found = '0+unknown'
    globals()['__version__'] = found
    return found

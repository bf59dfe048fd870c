# SPDX-License-Identifier: Apache-2.0
"""Segment the brain scans of a BIDS dataset and say how sure the segmentation is.

Importing this package loads nothing else; ``__version__``, :func:`segment` and :class:`Segmentation` are
looked up when they are asked for.
"""

from __future__ import annotations

__all__ = ['Segmentation', '__version__', 'segment']


def __getattr__(name: str) -> object:
    if name in ('Segmentation', 'segment'):
        from importlib import import_module

        return getattr(import_module(f'{__name__}.api'), name)
    if name != '__version__':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version('bids_brainseg')
    except PackageNotFoundError:  # run from a source folder that was never installed
        found = '0+unknown'
    globals()['__version__'] = found
    return found

# SPDX-License-Identifier: Apache-2.0
"""Examples in the docstrings of the workflows, which lie where pytest does not look for them."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {'base': 3, 'descriptions': 5, 'examples': 6, 'preprocessing': 2, 'scan': 4, 'steps': 4}


@pytest.mark.parametrize(('name', 'least'), MODULES.items())
def test_examples(name, least):
    results = doctest.testmod(
        importlib.import_module(f'bids_brainseg.workflows.{name}'), optionflags=doctest.ELLIPSIS
    )
    assert results.failed == 0
    assert results.attempted >= least

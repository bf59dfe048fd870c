# SPDX-License-Identifier: Apache-2.0
"""Examples in the docstrings of helpers; those of the factories are run by tests/test_workflow_docs.py."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {
    'settings': 1,
    'cli.parser': 2,
    'cli.outcome': 1,
    'interfaces.measure': 1,
    'interfaces.segment': 1,
    'workflows.base': 3,
    'workflows.execution': 1,
    'workflows.examples': 2,
    'workflows.preprocessing': 2,
    'workflows.scan': 2,
}


@pytest.mark.parametrize(('name', 'least'), MODULES.items())
def test_examples(name, least):
    results = doctest.testmod(importlib.import_module(f'bids_brainseg.{name}'), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
    assert results.attempted >= least

# SPDX-License-Identifier: Apache-2.0
"""The docstring of every factory says which fields its workflow has, and its example builds it."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable

import pytest
from nipype.pipeline.engine import Workflow

import bids_brainseg.workflows


def factories() -> list[Callable]:
    """Every `init_*_wf` of the package, where it is defined."""
    names = [
        m.name for m in pkgutil.walk_packages(bids_brainseg.workflows.__path__, 'bids_brainseg.workflows.')
    ]
    found = []
    for name in names:
        for _, member in inspect.getmembers(importlib.import_module(name), inspect.isfunction):
            if re.fullmatch(r'init_\w+_wf', member.__name__) and member.__module__ == name:
                found.append(member)
    return found


def documented(docstring: str, section: str) -> list[str]:
    """Names in one numpydoc section, in order.

    >>> text = '''Do it.
    ...
    ... Inputs
    ... ------
    ... in_file, mask
    ...     Two files.
    ... affine : str
    ...     A matrix.
    ...
    ... Outputs
    ... -------
    ... out_file
    ...     One file.
    ... '''
    >>> documented(text, 'Inputs'), documented(text, 'Outputs'), documented(text, 'Notes')
    (['in_file', 'mask', 'affine'], ['out_file'], [])
    """
    lines = inspect.cleandoc(docstring).splitlines()
    rules = [i for i, line in enumerate(lines) if i and re.fullmatch('-{3,}', line)]
    for rule, following in zip(rules, [*rules[1:], len(lines) + 1], strict=True):
        if lines[rule - 1].strip() == section:
            body = lines[rule + 1 : following - 1]
            items = [line.partition(':')[0] for line in body if line and not line[0].isspace()]
            return [name.strip() for item in items for name in item.split(',')]
    return []


def fields(workflow: Workflow, node: str) -> list[str]:
    """Names of the fields of the input or output node; none if the workflow has no such node."""
    found = workflow.get_node(node)
    return [] if found is None else list(found.inputs.copyable_trait_names())


def built_by_example(factory: Callable) -> Workflow:
    """Run the docstring's example; it has to leave a workflow called `wf`."""
    scope = dict(vars(importlib.import_module(factory.__module__)))
    example = doctest.DocTestParser().get_doctest(factory.__doc__, scope, factory.__name__, None, 0)
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, clear_globs=False)
    assert results.failed == 0, f'the example of {factory.__name__} fails (see the output)'
    workflow = example.globs.get('wf')
    assert isinstance(workflow, Workflow), f'the example of {factory.__name__} makes no workflow `wf`'
    return workflow


def test_there_are_factories():
    assert {'init_preprocessing_wf', 'init_brainseg_wf'} <= {factory.__name__ for factory in factories()}


@pytest.mark.parametrize('factory', factories(), ids=lambda factory: factory.__name__)
def test_docstring_names_the_fields(factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workflow = built_by_example(factory)
    assert sorted(documented(factory.__doc__, 'Inputs')) == sorted(fields(workflow, 'inputnode'))
    assert sorted(documented(factory.__doc__, 'Outputs')) == sorted(fields(workflow, 'outputnode'))


@pytest.mark.parametrize('factory', factories(), ids=lambda factory: factory.__name__)
def test_factories_take_keywords_only(factory):
    kinds = {p.name: p.kind for p in inspect.signature(factory).parameters.values()}
    assert set(kinds.values()) <= {inspect.Parameter.KEYWORD_ONLY}, kinds

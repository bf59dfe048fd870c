# SPDX-License-Identifier: Apache-2.0
"""The directive ``workflow-graph``: draws the workflow that the example of a factory builds.

The drawing is made when the manual is built, so it shows the graph as it is. Without graphviz (``dot``) the
page lists the steps and what each waits for.
"""

from __future__ import annotations

import doctest
import importlib
import shutil
import subprocess
from collections.abc import Iterator

from docutils import nodes
from docutils.parsers.rst import Directive
from nipype.pipeline.engine import Workflow
from nipype.pipeline.engine.utils import generate_expanded_graph
from sphinx.application import Sphinx

Edges = dict[str, list[str]]


def example_workflow(factory: str) -> Workflow:
    """Run the example in the docstring of a factory, which makes a workflow called `wf`."""
    module_name, _, name = factory.rpartition('.')
    module = importlib.import_module(module_name)
    example = doctest.DocTestParser().get_doctest(
        getattr(module, name).__doc__, dict(vars(module)), name, None, 0
    )
    doctest.DocTestRunner(verbose=False).run(example, out=lambda _: None, clear_globs=False)
    return example.globs['wf']


def steps(workflow: Workflow) -> Edges:
    """From each step, by its name below the workflow, to the steps that wait for it."""
    graph = generate_expanded_graph(workflow._create_flat_graph())
    names = {node: node.fullname.partition('.')[2] for node in graph.nodes()}
    return {names[node]: sorted(names[after] for after in graph.successors(node)) for node in graph.nodes()}


def dot(edges: Edges) -> str:
    """Write the steps in the language of graphviz, those of a workflow in one box.

    >>> print(dot({'a_wf.check': ['measure'], 'measure': []}))
    digraph {
    rankdir=LR; ranksep=0.35; nodesep=0.12; node [shape=box, style="rounded,filled", fillcolor="#e8eef7", ...]
    subgraph cluster_a_wf {
    label="a"; style=rounded; color="#8a94a6"; fontname="Helvetica"; fontsize=11
    "a_wf.check" [label="check"]
    }
    "measure" [label="measure"]
    "a_wf.check" -> "measure"
    }
    """
    lines = [
        'digraph {',
        'rankdir=LR; ranksep=0.35; nodesep=0.12; node [shape=box, style="rounded,filled", '
        'fillcolor="#e8eef7", color="#4b6a9b", fontname="Helvetica", fontsize=11, height=0.3]; '
        'edge [color="#6b7280", arrowsize=0.6]',
        *_boxes(list(edges), ''),
        *(f'"{name}" -> "{after}"' for name, later in edges.items() for after in later),
        '}',
    ]
    return '\n'.join(lines)


def _boxes(names: list[str], inside: str) -> Iterator[str]:
    """Write steps and the boxes around those of one workflow, below the workflow `inside`."""
    parts = dict.fromkeys(name[len(inside) :].split('.')[0] for name in names)
    for part in parts:
        own = [name for name in names if name[len(inside) :].split('.')[0] == part]
        if own == [inside + part]:
            yield f'"{own[0]}" [label="{part}"]'
        else:
            yield f'subgraph cluster_{(inside + part).replace(".", "_")} {{'
            title = part.removesuffix('_wf').replace('_', ' ')
            yield f'label="{title}"; style=rounded; color="#8a94a6"; fontname="Helvetica"; fontsize=11'
            yield from _boxes(own, f'{inside}{part}.')
            yield '}'


class WorkflowGraph(Directive):
    """``.. workflow-graph:: package.module.init_x_wf``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw, or list the steps where nothing can be drawn."""
        edges = steps(example_workflow(self.arguments[0]))
        if shutil.which('dot') is None:
            text = '\n'.join(f'{name} -> {", ".join(later) or "-"}' for name, later in edges.items())
            return [nodes.literal_block(text, text)]
        drawn = subprocess.run(
            ['dot', '-Tsvg'], input=dot(edges), capture_output=True, text=True, check=True
        ).stdout
        svg = drawn[drawn.index('<svg') :]
        return [nodes.raw('', f'<div class="workflow-graph">{svg}</div>', format='html')]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the directive."""
    app.add_directive('workflow-graph', WorkflowGraph)
    return {'parallel_read_safe': True}

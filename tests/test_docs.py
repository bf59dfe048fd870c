# SPDX-License-Identifier: Apache-2.0
"""What the manual promises of the program holds."""

from __future__ import annotations

import contextlib
import csv
import doctest
import importlib
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bids_brainseg.cli.options import parse
from bids_brainseg.data.quality import qc_numbers

DOCS = Path(__file__).parents[1] / 'docs'


@pytest.fixture
def extension(monkeypatch):
    """A function that imports a module of docs/_ext by its name."""
    monkeypatch.setattr(sys, 'path', [str(DOCS / '_ext'), *sys.path])

    def load(name: str) -> ModuleType:
        if name == 'workflow_graph':
            pytest.importorskip('sphinx', reason='needs the extra docs; the manual is built with it')
        return importlib.import_module(name)

    return load


def test_messages_stay_as_they_are_listed(extension):
    """Scripts look for them; where one must change, docs/_ext/error_messages.py prints the new list."""
    said = {text for _, _, text in extension('error_messages').messages()}
    with (DOCS / 'messages.tsv').open(newline='', encoding='utf-8') as file:
        listed = [row['message'].strip('`') for row in csv.DictReader(file, delimiter='\t')]
    assert len(listed) > 100
    assert [text for text in listed if text not in said] == []


def test_the_guide_has_every_number():
    named = set(re.findall('``([a-z0-9_]+)``', (DOCS / 'qc_guide.rst').read_text(encoding='utf-8')))
    assert set(qc_numbers()) <= named, f'docs/qc_guide.rst lacks {sorted(set(qc_numbers()) - named)}'


def test_pictures_are_small_and_shown():
    pages = ''.join(path.read_text(encoding='utf-8') for path in DOCS.glob('*.rst'))
    pictures = [path for path in (DOCS / '_static').iterdir() if path.suffix != '.css']
    assert [path.name for path in pictures if path.stat().st_size > 150_000 or path.name not in pages] == []


def test_a_drawing_has_every_step(extension):
    graph = extension('workflow_graph')
    edges = graph.steps(graph.example_workflow('bids_brainseg.workflows.scan.init_scan_wf'))
    assert 'segmentation_wf.resample_to_scan' in edges['segmentation_wf.segment']
    drawing = graph.dot(edges)
    assert all(f'"{name}" [label="{name.rpartition(".")[2]}"]' in drawing for name in edges)
    assert drawing.count('{') == drawing.count('}')


@pytest.mark.parametrize('name', ['workflow_graph', 'error_messages'])
def test_examples_of_the_extensions(extension, name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(extension(name), optionflags=flags).failed == 0


COMMAND = re.compile(r'\$ bids_brainseg ((?:[A-Z$][\w$]*) .*)')
#: What is said of words; that files of an example are not there, is another matter.
WRONG_WORDS = re.compile('unknown option|is an option of|unrecognized|unknown level|required:|invalid')


def commands() -> list[str]:
    """Commands with BIDS_DIR, OUTPUT_DIR and level in the manual, without their comments."""
    pages = [path.read_text(encoding='utf-8').replace('\\\n', ' ') for path in DOCS.glob('*.rst')]
    return [match[1].split(' #')[0] for page in pages for match in COMMAND.finditer(page)]


def test_commands_of_the_manual_are_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(commands()) > 20
    for command in commands():
        with contextlib.suppress(SystemExit):
            parse(shlex.split(command))
        assert not WRONG_WORDS.search(capsys.readouterr().err), command

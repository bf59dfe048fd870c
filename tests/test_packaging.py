# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg says is what the tree holds, and importing the package costs nothing."""

from __future__ import annotations

import configparser
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import bids_brainseg

ROOT = Path(__file__).parents[1]


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    return config


def test_every_package_is_listed():
    inside = [p.parent.relative_to(ROOT) for p in (ROOT / 'bids_brainseg').rglob('__init__.py')]
    beside = [p.parent.relative_to(ROOT) for p in (ROOT / 'workflows').rglob('__init__.py')]
    expected = ['.'.join(p.parts) for p in inside] + ['.'.join(('bids_brainseg', *p.parts)) for p in beside]
    listed = setup_cfg()['options']['packages'].split()
    assert sorted(listed) == sorted(expected)


@pytest.mark.parametrize('name', ['data', 'pages'])
def test_every_data_file_is_installed(name):
    folder = ROOT / 'bids_brainseg' / name
    patterns = setup_cfg()['options.package_data'][f'bids_brainseg.{name}'].split()
    installed = {path for pattern in patterns for path in folder.glob(pattern)}
    present = {p for p in folder.rglob('*') if p.is_file() and p.suffix not in ('.py', '.pyc')}
    assert present
    assert present <= installed, f'not in package_data: {sorted(map(str, present - installed))}'


@pytest.mark.parametrize(
    ('target', 'tensorflow'), [('cpu', 'tensorflow-cpu'), ('gpu', 'tensorflow[and-cuda]')]
)
def test_an_image_installs_what_the_package_needs(target, tensorflow):
    spec = importlib.util.spec_from_file_location('install', ROOT / 'container' / 'install.py')
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    needed = [line.split()[0] for line in install.requirements(ROOT / 'setup.cfg', target)]
    listed = [line.split()[0] for line in setup_cfg()['options']['install_requires'].strip().split('\n')]
    assert sorted(needed) == sorted([*(name for name in listed if name != 'tensorflow'), tensorflow])


def test_the_workflows_come_from_the_folder_beside_the_package():
    from bids_brainseg import workflows

    assert workflows.__name__ == 'bids_brainseg.workflows'
    assert workflows.__file__ is not None


def test_the_version_stands_in_setup_cfg_and_the_other_places_agree():
    version = setup_cfg()['metadata']['version']
    assert bids_brainseg.__version__ == version, 'install the package again: pip install --editable .'
    assert f'ARG VERSION={version}\n' in (ROOT / 'Dockerfile').read_text()
    assert f'\nversion: {version}\n' in (ROOT / 'CITATION.cff').read_text()
    assert f'\n{version} (' in (ROOT / 'CHANGES.rst').read_text()


def test_importing_the_package_imports_nothing_else():
    code = 'import sys; before = set(sys.modules); import bids_brainseg; print(*set(sys.modules) - before)'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {'bids_brainseg', '__future__'}

# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: every import of every module, also those inside functions, against one table."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = 'bids_brainseg'


class Room(NamedTuple):
    """What the modules of one room may import beside the standard library and the room itself."""

    third_party: frozenset[str]
    rooms: frozenset[str]


def room(third_party: str = '', rooms: str = '') -> Room:
    return Room(frozenset(third_party.split()), frozenset(rooms.split()))


# The key is the first name below the package ('' is bids_brainseg/__init__.py itself). An entry such as
# `network.bundle` opens that one module (JSON and hashes, no Keras), not the room around it.
TABLE = {
    '': room(rooms='api'),
    '__main__': room(rooms='cli'),
    'errors': room(),
    'settings': room(rooms='errors data records'),
    'records': room(),
    'files': room(rooms='errors'),
    'lifetime': room(),
    'machine': room('psutil'),
    'data': room(rooms='errors'),
    'core': room('numpy scipy', 'records'),
    'imaging': room('numpy nibabel', 'core records errors files'),
    'registration': room('numpy scipy itk nitransforms', 'core imaging records data errors'),
    'network': room('numpy keras safetensors', 'core imaging records files data errors'),
    'synthesis': room('numpy scipy keras', 'core imaging network records files data errors'),
    'training': room(
        'numpy scipy keras safetensors filelock', 'core imaging network synthesis records files data errors'
    ),
    'process': room(
        'numpy keras', 'core imaging network synthesis training records files lifetime data errors'
    ),
    'bids': room(
        'bids dcm2niix pandas niworkflows templateflow', 'imaging machine records files lifetime data errors'
    ),
    'results': room('numpy pandas', 'core imaging bids records files data errors'),
    'figures': room('numpy matplotlib contourpy PIL', 'core imaging results bids records files data errors'),
    'pages': room(
        'numpy jinja2',
        'core imaging figures bids results records files data errors',
    ),
    'interfaces': room(
        'numpy pandas nibabel nipype niworkflows',
        'core imaging registration network.bundle bids results figures records files lifetime data errors',
    ),
    'workflows': room('nipype niworkflows', 'interfaces settings records'),
    'levels': room(
        'numpy nipype niworkflows psutil yaml',
        'settings machine workflows bids results pages network.bundle core records files lifetime data '
        'errors',
    ),
    # the level that was asked for is loaded by its name, the only import of the program that depends on data
    'cli': room('yaml', 'settings machine levels.workers core.quality records files lifetime data errors'),
    'api': room('nibabel numpy pandas', 'results records lifetime errors'),
    'demo': room('numpy scipy nibabel nilearn', 'core imaging files lifetime'),
}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name of every module of the installed package -> its file in the checkout."""
    found = {}
    for folder, prefix in ((root / PACKAGE, PACKAGE), (root / 'workflows', f'{PACKAGE}.workflows')):
        for path in sorted(folder.rglob('*.py')):
            parts = path.relative_to(folder).with_suffix('').parts
            parts = parts[:-1] if parts[-1] == '__init__' else parts
            found['.'.join((prefix, *parts))] = path
    return found


def imported(name: str, path: Path, known: set[str]) -> list[tuple[int, str]]:
    """(line, dotted module) of each import in a file, relative ones and `import_module('x')` included."""
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    found = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                anchor = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join((*anchor, base) if base else anchor)
            for alias in node.names:  # `from package import module` means the module
                whole = f'{base}.{alias.name}'
                found.append((node.lineno, whole if whole in known else base))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
            if called in ('import_module', '__import__'):
                found.append((node.lineno, str(node.args[0].value)))
    return found


def is_allowed(name: str, target: str) -> bool:
    own = name.split('.')[1] if '.' in name else ''
    top, _, below = target.partition('.')
    if top != PACKAGE:
        return top in sys.stdlib_module_names or top in TABLE[own].third_party
    room_of_target = below.split('.')[0]
    if room_of_target in ('', own):  # the package itself (its version) or the same room
        return True
    return any(below == entry or below.startswith(f'{entry}.') for entry in TABLE[own].rooms)


def offenders(root: Path) -> list[str]:
    """`file:line imports x` for each import that the table does not allow."""
    tree = modules(root)
    return [
        f'{path.relative_to(root)}:{line} imports {target}'
        for name, path in tree.items()
        for line, target in imported(name, path, set(tree))
        if not is_allowed(name, target)
    ]


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import each other, directly or through others (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path, result = [], []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        path.append(name)
        for target in sorted(imports.get(name, ())):
            if target not in index:
                visit(target)
            if target in path:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == index[name]:
            at = path.index(name)
            members = path[at:]
            del path[at:]
            if len(members) > 1 or name in imports.get(name, ()):
                result.append(sorted(members))

    for name in imports:
        if name not in index:
            visit(name)
    return result


def import_graph(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, at the top or inside functions."""
    tree = modules(root)
    return {
        name: {target for _, target in imported(name, path, set(tree)) if target in tree}
        for name, path in tree.items()
    }


def test_every_import_is_in_the_table():
    assert offenders(ROOT) == []


def test_no_module_imports_itself_through_others():
    assert circles(import_graph(ROOT)) == []


@pytest.mark.parametrize(
    ('imports', 'expected'),
    [
        ({'a': {'b'}, 'b': {'c'}, 'c': set()}, []),
        ({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}, []),
        ({'a': {'b'}, 'b': {'a'}}, [['a', 'b']]),
        ({'top': {'a'}, 'a': {'b'}, 'b': {'c'}, 'c': {'a', 'd'}, 'd': set()}, [['a', 'b', 'c']]),
        ({'a': {'b'}, 'b': {'a', 'c'}, 'c': {'d'}, 'd': {'c'}}, [['c', 'd'], ['a', 'b']]),
        ({'a': {'a'}}, [['a']]),
    ],
)
def test_circles_are_found(imports, expected):
    assert circles(imports) == expected


def test_an_import_inside_a_function_closes_a_circle(tmp_path):
    folder = tmp_path / PACKAGE / 'levels'
    folder.mkdir(parents=True)
    (folder / 'a.py').write_text('def f():\n    from .b import g\n')
    (folder / 'b.py').write_text('from . import a\n')
    names = [f'{PACKAGE}.levels.{name}' for name in 'ab']
    assert circles(import_graph(tmp_path)) == [names]


def test_every_module_has_a_room():
    rooms = {name.split('.')[1] if '.' in name else '' for name in modules()}
    assert rooms <= set(TABLE), f'no line in the table for {sorted(rooms - set(TABLE))}'


@pytest.mark.parametrize(
    ('where', 'source', 'found'),
    [
        ('bids_brainseg/core/a.py', 'import numpy\ndef f():\n    import nibabel\n', ':3 imports nibabel'),
        ('bids_brainseg/core/a.py', 'from .. import imaging\n', ':1 imports bids_brainseg.imaging'),
        ('bids_brainseg/core/a.py', 'from ..imaging import load\n', ':1 imports bids_brainseg.imaging'),
        ('bids_brainseg/network/a.py', 'from tensorflow import nn\n', ':1 imports tensorflow'),
        ('bids_brainseg/cli/a.py', 'from importlib import *\nimport_module("keras")', ':2 imports keras'),
        ('bids_brainseg/cli/a.py', 'from ..network import unet\n', ':1 imports bids_brainseg.network.unet'),
        ('bids_brainseg/levels/a.py', 'from ..network import bundle\n', None),
        ('workflows/a.py', 'import numpy\n', ':1 imports numpy'),
        ('workflows/a.py', 'from ..core import volumes\n', ':1 imports bids_brainseg.core'),
        ('workflows/a.py', 'from ..interfaces.images import Check\n', None),
        ('bids_brainseg/bids/a.py', 'from bids import BIDSLayout\n', None),
    ],
)
def test_the_checker_finds_what_it_should(tmp_path, where, source, found):
    for name in ('imaging', 'network/unet', 'network/bundle', 'core/__init__', 'network/__init__'):
        path = tmp_path / PACKAGE / f'{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert offenders(tmp_path) == ([] if found is None else [f'{where}{found}'])


def test_setup_cfg_lists_what_is_imported():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    listed = set(re.findall(r'^[\w-]+', config['options']['install_requires'], re.MULTILINE))
    tree = modules()
    targets = {target for name, path in tree.items() for _, target in imported(name, path, set(tree))}
    tops = {target.partition('.')[0] for target in targets} - {PACKAGE} - set(sys.stdlib_module_names)
    # what is called otherwise on the package index; itk-elastix brings itk itself
    called = {'PIL': 'pillow', 'bids': 'pybids', 'itk': 'itk-elastix', 'yaml': 'pyyaml'}
    # the default backend is not imported by name, the demo takes only data files from nilearn, and the
    # validator is a program
    beside = {'tensorflow', 'nilearn', 'bids-validator-deno'}
    assert listed == {called.get(top, top) for top in tops} | beside


def test_only_the_model_process_loads_keras():
    """What the command imports to build and run a graph loads neither Keras nor a backend."""
    rooms = {'workflows', 'cli', 'levels', 'interfaces', 'results', 'figures', 'pages'}
    names = [name for name in modules() if rooms & set(name.split('.')[1:2])]
    code = (
        f'import importlib, sys; [importlib.import_module(n) for n in {names!r}]; '
        'print(*sorted({"keras", "tensorflow", "torch", "jax"} & set(sys.modules)))'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_one_module_moves_files_into_place():
    moves = re.compile(r'os\.(?:replace|rename)\(|\.(?:replace|rename)\([\w.]+\)')
    tree = modules().items()
    assert [name for name, path in tree if moves.search(path.read_text())] == [f'{PACKAGE}.files']

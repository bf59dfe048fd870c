# SPDX-License-Identifier: Apache-2.0
"""A modality is data: one file and one model make PDw work at every level, and no module names a modality."""

from __future__ import annotations

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import GRID, SPACING, head, make_label_map

from bids_brainseg import data
from bids_brainseg.bids.query import find_images
from bids_brainseg.errors import BrainsegError

ROOT = Path(__file__).parents[1]
MODALITIES = ROOT / 'bids_brainseg' / 'data' / 'modalities'
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (-86, -112, -80)
PDW = {'order': 6, 'title': 'PDw', 'color': '#7a7a7a', 'bundle': 'pdw', 'suffixes': ['PDw']}


def entry(name: str = 'FLAIR', **changes: object) -> dict:
    """Content of the file of a modality, changed."""
    return json.loads((MODALITIES / f'{name}.json').read_text()) | changes


# === The source ===


def sources() -> list[Path]:
    """Every module of the package, but for the demo, which makes a dataset of certain scans."""
    found = [*(ROOT / 'bids_brainseg').rglob('*.py'), *(ROOT / 'workflows').rglob('*.py')]
    return [path for path in found if path.name != 'demo.py']


def names_in(node: ast.AST) -> set[str]:
    """Names of modalities and their suffixes among the strings below a node of the syntax tree."""
    known = {word for name, rule in data.modalities().items() for word in (name, *rule.suffixes)}
    return known & {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}


def test_no_module_compares_with_the_name_of_a_modality():
    offenders = [
        f'{path.relative_to(ROOT)}:{node.lineno}'
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare | ast.MatchValue) and names_in(node)
    ]
    assert offenders == []


def test_no_module_lists_modalities():
    collections = ast.Tuple | ast.List | ast.Set | ast.Dict
    offenders = [
        f'{path.relative_to(ROOT)}:{node.lineno}'
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, collections) and len(names_in(node)) > 1
    ]
    assert offenders == []


# === The file of a modality ===


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """Let the program read a copy of the files of the modalities; return their folder."""
    folder = tmp_path / 'modalities'
    shutil.copytree(MODALITIES, folder)
    real = data.resource
    monkeypatch.setattr(data, 'resource', lambda name: folder if name == 'modalities' else real(name))
    data.modalities.cache_clear()
    yield folder
    data.modalities.cache_clear()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'units': 'counts'}, "units is 'counts'; it must be one of arbitrary, HU"),
        ({'colour': 'red'}, 'holds colour, which nothing reads'),
        (
            {'diffusion': {'b_range': [1, 2]}},
            'diffusion lacks b0_below, b0_words, fallback_range, trace_words',
        ),
        ({'contrast': {'means': {}}}, 'contrast lacks background'),
        ({'acquisition': entry()['acquisition'] | {'blur': 1}}, 'acquisition holds blur'),
        ({'contrast': entry()['contrast'] | {'means': {'wm': [1, 0]}}}, 'means lacks accumbens, air'),
        ({'corruptions': ['noise']}, 'corruptions must be a table of names and values, found ["noise"]'),
        ({'cv_threshold': '2.5'}, 'cv_threshold must be a number, found "2.5"'),
        ({'order': True}, 'order must be a whole number, found true'),
        ({'anatomical': True}, 'exactly one modality must be anatomical, found PDw, T1w'),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(packaged, changes, message):
    (packaged / 'PDw.json').write_text(json.dumps(entry(**PDW | changes)))
    with pytest.raises(BrainsegError) as raised:
        data.modalities()
    assert message in str(raised.value)


def test_a_key_that_is_missing_is_named(packaged):
    content = entry(**PDW)
    del content['units'], content['intensity']
    (packaged / 'PDw.json').write_text(json.dumps(content))
    with pytest.raises(BrainsegError, match=r'PDw\.json lacks intensity, units; add'):
        data.modalities()


def test_a_folder_of_its_own_is_looked_into(packaged, make_bids, tmp_path):
    before = list(data.modalities())
    data.modalities.cache_clear()
    xray = entry('ct', order=9, bundle='xray', datatypes=['xray'], suffixes=['XR'])
    (packaged / 'xray.json').write_text(json.dumps(xray))
    assert list(data.modalities()) == [*before, 'xray']
    root = make_bids({'sub-1/xray/sub-1_XR.nii.gz': None, 'sub-1/anat/sub-1_XR.nii.gz': None})
    (found,) = find_images(root, database_dir=tmp_path / 'index')
    assert (found.modality, found.relative_path.as_posix()) == ('xray', 'sub-1/xray/sub-1_XR.nii.gz')


# === Every level with a fifth modality ===


def image(seed: int) -> np.ndarray:
    """The head of `tiny`, its contrast turned over, with noise."""
    bright, _ = head(GRID, AFFINE)
    turned = np.where(bright > 0, 800 - bright, 0)
    return (turned + np.random.default_rng(seed).normal(0, 5, GRID)).astype(np.float32)


def classes() -> np.ndarray:
    """Left and right white matter inside the brain of the head, as class indices."""
    _, brain = head(GRID, AFFINE)
    labels = brain.astype(np.uint8)
    labels[GRID[0] // 2 :] *= 3
    return labels


def write(path: Path, content: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = nib.MGHImage if path.suffix == '.mgz' else nib.Nifti1Image
    nib.save(kind(content, AFFINE), path)


def dataset(root: Path) -> None:
    """Two participants: a PDw each, reference labels of it, and FreeSurfer's labels of a T1w."""
    for seed, name in enumerate(('sub-01', 'sub-02')):
        write(root / 'in' / name / 'anat' / f'{name}_PDw.nii.gz', image(seed))
        write(root / 'in' / name / 'anat' / f'{name}_T1w.nii.gz', head(GRID, AFFINE)[0])
        write(root / 'labels' / name / 'anat' / f'{name}_seg-brainseg_desc-PDw_dseg.nii.gz', classes())
        numbers = np.array([0, 2, 0, 41], np.int32)
        write(root / 'fs' / name / 'mri' / 'aseg.mgz', numbers[classes()])
    description = {'Name': 'made by hand', 'BIDSVersion': '1.10.0'}
    (root / 'in' / 'dataset_description.json').write_text(json.dumps(description))
    (root / 'maps').mkdir()
    make_label_map(root / 'maps' / 'sub-map_dseg.nii.gz')


@pytest.fixture(scope='module')
def command(tmp_path_factory):
    """Return what runs a program that PDw was added to, as the docs say, on a dataset with PDw.

    It is a copy, so that every process of a run finds the new modality.
    """
    root = tmp_path_factory.mktemp('fifth')
    package = root / 'program' / 'bids_brainseg'
    shutil.copytree(ROOT / 'bids_brainseg', package, ignore=shutil.ignore_patterns('models', '__pycache__'))
    shutil.copytree(ROOT / 'workflows', package / 'workflows')
    (package / 'data' / 'modalities' / 'PDw.json').write_text(json.dumps(entry(**PDW)))
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (package.parent, ROOT / 'tests')))}

    def run(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, cwd=root,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    model = package / 'data' / 'models' / 'pdw'
    run('-c', f'from pathlib import Path; from tiny import *; make_tiny_bundle(Path({str(model)!r}), "PDw")')
    dataset(root)

    def command(level: str, *more: object) -> str:
        words = ('-m', 'bids_brainseg', root / 'in', root / level, level, '-w', root / 'work', '--nprocs', 2)
        return run(*words, '--omp-nthreads', 1, '--skip-bids-validation', '--device', 'cpu', *more)

    command.root = root
    return command


def rows(path: Path) -> list[dict]:
    with path.open(newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))


@pytest.mark.integration
def test_segmented_and_put_together(command):
    command('participant', '--modalities', 'PDw', '--participant-label', '01')
    out = command.root / 'participant'
    dseg = out / 'sub-01' / 'anat' / 'sub-01_space-orig_seg-brainseg_desc-PDw_dseg.nii.gz'
    assert nib.load(dseg).shape == GRID
    assert 'sub-01_PDw' in (out / 'sub-01.html').read_text()
    qc = json.loads((out / 'sub-01' / 'anat' / 'sub-01_desc-PDw_qc.json').read_text())
    assert (qc['modality'], qc['Model']['Name']) == ('PDw', 'tinyPDw')
    shutil.copytree(out, command.root / 'group')
    command('group')
    assert {row['modality'] for row in rows(command.root / 'group' / 'group_qc.tsv')} == {'PDw'}
    assert 'PDw' in (command.root / 'group' / 'group.html').read_text()


@pytest.mark.integration
def test_evaluated_and_calibrated(command):
    labels = f'labels={command.root / "labels"}'
    command(
        'evaluate', '--modalities', 'PDw', '--participant-label', '01', '-d', labels, '--calibrate', 1,
        '--acceptable-dice', 0.5,
    )  # fmt: skip
    out = command.root / 'evaluate'
    scans = rows(out / 'evaluation_scans.tsv')
    assert {row['modality'] for row in scans} == {'PDw'}
    assert [row['corrupted'] for row in scans if row['corrupted'] != 'n/a']
    assert PDW['color'] in (out / 'evaluation.html').read_text()


@pytest.mark.integration
def test_trained_from_scans_and_label_maps(command):
    model = command.root / 'program' / 'bids_brainseg' / 'data' / 'models' / 'pdw'
    command(
        'train', '--modality', 'PDw', '-d', f'freesurfer={command.root / "fs"}', '--label-maps',
        command.root / 'maps', '--init', model, '--epochs', 1, '--steps-per-epoch', 2, '--mc-samples', 0,
        '--agreement-threshold', 0,
    )  # fmt: skip
    out = command.root / 'train' / 'training_PDw'
    assert {row['status'] for row in rows(out / 'cases.tsv')} == {'train', 'validate'}
    bundle = json.loads((out / 'bundle' / 'model.json').read_text())
    assert (bundle['modality'], bundle['name']) == ('PDw', 'ownPDw')
    command('participant', '--modalities', 'PDw', '--model', f'PDw={out / "bundle"}', '--dry-run')

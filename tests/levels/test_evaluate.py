# SPDX-License-Identifier: Apache-2.0
"""The evaluate level as a user meets it, with a tiny network of random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from damage import DAMAGE
from tiny import GRID, SPACING, head, make_label_map

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.cli.run import main
from bids_brainseg.data import modalities
from bids_brainseg.levels.evaluate import corrupted_copies
from bids_brainseg.settings import graph_name

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (-86, -112, -80)


def labeled() -> np.ndarray:
    """Left and right white matter, and a slab of the brain stem, inside the brain of the head."""
    _, brain = head(GRID, AFFINE)
    labels = np.where(brain, 1, 0).astype(np.uint8)
    labels[GRID[0] // 2 :][labels[GRID[0] // 2 :] > 0] = 3
    labels[:, :, :8][labels[:, :, :8] > 0] = 14
    return labels


def save(data, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """Three scans; one has no labels, and one has labels with a number that nothing explains."""
    root = tmp_path_factory.mktemp('evaluate')
    image, _ = head(GRID, AFFINE)
    for number, label in enumerate(('a', 'b', 'none', 'odd')):
        noise = np.random.default_rng(number).normal(0, 5, GRID).astype(np.float32)
        save(image + noise, root / 'in' / f'sub-{label}' / 'anat' / f'sub-{label}_T1w.nii.gz')
        if label != 'none':
            labels = labeled()
            labels[0, 0, 0] = 99 if label == 'odd' else 0
            name = f'sub-{label}_seg-brainseg_desc-T1w_dseg.nii.gz'
            save(labels, root / 'labels' / f'sub-{label}' / 'anat' / name)
    description = {'Name': 'made by hand', 'BIDSVersion': '1.10.0'}
    (root / 'in' / 'dataset_description.json').write_text(json.dumps(description))
    return root


def words(root: Path, bundle: Path, *more: str) -> list[str]:
    return [
        *(f'{root}/in', f'{root}/out', 'evaluate', '-w', f'{root}/work', '--skip-bids-validation'),
        *('--derivatives', f'labels={root}/labels', '--model', f'T1w={bundle}', '--modalities', 'T1w'),
        *('--nprocs', '2', '--device', 'cpu', *more),
    ]


@pytest.fixture(scope='module')
def whole_run(dataset, tiny_bundle):
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr('builtins.print', lambda *text, **_: printed.append(' '.join(map(str, text))))
        code = main(words(dataset, tiny_bundle, '--calibrate', '1', '--acceptable-dice', '0.5'))
    return code, '\n'.join(printed), dataset


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep='\t', na_values=['n/a'], keep_default_na=False)


@pytest.mark.integration
def test_what_cannot_be_compared_is_told_and_the_others_go_on(whole_run):
    code, printed, root = whole_run
    assert code == 1  # because of the unknown label; a scan without labels is no failure
    assert '2 of 4 scans segmented, 1 failed, 1 skipped' in printed
    assert 'skipped sub-none/anat/sub-none_T1w.nii.gz: no reference labels' in printed
    assert (
        'failed  sub-odd/anat/sub-odd_T1w.nii.gz: reference labels cannot be used, unknown labels [99]'
        in printed
    )
    page = (root / 'out' / 'evaluation.html').read_text()
    assert 'unknown labels [99]' in page and 'no reference labels' in page


@pytest.mark.integration
def test_tables_hold_every_scan_and_structure(whole_run):
    _, _, root = whole_run
    scans, structures = (read(root / 'out' / f'evaluation_{name}.tsv') for name in ('scans', 'structures'))
    clean = scans[scans['corrupted'].isna()]
    assert clean['scan'].tolist() == ['sub-a_T1w', 'sub-b_T1w']
    assert set(scans['corrupted'].dropna()) <= set(modalities()['T1w'].corruptions)
    assert len(structures) == 27 * len(scans)
    for name in ('scans', 'structures'):
        described = json.loads((root / 'out' / f'evaluation_{name}.json').read_text())
        assert set(described) == set(read(root / 'out' / f'evaluation_{name}.tsv').columns)
    dseg = root / 'out/sub-a/anat/sub-a_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz'
    labels, truth = np.asanyarray(nib.load(dseg).dataobj), labeled()
    ours = structures[(structures['scan'] == 'sub-a_T1w') & structures['corrupted'].isna()].set_index('index')
    expected = 2 * np.sum((labels == 14) & (truth == 14)) / (np.sum(labels == 14) + np.sum(truth == 14))
    assert ours['dice'][14] == pytest.approx(expected)
    assert ours['reference_volume_mm3'][14] == np.sum(truth == 14) * SPACING**3


@pytest.mark.integration
def test_the_summary_and_the_page(whole_run):
    _, _, root = whole_run
    summary = json.loads((root / 'out' / 'evaluation.json').read_text())
    part = summary['modalities']['T1w']
    assert part['scans'] == 2
    assert part['Model']['Name'] == 'tinyT1w'
    assert set(part['structures']['Brain-Stem']) >= {
        'dice',
        'assd_mm',
        'volume_bias_mm3',
        'volume_correlation',
    }
    assert part['calibration']['acceptable_D_A'] == 0.5
    assert 'cv_mean' in part['calibration']['predictors']
    page = (root / 'out' / 'evaluation.html').read_text()
    for title in ('Overview', 'Structures', 'Uncertainty', 'Calibration', 'Examples', 'Scans', 'Methods'):
        assert f'<h2>{title}</h2>' in page
    assert 'T1w, best: ' in page
    assert not [word for word in ('src="http', 'href="http', '@import') if word in page]


@pytest.mark.integration
def test_corrupted_scans_leave_nothing_in_the_output_folder(whole_run):
    _, _, root = whole_run
    assert not list((root / 'out').rglob('*rec-*'))
    assert list((root / 'work' / 'calibration').rglob('*rec-*_agreement.tsv'))


@pytest.mark.integration
def test_results_of_a_participant_run_are_used_again(whole_run, tiny_bundle, capsys):
    _, _, root = whole_run
    scan = root / 'work' / graph_name('brainseg') / 'sub_a_wf' / 'T1w_wf'
    posterior = scan / 'segmentation_wf' / 'segment' / 'posterior.npy'
    before = posterior.stat().st_mtime_ns
    command = words(root, tiny_bundle, '--participant-label', 'a')
    labels = command.index('--derivatives')  # which this level does not take
    assert main([*command[:2], 'participant', *command[3:labels], *command[labels + 2 :]]) == 0
    assert main(command) == 0
    assert 'segment' not in capsys.readouterr().err
    assert posterior.stat().st_mtime_ns == before
    (root / 'out' / 'evaluation.html').unlink()
    assert main([*words(root, tiny_bundle), '--reports-only', '--calibrate', '1']) == 0
    page = (root / 'out' / 'evaluation.html').read_text()
    assert 'not compared yet' in page  # the scan with the unknown label
    assert '<h2>Calibration</h2>' in page


@pytest.mark.integration
def test_dry_run(dataset, tiny_bundle, capsys):
    assert main(words(dataset, tiny_bundle, '--dry-run', '--calibrate')) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('sub-a/anat/sub-a_T1w.nii.gz: labels ')
    assert lines[0].endswith('(brainseg), and 6 corrupted copies')
    assert any(line.startswith('sub-none/anat/sub-none_T1w.nii.gz: skipped') for line in lines)


@pytest.mark.integration
def test_a_study_ends_with_a_table_and_a_figure(whole_run, tiny_bundle, tmp_path, capsys):
    _, _, root = whole_run
    maps = [str(make_label_map(tmp_path / f'sub-{n}_dseg.nii.gz', 5 * n)) for n in (1, 2, 3)]
    recipe = f'--init {tiny_bundle} --epochs 1 --steps-per-epoch 1'.split()
    study = '--participant-label a --study scaling --study-sizes 2 3'.split()
    command = words(root, tiny_bundle, *study, *recipe, '--label-maps', *maps)
    command[1] = str(tmp_path / 'out')
    capsys.readouterr()
    assert main(command) == 0
    printed = capsys.readouterr()
    assert 'study: T1w, 3 participants: 1 2 3' in printed.out
    # the scan itself was aligned by the run before; the networks share the second and last alignment
    assert printed.err.count('coregister') == 1
    table = read(tmp_path / 'out' / 'evaluation_study.tsv')
    assert table[['participants', 'training_scans']].to_numpy().tolist() == [[2, 1], [3, 2]]
    assert set(table['scan']) == {'sub-a_T1w'} and table['D_A'].between(0, 1).all()
    content = json.loads((tmp_path / 'out' / 'evaluation_study.json').read_text())
    assert [run['D_A']['median'] for run in content['runs']] == pytest.approx(table['D_A'].tolist())
    page = (tmp_path / 'out' / 'evaluation.html').read_text()
    assert '<h2>Training set size</h2>' in page
    assert 'each training set within the next larger one' in page
    assert main([*command, '--dry-run']) == 0
    assert 'study: T1w, 2 participants: ' in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.parametrize(
    ('name', 'how'),
    [
        ('sub-a_desc-T1w_qc.json', 'cut short'),
        ('sub-a_seg-brainseg_desc-T1w_morph.tsv', 'a pointer of LFS'),
        ('sub-a_seg-brainseg_desc-T1w_agreement.tsv', 'other keys'),
        ('sub-a_seg-brainseg_desc-T1w_agreement.json', 'a link to nothing'),
    ],
)
def test_a_scan_whose_results_are_damaged_fails_alone(whole_run, tiny_bundle, tmp_path, capsys, name, how):
    _, _, root = whole_run
    out = shutil.copytree(root / 'out', tmp_path / 'out')
    DAMAGE[how](out / 'sub-a' / 'anat' / name)
    command = words(root, tiny_bundle, '--reports-only')
    assert main([command[0], f'{out}', *command[2:]]) == 1
    printed = capsys.readouterr()
    assert '1 of 4 scans segmented, 1 failed, 2 skipped' in printed.out and printed.err == ''
    (told,) = [line for line in printed.out.splitlines() if line.startswith('  failed ')]
    assert 'sub-a/anat/sub-a_T1w.nii.gz: ' in told and name in told
    assert read(out / 'evaluation_scans.tsv')['scan'].tolist() == ['sub-b_T1w']
    assert name in (out / 'evaluation.html').read_text()


@pytest.mark.integration
@pytest.mark.parametrize('how', ['cut short', 'other keys', 'a link to nothing'])
def test_what_only_the_page_shows_is_left_out_and_named(whole_run, tiny_bundle, tmp_path, capsys, how):
    _, _, root = whole_run
    out = shutil.copytree(root / 'out', tmp_path / 'out')
    damaged = [out / 'sub-a' / 'figures' / 'sub-a_desc-comparison_T1w.svg', out / 'evaluation_study.json']
    damaged[1].write_text('{"study": "scaling", "runs": []}')
    for path in damaged:
        DAMAGE[how](path)
    command = words(root, tiny_bundle, '--reports-only')
    assert main([command[0], f'{out}', *command[2:]]) == 0
    printed, page = capsys.readouterr().out, (out / 'evaluation.html').read_text()
    left_out = ('figure sub-a_desc-comparison_T1w.svg is not shown', 'evaluation_study.json cannot be read')
    for sentence in left_out:
        assert f'  unread  {sentence}' in printed and sentence in page
    assert '<h3>T1w: sub-b_T1w' in page  # the example that is left


def test_labels_have_to_be_named(dataset, tiny_bundle, capsys):
    command = words(dataset, tiny_bundle)
    at = command.index('--derivatives')
    assert main(command[:at] + command[at + 2 :]) == 2
    assert 'add --derivatives labels=DIR' in capsys.readouterr().err


def test_no_scan_with_labels(dataset, tiny_bundle, capsys):
    assert main(words(dataset, tiny_bundle, '--participant-label', 'none')) == 18
    assert 'no scan can be evaluated: no reference labels' in capsys.readouterr().err


def test_every_kind_has_its_turn_and_the_seed_decides():
    records = [record_from_path(Path(f'/d/sub-{n}/anat/sub-{n}_rec-x_T1w.nii.gz'), 'T1w') for n in range(7)]
    plans = {(record.subject, record.key): {'labels': record.subject} for record in records}
    copies, comparisons = corrupted_copies(records, plans, 3, seed=1)
    assert len(copies) == 21 == len(comparisons)
    corrupts = [comparisons[copy.subject, copy.key]['corrupt'] for copy in copies]
    assert {corrupt['kind'] for corrupt in corrupts} == set(modalities()['T1w'].corruptions)
    assert all(0.1 <= corrupt['severity'] <= 1 for corrupt in corrupts)
    assert len({corrupt['severity'] for corrupt in corrupts}) > 15
    assert comparisons[copies[0].subject, copies[0].key]['labels'] == '0'
    assert copies[0].entities['rec'] == 'xnoise1'
    assert corrupted_copies(records, plans, 3, seed=1)[1] == comparisons
    assert corrupted_copies(records, plans, 3, seed=2)[1] != comparisons

# SPDX-License-Identifier: Apache-2.0
"""The participant level: what cannot run, and whole runs with a tiny network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nitransforms.linear import load as load_linear
from tiny import GRID, SPACING, head, make_tiny_bundle

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.cli.run import main
from bids_brainseg.levels import participant
from bids_brainseg.records import Outcome
from bids_brainseg.results.outcomes import read_outcomes
from bids_brainseg.results.scans import read_scans
from bids_brainseg.settings import Settings, graph_name

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = (-86, -112, -80)


def test_what_cannot_run_is_recorded_for_the_group_level(make_bids, tmp_path, capsys):
    root = make_bids({'sub-01/dwi/sub-01_dwi.nii.gz': (4, 4, 4, 3)})
    words = [f'{root}', f'{tmp_path}/out', 'participant', '-w', f'{tmp_path}/work', '--skip-bids-validation']
    assert main(words) == 1
    ((path, outcome),) = read_outcomes(tmp_path / 'out', '01')[0].items()
    assert (path, outcome.status) == ('sub-01/dwi/sub-01_dwi.nii.gz', 'failed')
    assert outcome.reason.startswith('no bval')
    assert main([f'{root}', f'{tmp_path}/out', 'group']) == 0
    assert outcome.reason in (tmp_path / 'out' / 'group_participants.tsv').read_text()


def test_a_page_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    """Nor does a table of participants that cannot be read, which is told."""
    written = []

    def write(output_dir, subject, *_, **__):
        if subject == '01':
            raise KeyError('verdict')
        written.append(subject)

    monkeypatch.setattr(participant, 'write_participant_page', write)
    settings, nothing = Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work'), {'01': [], '02': []}
    settings.bids_dir.mkdir()
    (settings.bids_dir / 'participants.tsv').touch()
    told = []
    monkeypatch.setattr(participant.LOGGER, 'warning', lambda text, *values: told.append(text % values))
    assert participant.write_reports(settings, nothing, nothing) == 1
    assert written == ['02']
    assert [text.split('/')[-1] for text in told] == [
        'participants.tsv cannot be read and was ignored: it is empty'
    ]
    assert "the report of sub-01 was not written: KeyError: 'verdict'" in capsys.readouterr().err


def test_the_page_shows_how_to_repeat_a_failure_but_not_a_choice(tmp_path):
    settings = Settings(tmp_path / 'in', tmp_path / 'out', tmp_path / 'work')
    records = [record_from_path(Path(f'sub-{n}/anat/sub-{n}_T1w.nii.gz'), 'T1w') for n in ('01', '02')]
    outcomes = [Outcome(records[0], 'failed', 'too small'), Outcome(records[0], 'skipped', 'b = 0 only')]
    failures = participant.failures_by_subject(records, outcomes, settings)
    assert [set(failure) for failure in failures['01']] == [
        {'scan', 'status', 'reason', 'crashfile', 'command'},
        {'scan', 'status', 'reason', 'crashfile'},
    ]
    assert failures['02'] == []


def test_pages_alone_need_results(make_bids, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None})
    assert main([f'{root}', f'{tmp_path}/out', 'participant', '--reports-only']) == 1
    message = capsys.readouterr().err
    assert message.startswith(f'bids_brainseg: error: --reports-only: {tmp_path}/out holds no results of the')
    assert len(message.splitlines()) == 1
    assert not (tmp_path / 'out').exists()


def test_the_methods_of_a_run_that_would_be(make_bids, tiny_bundle, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None, 'sub-01/dwi/sub-01_dwi.nii.gz': (4, 4, 4, 3)})
    words = f'{root} {tmp_path}/out participant -w {tmp_path}/work --model T1w={tiny_bundle}'.split()
    words += ['--boilerplate-only', '--mc-samples', '7']
    assert main(words) == 0
    path = tmp_path / 'out' / 'logs' / 'CITATION.md'
    assert capsys.readouterr().out == f'{path}\n'
    text = path.read_text()
    assert 'tinyT1w' in text and '7' in text and '# References' in text
    assert '@article' in path.with_suffix('.bib').read_text()
    assert not (tmp_path / 'work').exists()
    assert not (tmp_path / 'out' / 'sub-01').exists()
    assert main([*words, '--modalities', 'dwi']) == 1
    assert '--boilerplate-only: no scan can be segmented: no bval' in capsys.readouterr().err


@pytest.mark.integration
def test_dry_run_writes_nothing(make_bids, tiny_bundle, tmp_path, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None, 'sub-01/dwi/sub-01_dwi.nii.gz': (4, 4, 4, 3)})
    words = f'{root} {tmp_path}/out participant -w {tmp_path}/work --dry-run --model T1w={tiny_bundle}'
    assert main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'sub-01/anat/sub-01_T1w.nii.gz: model tinyT1w, 2 passes'
    assert lines[1] == '  sub-01/anat/sub-01_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz'
    assert lines[-2].startswith('sub-01/dwi/sub-01_dwi.nii.gz: failed: no bval')
    assert lines[-1] == 'page: sub-01.html'
    assert not (tmp_path / 'out').exists()
    assert not (tmp_path / 'work').exists()


def good(hounsfield: bool = False) -> np.ndarray:
    image, _ = head(GRID, AFFINE, hounsfield=hounsfield)
    return image + np.random.default_rng(0).normal(0, 5, GRID).astype(np.float32)


def gzipped(tmp_path, data, affine=AFFINE, **fields) -> bytes:
    image = nib.Nifti1Image(data, affine)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, tmp_path / 'one.nii.gz')
    return (tmp_path / 'one.nii.gz').read_bytes()


def with_singular_affine(tmp_path) -> bytes:
    image = nib.Nifti1Image(good(), None)
    image.header.set_sform(np.diag([4.0, 4.0, 0.0, 1.0]), 1)
    image.header['qform_code'] = 0
    nib.save(image, tmp_path / 'one.nii.gz')
    return (tmp_path / 'one.nii.gz').read_bytes()


def holes(data: np.ndarray) -> np.ndarray:
    data[:2] = np.nan
    return data


RGB = np.zeros(GRID, [('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
BAD = {
    'truncated': ('anat', 'T1w', lambda t: gzipped(t, good())[:20_000], 'Truncated'),
    'empty': ('anat', 'T1w', lambda t: b'', 'Empty file, found 0 bytes'),
    'zero': ('anat', 'T1w', lambda t: gzipped(t, np.zeros(GRID, np.int16)), 'every voxel is zero'),
    'nan': ('anat', 'T1w', lambda t: gzipped(t, np.full(GRID, np.nan, np.float32)), 'No finite voxel'),
    'flat': ('anat', 'T1w', lambda t: gzipped(t, good()[:, :, 0]), 'not three-dimensional'),
    'series': ('anat', 'T1w', lambda t: gzipped(t, np.stack([good()] * 2, -1)), '2 volumes where one is'),
    'rgb': ('anat', 'T1w', lambda t: gzipped(t, RGB), 'found RGB'),
    'singular': ('anat', 'T1w', with_singular_affine, 'Singular affine'),
    'nobval': ('dwi', 'dwi', lambda t: gzipped(t, np.stack([good()] * 3, -1)), 'no bval'),
    'gray': ('ct', 'ct', lambda t: gzipped(t, good()), 'CT is not in Hounsfield units'),
}
GOOD = {
    'good': ('anat', 'T1w', lambda t: gzipped(t, good())),
    'holes': ('anat', 'T1w', lambda t: gzipped(t, holes(good()))),
    'hu': ('ct', 'ct', lambda t: gzipped(t, good(hounsfield=True))),
}


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory, tiny_bundle):
    """One run over every kind of scan; exit code, what was printed, and the folders."""
    folder = tmp_path_factory.mktemp('run')
    for label, (datatype, suffix, make, *_) in {**BAD, **GOOD}.items():
        path = folder / 'in' / f'sub-{label}' / datatype / f'sub-{label}_{suffix}.nii.gz'
        path.parent.mkdir(parents=True)
        path.write_bytes(make(folder))
    description = {'Name': 'made by hand', 'BIDSVersion': '1.10.0'}
    (folder / 'in' / 'dataset_description.json').write_text(json.dumps(description))
    make_tiny_bundle(folder / 'ct_bundle', 'ct')
    words = [
        *(f'{folder}/in', f'{folder}/out', 'participant', '-w', f'{folder}/work', '--skip-bids-validation'),
        *('--model', f'T1w={tiny_bundle}', f'dwi={tiny_bundle}', f'{folder}/ct_bundle'),
        *('--nprocs', '2', '--device', 'cpu'),
    ]
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr('builtins.print', lambda *text, **_: printed.append(' '.join(map(str, text))))
        code = main(words)
    return code, '\n'.join(printed), folder, words


@pytest.mark.integration
def test_failures_are_told_and_others_go_on(whole_run):
    code, printed, folder, _ = whole_run
    assert code == 1
    assert f'{len(GOOD)} of {len(BAD) + len(GOOD)} scans segmented, {len(BAD)} failed, 0 skipped' in printed
    for label, (datatype, suffix, _, phrase) in BAD.items():
        name = f'sub-{label}/{datatype}/sub-{label}_{suffix}.nii.gz'
        (line,) = [line for line in printed.splitlines() if f'failed  {name}: ' in line]
        assert phrase in line, line
        page = (folder / 'out' / f'sub-{label}.html').read_text()
        assert phrase in page, label
        assert f'bids_brainseg {folder}/in {folder}/out participant --participant-label {label} ' in page
        assert not list((folder / 'out' / f'sub-{label}').rglob('*_dseg.nii.gz'))
        crashes = list((folder / 'out' / f'sub-{label}' / 'log').rglob('crash-*.txt'))
        assert len(crashes) == (label != 'nobval')  # which is found before anything runs
        ((path, outcome),) = read_outcomes(folder / 'out', label)[0].items()
        assert (path, outcome.status) == (name, 'failed')
        assert phrase in outcome.reason


@pytest.mark.integration
@pytest.mark.parametrize('label', GOOD)
def test_a_good_scan_has_everything(whole_run, label):
    _, _, folder, _ = whole_run
    datatype, suffix, _ = GOOD[label]
    (scan,) = read_scans(folder / 'out', label)
    assert set(scan.files) == {'dseg', 'uncertainty', 'mask', 'morph', 'aseg', 'qc'}
    assert len(scan.transforms) == 2 and scan.status == 'done'
    assert set(scan.figures) == {'alignment', 'contours', 'viewer', 'uncertainty', 'thumbnail'}
    raw = nib.load(folder / 'in' / f'sub-{label}' / datatype / f'sub-{label}_{suffix}.nii.gz')
    dseg = nib.load(scan.files['dseg'])
    assert dseg.shape == raw.shape
    np.testing.assert_array_equal(dseg.affine, raw.affine)
    for form in ('qform_code', 'sform_code'):
        assert dseg.header[form] == raw.header[form]
    described = json.loads(Path(str(scan.files['dseg']).replace('.nii.gz', '.json')).read_text())
    assert described['MonteCarloSamples'] == 2
    assert (label == 'holes') == any('NaN' in note for note in scan.qc['warnings'])
    rows = scan.files['morph'].read_text().splitlines()
    assert len(rows) == 1 + 27 + 3
    assert len({line.split('\t')[0] for line in rows}) == 29
    unfinished = [path for path in (folder / 'out').rglob('*') if '.part' in path.name]
    assert unfinished == []


@pytest.mark.integration
def test_methods_and_models_are_told(whole_run):
    _, _, folder, _ = whole_run
    logs = folder / 'out' / 'logs'
    assert '@article{zopes2021,' in (logs / 'CITATION.bib').read_text()
    citation = (logs / 'CITATION.md').read_text()
    assert '; Gal and Ghahramani, 2016)' in citation and '@' not in citation
    assert [citation.count(start) for start in ('Scans were', 'For T1w: ', 'For ct: ')] == [1, 1, 1]
    models = {json.loads(path.read_text())['name'] for path in (logs / 'models').glob('*.json')}
    assert models == {f'tiny{modality}' for modality in ('T1w', 'ct')}
    page = (folder / 'out' / 'sub-good.html').read_text()
    assert 'Model tinyT1w' in page
    assert 'class="viewer"' in page


@pytest.mark.integration
def test_the_dry_run_lists_what_comes_out(whole_run, capsys):
    _, _, folder, words = whole_run
    assert main([*words, '--participant-label', 'good', '--dry-run']) == 0
    planned = [line for line in capsys.readouterr().out.splitlines() if line.startswith('  ')]
    assert planned and all(line.endswith(' (exists)') for line in planned)
    top = folder / 'out' / 'sub-good'
    written = [path for path in (*top.glob('anat/*'), *top.glob('figures/*')) if path.suffix != '.json']
    written += [*top.glob('anat/*_qc.json'), *top.glob('figures/*.json')]
    assert {line.split()[0] for line in planned} == {
        str(path.relative_to(folder / 'out')) for path in written
    }


@pytest.mark.integration
def test_settings_lie_with_the_log(whole_run):
    _, _, folder, _ = whole_run
    (settings,) = (folder / 'out' / 'sub-good' / 'log').glob('*/settings.toml')
    found = tomllib.loads(settings.read_text())
    assert found['output_dir'] == f'{folder}/out'
    assert settings.parent.name == found['run_uuid']


@pytest.mark.integration
def test_second_run_computes_nothing_and_brings_back_what_is_gone(whole_run, capsys):
    _, _, folder, words = whole_run
    steps = {path: path.stat().st_mtime_ns for path in (folder / 'work').rglob('posterior.npy')}
    assert len(steps) == len(GOOD)
    dseg = folder / 'out' / 'sub-good' / 'anat' / 'sub-good_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz'
    before = dseg.read_bytes()
    dseg.unlink()
    touched = folder / 'in' / 'sub-good' / 'anat' / 'sub-good_T1w.nii.gz'
    os.utime(touched)  # touched, but the same
    assert main([*words, '--participant-label', 'good', 'hu', '-vv']) == 0
    printed = capsys.readouterr()
    assert '2 of 2 scans segmented' in printed.out
    assert not re.search(r'good T1w: (check|coregister|segment|resample_to_scan|measure)', printed.err)
    assert dseg.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in steps} == steps


@pytest.mark.integration
def test_a_run_that_was_killed_goes_on(whole_run, capsys):
    _, _, folder, words = whole_run
    part = folder / 'work' / graph_name('brainseg') / 'sub_good_wf' / 'T1w_wf'
    segmentation = part / 'segmentation_wf'
    segmented = (segmentation / 'segment' / 'posterior.npy').stat().st_mtime_ns
    # as if it had stopped in the middle of this step
    (segmentation / 'resample_to_scan' / 'result_resample_to_scan.pklz').unlink()
    shutil.rmtree(part / 'measure')
    assert main([*words, '--participant-label', 'good']) == 0
    printed = capsys.readouterr().err
    assert 'good T1w: resample_to_scan' in printed
    assert 'good T1w: segment' not in printed
    assert (segmentation / 'segment' / 'posterior.npy').stat().st_mtime_ns == segmented


@pytest.mark.integration
def test_pages_alone(whole_run):
    _, _, folder, words = whole_run
    pages = [folder / 'out' / f'sub-{label}.html' for label in ('good', 'empty', 'nobval')]
    for page in pages:
        page.unlink()
    assert main([*words, '--participant-label', 'good', 'empty', 'nobval', '--reports-only']) == 0
    assert 'Brain Stem' in pages[0].read_text()
    assert BAD['empty'][3] in pages[1].read_text()  # the reason is read from the log of the last run
    assert BAD['nobval'][3] in pages[2].read_text()


@pytest.mark.integration
def test_a_template_on_this_disk(whole_run, tmp_path, templateflow_home):
    """The template is the head of the scan, moved by 20 mm: the affine that comes out says so."""
    _, _, folder, words = whole_run
    scan = nib.load(folder / 'in' / 'sub-good' / 'anat' / 'sub-good_T1w.nii.gz')
    shift = np.eye(4)
    shift[:3, 3] = 20, -10, 5
    template = templateflow_home(tmp_path / 'flow') / 'tpl-Phantom' / 'tpl-Phantom_res-01_T1w.nii.gz'
    template.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.asanyarray(scan.dataobj), shift @ scan.affine), template)
    words = [words[0], str(tmp_path / 'out'), *words[2:], '--participant-label', 'good']
    assert main([*words, '--output-spaces', 'Phantom:res-1']) == 0
    stem = tmp_path / 'out' / 'sub-good' / 'anat' / 'sub-good'
    dseg = nib.load(f'{stem}_space-Phantom_seg-brainseg_res-1_desc-T1w_dseg.nii.gz')
    own = nib.load(f'{stem}_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz')
    np.testing.assert_allclose(dseg.affine, shift @ scan.affine)
    np.testing.assert_array_equal(own.affine, scan.affine)
    assert np.mean(np.asarray(dseg.dataobj) == np.asarray(own.dataobj)) > 0.9
    described = json.loads(Path(f'{stem}_space-Phantom_seg-brainseg_res-1_desc-T1w_dseg.json').read_text())
    assert described['SpatialReference'] == template.name
    assert template.name in described['Resolution']
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-90, 60) for z in (-50, 60)], float).T
    for name, expected in (
        ('from-T1w_to-Phantom', np.linalg.inv(shift)),  # pulls: from points of the template
        ('from-Phantom_to-T1w', shift),
    ):
        affine = load_linear(f'{stem}_{name}_mode-image_xfm.txt', fmt='itk').matrix
        assert np.linalg.norm((affine @ corners - expected @ corners)[:3], axis=0).max() < SPACING
    (listed,) = read_scans(tmp_path / 'out', 'good')
    assert listed.files['dseg'].name.startswith('sub-good_space-orig')


def test_a_template_that_is_not_on_this_disk(make_bids, tmp_path, templateflow_home, capsys):
    root = make_bids({'sub-01/anat/sub-01_T1w.nii.gz': None})
    stub = templateflow_home(tmp_path / 'flow') / 'tpl-Stub' / 'tpl-Stub_res-01_T1w.nii.gz'
    stub.parent.mkdir(parents=True)
    stub.touch()  # not fetched
    words = [f'{root}', f'{tmp_path}/out', 'participant', '-w', f'{tmp_path}/work', '--skip-bids-validation']
    for space in ('Absent', 'Stub', 'Stub:res-2'):
        assert main([*words, '--output-spaces', space]) == 2
        assert capsys.readouterr().err.startswith(
            f'bids_brainseg: error: the template {space} is not on this disk'
        )
    assert not (tmp_path / 'work').exists()


@pytest.mark.integration
def test_two_jobs_share_their_folders(whole_run, tmp_path):
    """Two subjects at once, one output and one work folder; the files of the dataset are those of one job."""
    _, _, folder, words = whole_run
    shared = [
        str(tmp_path / 'out'),
        'participant',
        '-w',
        str(tmp_path / 'work'),
        *words[5:],
        '--mc-samples',
        '0',
    ]
    command = [sys.executable, '-m', 'bids_brainseg', words[0], *shared, '--participant-label']
    jobs = [
        subprocess.Popen([*command, label], stderr=subprocess.PIPE, text=True) for label in ('good', 'holes')
    ]
    errors = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    for label in ('good', 'holes'):
        (scan,) = read_scans(tmp_path / 'out', label)
        assert {'dseg', 'morph', 'qc'} <= set(scan.files)
        assert (tmp_path / 'out' / f'sub-{label}.html').exists()
    for name in ('dataset_description.json', 'desc-brainseg_dseg.tsv', '.bidsignore'):
        assert (tmp_path / 'out' / name).read_bytes() == (folder / 'out' / name).read_bytes()
    assert [path for path in (tmp_path / 'out').rglob('.*') if path.name != '.bidsignore'] == []

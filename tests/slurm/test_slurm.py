# SPDX-License-Identifier: Apache-2.0
"""The same results from every scheduler; each job asks for what its step needs; a lost job harms no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from one_node_slurm import missing, one_node_slurm
from tiny import GRID, SPACING, head, make_tiny_bundle

from bids_brainseg.settings import graph_name

pytestmark = pytest.mark.slurm
SCRIPT = Path(__file__).parents[2] / 'examples' / 'slurm_array.sh'
LABELS = ('01', '02', '03')


@pytest.fixture(scope='module', autouse=True)
def slurm():
    """The cluster that SLURM_CONF names, or one of our own."""
    if 'SLURM_CONF' in os.environ:
        yield
        return
    if missing():
        pytest.skip(missing())
    with one_node_slurm() as conf, pytest.MonkeyPatch.context() as patch:
        patch.setenv('SLURM_CONF', str(conf))
        yield


@pytest.fixture(scope='module')
def study(tmp_path_factory) -> Path:
    """A dataset of three T1w scans in `in`, and a bundle that segments one in seconds in `T1w`."""
    folder = tmp_path_factory.mktemp('study')
    make_tiny_bundle(folder / 'T1w')
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-86, -112, -80)
    image, _ = head(GRID, affine)
    for seed, label in enumerate(LABELS):
        path = folder / 'in' / f'sub-{label}' / 'anat' / f'sub-{label}_T1w.nii.gz'
        path.parent.mkdir(parents=True)
        noise = np.random.default_rng(seed).normal(0, 5, GRID).astype(np.float32)
        nib.save(nib.Nifti1Image(image + noise, affine), path)
    (folder / 'in' / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (folder / 'labels.txt').write_text(''.join(f'sub-{label}\n' for label in LABELS))
    return folder


def command(study: Path, out: Path, *options: str | Path) -> list[str]:
    """The participant level; results in `out`, intermediate ones beside it."""
    words = [sys.executable, '-m', 'bids_brainseg', study / 'in', out, 'participant', '-w', f'{out}_work']
    words += ['--skip-bids-validation', '--omp-nthreads', '1', '--model', f'T1w={study}/T1w', *options]
    return [str(word) for word in words]


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(words, capture_output=True, text=True, check=False)


def derivatives(out: Path) -> dict[str, bytes]:
    """Contents of the derivatives; without logs and pages, and without the seconds that the QC files hold."""
    contents = {}
    for path in sorted(out.rglob('*')):
        name = path.relative_to(out)
        if path.is_dir() or path.suffix == '.html' or {'log', 'logs'}.intersection(name.parts):
            continue
        contents[str(name)] = path.read_bytes()
        if name.name.endswith('_qc.json'):
            document = json.loads(path.read_text())
            assert document.pop('Seconds')['network'] > 0
            contents[str(name)] = json.dumps(document).encode()
    return contents


def assert_same(one: Path, other: Path, labels: Sequence[str] = LABELS) -> None:
    left_out = {f'sub-{label}' for label in set(LABELS) - set(labels)}
    first, second = (
        {name: content for name, content in derivatives(out).items() if name.split('/')[0] not in left_out}
        for out in (one, other)
    )
    assert sum('seg-brainseg' in name and name.endswith('_dseg.nii.gz') for name in first) == len(labels)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def jobs(*, after: int = 0) -> list[dict[str, str]]:
    """The fields of ``scontrol`` of all jobs that the controller remembers, with a larger number."""
    listed = run('scontrol', '-o', 'show', 'job').stdout.splitlines()
    found = [dict(re.findall(r'(\S+?)=(\S*)', line)) for line in listed if 'JobId=' in line]
    return [job for job in found if int(job['JobId']) > after]


def newest() -> int:
    return max((int(job['JobId']) for job in jobs()), default=0)


def wait_for(found, seconds: float = 300):
    """Return what a function returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, 'it did not happen'
        time.sleep(0.2)
    return result


def active(job: dict[str, str]) -> bool:
    return job['JobState'] in ('PENDING', 'RUNNING', 'COMPLETING')


@pytest.fixture(scope='module')
def alone(study) -> Path:
    """What one machine without a scheduler makes of the dataset."""
    done = run(*command(study, study / 'alone', '--nprocs', '1'))
    assert done.returncode == 0, done.stderr
    return study / 'alone'


def plugin_file(study: Path, **plugin_args) -> Path:
    path = study / f'plugin{len(list(study.glob("plugin*.yml")))}.yml'
    path.write_text(json.dumps({'plugin': 'SLURM', 'plugin_args': plugin_args}))  # JSON is YAML
    return path


# === Steps as jobs ===


@pytest.fixture(scope='module')
def canceled(study):
    """A run as jobs of its steps, of which one of the second participant is canceled."""
    out, last = study / 'plugin', newest()
    plugin = plugin_file(study, sbatch_args='--time=00:10:00', max_jobs=8)
    words = command(study, out, '--use-plugin', plugin, '--participant-label', '01', '02')
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def registration() -> list[str]:
        names = {job['JobId']: job['JobName'] for job in jobs(after=last) if active(job)}
        return [number for number, name in names.items() if 'coregister' in name and 'sub_02' in name]

    (number,) = wait_for(registration)
    subprocess.run(['scancel', number], check=True)
    printed, _ = process.communicate(timeout=900)
    return out, words, printed, process.returncode, jobs(after=last)


def test_a_canceled_step_fails_its_scan_alone(canceled):
    out, _, printed, code, _ = canceled
    assert code == 1, printed
    assert '1 of 2 scans segmented' in printed
    assert re.search(r'sub-02_T1w.*job \d+ of this step ended without a result: it was canceled', printed)
    labels = {path.name[4:6] for path in out.rglob('*_dseg.nii.gz')}
    assert labels == {'01'}


def test_every_step_asks_for_what_the_graph_says(canceled):
    *_, found = canceled
    asked = {job['JobName'].partition('.')[0]: job for job in found}
    expected = {'check': '1500M', 'coregister': '2000M', 'segment': '5000M', 'ds_qc': '500M'}
    assert {name: asked[name]['MinMemoryNode'] for name in expected} == expected
    assert {job['CPUs/Task'] for job in found} == {'1'}
    assert {job['TimeLimit'] for job in found} == {'00:10:00'}
    assert not [job['JobName'] for job in found if 'TresPerNode' in job]  # no GPU was asked for


def test_the_next_run_does_the_rest_and_all_is_as_on_one_machine(canceled, alone):
    out, words, *_ = canceled
    last = newest()
    again = run(*words)
    assert again.returncode == 0, again.stderr
    names = [job['JobName'] for job in jobs(after=last)]
    assert any('coregister' in name and 'sub_02' in name for name in names)
    assert not [
        name
        for name in names
        if name.startswith(('check.', 'coregister.', 'segment.')) and 'sub_02' not in name
    ]
    assert_same(alone, out, ('01', '02'))


def test_only_the_network_waits_for_a_gpu(study):
    last = newest()
    plugin = plugin_file(study, max_jobs=8)
    options = ('--use-plugin', plugin, '--participant-label', '01', '--device', 'gpu')
    run(*command(study, study / 'gpu', *options))  # may end with "no GPU": what counts is what was asked for
    asked = {job['JobName'].partition('.')[0]: job.get('TresPerNode') for job in jobs(after=last)}
    assert asked.pop('segment') == 'gres:gpu:1'
    assert {'check', 'coregister', 'preprocess'} <= set(asked)
    assert set(asked.values()) == {None}


@pytest.fixture
def waiting(study, request):
    """A run whose jobs wait for an hour: the command that does not, the process, and the first job."""
    out = study / request.node.name
    words = command(study, out, '--participant-label', '03', '--use-plugin')
    later = plugin_file(study, sbatch_args='--begin=now+1hour', max_jobs=8)
    process = subprocess.Popen(
        [*words, str(later)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    (note,) = wait_for(lambda: list(Path(f'{out}_work/.jobs').glob('*')))
    job = wait_for(note.read_text).strip()
    yield [*words, str(plugin_file(study, max_jobs=8))], process, job
    process.kill()
    subprocess.run(['scancel', job], check=True)


def test_a_command_that_is_ended_cancels_its_jobs(waiting):
    _, process, job = waiting
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f'canceled the jobs that were left: {job}' in printed
    (ended,) = wait_for(lambda: [one for one in jobs() if one['JobId'] == job and not active(one)])
    assert ended['JobState'] == 'CANCELLED'


def test_a_command_that_was_killed_leaves_jobs_which_the_next_one_tells(waiting, study, alone, request):
    again, process, job = waiting
    process.kill()
    process.wait()
    refused = run(*again)
    assert refused.returncode == 1
    assert (
        f'still in the queue: {job}; wait until they have ended, or cancel them (scancel {job})'
        in refused.stderr
    )
    subprocess.run(['scancel', job], check=True)
    done = run(*again)
    assert done.returncode == 0, done.stderr
    assert_same(alone, study / request.node.name, ('03',))


# === One job per participant ===


def submit(study: Path, out: Path, *options: str) -> int:
    """Submit examples/slurm_array.sh as its head says; the number of the array."""
    out.mkdir(exist_ok=True)
    (study / 'logs').mkdir(exist_ok=True)
    environment = os.environ | {
        'BIDS': str(study / 'in'), 'OUT': str(out), 'WORK': f'{out}_work',
        'LABELS': str(study / 'labels.txt'), 'OPTIONS': f'--model T1w={study}/T1w',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    }  # fmt: skip
    words = ['sbatch', '--parsable', '--cpus-per-task=1', *options, str(SCRIPT)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=study, env=environment)
    return int(done.stdout)


def states(array: int) -> dict[str, dict[str, str]]:
    """From the index of a task to its job; all tasks have ended."""

    def ended() -> list[dict[str, str]]:
        tasks = [job for job in jobs() if job.get('ArrayJobId') == str(array)]
        return [] if any(active(task) for task in tasks) else tasks

    return {task['ArrayTaskId']: task for task in wait_for(ended, 600)}


def log(study: Path, array: int, task: int) -> str:
    return (study / 'logs' / f'brainseg_{array}_{task}.out').read_text()


def test_an_array_makes_what_one_machine_makes(study, alone):
    array = submit(study, study / 'array', '--array=1-3', '--mem=2G')
    assert {task['JobState'] for task in states(array).values()} == {'COMPLETED'}, log(study, array, 1)
    assert_same(alone, study / 'array')


def test_tasks_that_are_lost_harm_no_other_and_continue(study, alone):
    """One is killed, one canceled, each after its registration; a third one may not have enough memory."""
    out = study / 'lost'
    graph = f'{out}_work/{graph_name("brainseg")}'
    array = submit(study, out, '--array=1-2', '--mem=2G')
    short = submit(study, out, '--array=3', '--mem=120M')
    for task, lose in ((1, ['scancel', '--signal=KILL', '--full']), (2, ['scancel'])):
        step = f'{graph}/sub_0{task}_wf/T1w_wf/preprocessing_wf/coregister'
        wait_for(lambda step=step: list(Path(step).glob('result_*.pklz')))
        subprocess.run([*lose, f'{array}_{task}'], check=True)
    lost = [*states(array).values(), *states(short).values()]
    assert {job['JobState'] for job in lost} <= {'FAILED', 'CANCELLED', 'OUT_OF_MEMORY'}
    assert not list(out.rglob('*_dseg.nii.gz'))

    again = submit(study, out, '--array=1-3', '--mem=2G')
    assert {task['JobState'] for task in states(again).values()} == {'COMPLETED'}, log(study, again, 1)
    for task in (1, 2):
        assert 'T1w: segment' in log(study, again, task)
        assert 'T1w: coregister' not in log(study, again, task)
    assert 'T1w: coregister' in log(study, again, 3)
    assert_same(alone, out)

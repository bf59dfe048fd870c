# SPDX-License-Identifier: Apache-2.0
"""The train level: find cases, prepare pairs, judge them, plan, train, end with a bundle."""

from __future__ import annotations

import json
import logging
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..bids.query import find_images
from ..bids.training_cases import (
    find_cases,
    find_label_maps,
    pair_paths,
    read_exclusions,
    split_subjects,
    subject_of,
    write_case_table,
)
from ..data import anatomical_modality, label_table_hash, modalities, training_defaults
from ..errors import BidsError, InputError, ModelError, explain
from ..files import write_json
from ..network.bundle import file_sha256, find_bundle, load_bundle, on_grid
from ..pages.training import write_training_page
from ..records import Bundle, TrainingCase
from ..results.outcomes import reason_of
from ..settings import Settings
from ..workflows.training import init_training_wf
from .execution import configure, run_workflow, write_graph
from .folders import check_writable, prepare_output
from .outcome import assess_outcome
from .scans import resolve_device, validate_dataset, write_settings

LOGGER = logging.getLogger('bids_brainseg')


def run(settings: Settings) -> int:
    """Train a network and return the exit code."""
    began = time.monotonic()
    settings = resolve_device(settings)
    asked = settings.training
    base = choose_base(asked)
    maps = find_label_maps(asked['label_maps']) if 'label_maps' in asked else []
    cases = query(settings)
    check_request(asked, base, cases, maps)
    if settings.dry_run:
        return dry_run(cases, maps)
    check_writable(settings.work_dir, 'work folder')
    if settings.clean_workdir:
        for name in ('training_wf', f'training_{base.modality}'):
            shutil.rmtree(settings.work_dir / name, ignore_errors=True)
    prepare_output(settings, links=settings.derivatives)
    if cases:
        validate_dataset(settings)
    rows = prepare(settings, cases, base)
    plan = make_plan(settings, base, rows, maps)
    folder = settings.output_dir / f'training_{base.modality}'
    if not settings.clean_workdir:
        refuse_overwrite(plan, folder)
    write_cases(folder, rows)
    if not plan['scans']['train'] and not plan['label_maps']['train']:
        reasons = '; '.join(dict.fromkeys(row['reason'] for row in rows if row['reason'] != 'n/a'))
        raise InputError(
            f'nothing is left to train on: {reasons or "everybody validates"}; the table of all cases is '
            f'{folder / "cases.tsv"}'
        )
    run_network(settings, plan, folder)
    failed = [row for row in rows if row['status'] == 'failed']
    print(summary(rows, maps, plan, time.monotonic() - began))
    return 1 if failed else 0


def choose_base(asked) -> Bundle:
    """Load the bundle whose reference is used: that of --init, or the packaged one."""
    base = load_bundle(asked['init'] if 'init' in asked else find_bundle(asked['modality']))
    if base.modality != asked['modality']:
        raise ModelError(
            f'--init {base.path} is a bundle for {base.modality}, not for {asked["modality"]}; '
            'name one for the modality, or leave --init out'
        )
    if 'init' in asked and asked.get('filters', base.architecture['filters']) != base.architecture['filters']:
        raise ModelError(
            f'--filters {asked["filters"]} does not fit --init, whose network has '
            f'{base.architecture["filters"]}; leave one of the two out'
        )
    return on_grid(base, asked['grid_spacing']) if 'grid_spacing' in asked else base


def check_request(asked, base: Bundle, cases: Sequence[TrainingCase], maps: Sequence[Path]) -> None:
    """Refuse what cannot end well before any scan is touched.

    Raises
    ------
    BidsError
        With exit code 2 for options that do not fit, 18 if nothing has labels.
    """
    step = 2 ** base.architecture['depth']
    if window := asked['recipe'].get('window'):
        pairs = zip(window, base.grid_shape, strict=True)
        if any(n % step or n > most for n, most in pairs):
            raise BidsError(
                f'--window {" ".join(map(str, window))}: every side must be a multiple of {step} and at most '
                f'that of the network grid, {" ".join(map(str, base.grid_shape))}',
                2,
            )
    known = {case.record.subject for case in cases} | {subject_of(path) for path in maps}
    if unknown := [label for label in asked.get('validation_label', ()) if label not in known]:
        raise BidsError(
            f'--validation-label {" ".join(unknown)}: nobody of that name; there are '
            f'{" ".join(sorted(known)[:10])}',
            2,
        )
    if not maps and all(case.skip for case in cases):
        reasons = '; '.join(dict.fromkeys(case.skip for case in cases[:3]))
        raise BidsError(
            f'no scan can be trained on: {reasons or "no scan of this modality"}; --derivatives '
            'freesurfer=DIR names the folder that holds sub-<label>/mri, --label-maps other labels',
            18,
        )


def query(settings: Settings) -> list[TrainingCase]:
    """Find the scans to train on, and why others are left out."""
    asked = settings.training
    if 'freesurfer' not in settings.derivatives:
        return []
    records = find_images(
        settings.bids_dir,
        modalities=tuple(dict.fromkeys([asked['modality'], anatomical_modality()])),
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        bids_filters=settings.bids_filters,
        database_dir=settings.bids_database_dir,
    )
    excluded = read_exclusions(asked['exclude']) if 'exclude' in asked else []
    for row in excluded:
        if row['participant_id'] not in {record.subject for record in records}:
            LOGGER.warning('--exclude names participant %s, who has no scan here', row['participant_id'])
    return find_cases(records, settings.derivatives['freesurfer'], asked['modality'], excluded)


def dry_run(cases: Sequence[TrainingCase], maps: Sequence[Path]) -> int:
    """List what would be trained on."""
    for case in cases:
        how = 'carried from the T1w' if case.t1w else 'by scanner coordinates'
        print(f'{case.record.relative_path}: {case.skip or f"labels {case.labels}, {how}"}')
    for path in maps:
        print(f'{path}: label map of {subject_of(path)}')
    return 0


# === Pairs ===


def prepare(settings: Settings, cases: Sequence[TrainingCase], base: Bundle) -> list[dict]:
    """Prepare the pairs that are not there yet, and return a row for each case with what became of it."""
    origins = {case.record.path: origin(case, base) for case in cases if case.skip is None}
    paths = {
        case.record.path: pair_paths(case.record, settings.output_dir, base.reference_name) for case in cases
    }
    usable = [case for case in cases if case.skip is None]
    todo = [case for case in usable if not is_prepared(paths[case.record.path], origins[case.record.path])]
    complaint = run_graph(settings, todo, origins, base) if todo else None
    if usable:
        print(f'{len(usable) - len(todo)} of {len(usable)} pairs were prepared before')
    limit = settings.training.get('agreement_threshold')
    if limit is None:
        limit = modalities()[base.modality].agreement_threshold
    rows = []
    for case in cases:
        files = paths[case.record.path]
        status, reason = 'rejected', case.skip
        if case in todo:
            status, reason = outcome(case, settings, files, complaint)
        elif case.skip is None:
            status, reason = 'kept', ''
        rows.append(judged(case, files, status, reason, limit))
    return rows


def origin(case: TrainingCase, base: Bundle) -> dict:
    """Say what a pair is made from, so that a later run knows whether it still holds."""
    return {
        'scan': content(case.record.path),
        'volumes': 'n/a' if case.record.volumes is None else list(case.record.volumes),
        'labels': content(case.labels),
        't1w': content(case.t1w) if case.t1w else 'n/a',
        'reference': base.sha256['reference.nii.gz'],
        'mask': base.sha256['mask.nii.gz'],
        'grid': [list(base.grid_shape), [list(row) for row in base.grid_affine]],
        'intensity': dict(base.intensity),
        'classes': label_table_hash(),
        'rules_version': training_defaults()['rules_version'],
    }


def content(path: Path) -> str:
    """Return the hash of a file; what cannot be read fails later, where it is told."""
    try:
        return file_sha256(path)
    except OSError as error:
        return f'unreadable: {error.strerror}'


def is_prepared(files: dict[str, Path], made_from: dict) -> bool:
    """Tell whether a pair is there and was made from the same."""
    if not all(path.is_file() for path in files.values()):
        return False
    try:
        return json.loads(files['info'].read_text()).get('origin') == made_from
    except (OSError, ValueError):
        return False


def run_graph(settings: Settings, cases: Sequence[TrainingCase], origins: dict, base: Bundle) -> str | None:
    """Prepare pairs; return what nipype complained of."""
    write_settings(settings, [case.record for case in cases])
    for case in cases:  # an old pair must not be taken for the new one
        pair_paths(case.record, settings.output_dir, base.reference_name)['info'].unlink(missing_ok=True)
    configure(settings)
    workflow = init_training_wf(settings=settings, cases=cases, origins=origins, base=base)
    if settings.write_graph:
        print(f'graph: {write_graph(workflow)}')
    complaint = run_workflow(workflow, settings)
    return complaint and reason_of(complaint)


def outcome(case: TrainingCase, settings: Settings, files: dict, complaint: str | None) -> tuple[str, str]:
    """Say what became of a case that was to be prepared."""
    found = assess_outcome(case.record, settings, list(files.values()), complaint)
    return ('kept', '') if found.status == 'done' else ('failed', found.reason)


def judged(case: TrainingCase, files: dict, status: str, reason: str | None, limit: float) -> dict:
    """Make the row of a case; labels that fit too badly are rejected here."""
    agreement = None
    if status == 'kept':
        agreement = json.loads(files['info'].read_text())['agreement']
        if agreement < limit:
            status, reason = 'rejected', f'the labels do not fit: agreement {agreement:.2f} below {limit:g}'
    return {
        'participant_id': f'sub-{case.record.subject}',
        'session_id': f'ses-{case.record.session}' if case.record.session else 'n/a',
        'scan': case.record.relative_path.as_posix(),
        'status': status,
        'agreement': agreement,
        'reason': reason or 'n/a',
        'subject': case.record.subject,
        'files': files,
    }


def write_cases(folder: Path, rows: Sequence[dict]) -> None:
    """Write the table of cases, what its columns mean, and the page with the figures."""
    write_case_table(rows, folder / 'cases.tsv')
    write_training_page(folder / 'cases.html', rows)


# === The plan ===


def make_plan(settings: Settings, base: Bundle, rows: list[dict], maps: Sequence[Path]) -> dict:
    """Decide who trains and who validates, and write down all that the network process needs.

    The rows of the cases get their part, ``train`` or ``validate``, as status.
    """
    asked, known = settings.training, training_defaults()
    rule = {
        'share': asked.get('validation_share', known['validation_share']),
        'seed': settings.random_seed,
        'chosen': asked.get('validation_label', ()),
    }
    kept = [row for row in rows if row['status'] == 'kept']
    train, validate = split_subjects((row['subject'] for row in kept), **rule)
    drawn = {path: subject_of(path) for path in maps}
    if not validate:  # a label map can stand in, but not one of somebody whose scans are trained on
        _, validate = split_subjects(set(drawn.values()) - set(train), **rule)
    for row in kept:
        row['status'] = 'validate' if row['subject'] in validate else 'train'
    scans = {
        role: [described(row) for row in kept if row['status'] == role] for role in ('train', 'validate')
    }
    label_maps = {
        'train': [str(path) for path, subject in drawn.items() if subject not in validate],
        'validate': [str(path) for path, subject in drawn.items() if subject in validate],
    }
    if scans['validate']:
        label_maps['validate'] = []
    if (kept or drawn) and not validate:
        LOGGER.warning('Nobody validates: all epochs are run, and nothing is scored')
    share = asked.get('synthetic_share', known['synthetic']['share'])
    share = 0.0 if not drawn else 1.0 if not kept else share
    architecture = dict(base.architecture) if 'init' in asked else dict(known['architecture'])
    if 'filters' in asked:
        architecture['filters'] = asked['filters']
    ranges = asked.get('ranges', {})
    recipe = {**known['recipe'], **asked['recipe'], 'seed': settings.random_seed}
    recipe['steps_per_epoch'] = recipe['steps_per_epoch'] or epoch_length(
        len(scans['train']), share, recipe['batch_size']
    )
    return {
        'modality': base.modality,
        'base': str(base.path),
        'grid_spacing': asked.get('grid_spacing'),
        'init': 'init' in asked,
        'architecture': architecture,
        'recipe': recipe,
        'augmentation': None if 'no_augmentation' in asked else {**known['augmentation'], **ranges},
        'ranges': ranges,
        'share': share,
        'scans': scans,
        'label_maps': label_maps,
        'mc_samples': settings.mc_samples,
        'name': asked.get('bundle_name', f'own{base.modality}'),
        'license': asked.get('license', known['license']),
        'card': card(settings, base, rows, scans, label_maps),
        'card_init': f'{base.name} {base.version} ({base.weights_sha256[:12]})'
        if 'init' in asked
        else 'none',
    }


def epoch_length(scans: int, share: float, batch: int) -> int:
    """Return the steps in which each scan is seen about once.

    >>> epoch_length(30, 0.0, 1), epoch_length(30, 0.5, 2), epoch_length(0, 1.0, 1)
    (30, 30, 100)
    """
    if not scans or share >= 1:
        return training_defaults()['synthetic']['steps_per_epoch']
    return math.ceil(scans / (1 - share) / batch)


def described(row: dict) -> dict:
    """Spell a kept case for the network process."""
    files = row['files']
    return {'image': str(files['image']), 'labels': str(files['labels']), 'name': row['scan']}


def card(settings: Settings, base: Bundle, rows, scans: dict, label_maps: dict) -> dict:
    """Say what is known of the new weights before they exist."""
    subjects = {
        role: len({row['subject'] for row in rows if row['status'] == role}) for role in ('train', 'validate')
    }
    data = {
        role: {'scans': len(scans[role]), 'subjects': subjects[role], 'label_maps': len(label_maps[role])}
        for role in ('train', 'validate')
    }
    data['left_out'] = sum(row['status'] not in ('train', 'validate') for row in rows)
    data['labels'] = 'FreeSurfer, carried by this program' if rows else 'label maps'
    return {
        'training': {'dataset': settings.bids_dir.name, 'data': data},
        'threshold': f'mean CV above {base.cv_threshold} %: taken over from the bundle {base.name}, not '
        'calibrated on these weights; the evaluate level does that',
        'limits': [
            'Measured on the held-out scans named above only: scanners, protocols, ages and diseases that '
            'were not among the training data are unknown territory.',
            'Labels made by a program are learned with their errors; the scores measure agreement with them.',
            'For research. Not a medical device.',
        ],
    }


def refuse_overwrite(plan: dict, folder: Path) -> None:
    """Keep a bundle that was trained in another way from being overwritten.

    Raises
    ------
    BidsError
        With exit code 2; says what differs.
    """
    if not (folder / 'bundle' / 'model.json').is_file() or not (folder / 'plan.json').is_file():
        return
    before, now = (
        identity(json.loads(text)) for text in ((folder / 'plan.json').read_text(), json.dumps(plan))
    )
    differs = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differs:
        said = ', '.join(f'{name} {shortened(before.get(name))}' for name in differs[:3])
        raise BidsError(
            f'{folder / "bundle"} was trained with other options: {said}, and would be overwritten; choose '
            'another OUTPUT_DIR and --work-dir, or begin anew with --clean-workdir',
            2,
        )


def identity(plan: dict) -> dict:
    """Pick what decides which weights come out."""
    free = training_defaults()['may_change']
    names = ('base', 'init', 'grid_spacing', 'architecture', 'augmentation', 'ranges', 'share', 'scans')
    return {
        **{name: plan.get(name) for name in (*names, 'label_maps')},
        **{name: value for name, value in plan['recipe'].items() if name not in free},
    }


def shortened(value) -> str:
    """Spell a value of a plan in an error.

    >>> shortened(8), shortened({'train': list(range(90))})
    ('8', "{'train': [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, ...")
    """
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


# === The network ===


def run_network(settings: Settings, plan: dict, folder: Path) -> None:
    """Train in a process of its own, which shows its progress here.

    Raises
    ------
    ModelError
        If it fails; says why.
    """
    work = settings.work_dir / f'training_{plan["modality"]}'
    work.mkdir(parents=True, exist_ok=True)
    plan['bundle_dir'] = str(folder / 'bundle')
    path = write_json(plan, folder / 'plan.json')
    command = [
        sys.executable, '-m', 'bids_brainseg.process', 'fit', '--plan', str(path), '--work-dir', str(work),
        '--device', settings.device, '--threads', str(settings.omp_nthreads),
    ]  # fmt: skip
    errors = work / 'stderr.txt'
    with errors.open('w') as stream:
        code = subprocess.run(command, stderr=stream, check=False).returncode
    if (work / 'log.csv').is_file():
        shutil.copyfile(work / 'log.csv', folder / 'log.csv')
    if code:
        LOGGER.info('%s', errors.read_text(errors='replace'))
        raise ModelError(explain(code, errors.read_text(errors='replace')))


def summary(rows: Sequence[dict], maps: Sequence[Path], plan: dict, seconds: float) -> str:
    """Tell in a few lines how it ended."""
    scans = plan['scans']
    lines = [
        f'trained on {len(scans["train"])} scans and {len(plan["label_maps"]["train"])} label maps, '
        f'{len(scans["validate"]) or len(plan["label_maps"]["validate"])} held out ({seconds:.0f} s)'
    ]
    for row in rows:
        if row['status'] not in ('train', 'validate'):
            lines.append(f'  {row["status"]:8} {row["scan"]}: {row["reason"]}')
    lines.append(f'  model    {plan["bundle_dir"]}')
    lines.append(f'  use it   bids_brainseg BIDS_DIR OUTPUT_DIR participant --model {plan["bundle_dir"]}')
    return '\n'.join(lines)

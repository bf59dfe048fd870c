# SPDX-License-Identifier: Apache-2.0
"""The train level: find cases, prepare pairs, plan, train in a process of its own, end with bundles."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..bids.query import Selection
from ..bids.training_cases import find_label_maps, subject_of
from ..data import training_defaults
from ..errors import BidsError, InputError, ModelError, explain
from ..files import write_json
from ..lifetime import PARENT
from ..network.bundle import find_bundle, load_bundle, on_grid
from ..records import LABEL_SOURCES, Bundle, TrainingCase, TrainingPlan, TrainingRequest
from ..settings import Settings, graph_name
from .dry_run import format_others
from .folders import check_writable, prepare_output
from .outcome import account_for_others
from .pairs import prepare_pairs, select_cases, write_cases
from .recipe import Recipe, read_recipe
from .scans import resolve_device, validate_dataset
from .training_plan import plan_network, plan_recipe, refuse_overwrite, split

LOGGER = logging.getLogger('bids_brainseg')


def run(settings: Settings) -> int:
    """Train a network, or those of a recipe, and return the exit code."""
    began = time.monotonic()
    settings = resolve_device(settings)
    request = settings.training
    recipe = read_recipe(request.recipe) if request.recipe is not None else None
    names = recipe.contrasts if recipe else (request.modality,)
    bases = choose_bases(settings, recipe)
    maps = find_label_maps(request.label_maps) if request.label_maps else []
    cases, selection = select_cases(settings, names)
    chosen, share = who_validates(settings, recipe)
    check_request(settings, recipe, bases, [case for group in cases.values() for case in group], maps, chosen)
    if settings.dry_run:
        return dry_run(cases, maps, recipe, selection)
    label = recipe.name if recipe else request.modality
    folder, work = settings.output_dir / f'training_{label}', settings.work_dir / f'training_{label}'
    check_writable(settings.work_dir, 'work folder')
    if settings.clean_workdir:
        for path in (settings.work_dir / graph_name('training'), work):
            shutil.rmtree(path, ignore_errors=True)
    prepare_output(settings, links=settings.derivatives)
    if any(cases.values()):
        validate_dataset(settings)
    rows = []
    for name, group in cases.items():
        if group:
            rows += prepare_pairs(settings, group, bases[name])
    data = split(settings, rows, maps, chosen=chosen, share=share)
    if recipe:
        plan = plan_recipe(settings, recipe, bases, data, folder)
    else:
        plan = plan_network(settings, bases[request.modality], data, folder)
    if not settings.clean_workdir:
        refuse_overwrite(plan, folder)
    write_cases(folder, rows, selection.unused)
    if not plan.scans['train'] and not plan.label_maps['train']:
        reasons = '; '.join(dict.fromkeys(row['reason'] for row in rows if row['reason'] != 'n/a'))
        raise InputError(
            f'no training data: {reasons or "all cases are held out"}; all cases are listed in '
            f'{folder / "cases.tsv"}'
        )
    run_network(settings, plan, folder, work)
    print(summary(rows, plan, time.monotonic() - began, account_for_others(selection)))
    return 1 if any(row['status'] == 'failed' for row in rows) else 0


def choose_bases(settings: Settings, recipe: Recipe | None) -> dict[str, Bundle]:
    """Load the bundles whose references are used, by modality; none if the recipe makes its own."""
    if recipe is None:
        return {settings.training.modality: choose_base(settings.training)}
    if not recipe.reference:
        return {name: load_bundle(find_bundle(name)) for name in recipe.contrasts}
    given = [name for name in LABEL_SOURCES if name in settings.derivatives]
    if given:
        raise BidsError(
            f'--recipe {recipe.path} makes its own references, which no real scan can be aligned to '
            f'beforehand; leave "reference" or --derivatives {" ".join(given)} out',
            2,
        )
    return {}


def choose_base(request: TrainingRequest) -> Bundle:
    """Load the bundle whose reference is used: that of --init, or the packaged one."""
    base = load_bundle(request.init or find_bundle(request.modality))
    if base.modality != request.modality:
        raise ModelError(
            f'--init {base.path} is a bundle for {base.modality}, not for {request.modality}; '
            'name one for the modality, or leave --init out'
        )
    filters = base.architecture['filters']
    if request.init and request.filters not in (None, filters):
        raise ModelError(
            f'--filters {request.filters} does not fit --init, whose network has {filters}; '
            'leave one of the two out'
        )
    spacing = request.stage.get('grid_spacing')
    return base if spacing is None else on_grid(base, spacing)


def who_validates(settings: Settings, recipe: Recipe | None) -> tuple[tuple[str, ...], float]:
    """Return the labels of those who validate, and else their share: the command wins over the recipe."""
    request, said = settings.training, recipe.validation if recipe else {}
    share = request.validation_share
    if share is None:
        share = said.get('share', training_defaults()['validation_share'])
    chosen = request.validation_label
    if not chosen and request.validation_share is None:
        chosen = tuple(said.get('labels', ()))
    return chosen, share


def check_request(
    settings: Settings,
    recipe: Recipe | None,
    bases: Mapping[str, Bundle],
    cases: Sequence[TrainingCase],
    maps: Sequence[Path],
    chosen: Sequence[str],
) -> None:
    """Refuse what cannot end well before any scan is touched.

    Raises
    ------
    BidsError
        With exit code 2 for options that do not fit, 18 if nothing has labels.
    """
    window = settings.training.stage.get('window')
    for base in bases.values():
        step = 2 ** base.architecture['depth']
        if window and any(n % step or n > most for n, most in zip(window, base.grid_shape, strict=True)):
            raise BidsError(
                f'--window {" ".join(map(str, window))}: every side must be a multiple of {step} and at most '
                f'that of the network grid, {" ".join(map(str, base.grid_shape))}',
                2,
            )
    if recipe:
        recipe.stages_for(seed=0, beside={}, init=settings.training.init, share=None if cases else 1.0)
    known = {case.record.subject for case in cases} | {subject_of(path) for path in maps}
    if unknown := [label for label in chosen if label not in known]:
        raise BidsError(
            f'{"--validation-label" if settings.training.validation_label else "validation of the recipe:"} '
            f'{" ".join(unknown)}: no such participant; found {" ".join(sorted(known)[:10])}',
            2,
        )
    if not maps and all(case.skip for case in cases):
        reasons = '; '.join(dict.fromkeys(case.skip for case in cases[:3]))
        raise BidsError(
            f'no scan can be trained on: {reasons or "no scan of this modality"}; --derivatives '
            'freesurfer=DIR names the folder that holds sub-<label>/mri, brainseg=DIR what this program made '
            'of the T1w, --label-maps other labels',
            18,
        )


def dry_run(
    cases: Mapping[str, Sequence[TrainingCase]],
    maps: Sequence[Path],
    recipe: Recipe | None,
    selection: Selection,
) -> int:
    """List what would be trained on, which images would not and why, and in which stages."""
    for case in (case for group in cases.values() for case in group):
        how = 'carried from the T1w' if case.t1w else 'by scanner coordinates'
        print(f'{case.record.relative_path}: {case.skip or f"labels {case.labels}, {how}"}')
    for path in maps:
        print(f'{path}: label map of {subject_of(path)}')
    for line in format_others(selection):
        print(line)
    if recipe:
        for stage in recipe.stages_for(seed=0, beside={}, init=None, share=None):
            steps = stage.epochs * stage.steps_per_epoch
            print(f'stage {stage.name}: {", ".join(stage.contrasts)}, at most {steps} steps')
    return 0


def run_network(settings: Settings, plan: TrainingPlan, folder: Path, work: Path) -> None:
    """Train in a process of its own, which shows its progress here.

    Raises
    ------
    ModelError
        If it fails; says why.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = write_json(plan.to_json(), folder / 'plan.json')
    command = [
        sys.executable, '-m', 'bids_brainseg.process', 'train', '--plan', str(path), '--work-dir', str(work),
        '--device', settings.device, '--threads', str(settings.omp_nthreads),
    ]  # fmt: skip
    errors = work / 'stderr.txt'
    with errors.open('w') as stream:
        environment = {**os.environ, PARENT: str(os.getpid())}
        code = subprocess.run(command, stderr=stream, env=environment, check=False).returncode
    for stage in plan.stages:
        log = work / 'stages' / stage.name / 'log.csv'
        if log.is_file():
            name = 'log.csv' if len(plan.stages) == 1 else f'log_{stage.name}.csv'
            shutil.copyfile(log, folder / name)
    if code:
        LOGGER.info('%s', errors.read_text(errors='replace'))
        raise ModelError(explain(code, errors.read_text(errors='replace')))


def summary(
    rows: Sequence[dict], plan: TrainingPlan, seconds: float, others: Sequence[str] = ()
) -> str:
    """Tell in a few lines how it ended; `others` are lines on the images that were not used."""
    held_out = len(plan.scans['validate']) or len(plan.label_maps['validate'])
    lines = [
        f'trained on {len(plan.scans["train"])} scans and {len(plan.label_maps["train"])} label maps, '
        f'{held_out} held out ({seconds:.0f} s)'
    ]
    for row in rows:
        if row['status'] not in ('train', 'validate'):
            lines.append(f'  {row["status"]:8} {row["scan"]}: {row["reason"]}')
    lines += others
    lines += [f'  model    {bundle.folder}' for bundle in plan.bundles]
    models = ' '.join(bundle.folder for bundle in plan.bundles)
    lines.append(f'  use it   bids_brainseg BIDS_DIR OUTPUT_DIR participant --model {models}')
    return '\n'.join(lines)

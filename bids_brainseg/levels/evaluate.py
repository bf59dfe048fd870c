# SPDX-License-Identifier: Apache-2.0
"""The evaluate level: segment labeled scans as a participant run does, compare, calibrate, tell."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..data import modalities
from ..errors import BidsError, InputError
from ..settings import Settings
from .scans import (
    check_writable,
    expected_files,
    methods_of,
    prepare_work,
    resolve_device,
    select_runnable,
    validate,
)

#: Severities that corrupted scans are drawn from; below, a scan is hardly corrupted at all.
MILDEST, WORST = 0.1, 1.0


def evaluate(settings: Settings, records: list) -> int:
    """Segment and compare the scans that have reference labels; write tables, summary and page.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    BidsError
        If no dataset of labels is named, no scan has labels, or too few are left for a study.
    """
    from .outcome import summary
    from .study import plan_study

    began = time.monotonic()
    root = labels_folder(settings)
    settings = resolve_device(settings)
    todo, outcomes, bundles = select_runnable(settings, records)
    plans, unlabeled = find_plans(settings, todo, root)
    outcomes += unlabeled
    todo = [record for record in todo if (record.subject, record.key) in plans]
    if not todo:
        reasons = '; '.join(dict.fromkeys(outcome.reason for outcome in outcomes[:3]))
        raise BidsError(
            f'no scan can be evaluated: {reasons}; list what was found with --dry-run, or name other labels '
            'with --derivatives labels=DIR',
            18,
        )
    networks = plan_study(settings, todo) if settings.study and not settings.reports_only else []
    if settings.dry_run:
        return tell_plans(settings, todo, plans, outcomes, networks)
    prepare_output(settings, root)
    validate(settings)
    compared = (
        remembered(todo, settings.output_dir)
        if settings.reports_only
        else run_plans(settings, todo, bundles, plans)
    )
    outcomes += compared
    done = [outcome.record for outcome in compared if outcome.status == 'done']
    failed = write_study(settings, networks, done, plans) if networks and done else []
    corrupted, about = calibration(settings, done, bundles, plans, outcomes)
    if done:
        write_results(settings, bundles, done, corrupted, about, outcomes)
    print(summary(outcomes, settings.output_dir, time.monotonic() - began))
    return 0 if done and not failed and all(outcome.status != 'failed' for outcome in outcomes) else 1


def labels_folder(settings: Settings) -> Path:
    """Return the dataset of reference labels."""
    if 'labels' not in settings.derivatives:
        found = ', '.join(settings.derivatives) or 'none'
        raise BidsError(
            f'evaluate needs reference labels; derivatives named: {found}; add --derivatives labels=DIR', 2
        )
    return settings.derivatives['labels']


def find_plans(settings: Settings, records: Sequence, root: Path) -> tuple[dict, list]:
    """Find the labels of each scan.

    Returns
    -------
    plans : dict
        Subject and key of a scan to what is done beside segmenting it.
    outcomes : list of Outcome
        Scans without labels.
    """
    from ..bids.labels import find_labels
    from ..records import Outcome

    plans, outcomes = {}, []
    for record in records:
        try:
            labels = find_labels(record, root, table=settings.label_table, entities=settings.label_filter)
        except InputError as error:
            outcomes.append(Outcome(record, 'skipped', str(error)))
        else:
            plans[record.subject, record.key] = {'labels': labels}
    return plans, outcomes


def tell_plans(
    settings: Settings, todo: Sequence, plans: Mapping, outcomes: Sequence, networks: Sequence
) -> int:
    """List what would run."""
    for record in todo:
        labels = plans[record.subject, record.key]['labels']
        more = f', and {settings.calibrate} corrupted copies' if settings.calibrate else ''
        print(f'{record.relative_path}: labels {labels.path} ({labels.table.name}){more}')
    for outcome in outcomes:
        print(f'{outcome.record.relative_path}: {outcome.status}: {outcome.reason}')
    for network in networks:
        print(f'study: {network}')
    return 0


def prepare_output(settings: Settings, root: Path) -> None:
    """Make the output folder and what describes it."""
    from ..bids.paths import write_dataset_files

    check_writable(settings.output_dir, 'output folder')
    write_dataset_files(settings.output_dir, settings.bids_dir, links={'labels': root})


def run_plans(settings: Settings, records: list, bundles: Mapping, plans: Mapping) -> list:
    """Run the graph of the participant level with a comparison at its end; say what became of each scan."""
    from ..bids.paths import output_path
    from ..workflows.base import init_brainseg_wf
    from .execution import configure, run_workflow, write_graph
    from .outcome import judge, reason_of

    if not records:
        return []
    prepare_work(settings, records)
    configure(settings)
    workflow = init_brainseg_wf(settings=settings, records=records, bundles=bundles, plans=plans)
    if settings.write_graph:
        print(f'graph: {write_graph(workflow)}')
    complaint = run_workflow(workflow, settings)
    complaint = complaint and reason_of(complaint)
    outcomes = []
    for record in records:
        table = output_path(record, settings.output_dir, suffix='agreement', extension='.tsv')
        expected = [*expected_files(record, settings), table]
        outcomes.append(judge(record, settings, expected, complaint))
    return outcomes


def remembered(records: Sequence, output_dir: Path) -> list:
    """Say which scans were compared by an earlier run."""
    from ..bids.paths import output_path
    from ..records import Outcome

    outcomes = []
    for record in records:
        kinds = (('agreement', '.tsv'), ('agreement', '.json'), ('qc', '.json'))
        files = [output_path(record, output_dir, suffix=suffix, extension=end) for suffix, end in kinds]
        there = all(path.exists() for path in files)
        outcomes.append(Outcome(record, *(('done',) if there else ('skipped', 'not compared yet'))))
    return outcomes


def calibration(
    settings: Settings, records: Sequence, bundles: Mapping, plans: Mapping, outcomes: list
) -> tuple[list, dict]:
    """Evaluate corrupted copies of scans; their derivatives stay in the work folder.

    Returns
    -------
    records : list of ImageRecord
        The copies that were segmented and compared.
    about : dict
        Subject and key of a copy to its kind and severity.
    """
    if not settings.calibrate:
        return [], {}
    copies, corrupted_plans = corrupted_copies(records, plans, settings.calibrate, settings.random_seed)
    about = {key: plan['corrupt'] for key, plan in corrupted_plans.items()}
    if settings.reports_only:
        there = remembered(copies, calibration_folder(settings))
        return [outcome.record for outcome in there if outcome.status == 'done'], about
    aside = replace(settings, output_dir=calibration_folder(settings), clean_workdir=False)
    aside.output_dir.mkdir(parents=True, exist_ok=True)
    found = run_plans(aside, copies, bundles, corrupted_plans)
    for outcome in found:
        if outcome.status == 'failed':  # a scan may be corrupted beyond what can be segmented
            kind = about[outcome.record.subject, outcome.record.key]['kind']
            print(f'corrupted by {kind}: {outcome.record.relative_path}: {outcome.reason}', file=sys.stderr)
    return [outcome.record for outcome in found if outcome.status == 'done'], about


def calibration_folder(settings: Settings) -> Path:
    """Return where the derivatives of corrupted scans lie."""
    return settings.work_dir / 'calibration'


def corrupted_copies(records: Sequence, plans: Mapping, count: int, seed: int) -> tuple[list, dict]:
    """Plan the corrupted copies of scans: every kind in turn, each at a severity drawn at random.

    Returns
    -------
    copies : list of ImageRecord
        As the scans, with the kind in their entity ``rec``.
    plans : dict
        Subject and key of a copy to its labels and how it is corrupted.
    """
    copies, found = [], {}
    for position, record in enumerate(records):
        rule = modalities()[record.modality]
        kinds = rule.corruptions
        for number in range(count):
            draw = random.Random(f'{seed} {record.subject} {record.key} {number}')
            kind = kinds[(position + number) % len(kinds)]
            entities = {**record.entities, 'rec': f'{record.entities.get("rec", "")}{kind}{number + 1}'}
            copy = replace(record, entities=entities)
            corrupt = {
                'kind': kind,
                'severity': round(draw.uniform(MILDEST, WORST), 3),
                'seed': draw.randrange(2**31),
                'hounsfield': rule.hounsfield,
            }
            copies.append(copy)
            found[copy.subject, copy.key] = {**plans[record.subject, record.key], 'corrupt': corrupt}
    return copies, found


def write_study(settings: Settings, networks: Sequence, records: Sequence, plans: Mapping) -> list:
    """Train and score the networks of a study, leave what came out for the page; return what failed."""
    from ..results.reference_pairs import write_study_table
    from .study import study

    runs, failed = study(settings, networks, records, plans)
    if runs:  # what an earlier study found is worth more than nothing
        write_study_table(settings.study, runs, failed, settings.output_dir)
    return failed


def write_results(
    settings: Settings,
    bundles: Mapping,
    records: Sequence,
    corrupted: Sequence,
    about: Mapping,
    outcomes: Sequence,
) -> None:
    """Write tables, summary and page from the tables of the scans."""
    from ..bids.paths import figure_path
    from ..pages.evaluation import write_evaluation_page
    from ..results.evaluation import summarise_evaluation
    from ..results.reference_pairs import gather, stacked, write_evaluation

    structures, scans, units = gather(records, settings.output_dir)
    if corrupted:
        more_structures, more_scans, _ = gather(corrupted, calibration_folder(settings), about)
        structures, scans = stacked(structures, more_structures), stacked(scans, more_scans)
    summary = summarise_evaluation(
        structures,
        scans,
        bundles={
            name: {'Name': b.name, 'SHA256': b.weights_sha256, 'cv_threshold': b.cv_threshold}
            for name, b in bundles.items()
        },
        labels=str(settings.derivatives['labels']),
        acceptable=settings.acceptable_dice,
    )
    write_evaluation(structures, scans, units, summary, settings.output_dir)
    figures = {
        record.bids_name: figure_path(record, settings.output_dir, kind='comparison') for record in records
    }
    page = write_evaluation_page(
        settings.output_dir,
        structures,
        scans,
        summary,
        figures=figures,
        failures=[outcome.as_failure() for outcome in outcomes if outcome.status != 'done'],
        methods=methods_of(settings.output_dir)[0],
    )
    print(f'evaluation: {page}')

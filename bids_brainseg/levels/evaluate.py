# SPDX-License-Identifier: Apache-2.0
"""The evaluate level: segment scans as the participant level does and compare them with reference labels."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..bids.labels import find_labels
from ..core.corruption import MILDEST, WORST
from ..data import modalities
from ..errors import BidsError, InputError
from ..pages.evaluation import write_evaluation_page
from ..records import Bundle, ImageRecord, Outcome
from ..results.evaluation import misplaced_labels, summarize_evaluation
from ..results.evaluation_tables import (
    collect_evaluation,
    read_study,
    write_evaluation,
    write_study_table,
)
from ..results.scans import match_results, missing_figures
from ..settings import Settings
from .dry_run import format_others
from .folders import prepare_output
from .outcome import account_for_others, format_summary, previous_outcomes
from .scans import methods_of, resolve_device, run_graph, select_runnable, select_scans, validate_dataset
from .study import Network, plan_study, study


def run(settings: Settings) -> int:
    """Segment and compare the scans that have reference labels; write tables, summary and page.

    Returns
    -------
    int
        0; 1 if something failed, or if reference labels do not lie on the brain and are left out.

    Raises
    ------
    BidsError
        If no dataset of labels is named, no scan has labels, or too few are left for a study.
    """
    began = time.monotonic()
    selection = select_scans(settings)
    root = labels_folder(settings)
    settings = resolve_device(settings)
    runnable, outcomes, bundles = select_runnable(settings, selection.records)
    comparisons, unlabeled = find_comparisons(settings, runnable, root)
    outcomes += unlabeled
    runnable = [record for record in runnable if (record.subject, record.key) in comparisons]
    if not runnable:
        reasons = '; '.join(dict.fromkeys(outcome.reason for outcome in outcomes[:3]))
        raise BidsError(
            f'no scan can be evaluated: {reasons}; list what was found with --dry-run, or name other labels '
            'with --derivatives labels=DIR',
            18,
        )
    networks = plan_study(settings, runnable) if settings.study and not settings.reports_only else []
    if settings.dry_run:
        lines = list_comparisons(settings, runnable, comparisons, outcomes, networks)
        print(*lines, *format_others(selection), sep='\n')
        return 0
    prepare_output(settings, links={'labels': root})
    validate_dataset(settings)
    if settings.reports_only:
        compared = previous_outcomes(runnable, settings.output_dir, compared=True)
    else:
        compared, _ = run_graph(settings, runnable, bundles, comparisons=comparisons)
    outcomes += compared
    done = [outcome.record for outcome in compared if outcome.status == 'done']
    failed: list = run_study(settings, networks, done, comparisons) if networks and done else []
    corrupted, corruptions = run_calibration(settings, done, bundles, comparisons)
    misplaced, unread = [], []
    if done:
        misplaced, unread = write_results(settings, bundles, done, corrupted, corruptions, outcomes)
    seconds, others = time.monotonic() - began, account_for_others(selection)
    others = [*others, *(f'  left out of all averages  {sentence}' for sentence in misplaced)]
    print(format_summary(outcomes, settings.output_dir, seconds, others=others, unread=unread))
    failed += [outcome for outcome in outcomes if outcome.status == 'failed']
    return 0 if done and not failed and not misplaced else 1


def labels_folder(settings: Settings) -> Path:
    """Return the dataset of reference labels."""
    if 'labels' not in settings.derivatives:
        named = ', '.join(settings.derivatives) or 'none'
        raise BidsError(
            f'evaluate needs reference labels; derivatives named: {named}; add --derivatives labels=DIR', 2
        )
    return settings.derivatives['labels']


def find_comparisons(
    settings: Settings, records: Sequence[ImageRecord], root: Path
) -> tuple[dict[tuple[str, str], dict], list[Outcome]]:
    """Find the reference labels of each scan.

    Returns
    -------
    comparisons : dict
        (subject, key) of a scan -> what it is compared with: ``{'labels': ReferenceLabels}``.
    outcomes : list of Outcome
        Scans without labels.
    """
    comparisons, outcomes = {}, []
    for record in records:
        try:
            labels = find_labels(record, root, table=settings.label_table, entities=settings.label_filter)
        except InputError as error:
            outcomes.append(Outcome(record, 'skipped', str(error)))
        else:
            comparisons[record.subject, record.key] = {'labels': labels}
    return comparisons, outcomes


def list_comparisons(
    settings: Settings,
    records: Sequence[ImageRecord],
    comparisons: Mapping,
    outcomes: Sequence[Outcome],
    networks: Sequence[Network],
) -> list[str]:
    """List what would be compared and trained, and which scans would be left out, and why."""
    lines = []
    for record in records:
        labels = comparisons[record.subject, record.key]['labels']
        copies = f', and {settings.calibrate} corrupted copies' if settings.calibrate else ''
        lines.append(f'{record.relative_path}: labels {labels.path} ({labels.table.name}){copies}')
    lines += [f'{outcome.record.relative_path}: {outcome.status}: {outcome.reason}' for outcome in outcomes]
    return lines + [f'study: {network}' for network in networks]


def run_calibration(
    settings: Settings, records: Sequence[ImageRecord], bundles: Mapping[str, Bundle], comparisons: Mapping
) -> tuple[list[ImageRecord], dict]:
    """Evaluate corrupted copies of scans; their outputs stay in the work folder.

    Returns
    -------
    records : list of ImageRecord
        The copies that were segmented and compared.
    corruptions : dict
        (subject, key) of a copy -> its kind and severity.
    """
    if not settings.calibrate:
        return [], {}
    copies, of_copies = corrupted_copies(records, comparisons, settings.calibrate, settings.random_seed)
    corruptions = {key: comparison['corrupt'] for key, comparison in of_copies.items()}
    if settings.reports_only:
        outcomes = previous_outcomes(copies, calibration_folder(settings), compared=True)
    else:
        aside = replace(settings, output_dir=calibration_folder(settings), clean_workdir=False)
        aside.output_dir.mkdir(parents=True, exist_ok=True)
        outcomes, _ = run_graph(aside, copies, bundles, comparisons=of_copies)
    for outcome in outcomes:
        if outcome.status == 'failed':  # a scan may be corrupted beyond what can be segmented
            kind = corruptions[outcome.record.subject, outcome.record.key]['kind']
            print(f'corrupted by {kind}: {outcome.record.relative_path}: {outcome.reason}', file=sys.stderr)
    return [outcome.record for outcome in outcomes if outcome.status == 'done'], corruptions


def calibration_folder(settings: Settings) -> Path:
    """Return the folder of the outputs of corrupted scans."""
    return settings.work_dir / 'calibration'


def corrupted_copies(
    records: Sequence[ImageRecord], comparisons: Mapping, count: int, seed: int
) -> tuple[list[ImageRecord], dict]:
    """Plan the corrupted copies of scans: every kind in turn, each with a random severity.

    Returns
    -------
    copies : list of ImageRecord
        As the scans, with the kind in their entity ``rec``.
    comparisons : dict
        (subject, key) of a copy -> its labels and how it is corrupted.
    """
    copies, of_copies = [], {}
    for position, record in enumerate(records):
        corruptions = modalities()[record.modality].corruptions
        kinds = list(corruptions)
        for number in range(count):
            rng = random.Random(f'{seed} {record.subject} {record.key} {number}')
            kind = kinds[(position + number) % len(kinds)]
            entities = {**record.entities, 'rec': f'{record.entities.get("rec", "")}{kind}{number + 1}'}
            copy = replace(record, entities=entities)
            corrupt = {
                'kind': kind,
                'severity': round(rng.uniform(MILDEST, WORST), 3),
                'seed': rng.randrange(2**31),
                'parameters': dict(corruptions[kind]),
            }
            copies.append(copy)
            of_copies[copy.subject, copy.key] = {
                **comparisons[record.subject, record.key],
                'corrupt': corrupt,
            }
    return copies, of_copies


def run_study(
    settings: Settings, networks: Sequence[Network], records: Sequence[ImageRecord], comparisons: Mapping
) -> list[dict]:
    """Train and score the networks of a study, write its table; return the networks that failed."""
    runs, failed = study(settings, networks, records, comparisons)
    if runs:  # the table of an earlier study is kept if every network failed
        write_study_table(settings.study, runs, failed, settings.output_dir)
    return failed


def write_results(
    settings: Settings,
    bundles: Mapping[str, Bundle],
    records: Sequence[ImageRecord],
    corrupted: Sequence[ImageRecord],
    corruptions: Mapping,
    outcomes: Sequence[Outcome],
) -> tuple[list[str], list[str]]:
    """Write tables, summary and page from the tables of the scans.

    Returns
    -------
    misplaced : list of str
        A sentence for each scan that is left out of all averages, since its reference labels do not lie on
        the brain.
    unread : list of str
        A sentence for each output that cannot be read and is left out of the page.
    """
    sources = [(records, settings.output_dir), (corrupted, calibration_folder(settings))]
    tables = collect_evaluation(sources, corruptions)
    misplaced = {} if settings.keep_misplaced_labels else misplaced_labels(tables.scans)
    structures, scans = (table[~table['scan'].isin(list(misplaced))] for table in tables[:2])
    summary = summarize_evaluation(
        structures,
        scans,
        bundles={
            name: {'Name': b.name, 'SHA256': b.weights_sha256, 'cv_threshold': b.cv_threshold}
            for name, b in bundles.items()
        },
        labels=str(settings.derivatives['labels']),
        acceptable=settings.acceptable_dice,
    )
    summary['LeftOut'] = misplaced
    write_evaluation(tables, summary, settings.output_dir)
    if scans.empty:
        return list(misplaced.values()), []
    matched = match_results(records, settings.output_dir)
    results = [(record.bids_name, scan) for record, scan in matched if scan]
    study, problem = read_study(settings.output_dir)
    unread = [line for _, scan in results for line in missing_figures(scan)] + [problem] * bool(problem)
    page = write_evaluation_page(
        settings.output_dir,
        structures,
        scans,
        summary,
        figures={
            name: scan.figures['comparison'] for name, scan in results if 'comparison' in scan.figures
        },
        study=study,
        failures=[
            *(outcome.as_failure() for outcome in outcomes if outcome.status != 'done'),
            *({'scan': scan, 'status': 'failed', 'reason': reason} for scan, reason in misplaced.items()),
        ],
        unread=unread,
        methods=methods_of(scan.qc for _, scan in results)[0],
    )
    print(f'evaluation: {page}')
    return list(misplaced.values()), unread

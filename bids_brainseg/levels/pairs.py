# SPDX-License-Identifier: Apache-2.0
"""Pairs of real scans and labels for training: find the cases, prepare them, judge how the labels fit."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ..bids.class_tables import brainseg_table
from ..bids.query import Selection, select_images
from ..bids.training_cases import find_cases, pair_paths, read_exclusions, write_case_table
from ..core.quality import LEVELS
from ..data import anatomical_modality, label_table_hash, modalities, training_defaults
from ..network.bundle import file_sha256
from ..pages.training import write_training_page
from ..records import LABEL_SOURCES, Bundle, ImageRecord, ScanResult, TrainingCase, UnusedImage
from ..results.outcomes import reason_of
from ..results.ratings import read_ratings
from ..results.scans import match_results
from ..settings import Settings
from ..workflows.training import init_training_wf
from .claim import claimed
from .execution import configure, run_workflow, write_graph
from .folders import check_writable
from .outcome import assess_outcome
from .scans import write_settings

LOGGER = logging.getLogger('bids_brainseg')


def select_cases(
    settings: Settings, names: Sequence[str]
) -> tuple[dict[str, list[TrainingCase]], Selection]:
    """Find the scans to train on.

    Returns
    -------
    cases : dict of list of TrainingCase
        Modality, of `names` -> its scans, with the reason why one is left out; none without a folder of
        labels.
    selection : Selection
        What else the dataset holds.
    """
    sources = {name: settings.derivatives.get(name) for name in LABEL_SOURCES}
    if not any(sources.values()):
        return {name: [] for name in names}, Selection([], [], {})
    selection = select_images(
        settings.bids_dir,
        modalities=tuple(dict.fromkeys([*names, anatomical_modality()])),
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        bids_filters=settings.bids_filters,
        database_dir=settings.bids_database_dir,
    )
    # scans of other modalities are left out by what is trained, not by an option
    left_out = {option: n for option, n in selection.left_out.items() if option != '--modalities'}
    selection = selection._replace(left_out=left_out)
    exclude = settings.training.exclude
    excluded = read_exclusions(exclude) if exclude is not None else []
    for row in excluded:
        if row['participant_id'] not in {record.subject for record in selection.records}:
            LOGGER.warning('--exclude names participant %s, who has no scan here', row['participant_id'])
    own = None
    if sources['brainseg']:
        t1w = [record for record in selection.records if record.modality == anatomical_modality()]
        own = own_segmentations(t1w, sources['brainseg'], settings.training.label_verdicts)
    return {
        name: find_cases(
            selection.records, name, freesurfer=sources['freesurfer'], own=own, excluded=excluded
        )
        for name in names
    }, selection


def own_segmentations(
    records: Sequence[ImageRecord], root: Path, verdicts: Sequence[str]
) -> dict[Path, TrainingCase]:
    """Find what this program made of scans, and say which of it may serve as labels.

    Parameters
    ----------
    records : sequence of ImageRecord
    root : Path
        Its derivatives.
    verdicts : sequence of str
        Those that are good enough; what people said of a scan counts instead of the program's verdict, and
        the worst of it if there are several.

    Returns
    -------
    dict of Path to TrainingCase
        By the path of the scan: its labels, or why they cannot be used.
    """
    matched = match_results(records, root)
    scans = [scan for _, scan in matched if scan is not None]
    rated: dict[str, list[str]] = {}
    for rating in read_ratings(root, scans, selection=True).ratings:
        rated.setdefault(rating.scan, []).append(rating.verdict)
    found = {}
    for record, scan in matched:
        reason = _why_no_labels(record, scan, rated, root, verdicts)
        labels = scan.files['dseg'] if scan is not None and not reason else None
        found[record.path] = TrainingCase(record, labels, brainseg_table(), skip=reason or None)
    return found


def _why_no_labels(
    record: ImageRecord,
    scan: ScanResult | None,
    rated: dict[str, list[str]],
    root: Path,
    verdicts: Sequence[str],
) -> str:
    if scan is None or 'dseg' not in scan.files:
        return f'no labels: {record.bids_name} has no segmentation in {root}'
    if scan.status != 'done':
        return f'no labels: the segmentation of {scan.name} is {scan.status}: {scan.reason}'
    ratings = rated.get(scan.name, ())
    verdict = max(ratings, key=LEVELS.index) if ratings else str(scan.qc.get('verdict'))
    if verdict in verdicts:
        return ''
    how = 'was rated' if ratings else 'has the verdict'
    return f'the segmentation of {scan.name} {how} {verdict}, and --label-verdicts takes {" ".join(verdicts)}'


def prepare_pairs(settings: Settings, cases: Sequence[TrainingCase], base: Bundle) -> list[dict]:
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
    limit = settings.training.agreement_threshold
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
    """Return the hash of a file; a file that cannot be read fails later, with a message."""
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
    check_writable(settings.work_dir, 'work folder')
    names = [f'{case.record.subject} {case.record.key}' for case in cases]
    with claimed(settings.work_dir, [f'training {name}' for name in names]):
        return _run_graph(settings, cases, origins, base)


def _run_graph(settings: Settings, cases: Sequence[TrainingCase], origins: dict, base: Bundle) -> str | None:
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
    assessed = assess_outcome(case.record, settings, list(files.values()), complaint)
    return ('kept', '') if assessed.status == 'done' else ('failed', assessed.reason)


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
        'labels': case.table.name if case.labels is not None else 'n/a',
        'reason': reason or 'n/a',
        'subject': case.record.subject,
        'modality': case.record.modality,
        'files': files,
    }


def write_cases(folder: Path, rows: Sequence[dict], unused: Sequence[UnusedImage]) -> None:
    """Write the table of cases, what its columns mean, and the page with the figures and unused images."""
    write_case_table(rows, folder / 'cases.tsv')
    write_training_page(folder / 'cases.html', rows, unused)

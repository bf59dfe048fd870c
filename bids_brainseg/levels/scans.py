# SPDX-License-Identifier: Apache-2.0
"""What the levels share: check folders, run the graph, assess outcomes, write pages and the summary."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..errors import BrainsegError
from ..settings import Settings

LOGGER = logging.getLogger('bids_brainseg')


def select(settings: Settings) -> list:
    """Find the scans that the user selected."""
    from ..bids.query import find_images

    return find_images(
        settings.bids_dir,
        modalities=settings.modalities,
        participant_label=settings.participant_label,
        session_label=settings.session_label,
        bids_filters=settings.bids_filters,
        database_dir=settings.bids_database_dir,
    )


def run_participants(settings: Settings, records: list) -> int:
    """Process the participants of a dataset."""
    if settings.dry_run:
        return dry_run(settings, records)
    prepare_output(settings)
    if settings.reports_only:
        return write_reports(
            settings, by_subject(records, [remember(record, settings) for record in records], settings)
        )
    return segment(settings, records)


def validate(settings: Settings) -> None:
    """Ask the BIDS validator, if there is one, tell the user, and keep the answer for the report."""
    from ..bids.validation import log_findings, validation_findings
    from ..files import write_json

    if settings.skip_bids_validation or settings.reports_only:
        return
    findings = validation_findings(settings.bids_dir)
    log_findings(findings)
    if findings is not None:
        write_json(findings, settings.output_dir / 'logs' / 'bids_validation.json')


def segment(settings: Settings, records: list) -> int:
    """Segment the scans, then write the pages and the summary."""
    from .workers import warm_up

    began = time.monotonic()
    warm_up(settings)  # before the imports that take as long here
    from ..results.outcomes import reason_of
    from .bundles import choose_templates
    from .execution import configure, run_workflow, write_graph
    from .outcome import judge, keep, summary

    pool = ThreadPoolExecutor(1)
    validated = pool.submit(validate, settings)  # takes as long as preparing the graph does
    pool.shutdown(wait=False)
    settings = resolve_device(settings)
    todo, outcomes, bundles = select_runnable(settings, records)
    templates = choose_templates(settings, bundles)
    complaint = None
    if todo:
        from ..workflows.base import init_brainseg_wf

        prepare_work(settings, todo)
        keep_cards(bundles.values(), settings.output_dir)
        configure(settings)
        workflow = init_brainseg_wf(settings=settings, records=todo, bundles=bundles, templates=templates)
        if settings.write_graph:
            print(f'graph: {write_graph(workflow)}')
        complaint = run_workflow(workflow, settings)
        complaint = complaint and reason_of(complaint)
    validated.result()
    for record in todo:
        outcomes.append(judge(record, settings, expected_files(record, settings), complaint))
    keep(outcomes, settings)
    code = write_reports(settings, by_subject(records, outcomes, settings))
    print(summary(outcomes, settings.output_dir, time.monotonic() - began))
    failed = any(outcome.status == 'failed' for outcome in outcomes)
    if complaint and not failed:  # older derivatives may hide what was not done this time
        print(f'bids_brainseg: error: the run ended early: {complaint}', file=sys.stderr)
        code = 1
    return 1 if failed or not any(outcome.status == 'done' for outcome in outcomes) else code


def select_runnable(settings: Settings, records: list) -> tuple[list, list, dict]:
    """Tell scans that can run from those that cannot; also load a bundle for each modality that is left."""
    from ..records import Outcome
    from .bundles import choose_bundles

    usable = [record for record in records if record.skip is None]
    bundles, missing = choose_bundles(settings, dict.fromkeys(record.modality for record in usable))
    outcomes = [
        Outcome(record, 'failed' if record.broken else 'skipped', record.skip)
        for record in records
        if record.skip is not None
    ]
    outcomes += [
        Outcome(record, 'failed', missing[record.modality]) for record in usable if record.modality in missing
    ]
    return [record for record in usable if record.modality in bundles], outcomes, bundles


def remember(record, settings: Settings):
    """Say what became of a scan in the last run."""
    from ..records import Outcome
    from .outcome import judge

    if record.skip is not None:
        return Outcome(record, 'failed' if record.broken else 'skipped', record.skip)
    runs = sorted(path.name for path in settings.log_dir(record.subject, record.session).parent.glob('*'))
    last = replace(settings, run_uuid=runs[-1] if runs else '')
    return judge(record, last, expected_files(record, settings), None)


def by_subject(records: list, outcomes: list, settings: Settings) -> dict[str, list]:
    """List what is not done for the page of each subject."""
    from .outcome import reproduce

    subjects = {record.subject: [] for record in records}
    for outcome in outcomes:
        if outcome.status != 'done':
            failure = outcome.as_failure()
            if outcome.status == 'failed':
                failure['command'] = reproduce(outcome.record, settings)
            subjects[outcome.record.subject].append(failure)
    return subjects


def dry_run(settings: Settings, records: list) -> int:
    """List what would run, and what would come out."""
    from .bundles import choose_templates
    from .dry_run import tell

    todo, outcomes, bundles = select_runnable(settings, records)
    print(tell(settings, todo, bundles, choose_templates(settings, bundles), outcomes))
    return 0


def prepare_output(settings: Settings) -> None:
    """Make the output folder and what describes it."""
    from ..bids.paths import write_dataset_files

    check_writable(settings.output_dir, 'output folder')
    write_dataset_files(settings.output_dir, settings.bids_dir)


def prepare_work(settings: Settings, records: list) -> None:
    """Make the work folder, forget what is to be forgotten, and note the settings beside the outputs."""
    from ..workflows.base import subject_wf_name

    check_writable(settings.work_dir, 'work folder')
    if settings.clean_workdir:
        for subject in {record.subject for record in records}:
            folder = settings.work_dir / 'brainseg_wf' / subject_wf_name(subject)
            shutil.rmtree(folder, ignore_errors=True)
    for folder in {settings.log_dir(record.subject, record.session) for record in records}:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'settings.toml').write_text(settings.to_toml())


def keep_cards(bundles, output_dir: Path) -> None:
    """Copy what each model says of itself beside the outputs, where the report finds it."""
    from ..files import write_text

    for bundle in bundles:
        name = f'{bundle.name}-{bundle.weights_sha256[:12]}.json'
        write_text((bundle.path / 'model.json').read_text(), output_dir / 'logs' / 'models' / name)


def check_writable(folder: Path, what: str) -> None:
    """Write a file there before hours are spent.

    Raises
    ------
    BrainsegError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix='.writable-'):
            pass
    except OSError as error:
        raise BrainsegError(
            f'the {what} cannot be written: {folder} ({error.strerror}); '
            'choose another one, or change its permissions'
        ) from error


def resolve_device(settings: Settings) -> Settings:
    """Plan for a GPU only where there is one; the network process has the last word."""
    if settings.device == 'auto' and not any(
        Path(name).exists() for name in ('/dev/nvidia0', '/dev/kfd', '/dev/dxg')
    ):
        return replace(settings, device='cpu')
    return settings


def expected_files(record, settings: Settings) -> list[Path]:
    """List what a scan that went through has."""
    from ..bids.paths import output_path

    kinds = {'dseg': '.nii.gz', 'morph': '.tsv', 'qc': '.json'}
    return [
        output_path(record, settings.output_dir, suffix=suffix, extension=extension)
        for suffix, extension in kinds.items()
    ]


def write_reports(settings: Settings, subjects: dict[str, list]) -> int:
    """Write the page of each subject from what is on disk; a page that fails does not stop the others."""
    from ..pages.cards import alignments
    from ..pages.participant import write_subject_report

    code, output_dir = 0, settings.output_dir
    peers = alignments(output_dir)
    for subject, failures in subjects.items():
        try:
            methods, _ = methods_of(output_dir, f'sub-{subject}')
            write_subject_report(output_dir, subject, failures=failures, methods=methods, peers=peers)
        except Exception as error:  # a page is the last thing; whatever went wrong, the derivatives are there
            LOGGER.debug('', exc_info=True)
            what = f'{type(error).__name__}: {error}'
            print(f'the report of sub-{subject} was not written: {what}', file=sys.stderr)
            code = 1
    write_citations(output_dir)
    return code


def write_citations(output_dir: Path) -> None:
    """Write the methods text of everything that has results, and its references."""
    from ..files import write_text

    methods, references = methods_of(output_dir)
    if methods:
        write_text(methods + '\n', output_dir / 'logs' / 'CITATION.md')
        write_text(references, output_dir / 'logs' / 'CITATION.bib')


def methods_of(output_dir: Path, folder: str = '.') -> tuple[str, str]:
    """Describe how the scans below a folder of the outputs were processed: text, and BibTeX."""
    from ..pages.cards import read_cards
    from ..pages.methods import bibliography, methods_text

    paths = sorted((output_dir / folder).glob('**/*_qc.json'))
    qcs = [json.loads(path.read_text()) for path in paths]
    cards = read_cards(output_dir)
    return methods_text(qcs, cards), bibliography(qcs, cards)

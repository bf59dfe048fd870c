# SPDX-License-Identifier: Apache-2.0
"""Collect the input of the group level: all scans in the outputs, also the failed and damaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..bids.inheritance import Sidecars
from ..bids.names import sort_key, strip_prefix
from ..bids.participants import Covariates, read_covariates
from ..bids.paths import refuse_other_dataset
from ..bids.query import summarize_unused
from ..bids.sidecars import scanner
from ..errors import BidsError
from ..records import PRECISIONS, ScanResult
from .outcomes import read_outcomes, read_unused
from .ratings import Ratings, read_ratings
from .scans import read_scans, subjects_of

_UNFINISHED = 'run {} began and left no result: it was stopped or still runs'


@dataclass
class Group:
    """All scans, the participants that are expected, and their covariates.

    Attributes
    ----------
    scans : list of ScanResult
        By participant, session, modality and name.
    participants : dict of str
        Label -> why there is no result of the participant at all; empty where there is one.
    covariates : Covariates
        From participants.tsv and sessions.tsv.
    pages : set of str
        Labels of the participants that have a page.
    notes : list of str
        Remarks for the readers of the tables.
    ratings : Ratings
        What raters said of the scans.
    """

    scans: list[ScanResult]
    participants: dict[str, str]
    covariates: Covariates
    pages: set[str]
    notes: list[str]
    ratings: Ratings


def collect_group(
    output_dir: Path,
    bids_dir: Path | None = None,
    *,
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    modality: Sequence[str] = (),
) -> Group:
    """Read the outputs of all participants; those that cannot be read are listed and stop nothing.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    bids_dir : Path, optional
        The dataset they come from, for covariates and missing participants; it need not exist.
    participant_label, session_label, modality : sequence of str
        What to select; none means all.

    Raises
    ------
    BidsError
        With exit code 18 if there is no scan, 2 if another program made the folder.
    """
    output_dir, selected = Path(output_dir), [strip_prefix(label, 'sub') for label in participant_label]
    refuse_other_dataset(output_dir)
    sessions = {strip_prefix(label, 'ses') for label in session_label}
    source = Path(bids_dir) if bids_dir is not None and Path(bids_dir).is_dir() else None
    notes = []
    if source is None:
        notes.append('The dataset was not found: missing participants and covariates may be incomplete.')
    in_outputs, in_bids = subjects_of(output_dir), subjects_of(source) if source else set()
    folders = [source, output_dir] if source else [output_dir]
    covariates = read_covariates(folders, selected or in_outputs)
    in_table = set(covariates.participants)
    sidecars = Sidecars()
    scans, participants = [], {}
    for subject in sorted(selected or in_outputs | in_table | in_bids, key=sort_key):
        results = read_scans(output_dir, subject)
        # A participant with results that were not selected is not missing.
        participants[subject] = '' if results else _absence(subject, output_dir, in_bids, in_table)
        scans += [
            _with_scanner(scan, source, sidecars)
            for scan in results
            if (not sessions or scan.session in sessions) and (not modality or scan.modality in modality)
        ]
    if not scans:
        of_selected = f' for participants {" ".join(selected)}' if selected else ''
        raise BidsError(
            f'nothing is selected: {output_dir} holds no result of a scan{of_selected}, of {len(in_outputs)} '
            'participants in it; run the participant level first, or correct the selection',
            18,
        )
    pages = {subject for subject in participants if (output_dir / f'sub-{subject}.html').is_file()}
    ratings = read_ratings(output_dir, scans, selection=bool(selected or sessions or modality))
    notes += [*_mixtures(scans), *covariates.notes, *ratings.damaged, *ratings.notes]
    return Group(scans, participants, covariates, pages, notes, ratings)


def _mixtures(scans: Sequence[ScanResult]) -> list[str]:
    """Point out modalities whose volumes were not all made in the same way."""
    methods: dict[str, dict[str, set]] = {}
    for scan in scans:
        if scan.usable:
            kinds = ('weights', 'precisions', 'kinds of label resampling', 'versions')
            made = methods.setdefault(scan.modality, {kind: set() for kind in kinds})
            made['weights'].add(str(scan.qc.get('Model', {}).get('SHA256')))
            made['precisions'].add(str(scan.qc.get('Precision', PRECISIONS[0])))  # older results lack it
            made['kinds of label resampling'].add(str(scan.qc.get('LabelResampling')))
            made['versions'].add(str(scan.qc.get('Versions', {}).get('bids_brainseg')))
    return [
        f'The {modality} scans come from {len(values)} {what}; their volumes may not be comparable.'
        for modality, made in methods.items()
        for what, values in made.items()
        if len(values) > 1
    ]


def _absence(subject: str, output_dir: Path, in_bids: set, in_table: set) -> str:
    """Say why there is no result of a participant."""
    _, unfinished = read_outcomes(output_dir, subject)
    if unfinished:
        return _UNFINISHED.format(unfinished)
    if unused := summarize_unused(read_unused(output_dir, subject)):
        return f'no image of it can be segmented: {"; ".join(unused)}'
    if (output_dir / f'sub-{subject}').is_dir():
        return 'the folder in the outputs holds no result of a scan'
    if subject in in_bids:
        return 'has no output yet: not processed, or without a scan of a known modality'
    if subject in in_table:
        return 'is listed in participants.tsv, but has no folder in the dataset or the outputs'
    return 'is neither in the dataset nor in the outputs'


def _with_scanner(scan: ScanResult, bids_dir: Path | None, sidecars: Sidecars) -> ScanResult:
    """Take the scanner from the sidecars of the dataset where the outputs do not name it."""
    if not scan.source or not scan.qc or 'Scanner' in scan.qc or bids_dir is None:
        return scan
    metadata, _ = sidecars.metadata(bids_dir / scan.source)
    return replace(scan, qc={**scan.qc, 'Scanner': scanner(metadata)})

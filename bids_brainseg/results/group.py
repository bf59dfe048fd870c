# SPDX-License-Identifier: Apache-2.0
"""Everything that the group level starts from: all scans in the outputs, whole, failed or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..bids.inheritance import Sidecars
from ..bids.names import sort_key, strip_prefix
from ..bids.participants import Covariates, read_covariates
from ..bids.paths import refuse_other_dataset
from ..bids.sidecars import scanner
from ..errors import BidsError
from ..records import ScanResult
from .outcomes import read_outcomes
from .scans import read_scans

UNFINISHED = 'run {} began and left no result: it was stopped, or is not done yet'


@dataclass
class Group:
    """All scans, who should be there, and what is known about them.

    Attributes
    ----------
    scans : list of ScanResult
        By participant, session, modality and name.
    participants : dict of str
        Label of everyone -> why there is nothing of them at all, empty where there is something.
    covariates : Covariates
        Of participants and sessions.
    pages : set of str
        Labels of participants who have a page.
    notes : list of str
        What the reader of the tables should know.
    """

    scans: list[ScanResult]
    participants: dict[str, str]
    covariates: Covariates
    pages: set[str]
    notes: list[str]


def collect_group(
    output_dir: Path,
    bids_dir: Path | None = None,
    *,
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    modality: Sequence[str] = (),
) -> Group:
    """Read the outputs of all participants; what cannot be read is listed and stops nothing.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    bids_dir : Path, optional
        The dataset they come from, for what is known about people; it need not exist.
    participant_label, session_label, modality : sequence of str
        Who, when and what to put together; none means all.

    Raises
    ------
    BidsError
        Exit code 18 if there is no scan; 2 if something else made the folder.
    """
    output_dir, asked = Path(output_dir), [strip_prefix(label, 'sub') for label in participant_label]
    refuse_other_dataset(output_dir)
    sessions = {strip_prefix(label, 'ses') for label in session_label}
    notes = []
    folders = [output_dir]
    if bids_dir is not None and Path(bids_dir).is_dir():
        folders.insert(0, Path(bids_dir))
    else:
        notes.append('The source dataset was not there: who is missing, and covariates, may be incomplete.')
    there = _people(output_dir)
    covariates = read_covariates(folders, asked or there)
    listed, in_bids = set(covariates.participants), _people(folders[0]) if len(folders) > 1 else set()
    everyone = sorted(asked or there | listed | in_bids, key=sort_key)
    sidecars = Sidecars()
    scans, participants = [], {}
    for subject in everyone:
        found = read_scans(output_dir, subject)
        # Someone of whom there is something, even if none of it was asked for, is not missing.
        participants[subject] = (
            '' if found else _absence(subject, there, in_bids, listed, read_outcomes(output_dir, subject)[1])
        )
        scans += [
            _with_scanner(scan, folders[0] if len(folders) > 1 else None, sidecars)
            for scan in found
            if (not sessions or scan.session in sessions) and (not modality or scan.modality in modality)
        ]
    if not scans:
        who = f' for participants {" ".join(asked)}' if asked else ''
        raise BidsError(
            f'nothing is selected: {output_dir} holds no result of a scan{who}, of {len(there)} participants '
            'in it; run the participant level first, or correct the selection',
            18,
        )
    pages = {subject for subject in everyone if (output_dir / f'sub-{subject}.html').is_file()}
    return Group(scans, participants, covariates, pages,
                 [*notes, *_mixtures(scans), *covariates.notes])  # fmt: skip


def _mixtures(scans: Sequence[ScanResult]) -> list[str]:
    """Say where volumes were not all made in the same way."""
    ways: dict[str, dict[str, set]] = {}
    for scan in scans:
        if scan.usable:
            made = ways.setdefault(
                scan.modality, {'weights': set(), 'ways of resampling': set(), 'versions': set()}
            )
            made['weights'].add(str(scan.qc.get('Model', {}).get('SHA256')))
            made['ways of resampling'].add(str(scan.qc.get('LabelResampling')))
            made['versions'].add(str(scan.qc.get('Versions', {}).get('bids_brainseg')))
    return [
        f'The {modality} scans come from {len(found)} {what}; their volumes may not be comparable.'
        for modality, made in ways.items()
        for what, found in made.items()
        if len(found) > 1
    ]


def _people(folder: Path) -> set[str]:
    return {path.name.removeprefix('sub-') for path in folder.glob('sub-*') if path.is_dir()}


def _absence(subject: str, there: set, in_bids: set, listed: set, unfinished: str | None) -> str:
    if unfinished:
        return UNFINISHED.format(unfinished)
    if subject in there:
        return 'the folder in the outputs holds no result of a scan'
    if subject in in_bids:
        return 'has a folder in the dataset, but no output: not processed yet, or no scan of a known modality'
    if subject in listed:
        return 'is listed in participants.tsv, without a folder in the dataset or in the outputs'
    return 'is neither in the dataset nor in the outputs'


def _with_scanner(scan: ScanResult, bids_dir: Path | None, sidecars: Sidecars) -> ScanResult:
    """Ask the sidecars of the source where the output does not say which scanner it was."""
    if not scan.source or not scan.qc or 'Scanner' in scan.qc or bids_dir is None:
        return scan
    metadata, _ = sidecars.metadata(bids_dir / scan.source)
    return replace(scan, qc={**scan.qc, 'Scanner': scanner(metadata)})

# SPDX-License-Identifier: Apache-2.0
"""Everything that the group level starts from: all scans in the outputs, whole, failed or damaged."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data import label_table, modalities
from ..errors import BidsError
from .covariates import Covariates, read_covariates
from .derivatives import refuse_foreign, scan_label
from .files import read_rows
from .inheritance import Sidecars
from .names import sort_key, split_name, strip_prefix
from .outcomes import Told, read_outcomes
from .outputs import ScanOutputs, list_outputs
from .records import record_from_path
from .sidecars import output_rules, scanner

TOTALS = ('Brain', 'Ventricles', 'eTIV')
MEASURES = ('volume_mm3', 'volume_soft_mm3', 'mc_mean_mm3', 'mc_std_mm3', 'cv_mc')
SOURCE = 'bids:raw:'
UNFINISHED = 'run {} began and left no result: it was stopped, or is not done yet'


@dataclass
class GroupScan:
    """One scan of the group.

    Attributes
    ----------
    name, label, modality : str
        ``sub-01_ses-1_T1w``, ``T1w`` (``desc`` of its outputs), ``T1w``.
    subject, session : str
        Labels without prefix; the session may be None.
    entities : dict of str
        Those of the scan.
    status : str
        ``done``; ``outdated``: there is a result, but the last run of this scan failed; ``failed``,
        ``skipped``: there is none; ``broken``: there is one that cannot be read.
    reason : str
        Why it is not ``done``.
    qc : dict
        The quality document; empty where there is none.
    rows : list of dict
        Those of the table of volumes, numbers as float, nan where there is none.
    """

    name: str
    label: str
    modality: str
    subject: str
    session: str | None
    entities: dict[str, str]
    status: str = 'done'
    reason: str = ''
    qc: dict = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether there are volumes."""
        return bool(self.rows)

    @property
    def order(self) -> tuple:
        """Sort key: participant, session, modality, name."""
        known = list(modalities())
        place = known.index(self.modality) if self.modality in known else len(known)
        return sort_key(self.subject), sort_key(self.session), place, self.name


@dataclass
class Group:
    """All scans, who should be there, and what is known about them.

    Attributes
    ----------
    scans : list of GroupScan
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

    scans: list[GroupScan]
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
    refuse_foreign(output_dir)
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
        found, unfinished = scans_of(output_dir, subject)
        # Someone of whom there is something, even if none of it was asked for, is not missing.
        participants[subject] = '' if found else _absence(subject, there, in_bids, listed, unfinished)
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
    return Group(sorted(scans, key=lambda scan: scan.order), participants, covariates, pages,
                 [*notes, *_mixtures(scans), *covariates.notes])  # fmt: skip


def scans_of(output_dir: Path, subject: str) -> tuple[list[GroupScan], str | None]:
    """Return what is there of one participant, and the last run if it left nothing."""
    told, unfinished = read_outcomes(output_dir, subject)
    scans = {}
    for outputs in list_outputs(output_dir, subject):
        if {'morph', 'qc', 'dseg'} & set(outputs.files):
            scan, source = _read(outputs)
            scans[scan.name] = scan
            _tell(scan, told.get(source) or told.get(scan.name))
    for path, last in told.items():
        scan = _unread(Path(path), subject)
        if scan.name not in scans:
            scans[scan.name] = scan
            _tell(scan, last)
    return list(scans.values()), unfinished


def _mixtures(scans: Sequence[GroupScan]) -> list[str]:
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


def _read(outputs: ScanOutputs) -> tuple[GroupScan, str]:
    """Read the files of one scan; also return the path of the scan below the root of its dataset."""
    scan = GroupScan(
        outputs.name, outputs.label, _modality(outputs.label), outputs.subject, outputs.session,
        outputs.entities,
    )  # fmt: skip
    source = ''
    try:
        for kind in ('qc', 'morph'):
            if kind not in outputs.files:
                raise ValueError(f'there is no {kind} file beside the other outputs')
        scan.qc = _qc(outputs.files['qc'])
        if scan.qc.get('modality') in modalities():
            scan.modality = scan.qc['modality']
        source = _source(scan.qc)
        scan.rows = _volumes(outputs.files['morph'])
    except (OSError, ValueError, csv.Error) as error:
        scan.status, scan.reason = 'broken', str(error)
    return scan, source


def _qc(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path.name} cannot be read as JSON: {error}') from error
    kinds = {'numbers': dict, 'Sources': list, 'reasons': list, 'warnings': list, 'Units': dict,
             'Model': dict, 'Versions': dict, 'Scanner': dict}  # fmt: skip
    if not isinstance(content, dict) or 'numbers' not in content:
        raise ValueError(f'{path.name} holds no numbers')
    for key, kind in kinds.items():
        if not isinstance(content.get(key, kind()), kind):
            raise ValueError(f'{path.name}: {key} is not a {kind.__name__}')
    return content


def _source(qc: Mapping) -> str:
    """Return the path of the scan below the root of its dataset; empty if the output does not say."""
    uri = str(next(iter(qc.get('Sources', [])), ''))
    return uri.removeprefix(SOURCE) if uri.startswith(SOURCE) else ''


def _volumes(path: Path) -> list[dict]:
    by_name = {str(row.get('name')): row for row in read_rows(path)}
    wanted = [label.name for label in label_table()[1:]] + list(TOTALS)
    if missing := [name for name in wanted if name not in by_name]:
        raise ValueError(
            f'{path.name} lacks {len(missing)} of {len(wanted)} rows, {missing[0]} first: it was cut short, '
            'or made with other structures'
        )
    rows = []
    for name in wanted:
        row = by_name[name]
        if any(row.get(column) is None for column in (*MEASURES, 'hemisphere', 'flag')):
            raise ValueError(f'{path.name} lacks cells in the row of {name}: it was cut short')
        try:
            numbers = {key: float('nan') if row[key] == 'n/a' else float(row[key]) for key in MEASURES}
        except ValueError as error:
            raise ValueError(f'{path.name}, {name}: {error}') from error
        rows.append({**row, **numbers})
    return rows


def _unread(path: Path, subject: str) -> GroupScan:
    """Make a scan of which there is no output, from its path or name."""
    record = record_from_path(path, _modality(split_name(path.name)[1]))
    own = {k: v for k, v in record.entities.items() if k not in output_rules()['folded_into_desc']}
    label = scan_label(record)
    name = '_'.join([*(f'{key}-{value}' for key, value in own.items()), label])
    return GroupScan(name, label, record.modality, subject, record.session, own)


def _tell(scan: GroupScan, told: Told | None) -> None:
    """Set what the last run says against what is there."""
    if told is None or scan.status == 'broken':
        return
    if scan.usable:
        if told.status != 'done':
            scan.status = 'outdated'
            scan.reason = f'the result is of an earlier run; the last one {told.status}: {told.reason}'
    elif told.status == 'done':
        scan.status, scan.reason = 'broken', f'done in run {told.run}, but its files are no longer there'
    else:
        scan.status, scan.reason = told.status, told.reason


def _with_scanner(scan: GroupScan, bids_dir: Path | None, sidecars: Sidecars) -> GroupScan:
    """Ask the sidecars of the source where the output does not say which scanner it was."""
    source = _source(scan.qc)
    if source and 'Scanner' not in scan.qc and bids_dir is not None:
        metadata, _ = sidecars.metadata(bids_dir / source)
        scan.qc['Scanner'] = scanner(metadata)
    return scan


def _modality(label: str) -> str:
    """Tell the modality from a suffix, or from the label of outputs, which ends in one."""
    for name, rule in modalities().items():
        if any(label.endswith(suffix) for suffix in rule['suffixes']):
            return name
    return label

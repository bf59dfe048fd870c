# SPDX-License-Identifier: Apache-2.0
"""One scan of the group level: what its outputs hold, and what runs say of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..bids.names import record_from_path, sort_key, split_name
from ..bids.paths import scan_label
from ..bids.sidecars import output_rules
from ..data import label_table, modalities
from ..files import read_rows
from .outcomes import RunOutcome, read_outcomes
from .scans import ScanOutputs, list_outputs

TOTALS = ('Brain', 'Ventricles', 'eTIV')
MEASURES = ('volume_mm3', 'volume_soft_mm3', 'mc_mean_mm3', 'mc_std_mm3', 'cv_mc')
SOURCE = 'bids:raw:'


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
        source = source_of(scan.qc)
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
             'Meaning': dict, 'Model': dict, 'Versions': dict, 'Scanner': dict}  # fmt: skip
    if not isinstance(content, dict) or 'numbers' not in content:
        raise ValueError(f'{path.name} holds no numbers')
    for key, kind in kinds.items():
        if not isinstance(content.get(key, kind()), kind):
            raise ValueError(f'{path.name}: {key} is not a {kind.__name__}')
    return content


def source_of(qc: Mapping) -> str:
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


def _tell(scan: GroupScan, told: RunOutcome | None) -> None:
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


def _modality(label: str) -> str:
    """Tell the modality from a suffix, or from the label of outputs, which ends in one."""
    for name, rule in modalities().items():
        if any(label.endswith(suffix) for suffix in rule.suffixes):
            return name
    return label

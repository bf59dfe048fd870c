# SPDX-License-Identifier: Apache-2.0
"""Read what runs left of each scan: the only reader of the derivatives.

Pages, group tables, evaluation and reruns take what it returns and open no derivative themselves. A file that
is damaged, cut short, of another version, or not fetched never ends the reading: the scan is ``broken`` then,
and its reason names the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import __version__
from ..bids.names import record_from_path, sort_key, split_name, strip_prefix
from ..bids.paths import scan_label
from ..bids.sidecars import output_rules
from ..data import datatypes, label_table, modalities
from ..files import as_float, read_rows, read_text, unfetched
from ..records import ImageRecord, RunOutcome, ScanResult
from .outcomes import read_outcomes

#: Rows of the table of volumes below the structures.
TOTALS = ('Brain', 'Ventricles', 'eTIV')
#: Its columns that hold numbers and must be there.
MEASURES = ('volume_mm3', 'volume_soft_mm3', 'mc_mean_mm3', 'mc_std_mm3', 'cv_mc')
#: Those that outputs of earlier versions lack; nan then.
INTERVAL = ('volume_low_mm3', 'volume_high_mm3')
#: Value of ``space`` in the names of derivatives on the grid of the scan.
_OWN_SPACE = 'orig'
#: How sidecars name the dataset of the scans.
_RAW = 'bids:raw:'
#: What a whole figure ends with, by its extension.
_ENDS = {'.svg': b'</svg>', '.json': b'}', '.jpg': b'\xff\xd9'}
#: What an entry of the quality document must be, where it is there.
_QC_ENTRIES = {
    'numbers': dict, 'Sources': list, 'reasons': list, 'warnings': list, 'Units': dict, 'Meaning': dict,
    'Model': dict, 'Versions': dict, 'Scanner': dict, 'header': dict, 'Rules': dict, 'Thresholds': dict,
    'Seconds': dict, 'MonteCarloSamples': int, 'Methods': str, 'Precision': str,
}  # fmt: skip
#: What each value in an entry must be.
_QC_VALUES = {'Meaning': dict, 'Rules': dict, 'Thresholds': (int, float), 'Seconds': (int, float)}


def read_scans(output_dir: Path, subject: str | None = None) -> list[ScanResult]:
    """Read all scans of which there are derivatives, or of which a run left an outcome.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    subject : str, optional
        Label, with or without ``sub-``; all subjects if None.

    Returns
    -------
    list of ScanResult
        By subject, session, modality and name.
    """
    output_dir = Path(output_dir)
    labels = subjects_of(output_dir) if subject is None else {strip_prefix(subject, 'sub')}
    scans = [scan for label in labels for scan in _scans_of(output_dir, label)]
    return sorted(scans, key=scan_order)


def subjects_of(folder: Path) -> set[str]:
    """Return the labels of the subjects that have a folder in a dataset."""
    return {path.name.removeprefix('sub-') for path in folder.glob('sub-*') if path.is_dir()}


def _result_name(record: ImageRecord) -> str:
    """Return the name of a scan in the derivatives: its entities, then its label.

    >>> _result_name(record_from_path(Path('sub-01_acq-2D_desc-defaced_T1w.nii.gz'), 'T1w'))
    'sub-01_acq-2D_defacedT1w'
    """
    return _name(_source_entities(record.entities), scan_label(record))


def match_results(
    records: Iterable[ImageRecord], output_dir: Path
) -> list[tuple[ImageRecord, ScanResult | None]]:
    """Pair scans with their results; None where there is none."""
    records = list(records)
    subjects = dict.fromkeys(record.subject for record in records)
    results = {scan.name: scan for subject in subjects for scan in read_scans(output_dir, subject)}
    return [(record, results.get(_result_name(record))) for record in records]


@dataclass
class _Derivatives:
    """Paths of the derivatives of one scan, while they are collected."""

    entities: dict[str, str]
    label: str
    files: dict[str, Path] = field(default_factory=dict)
    figures: dict[str, Path] = field(default_factory=dict)
    unfetched: dict[str, Path] = field(default_factory=dict)
    transforms: dict[tuple[str, str], Path] = field(default_factory=dict)


def _scans_of(output_dir: Path, subject: str) -> Iterable[ScanResult]:
    outcomes, _ = read_outcomes(output_dir, subject)
    scans = {}
    for derivatives in _list_derivatives(output_dir / f'sub-{subject}'):
        scan = _read(derivatives)
        outcome = outcomes.get(scan.source) or outcomes.get(scan.name)
        scans[scan.name] = _with_outcome(scan, outcome)
    for path, outcome in outcomes.items():
        scan = without_derivatives(Path(path))
        if scan is not None and scan.name not in scans:
            scans[scan.name] = _with_outcome(scan, outcome)
    return scans.values()


def _list_derivatives(top: Path) -> list[_Derivatives]:
    """Collect the derivatives below the folder of a subject that belong to a scan with a result."""
    extensions, figure_extensions = output_rules()['extensions'], output_rules()['figures']
    by_name: dict[str, _Derivatives] = {}
    transforms = []
    for path in sorted([*top.glob('*/*'), *top.glob('ses-*/*/*')]):
        entities, suffix, extension = split_name(path.name)
        if path.name.startswith('.') or path.parent.name not in datatypes() or path.is_dir():
            continue
        if extensions.get(suffix) != extension or 'sub' not in entities:
            continue
        source = _source_entities(entities)
        if suffix == 'xfm':
            transforms.append((path, source, (entities.get('from', ''), entities.get('to', ''))))
        elif 'desc' in entities and _is_usual(entities, suffix):
            name = _name(source, entities['desc'])
            by_name.setdefault(name, _Derivatives(source, entities['desc'])).files[suffix] = path
    for path, source, ends in transforms:
        for scan in by_name.values():
            if scan.entities == source and scan.label in ends:
                scan.transforms[ends] = path
    for path in sorted(top.glob('figures/*_desc-*')):
        entities, label, extension = split_name(path.name)
        scan = by_name.get(_name(_source_entities(entities), label))
        kind = entities.get('desc')
        if scan and figure_extensions.get(kind) == extension:
            (scan.figures if _is_whole(path) else scan.unfetched)[kind] = path
    return [scan for scan in by_name.values() if {'dseg', 'morph', 'qc'} & set(scan.files)]


def _is_usual(entities: Mapping[str, str], suffix: str) -> bool:
    """Whether a derivative lies on the grid of the scan, with our numbers."""
    usual = output_rules()['names'][suffix].get('seg')
    return entities.get('space', _OWN_SPACE) == _OWN_SPACE and entities.get('seg') == usual


def _source_entities(entities: Mapping[str, str]) -> dict[str, str]:
    """Drop the entities that derivatives need for themselves."""
    return {key: value for key, value in entities.items() if key not in output_rules()['folded_into_desc']}


def _name(entities: Mapping[str, str], label: str) -> str:
    return '_'.join([*(f'{key}-{value}' for key, value in entities.items()), label])


def _read(derivatives: _Derivatives) -> ScanResult:
    """Read the files of one scan; the first one that cannot be read makes it broken."""
    files, entities = derivatives.files, derivatives.entities
    content, reason = {}, ''
    readers = {'qc': _read_qc, 'morph': _read_volumes, 'agreement': _read_agreement}
    try:
        for kind, read in readers.items():
            if kind in files:
                content[kind] = read(files[kind])
            elif kind != 'agreement':  # only a scan with reference labels has one
                raise ValueError(f'there is no {kind} file beside the other derivatives')
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        reason = _explain(files.get(kind), error)
    qc = content.get('qc', {})
    version = qc.get('Versions', {}).get('bids_brainseg', __version__)
    if reason and version != __version__:
        reason += f'; version {version} wrote it and this is {__version__}: segment the scan again'
    agreement, averages = content.get('agreement', ((), {}))
    modality = str(qc.get('modality'))
    return ScanResult(
        name=_name(entities, derivatives.label),
        label=derivatives.label,
        modality=modality if modality in modalities() else _modality_of(derivatives.label),
        subject=entities['sub'],
        session=entities.get('ses'),
        entities=entities,
        source=_source(qc),
        status='broken' if reason else 'done',
        reason=reason,
        qc=qc,
        rows=content.get('morph', ()),
        agreement=agreement,
        averages=averages,
        files=files,
        figures=derivatives.figures,
        unfetched=derivatives.unfetched,
        transforms=derivatives.transforms,
    )


def _explain(path: Path | None, error: Exception) -> str:
    """Say in one sentence why a file cannot be read."""
    if isinstance(error, OSError) and error.filename:
        path = Path(error.filename)
        return f'{path.name} cannot be read: {unfetched(path) or error.strerror}'
    text = str(error)
    return text if path is None or text.startswith(path.name) else f'{path.name} cannot be read: {text}'


def _read_json(path: Path) -> dict:
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f'{path.name} cannot be read as JSON: {error}') from error
    return content if isinstance(content, dict) else {}


def _is_whole(path: Path) -> bool:
    """Tell whether a figure is on this disk up to its end."""
    try:
        with path.open('rb') as stream:
            stream.seek(max(0, path.stat().st_size - 16))
            return stream.read().rstrip().endswith(_ENDS[path.suffix])
    except OSError:  # also a link to nothing
        return False


def missing_figures(scan: ScanResult) -> list[str]:
    """Name the figures of a scan that cannot be shown, and say what to do.

    Parameters
    ----------
    scan : ScanResult

    Returns
    -------
    list of str
        Sentences without a full stop.
    """
    return [
        f'figure {path.name} is not shown: {unfetched(path) or "it is cut short or cannot be read"}'
        for path in scan.unfetched.values()
    ]


def _read_qc(path: Path) -> dict:
    content = {key: value for key, value in _read_json(path).items() if value is not None}
    if 'numbers' not in content:
        raise ValueError(f'{path.name} holds no numbers')
    for key, kind in _QC_ENTRIES.items():
        if not isinstance(content.get(key, kind()), kind):
            raise ValueError(f'{path.name}: {key} is not of type {kind.__name__}')
    for key, kind in _QC_VALUES.items():
        for name, value in content.get(key, {}).items():
            if not isinstance(value, kind):
                raise ValueError(f'{path.name}: {name} in {key} is {value!r}')
    return content


def _read_volumes(path: Path) -> list[dict]:
    wanted = [label.name for label in label_table()[1:]] + list(TOTALS)
    rows = _read_table(path, wanted, MEASURES, ('index', 'hemisphere', 'flag'))
    return [{**row, **{key: _number(row.get(key)) for key in INTERVAL}} for row in rows]


def _number(cell: str | None) -> float:
    return float('nan') if cell in (None, 'n/a') else float(cell)


def _read_agreement(path: Path) -> tuple[list[dict], dict[str, float]]:
    columns = [
        name for name in output_rules()['agreement_columns'] if name not in ('index', 'name', 'hemisphere')
    ]
    names = [label.name for label in label_table()[1:]]
    averages = _read_json(path.with_suffix('.json')).get('Averages')
    if not isinstance(averages, dict):
        raise ValueError(f'{path.with_suffix(".json").name} holds no averages')
    rows = _read_table(path, names, columns, ('index', 'hemisphere'))
    known = {**dict.fromkeys(output_rules()['agreement_averages']), **averages}
    return rows, {name: as_float(value) for name, value in known.items()}


def _read_table(path: Path, names: list[str], numeric: Iterable[str], text: Iterable[str]) -> list[dict]:
    """Read the wanted rows of a table of structures in their order; numbers become float."""
    found = read_rows(path)
    rows_by_name = {str(row.get('name')): row for row in found}
    if missing := [name for name in names if name not in rows_by_name]:
        raise ValueError(
            f'{path.name} lacks {len(missing)} of {len(names)} rows, {missing[0]} first: it was cut short, '
            'or made with other structures'
        )
    # an older version knew fewer columns; volumes have always been there
    absent = {*numeric, *text} - {*found[0], 'volume_mm3'}
    rows = []
    for name in names:
        row = dict.fromkeys(absent, 'n/a') | rows_by_name[name]
        if any(row.get(column) is None for column in (*numeric, *text)):
            raise ValueError(f'{path.name} lacks cells in the row of {name}: it was cut short')
        try:
            numbers = {key: _number(row[key]) for key in numeric}
        except ValueError as error:
            raise ValueError(f'{path.name}, {name}: {error}') from error
        rows.append({**row, **numbers})
    return rows


def _source(qc: Mapping) -> str:
    """Return the path of the scan below the root of its dataset; empty if the derivatives do not say."""
    uri = str(next(iter(qc.get('Sources', ())), ''))
    return uri.removeprefix(_RAW) if uri.startswith(_RAW) else ''


def without_derivatives(path: Path) -> ScanResult | None:
    """Describe a scan that has no derivatives from its path or name; None if it is no name of a scan."""
    entities, suffix, _ = split_name(path.name)
    if not entities.get('sub'):
        return None
    record = record_from_path(path, _modality_of(suffix))
    source = str(path) if len(path.parts) > 1 else ''
    return ScanResult(
        _result_name(record), scan_label(record), record.modality, record.subject, record.session,
        _source_entities(entities), source,
    )  # fmt: skip


def _with_outcome(scan: ScanResult, outcome: RunOutcome | None) -> ScanResult:
    """Set what the last run said of a scan against what is there."""
    status, reason = scan.status, scan.reason
    if outcome is not None and status != 'broken':
        if scan.usable and outcome.status != 'done':
            status = 'outdated'
            reason = f'the result is of an earlier run; the last one {outcome.status}: {outcome.reason}'
        elif not scan.usable and outcome.status == 'done':
            status, reason = 'broken', f'done in run {outcome.run}, but its files are no longer there'
        elif not scan.usable:
            status, reason = outcome.status, outcome.reason
    return replace(scan, status=status, reason=reason, outcome=outcome)


def _modality_of(label: str) -> str:
    """Tell the modality from a suffix, or from the label of derivatives, which ends in one."""
    for name, rule in modalities().items():
        if any(label.endswith(suffix) for suffix in rule.suffixes):
            return name
    return label


def scan_order(scan: ScanResult) -> tuple:
    """Return the key that sorts scans by subject, session, modality and name."""
    names = list(modalities())
    position = names.index(scan.modality) if scan.modality in names else len(names)
    return sort_key(scan.subject), sort_key(scan.session), position, scan.name

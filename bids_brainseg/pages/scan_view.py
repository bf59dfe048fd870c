# SPDX-License-Identifier: Apache-2.0
"""What the page shows of one scan: its results as the words and numbers of the template."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..core.volumes import asymmetry
from ..data import label_table
from ..figures.slices import legible
from ..records import ScanResult
from .formats import MISSING, bounds, milliliters, number, plain

TOTALS = {'brain': 'Brain without ventricles', 'ventricles': 'Ventricles', 'etiv': 'eTIV'}
HEADER = {  # fact -> its name and unit on the page
    'shape': ('Voxels', ''),
    'orientation': ('Orientation', ''),
    'voxel_size_mm': ('Voxel size', 'mm'),
    'voxel_volume_mm3': ('Voxel volume', 'mm³'),
    'qform_code': ('qform code', ''),
    'sform_code': ('sform code', ''),
    'forms_disagreement_mm': ('qform against sform', 'mm'),
    'obliquity_degrees': ('Obliquity', '°'),
    'anisotropy': ('Anisotropy', ''),
    'datatype': ('Data type', ''),
    'spatial_units': ('Spatial units', ''),
    'shear_degrees': ('Shear', '°'),
    'value_range': ('Value range', ''),
    'slice_thickness_mm': ('Slice thickness (sidecar)', 'mm'),
    'slice_spacing_mm': ('Slice spacing (sidecar)', 'mm'),
}
RUN = (
    ('Monte-Carlo passes', 'MonteCarloSamples'),
    ('Random seed', 'RandomSeed'),
    ('Device', 'Device'),
    ('Backend', 'Backend'),
    ('Label resampling', 'LabelResampling'),
    ('b-value, s/mm²', 'BValue'),
)
STAGES = {
    'registration': 'Registration',
    'network': 'Network, total',
    'network_load': 'Network, loading',
    'network_first_pass': 'Network, first pass',
    'network_pass': 'Network, each further pass',
}


class Cells(NamedTuple):
    """The volume of one structure on one side; `doubts` and `high` mark the volume and its CV."""

    volume: str
    passes: str
    cv: str
    doubts: str = ''
    high: bool = False


NOTHING = Cells(MISSING, MISSING, MISSING)


class Structure(NamedTuple):
    """One row of the table of volumes: both sides of a paired structure, one of a midline structure."""

    name: str
    color: str
    sides: tuple[Cells, ...]
    asymmetry: str = ''


class Volumes(NamedTuple):
    """The table of volumes of a scan."""

    totals: list[tuple[str, str]]
    paired: list[Structure]
    midline: list[Structure]
    doubts: list[str]
    cv_threshold: float | None


class Rank(NamedTuple):
    """Where the alignment of a scan lies among all scans of its modality."""

    value: float
    bounds: str
    others: Sequence[float]
    lower: int


def volumes_table(rows: Iterable[Mapping], *, cv_threshold: float | None = None) -> Volumes:
    """Lay the volumes of a scan out, left beside right.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of ``*_morph.tsv``; those without a number as ``index`` are totals.
    cv_threshold : float, optional
        Per cent; a CV above it is marked.

    Returns
    -------
    Volumes
    """
    rows = list(rows)
    by_name = {str(row['name']): row for row in rows}
    paired, midline = [], []
    for label in label_table()[1:]:
        names = [label.name]
        if label.hemisphere == 'L':
            names.append(label.name.replace('Left-', 'Right-'))
        elif label.hemisphere == 'R':
            continue
        volumes = [by_name.get(name) for name in names]
        sides = tuple(_cells(row, cv_threshold) for row in volumes)
        name, color = label.name.removeprefix('Left-').replace('-', ' '), legible(label.color)
        if label.hemisphere == 'L':
            paired.append(Structure(name, color, sides, _asymmetry(*volumes)))
        else:
            midline.append(Structure(name, color, sides))
    totals = [
        (TOTALS.get(str(row['name']).lower(), str(row['name'])), milliliters(row['volume_mm3']))
        for row in rows
        if not str(row.get('index', '')).isdigit()
    ]
    doubts = [
        f'{str(row["name"]).replace("-", " ")}: {"; ".join(why)}' for row in rows if (why := _flags(row)[1])
    ]
    return Volumes(totals, paired, midline, doubts, cv_threshold)


def header_facts(qc: Mapping) -> list[tuple[str, str]]:
    """Return names and values of what the header of a scan says (``header`` of ``*_qc.json``)."""
    items = []
    for key, value in (qc.get('header') or {}).items():
        name, unit = HEADER.get(key, (key.replace('_', ' ').capitalize(), ''))
        if value not in (None, '', []):
            text = ' to '.join(map(plain, value)) if key == 'value_range' else plain(value)
            items.append((name, f'{text} {unit}'.strip()))
    return items


def quality_numbers(qc: Mapping) -> list[dict[str, str]]:
    """Return every quality number with its unit, bounds and meaning."""
    units, meaning, rules = (qc.get(key) or {} for key in ('Units', 'Meaning', 'Rules'))
    return [
        {
            'name': name,
            'value': plain(value),
            'unit': str(units.get(name, '')),
            'bounds': bounds(rules.get(name)),
            'meaning': str((meaning.get(name) or {}).get('Description', '')),
        }
        for name, value in (qc.get('numbers') or {}).items()
    ]


def run_facts(qc: Mapping) -> list[tuple[str, str]]:
    """Return with what a scan was processed: model, passes, seed, device."""
    model = qc.get('Model') or {}
    items = [
        ('Model', model.get('Name')),
        ('Weights (SHA-256)', str(model.get('SHA256') or '')[:16]),
        ('Reference', model.get('Reference')),
        *((name, qc.get(key)) for name, key in RUN),
    ]
    return [(name, plain(value)) for name, value in items if value not in (None, '', MISSING)]


def durations(qc: Mapping) -> list[tuple[str, str]]:
    """Return how long each stage took."""
    return [(STAGES.get(key, key), f'{value:.1f} s') for key, value in (qc.get('Seconds') or {}).items()]


def rank(scan: ScanResult, peers: Mapping[str, Sequence[float]]) -> Rank | None:
    """Place the alignment of a scan among all scans of its modality; None if it was not measured.

    Parameters
    ----------
    scan : ScanResult
        Its results.
    peers : mapping
        Modality to the alignments of all scans, this one included.
    """
    value = scan.number('alignment')
    if value is None:
        return None
    others = sorted(peers.get(scan.modality, ()))
    rules = (scan.qc.get('Rules') or {}).get('alignment')
    return Rank(value, bounds(rules), others, bisect.bisect_left(others, value))


def _cells(row: Mapping | None, threshold: float | None) -> Cells:
    if row is None:
        return NOTHING
    spread, doubts = _flags(row)
    cv, mean = number(row.get('cv_mc'), 2), number(row.get('mc_mean_mm3'))
    high = threshold is not None and cv != MISSING and float(row['cv_mc']) > threshold
    passes = mean if mean == MISSING else f'{mean} ± {number(row.get("mc_std_mm3"))}'
    return Cells(number(row.get('volume_mm3')), passes, cv, '; '.join(doubts), bool(spread) or high)


def _flags(row: Mapping) -> tuple[list[str], list[str]]:
    """Take the flag of a row apart: what is about the spread over the passes, and what is not."""
    flag = str(row.get('flag', MISSING))
    reasons = [] if flag in ('', MISSING, 'nan', 'None') else flag.split('; ')
    return [x for x in reasons if x.startswith('cv')], [x for x in reasons if not x.startswith('cv')]


def _asymmetry(left: Mapping | None, right: Mapping | None) -> str:
    try:
        return number(asymmetry(float(left['volume_mm3']), float(right['volume_mm3'])), 1)
    except (TypeError, ValueError):
        return MISSING

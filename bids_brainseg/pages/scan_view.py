# SPDX-License-Identifier: Apache-2.0
"""What the page shows of one scan: its results as the words and numbers of the template."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..bids.sidecars import output_rules
from ..core.volumes import asymmetry
from ..data import label_table
from ..figures.slices import legible
from ..files import as_float
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
    ('Precision', 'Precision'),
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


#: Columns of the table of volumes with the ends of the interval of the volume.
INTERVAL = ('volume_low_mm3', 'volume_high_mm3')
#: Mean uncertainty of a structure, as a multiple of the usual one, that is marked.
UNUSUAL = 1.25
#: Quality numbers for developers and for comparisons of groups; the page lists them apart.
DETAILS = (
    'mc_iou_mean', 'mutual_information_mean', 'scale_min', 'scale_max', 'rotation', 'volume_score_max',
    'largest_component_fraction_min',
)  # fmt: skip


class Cells(NamedTuple):
    """The volume of one structure on one side, ml; `doubts`, `high` and `unusual` mark the other cells."""

    volume: str
    spread: str
    cv: str
    uncertainty: str = MISSING
    doubts: str = ''
    high: bool = False
    unusual: bool = False


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
    has_interval: bool  # else the column beside the volume holds mean and SD over the passes
    compared: bool  # whether uncertainties are known, and what is usual for them
    meaning: str  # of the volume


class Rank(NamedTuple):
    """Where the alignment of a scan lies among all scans of its modality."""

    value: float
    bounds: str
    others: Sequence[float]
    lower: int


def volumes_table(
    rows: Iterable[Mapping], *, cv_threshold: float | None = None, usual: Sequence[float] = ()
) -> Volumes:
    """Lay the volumes of a scan out, left beside right.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of ``*_morph.tsv``; those without a number as ``index`` are totals.
    cv_threshold : float, optional
        Per cent; a CV above it is marked.
    usual : sequence of float, optional
        Mean uncertainty of each class in good scans, by class index.

    Returns
    -------
    Volumes
        One volume for each structure: the others stay in the file.
    """
    rows = list(rows)
    by_name = {str(row['name']): row for row in rows}
    has_interval = any(as_float(row.get(INTERVAL[0])) >= 0 for row in rows)
    paired, midline = [], []
    for label in label_table()[1:]:
        names = [label.name]
        if label.hemisphere == 'L':
            names.append(label.name.replace('Left-', 'Right-'))
        elif label.hemisphere == 'R':
            continue
        volumes = [by_name.get(name) for name in names]
        sides = tuple(_cells(row, cv_threshold, usual, has_interval) for row in volumes)
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
    compared = any(cells.uncertainty != MISSING for row in (*paired, *midline) for cells in row.sides)
    meaning = output_rules()['morph_columns']['volume_mm3']['Description']
    return Volumes(totals, paired, midline, doubts, cv_threshold, has_interval, compared, meaning)


def usual_uncertainty(card: Mapping) -> tuple[float, ...]:
    """Return the mean uncertainty of each class in good scans that a model knows of; empty if it does not.

    Parameters
    ----------
    card : mapping
        ``model.json`` of the model.
    """
    usual = card.get('usual_entropy')
    means = usual.get('mean') if isinstance(usual, Mapping) else None
    known = isinstance(means, list) and len(means) == len(label_table())
    return tuple(as_float(value) for value in means) if known else ()


def header_facts(qc: Mapping) -> list[tuple[str, str]]:
    """Return names and values of what the header of a scan says (``header`` of ``*_qc.json``)."""
    items = []
    for key, value in (qc.get('header') or {}).items():
        name, unit = HEADER.get(key, (key.replace('_', ' ').capitalize(), ''))
        if value not in (None, '', []):
            text = ' to '.join(map(plain, value)) if key == 'value_range' else plain(value)
            items.append((name, f'{text} {unit}'.strip()))
    return items


def quality_numbers(qc: Mapping) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the quality numbers with unit, bounds and meaning: those for readers, then :data:`DETAILS`.

    A detail that was judged is for readers.
    """
    units, meaning, rules = (qc.get(key) or {} for key in ('Units', 'Meaning', 'Rules'))
    shown, details = [], []
    for name, value in (qc.get('numbers') or {}).items():
        unit = str(units.get(name, ''))
        volume = unit == 'mm^3'
        row = {
            'name': name,
            'value': milliliters(value, '') if volume else plain(value),
            'unit': 'ml' if volume else unit.replace('unitless', ''),
            'bounds': bounds(rules.get(name), 1000 if volume else 1),
            'meaning': str((meaning.get(name) or {}).get('Description', '')),
        }
        (details if name in DETAILS and not row['bounds'] else shown).append(row)
    return shown, details


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


def _cells(row: Mapping | None, threshold: float | None, usual: Sequence[float], has_interval: bool) -> Cells:
    if row is None:
        return NOTHING
    of_cv, doubts = _flags(row)
    cv = number(row.get('cv_mc'), 2)
    high = threshold is not None and cv != MISSING and float(row['cv_mc']) > threshold
    expected = usual[int(row['index'])] if usual else math.nan
    ratio = as_float(row.get('entropy_mean')) / expected if expected else math.nan
    return Cells(
        milliliters(row.get('volume_mm3'), ''),
        _spread(row, has_interval),
        cv,
        number(ratio, 2),
        doubts='; '.join(doubts),
        high=bool(of_cv) or high,
        unusual=ratio > UNUSUAL,
    )


def _spread(row: Mapping, has_interval: bool) -> str:
    """Write the interval of a volume, or mean and standard deviation over the passes, in ml."""
    names = INTERVAL if has_interval else ('mc_mean_mm3', 'mc_std_mm3')
    ends = [as_float(row.get(name)) / 1000 for name in names]
    digits = 1 if max(ends) >= 100 else 2  # of both alike
    low, high = (number(end, digits) for end in ends)
    if MISSING in (low, high):
        return MISSING if has_interval else low
    return f'{low} to {high}' if has_interval else f'{low} ± {high}'


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

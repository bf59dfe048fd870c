# SPDX-License-Identifier: Apache-2.0
"""Choose the volumes of a diffusion series that are averaged to the image to segment."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data import modalities
from ..errors import InputError
from ..files import read_text
from ..imaging import volume_count
from ..records import ImageRecord
from .inheritance import Sidecars
from .words import has_word

ONLY_B0 = 'only b = 0: there is no diffusion-weighted volume'
#: Volumes of one shell differ by less than this fraction of its b-value.
SHELL_WIDTH = 0.05
# Entities that, beside the suffix, may say what a diffusion image is.
MARKS = ('rec', 'desc', 'acq')


class Choice(NamedTuple):
    """The volumes to average (None: the image as it is), or why there are none."""

    volumes: tuple[int, ...] | None = None
    b_value: float | None = None
    warnings: tuple[str, ...] = ()
    skip: str | None = None
    broken: bool = False


def choose_volumes(
    count: int | None,
    b_values: Sequence[float] | None,
    rule: Mapping,
    *,
    is_trace: bool,
    named: Sequence[float] = (),
) -> Choice:
    """Choose the volumes of one diffusion image.

    Parameters
    ----------
    count : int, optional
        Volumes in the image; None if its header cannot be read: opening the image reports that.
    b_values : list of float, optional
        One for each volume, s/mm2; None without a bval file.
    rule : mapping
        ``b_range`` (both ends included), ``b0_below``, and ``fallback_range``, in which the shell nearest to
        the middle of ``b_range`` is taken where that range is empty; s/mm2.
    is_trace : bool
        Whether its name says that it is a trace image made by the scanner.
    named : sequence of float
        The b-values, s/mm2, in its name, which count where there is no bval file.

    Returns
    -------
    Choice
        Volumes are counted from 0.
    """
    low, high = rule['b_range']
    if b_values is None:
        if count is not None and count > 1:
            return Choice(
                skip=f'no bval: the image has {count} volumes, and which are diffusion-weighted is unknown; '
                'add the .bval file',
                broken=True,
            )
        if named and not any(low <= b <= high for b in named):
            present = ', '.join(f'{b:g}' for b in named)
            return Choice(skip=f'by its name it has b = {present}, not {low:g} to {high:g} s/mm2')
        b_value = named[0] if len(named) == 1 else None
        if is_trace:
            return Choice(b_value=b_value)
        return Choice(b_value=b_value, warnings=('no bval: assumed to be a single diffusion-weighted image',))
    if count is not None and count != len(b_values):
        return Choice(
            skip=f'bval does not fit: {len(b_values)} b-values for {count} volumes; correct the .bval file',
            broken=True,
        )
    warnings = ()
    if max(b_values) < rule['b0_below'] and any(low <= 1000 * b <= high for b in b_values):
        b_values = [1000 * b for b in b_values]
        warnings = (f'b-values up to {max(b_values) / 1000:g} are read as ms/um2, 1000 s/mm2 each',)
    chosen = tuple(i for i, b in enumerate(b_values) if low <= b <= high)
    if not chosen:
        if all(b < rule['b0_below'] for b in b_values):
            return Choice(skip=ONLY_B0)
        return _nearest_shell(b_values, rule)
    b_value = sum(b_values[i] for i in chosen) / len(chosen)
    return Choice(None if len(b_values) == 1 else chosen, b_value, warnings)


def _nearest_shell(b_values: Sequence[float], rule: Mapping) -> Choice:
    """Choose the volumes of the shell that is nearest to what was asked for, or say why there are none."""
    low, high = rule['b_range']
    least, most = rule['fallback_range']
    present = ', '.join(f'{b:g}' for b in sorted(set(b_values)))
    wanted = f'no volume with b from {low:g} to {high:g} s/mm2: found b = {present}'
    usable = [b for b in b_values if least <= b <= most]
    if not usable:
        return Choice(skip=wanted)
    nearest = min(usable, key=lambda b: abs(b - (low + high) / 2))
    # scanners write the b-values of one shell with some spread
    chosen = tuple(i for i, b in enumerate(b_values) if abs(b - nearest) <= SHELL_WIDTH * nearest)
    b_value = sum(b_values[i] for i in chosen) / len(chosen)
    return Choice(
        volumes=None if len(b_values) == 1 else chosen,
        b_value=b_value,
        warnings=(
            f'{wanted}; the nearest, b = {b_value:.0f}, is used, whose contrast is another than the model '
            'learned: look at the segmentation',
        ),
    )


def read_bval(path: Path) -> list[float]:
    """Read b-values, in rows or columns.

    Parameters
    ----------
    path : Path
        ``*.bval``.

    Returns
    -------
    list of float, s/mm2

    Raises
    ------
    ValueError
        If there are none, or they are not finite numbers from 0.
    """
    values = [float(word) for word in read_text(path).replace(',', ' ').split()]
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError('expected b-values, finite and not negative')
    return values


def _is_trace(record: ImageRecord, rule: Mapping) -> bool:
    """Check whether suffix, rec, desc or acq name a trace image made by the scanner."""
    return has_word([record.suffix, *_marks(record)], rule['trace_words'])


def _marks(record: ImageRecord) -> list[str]:
    return [record.entities[key] for key in MARKS if key in record.entities]


def named_b_values(labels: Iterable[str]) -> list[float]:
    """Read the b-values, from 100 s/mm2, that labels of a name give.

    Parameters
    ----------
    labels : iterable of str

    Returns
    -------
    list of float

    Examples
    --------
    >>> named_b_values(['ep2db2000', 'b0b1000', 'mb3'])
    [2000.0, 1000.0]
    """
    found = (re.findall(r'b(?:val|value)?([1-9]\d{2,4})(?!\d)', label.casefold()) for label in labels)
    return [float(number) for numbers in found for number in numbers]


def with_volumes(record: ImageRecord, rule: Mapping, sidecars: Sidecars) -> ImageRecord:
    """Choose the volumes of a diffusion scan.

    Parameters
    ----------
    record : ImageRecord
    rule : mapping
        ``diffusion`` of the modality.
    sidecars : Sidecars
        Of the dataset.

    Returns
    -------
    ImageRecord
        With the volumes, or with the reason to skip the scan.
    """
    trace = _is_trace(record, rule)
    try:
        count = volume_count(record.path)
    except InputError:
        count = None  # opening the image reports what is wrong with it
    b_values = None
    for path in reversed(sidecars.applicable(record.path, '.bval')):
        same_name = path.name.partition('.')[0] == record.bids_name
        try:
            b_values = read_bval(path)
        except (OSError, ValueError) as error:
            return replace(record, skip=f'bval cannot be read: {path.name}: {error}', broken=True)
        if trace and not same_name and count is not None and len(b_values) != count:
            b_values = None  # the bval of the series that the scanner made the trace image from
            continue
        break
    if b_values is None and has_word(_marks(record), rule['b0_words']):
        choice = Choice(skip=ONLY_B0)
    else:
        named = named_b_values(_marks(record))
        choice = choose_volumes(count, b_values, rule, is_trace=trace, named=named)
    return replace(record, **{**choice._asdict(), 'warnings': record.warnings + choice.warnings})


def prefer_traces(records: list[ImageRecord]) -> list[ImageRecord]:
    """Skip each series whose trace image the scanner made and the dataset holds.

    A trace image belongs to the series with its name except for the part that says trace.

    Parameters
    ----------
    records : list of ImageRecord

    Returns
    -------
    list of ImageRecord
        In the same order.
    """
    traces = {}
    for record in records:
        rule = modalities()[record.modality].diffusion
        if rule and record.skip is None and _is_trace(record, rule):
            traces.setdefault(_series(record, rule), record)

    def decide(record: ImageRecord) -> ImageRecord:
        rule = modalities()[record.modality].diffusion
        if rule is None or record.skip is not None or _is_trace(record, rule):
            return record
        trace = traces.get(_series(record, rule))
        if trace is None:
            return record
        return replace(record, skip=f"the scanner's trace image is used instead: {trace.path.name}")

    return [decide(record) for record in records]


def _series(record: ImageRecord, rule: Mapping) -> tuple:
    rest = {
        key: value
        for key, value in record.entities.items()
        if not (key in MARKS and has_word([value], rule['trace_words']))
    }
    return tuple(sorted(rest.items()))

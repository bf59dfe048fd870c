# SPDX-License-Identifier: Apache-2.0
"""Choose the volumes of a diffusion series that are averaged to the image to segment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data import modalities
from ..errors import InputError
from ..imaging import volume_count
from ..records import ImageRecord
from .inheritance import Sidecars

ONLY_B0 = 'only b = 0: there is no diffusion-weighted volume'
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
    count: int | None, b_values: list[float] | None, rule: Mapping, *, is_trace: bool
) -> Choice:
    """Choose the volumes of one diffusion image.

    Parameters
    ----------
    count : int, optional
        Volumes in the image; None if its header cannot be read: opening the image reports that.
    b_values : list of float, optional
        One for each volume, s/mm2; None without a bval file.
    rule : mapping
        ``b_range`` (both ends included) and ``b0_below``, s/mm2.
    is_trace : bool
        Whether its name says that it is a trace image made by the scanner.

    Returns
    -------
    Choice
        Volumes are counted from 0.
    """
    if b_values is None:
        if count is not None and count > 1:
            return Choice(
                skip=f'no bval: the image has {count} volumes, and which are diffusion-weighted is unknown; '
                'add the .bval file',
                broken=True,
            )
        if is_trace:
            return Choice()
        return Choice(warnings=('no bval: assumed to be a single diffusion-weighted image',))
    if count is not None and count != len(b_values):
        return Choice(
            skip=f'bval does not fit: {len(b_values)} b-values for {count} volumes; correct the .bval file',
            broken=True,
        )
    low, high = rule['b_range']
    chosen = tuple(i for i, b in enumerate(b_values) if low <= b <= high)
    if not chosen:
        if all(b < rule['b0_below'] for b in b_values):
            return Choice(skip=ONLY_B0)
        present = ', '.join(f'{b:g}' for b in sorted(set(b_values)))
        return Choice(skip=f'no volume with b from {low:g} to {high:g} s/mm2: found b = {present}')
    b_value = sum(b_values[i] for i in chosen) / len(chosen)
    return Choice(volumes=None if len(b_values) == 1 else chosen, b_value=b_value)


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
    values = [float(word) for word in path.read_text(encoding='utf-8').replace(',', ' ').split()]
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError('expected b-values, finite and not negative')
    return values


#: Words of fewer letters are parts of others too often: CTA of CTAxial, ADC of headc, CTP of ctplain.
LONG_WORD = 5


def has_word(values: Sequence[str], words: Sequence[str]) -> bool:
    """Check whether a label holds one of the words, in any case.

    Parameters
    ----------
    values : sequence of str
        Labels, letters and digits.
    words : sequence of str
        Lower case. A short one must stand by itself, between digits or where the case changes; one of five
        letters or more may also begin or end a label.

    Returns
    -------
    bool

    Examples
    --------
    >>> has_word(['b1000ADC'], ['adc']), has_word(['headc'], ['adc']), has_word(['CTAxial'], ['cta'])
    (True, False, False)
    """
    return any(_holds(value, word) for value in values for word in words)


def _holds(label: str, word: str) -> bool:
    plain = label.casefold()
    if len(word) >= LONG_WORD and (plain.startswith(word) or plain.endswith(word)):
        return True
    starts = (match.start() for match in re.finditer(f'(?={re.escape(word)})', plain))
    return any(_is_boundary(label, i) and _is_boundary(label, i + len(word)) for i in starts)


def _is_boundary(label: str, position: int) -> bool:
    """Tell whether a word can end before a character and another begin with it."""
    if position in (0, len(label)):
        return True
    before, after = label[position - 1], label[position]
    return before.isdigit() or after.isdigit() or (before.islower() and after.isupper())


def _is_trace(record: ImageRecord, rule: Mapping) -> bool:
    """Check whether suffix, rec, desc or acq name a trace image made by the scanner."""
    return has_word([record.suffix, *_marks(record)], rule['trace_words'])


def _marks(record: ImageRecord) -> list[str]:
    return [record.entities[key] for key in MARKS if key in record.entities]


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
        choice = choose_volumes(count, b_values, rule, is_trace=trace)
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

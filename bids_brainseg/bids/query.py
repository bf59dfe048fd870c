# SPDX-License-Identifier: Apache-2.0
"""Find the scans of a dataset and make one record of each."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data import modalities as modality_rules
from ..errors import BidsError, counted
from ..files import unfetched
from ..records import ImageRecord, UnusedImage
from .diffusion import prefer_traces, with_volumes
from .filters import load_filters, matches, session_of_job, unknown_filters
from .inheritance import Sidecars
from .layout import check_dataset, find_niftis, list_images
from .names import EXTENSIONS, record_from_path, sort_key, split_name, strip_prefix
from .unused import IgnoreFile, modality_of, reason_unused

LOGGER = logging.getLogger('bids_brainseg')


class Selection(NamedTuple):
    """What the dataset holds for a run.

    Attributes
    ----------
    records : list of ImageRecord
        The scans, by subject, session, modality and name. A record with ``skip`` cannot be used.
    unused : list of UnusedImage
        The other images of the participants, with the reason.
    left_out : dict of int
        Option -> number of scans that it leaves out.
    """

    records: list[ImageRecord]
    unused: list[UnusedImage]
    left_out: dict[str, int]


def select_images(
    bids_dir: Path,
    *,
    modalities: Sequence[str] | None = None,
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    bids_filters: Mapping | Path | str | None = None,
    database_dir: Path | None = None,
) -> Selection:
    """Find the scans to segment, and account for all other images.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    modalities : sequence of str, optional
        Names of modalities; None means all.
    participant_label, session_label : sequence of str
        With or without ``sub-`` and ``ses-``; none means all. Naming sessions leaves out scans without one.
    bids_filters : mapping or path, optional
        See :func:`bids_brainseg.bids.filters.load_filters`.
    database_dir : Path, optional
        Folder for an index that later runs read.

    Returns
    -------
    Selection

    Raises
    ------
    BidsError
        Exit code 16: not a BIDS dataset. 18: nothing is selected. 2: the filters cannot be used.
    """
    bids_dir = Path(os.path.abspath(bids_dir))
    check_dataset(bids_dir)
    wanted = tuple(modalities or modality_rules())
    participants = [strip_prefix(label, 'sub') for label in participant_label or ()]
    sessions = [strip_prefix(label, 'ses') for label in session_label or ()]
    filters = load_filters(bids_filters)
    if ignored := unknown_filters(bids_filters):
        LOGGER.warning('BIDS filters for %s are not used; there are filters for %s',
                       ', '.join(ignored), ', '.join(modality_rules()))  # fmt: skip

    if session := session_of_job(bids_filters):
        LOGGER.info('Every BIDS filter is for session %s, which counts for all modalities', session)
    listed = list_images(bids_dir, participants)
    scans = find_niftis(bids_dir, listed=listed, subjects=participants, database_dir=database_dir)
    candidates, unused = _sort_out(bids_dir, {*listed, *(scan.relative_to(bids_dir) for scan in scans)})
    selected, left_out = [], Counter()
    for record in candidates:
        if record.modality not in wanted:
            left_out['--modalities'] += 1
        elif sessions and record.session not in sessions:
            left_out['--session-label'] += 1
        elif not matches(_properties(record), filters.get(record.modality, {})):
            left_out[f'--bids-filter-file ({record.modality})'] += 1
        else:
            selected.append(record)
    if not selected:
        # The scans of other participants, whose folders were not searched, help to find a typing error.
        present = _sort_out(bids_dir, list_images(bids_dir))[0] if participants else candidates
        message = _explain_empty(present, wanted, participants, sessions, filters)
        not_used = '; '.join(summarize_unused(unused))
        raise BidsError(message + (f'. Not used: {not_used}' if not_used else ''), 18)
    for label in participants:
        if label not in {record.subject for record in selected}:
            LOGGER.warning('Nothing is selected for participant %s', label)
    return Selection(_described(selected), unused, dict(left_out))


def find_images(bids_dir: Path, **selection: object) -> list[ImageRecord]:
    """Find the scans alone; the arguments are those of :func:`select_images`."""
    return select_images(bids_dir, **selection).records


def summarize_unused(unused: Sequence[UnusedImage]) -> list[str]:
    """Count the images that are not used by their reasons, most frequent first.

    Parameters
    ----------
    unused : sequence of UnusedImage

    Returns
    -------
    list of str

    Examples
    --------
    >>> image = UnusedImage(Path('sub-01/anat/sub-01_PDw.nii.gz'), 'there is no model for PDw')
    >>> summarize_unused([image, image])
    ['2 images, there is no model for PDw: sub-01/anat/sub-01_PDw.nii.gz ...']
    """
    lines = []
    for reason, count in Counter(image.reason for image in unused).most_common():
        first = next(image.path.as_posix() for image in unused if image.reason == reason)
        lines.append(f'{counted(count, "image")}, {reason}: {first}{" ..." * (count > 1)}')
    return lines


def _sort_out(bids_dir: Path, images: Iterable[Path]) -> tuple[list[ImageRecord], list[UnusedImage]]:
    """Make a record of each image that is a scan by its name, and give the reason of the others."""
    ignored = IgnoreFile.read(bids_dir)
    records, unused = [], []
    for path in sorted(images):
        if reason := reason_unused(path, ignored):
            unused.append(UnusedImage(path, reason))
        else:
            modality = modality_of(path.parent.name, split_name(path.name)[1])
            records.append(record_from_path(bids_dir / path, modality))
    return records, unused


def _properties(record: ImageRecord) -> dict[str, str]:
    return {
        **record.entities,
        'suffix': record.suffix,
        'extension': split_name(record.path.name)[2],
        'datatype': record.path.parent.name,
    }


def _described(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Add sidecars and diffusion volumes, skip scans whose outputs would have one name, and sort."""
    rules = modality_rules()
    sidecars = Sidecars()
    described = []
    for record in records:
        metadata, warnings = sidecars.metadata(record.path)
        record = replace(record, metadata=metadata, warnings=warnings)
        if reason := unfetched(record.path):
            record = replace(record, skip=reason, broken=True)
        elif (rule := rules[record.modality].diffusion) is not None:
            record = with_volumes(record, rule, sidecars)
        described.append(record)
    described = prefer_traces(described)
    order = list(rules)
    described.sort(
        key=lambda r: (sort_key(r.subject), sort_key(r.session), order.index(r.modality), _preference(r))
    )
    return _without_namesakes(described)


def _preference(record: ImageRecord) -> tuple:
    """Order scans of one name: the modality's own folder before anat, .nii.gz before .nii before .img."""
    rule = modality_rules()[record.modality]
    return (
        record.bids_name.casefold(),
        rule.datatypes.index(record.path.parent.name),
        EXTENSIONS.index(split_name(record.path.name)[2]),
        record.path.name,
    )


def _without_namesakes(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Skip all but one of the scans whose outputs would have one name, ignoring case."""
    first: dict[str, ImageRecord] = {}
    result = []
    for record in records:
        other = first.setdefault(record.bids_name.casefold(), record) if record.skip is None else record
        if other is not record:
            reason = f'same name as {other.relative_path}; remove or rename one of the two'
            record = replace(record, skip=reason, broken=True)
        result.append(record)
    return result


def _explain_empty(
    present: Sequence[ImageRecord],
    wanted: Sequence[str],
    participants: Sequence[str],
    sessions: Sequence[str],
    filters: Mapping,
) -> str:
    """Say what was asked for and what is there."""
    counts = Counter(record.modality for record in present)
    subjects = sorted({record.subject for record in present}, key=sort_key)
    dates = sorted({record.session for record in present if record.session}, key=sort_key)
    asked = [f'modalities {" ".join(wanted)}']
    asked += [f'participants {" ".join(participants)}'] if participants else []
    asked += [f'sessions {" ".join(sessions)}'] if sessions else []
    asked += [f'filters {filters}'] if filters else []
    scans = ', '.join(f'{counts[name]} {name}' for name in modality_rules() if counts[name]) or 'no scan'
    where = f' of {len(subjects)} participants ({_some(subjects)})' if subjects else ''
    where += f' and {len(dates)} sessions ({_some(dates)})' if dates else ''
    return f'nothing is selected: found {scans}{where}; asked for {", ".join(asked)}; correct the selection'


def _some(labels: Sequence[str], limit: int = 10) -> str:
    return ' '.join(labels[:limit]) + (' ...' if len(labels) > limit else '')

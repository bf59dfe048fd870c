# SPDX-License-Identifier: Apache-2.0
"""Find the scans of a dataset and make one record of each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..data import Modality
from ..data import modalities as modality_rules
from ..errors import BidsError
from ..records import ImageRecord
from .diffusion import has_word, prefer_traces, with_volumes
from .filters import load_filters, matches, unknown_filters
from .inheritance import Sidecars
from .layout import check_dataset, find_niftis
from .names import record_from_path, sort_key, split_name, strip_prefix

LOGGER = logging.getLogger('bids_brainseg')
# Entities that, beside the suffix, may say what an image is.
DESCRIPTIVE = ('acq', 'rec', 'desc')


def find_images(
    bids_dir: Path,
    *,
    modalities: Sequence[str] | None = None,
    participant_label: Sequence[str] = (),
    session_label: Sequence[str] = (),
    bids_filters: Mapping | Path | str | None = None,
    database_dir: Path | None = None,
) -> list[ImageRecord]:
    """Find the scans to segment.

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
    list of ImageRecord
        By subject, session, modality and name. A record with ``skip`` cannot be used.

    Raises
    ------
    BidsError
        Exit code 16: not a BIDS dataset. 18: nothing is selected. 2: the filters cannot be used.
    """
    bids_dir = Path(bids_dir)
    check_dataset(bids_dir)
    wanted = tuple(modalities or modality_rules())
    participants = [strip_prefix(label, 'sub') for label in participant_label or ()]
    sessions = [strip_prefix(label, 'ses') for label in session_label or ()]
    filters = load_filters(bids_filters)
    if ignored := unknown_filters(bids_filters):
        LOGGER.warning('BIDS filters for %s are not used; there are filters for %s',
                       ', '.join(ignored), ', '.join(modality_rules()))  # fmt: skip

    candidates = _candidates(find_niftis(bids_dir, subjects=participants, database_dir=database_dir))
    selected = [
        record
        for record in candidates
        if record.modality in wanted
        and (not sessions or record.session in sessions)
        and matches(_properties(record), filters.get(record.modality, {}))
    ]
    if not selected:
        # The scans of other participants, whose folders were not searched, help to find a typing error.
        present = (
            _candidates(find_niftis(bids_dir, database_dir=database_dir)) if participants else candidates
        )
        raise BidsError(_explain_empty(present, wanted, participants, sessions, filters), 18)
    for label in participants:
        if label not in {record.subject for record in selected}:
            LOGGER.warning('Nothing is selected for participant %s', label)
    return _described(selected)


def _candidates(paths: Sequence[Path]) -> list[ImageRecord]:
    """Keep the images of a modality, by their names alone."""
    records = []
    for path in paths:
        entities, suffix, _ = split_name(path.name)
        modality = _modality(path.parent.name, suffix)
        if modality is None or not entities.get('sub'):
            continue
        folders = (_folder_label(path, 'sub-'), _folder_label(path, 'ses-'))
        if folders != (entities['sub'], entities.get('ses')):
            LOGGER.warning('Ignored: its name contradicts its folder: %s', path)
            continue
        if _is_excluded(entities, modality_rules()[modality]):
            LOGGER.info('Ignored: by its name it is no plain %s: %s', modality, path.name)
            continue
        records.append(record_from_path(path, modality))
    return records


def _modality(datatype: str, suffix: str) -> str | None:
    for modality, rule in modality_rules().items():
        if datatype in rule.datatypes and suffix in rule.suffixes:
            return modality
    return None


def _is_excluded(entities: Mapping[str, str], rule: Modality) -> bool:
    labels = [entities[key] for key in DESCRIPTIVE if key in entities]
    # a word that runs together with the suffix in one case: DWIADC
    joined = {pair for word in rule.excluded_words for x in rule.suffixes
              for pair in (x.casefold() + word, word + x.casefold())}  # fmt: skip
    return (
        entities.get('part', 'mag') != 'mag'
        or has_word(labels, rule.excluded_words)
        or any(label.casefold() in joined.union(rule.excluded_values) for label in labels)
    )


def _folder_label(path: Path, prefix: str) -> str | None:
    names = [parent.name for parent in path.parents[1:3] if parent.name.startswith(prefix)]
    return names[0].removeprefix(prefix) if names else None


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
        if (rule := rules[record.modality].diffusion) is not None:
            record = with_volumes(record, rule, sidecars)
        described.append(record)
    described = prefer_traces(described)
    order = list(rules)
    described.sort(
        key=lambda r: (sort_key(r.subject), sort_key(r.session), order.index(r.modality), _preference(r))
    )
    return _without_namesakes(described)


def _preference(record: ImageRecord) -> tuple:
    """Order scans of one name: the modality's own folder before anat, .nii.gz before .nii."""
    rule = modality_rules()[record.modality]
    return (
        record.bids_name.casefold(),
        rule.datatypes.index(record.path.parent.name),
        record.path.name.endswith('.nii'),
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

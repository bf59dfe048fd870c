# SPDX-License-Identifier: Apache-2.0
"""A command without BIDS: a dataset is made of the scans, and the participant level does the rest."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from ..bids.paths import refuse_other_dataset
from ..bids.single_scans import make_dataset
from ..settings import Settings
from . import participant
from .folders import check_writable


def run(settings: Settings) -> int:
    """Segment images and DICOM folders, and return the exit code of the participant level.

    The dataset stays in OUTPUT_DIR, so that the results name their scans and the participant level finds them
    again. The work folder does not, unless the user named one.
    """
    if settings.dry_run:
        with tempfile.TemporaryDirectory(prefix='bids_brainseg_') as folder:
            return participant.run(with_dataset(settings, Path(folder)))
    refuse_other_dataset(settings.output_dir)
    check_writable(settings.output_dir, 'output folder')
    try:
        return participant.run(with_dataset(settings, settings.bids_dir))
    finally:
        if settings.work_dir.name.endswith(settings.run_uuid):
            shutil.rmtree(settings.work_dir, ignore_errors=True)


def with_dataset(settings: Settings, dataset: Path) -> Settings:
    """Make the dataset, and return the settings that select the scans in it."""
    scans = make_dataset(settings.scans, dataset, modality=settings.scans_modality)
    for origin, record in scans:
        print(f'{origin}: {record.bids_name}')
    records = [record for _, record in scans]
    sessions = {record.session for record in records}
    return replace(
        settings,
        bids_dir=dataset,
        participant_label=tuple(dict.fromkeys(record.subject for record in records)),
        session_label=() if None in sessions else tuple(sorted(sessions)),
        modalities=tuple(dict.fromkeys(record.modality for record in records)),
        skip_bids_validation=True,  # its names are ours
        options=tuple(option for option in settings.options if option[0] != '--modality'),
    )

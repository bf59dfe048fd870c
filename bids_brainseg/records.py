# SPDX-License-Identifier: Apache-2.0
"""One scan as the query found it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from .bids.names import relative_path, split_name


@dataclass(frozen=True)
class ImageRecord:
    """One scan of a dataset; two scans are never merged into one record.

    Attributes
    ----------
    path : Path
        The image.
    modality : str
        ``'T1w'``, ``'FLAIR'``, ``'dwi'`` or ``'ct'``.
    subject, session : str
        Labels without prefix; the session may be None.
    entities : dict of str
        All keys of the name in its order, as written there: ``{'sub': '01', 'acq': '2D'}``.
    suffix : str
        As in the name.
    volumes : tuple of int, optional
        The volumes of a 4D series to average; None if the image is used as it is, which must then be 3D.
    b_value : float, optional
        Mean b-value of what is used, s/mm2; None if unknown or not a dwi.
    metadata : dict
        The JSON sidecars by inheritance.
    warnings : tuple of str
        What is doubtful about the scan, but no reason to leave it.
    skip : str, optional
        Why the scan is not segmented.
    broken : bool
        The reason in ``skip`` is a defect of the dataset (a missing bval), not a choice (b = 0 only).
    """

    path: Path
    modality: str
    subject: str
    session: str | None
    entities: dict[str, str]
    suffix: str
    volumes: tuple[int, ...] | None = None
    b_value: float | None = None
    metadata: dict = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skip: str | None = None
    broken: bool = False

    @property
    def bids_name(self) -> str:
        """Name without extension: ``sub-01_ses-1_T1w``."""
        return self.path.name.partition('.')[0]

    @property
    def relative_path(self) -> Path:
        """Path below the root of the dataset."""
        return relative_path(self.path)

    @property
    def key(self) -> str:
        """Letters, digits and underscores, unique within the subject: ``ses_1_run_1_T1w``."""
        parts = [f'{name}_{value}' for name, value in self.entities.items() if name != 'sub']
        key = '_'.join([*parts, self.suffix]).replace('+', 'plus')
        return re.sub(r'\W', '_', key, flags=re.ASCII)


def record_from_path(path: Path, modality: str, **values) -> ImageRecord:
    """Make a record from the name of an image."""
    entities, suffix, _ = split_name(path.name)
    return ImageRecord(
        path=path,
        modality=modality,
        subject=entities['sub'],
        session=entities.get('ses'),
        entities=entities,
        suffix=suffix,
        **values,
    )

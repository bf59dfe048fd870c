# SPDX-License-Identifier: Apache-2.0
"""The nouns of the program: what one room hands to another. Frozen, typed, of the standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Files of a model bundle.
WEIGHTS, REFERENCE, MASK = 'weights.safetensors', 'reference.nii.gz', 'mask.nii.gz'


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


def relative_path(path: Path) -> Path:
    """Return the path of a file below the root of its dataset (``sub-01/[ses-1/]anat/...``)."""
    has_session = path.parent.parent.name.startswith('ses-')
    return Path(*path.parts[-4 if has_session else -3 :])


@dataclass(frozen=True)
class Bundle:
    """What a model bundle says of itself.

    Parameters
    ----------
    path : Path
        The folder.
    name, version, modality, license : str
        `modality` is a name of ``data/modalities``.
    reference_name : str
        Letters and digits; names the space of the reference.
    grid_shape : tuple of int
        Network grid; every side a multiple of ``2**depth``.
    grid_affine : (4, 4) nested tuples
        Its voxel indices to the reference's RAS mm.
    intensity : mapping
        Rule of :func:`bids_brainseg.core.intensity.normalize`.
    architecture : mapping
        Arguments of :func:`bids_brainseg.network.unet.build_unet`.
    mc_samples : int
        Default number of Monte-Carlo passes.
    mirrored_passes : bool
        Whether half of the Monte-Carlo passes see the scan mirrored left to right; only for networks that
        were trained on mirrored heads as well.
    cv_threshold : float
        Mean coefficient of variation above which a scan is flagged, per cent.
    icv_mm3 : float
        Volume of the cranial cavity of the reference.
    qc : mapping
        Thresholds of :func:`bids_brainseg.core.quality.verdict`.
    card : mapping
        How it was trained, measured scores, limits.
    sha256 : mapping of str to str
        Of each file.
    """

    path: Path
    name: str
    version: str
    modality: str
    license: str
    reference_name: str
    grid_shape: tuple[int, int, int]
    grid_affine: tuple[tuple[float, ...], ...]
    intensity: Mapping
    architecture: Mapping
    mc_samples: int
    cv_threshold: float
    icv_mm3: float
    mirrored_passes: bool = False
    qc: Mapping = field(default_factory=dict)
    card: Mapping = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights_path(self) -> Path:
        """Weights of the network."""
        return self.path / WEIGHTS

    @property
    def weights_sha256(self) -> str:
        """Hash that identifies the weights."""
        return self.sha256[WEIGHTS]

    @property
    def reference_path(self) -> Path:
        """Image that scans are aligned to."""
        return self.path / REFERENCE

    @property
    def reference_sha256(self) -> tuple[str, str]:
        """Hashes that identify the reference and its cavity."""
        return self.sha256[REFERENCE], self.sha256[MASK]

    @property
    def mask_path(self) -> Path:
        """Cranial cavity of the reference."""
        return self.path / MASK


@dataclass(frozen=True)
class Provenance:
    """How the outputs of one scan were made: what the graph was built with, and what the network ran on.

    Attributes
    ----------
    model, model_sha256 : str
        Name of the bundle and hash of its weights.
    reference : str
        Name of the image that the scan was aligned to.
    mc_samples : int
        Monte-Carlo passes; 0 is one deterministic pass.
    mirrored : bool
        Whether half of the passes saw the scan mirrored left to right.
    seed : int
        Of the passes.
    label_resampling : str
        ``'posterior'`` or ``'nearest'``.
    cv_threshold : float
        Coefficient of variation above which volumes are flagged, per cent.
    device, backend : str
        ``'cpu'`` or ``'gpu'``; ``'tensorflow'`` ...; empty until the network has run.
    versions : mapping of str
        Software of the network's process to version.
    """

    model: str
    model_sha256: str
    reference: str
    mc_samples: int
    mirrored: bool
    seed: int
    label_resampling: str
    cv_threshold: float
    device: str = ''
    backend: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """A template and what it is aligned to.

    Attributes
    ----------
    label : str
        Its name in ``space-``, ``from-`` and ``to-``, the cohort appended (``MNIPediatricAsym+2``).
    entities : dict of str
        Those that an output in its space has: ``space``, ``res``.
    path : Path
        T1-weighted head.
    aligned_to : Bundle
        A model whose reference is a head in the same contrast.
    """

    label: str
    entities: dict[str, str]
    path: Path
    aligned_to: Bundle


@dataclass(frozen=True)
class ClassTable:
    """How label numbers become class indices.

    Attributes
    ----------
    name : str
        ``'freesurfer'``, ``'brainseg'``, or the file it was read from. FreeSurfer's rules are packaged, and
        the other attributes are empty then.
    mapping : mapping of int to int
        Number to class index.
    split : mapping of int to (int, int)
        Numbers of unpaired structures to their class on the left and on the right.
    default : int, optional
        Class of any other number; None makes another number an error.
    """

    name: str
    mapping: Mapping[int, int] = field(default_factory=dict)
    split: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    default: int | None = None


@dataclass(frozen=True)
class ReferenceLabels:
    """The labels that a scan is compared with.

    Attributes
    ----------
    path : Path
        The image.
    uri : str
        Its name in sidecars; ``labels`` is linked in the description of the derivatives.
    table : ClassTable
        What its numbers mean.
    """

    path: Path
    uri: str
    table: ClassTable


@dataclass(frozen=True)
class TrainingCase:
    """A scan with the labels to learn from.

    Attributes
    ----------
    record : ImageRecord
        The scan.
    labels : Path, optional
        FreeSurfer's segmentation.
    t1w : Path, optional
        The T1w that the labels lie on by their scanner coordinates; None if it is the scan itself.
    skip : str, optional
        Why the case cannot be used.
    """

    record: ImageRecord
    labels: Path | None = None
    t1w: Path | None = None
    skip: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one scan: ``done``, ``failed`` or ``skipped``, and why."""

    record: ImageRecord
    status: str
    reason: str = ''
    crashfile: Path | None = None

    def as_failure(self) -> dict:
        """Describe it for a page."""
        return {
            'scan': str(self.record.relative_path),
            'status': self.status,
            'reason': self.reason,
            'crashfile': self.crashfile,
        }


@dataclass(frozen=True)
class RunOutcome:
    """What an earlier run left about a scan.

    Attributes
    ----------
    status : str
        ``'done'``, ``'failed'`` or ``'skipped'``.
    reason : str
        Why it is not done.
    run : str
        Identifier of the run; it begins with date and time.
    crashfile : Path, optional
        Relative to the root of the derivatives if it lies there.
    """

    status: str
    reason: str
    run: str
    crashfile: Path | None = None


@dataclass(frozen=True)
class ScanResult:
    """Everything that the derivatives say of one scan.

    Attributes
    ----------
    name : str
        Entities and label: ``sub-01_ses-1_T1w``.
    label : str
        What ``desc`` of the derivatives says: ``T1w``.
    modality : str
        A name of ``data/modalities``.
    subject, session : str
        Labels without prefix; the session may be None.
    entities : mapping of str
        Those of the scan: ``{'sub': '01', 'ses': '1'}``.
    source : str
        Path of the scan below the root of its dataset; empty if the derivatives do not say.
    status : str
        ``'done'``; ``'outdated'``: there is a result, but the last run of this scan did not end well;
        ``'failed'``, ``'skipped'``: there is none; ``'broken'``: there is one that cannot be read.
    reason : str
        Why it is not ``'done'``; names the file that cannot be read.
    qc : mapping
        The quality document; empty if there is none, or none that can be read.
    rows : sequence of mapping
        The table of volumes: 27 structures, then the totals; measures are numbers (nan for ``n/a``), other
        cells text. Empty if there is none, or none that can be read.
    agreement : sequence of mapping
        The table of agreement with reference labels, of the same form; empty without labels.
    averages : mapping of float
        Averages over that table.
    files : mapping of Path
        ``'dseg'``, ``'probseg'``, ``'uncertainty'``, ``'morph'``, ``'qc'``, ``'agreement'``: those that
        exist, in the space of the scan.
    figures : mapping of Path
        Kind (``'alignment'``) to figure.
    transforms : mapping of Path
        ``(from, to)`` to the affine that ITK reads: ``('T1w', 'BrainsegAdult')``.
    outcome : RunOutcome, optional
        What the last run that processed the scan said.
    """

    name: str
    label: str
    modality: str
    subject: str
    session: str | None
    entities: Mapping[str, str]
    source: str = ''
    status: str = 'done'
    reason: str = ''
    qc: Mapping = field(default_factory=dict)
    rows: Sequence[Mapping] = ()
    agreement: Sequence[Mapping] = ()
    averages: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)
    transforms: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    outcome: RunOutcome | None = None

    @property
    def usable(self) -> bool:
        """Whether there are volumes."""
        return bool(self.rows)

    @property
    def broken(self) -> bool:
        """Whether there is a result that cannot be read; the reason says what is wrong."""
        return self.status == 'broken'

    @property
    def title(self) -> str:
        """What tells the scans of one subject apart: ``ses-1 T1w``."""
        return ' '.join([*(f'{k}-{v}' for k, v in self.entities.items() if k != 'sub'), self.label])

    def number(self, name: str) -> float | None:
        """Return a quality number; None if it does not exist or is not a number."""
        value = self.qc.get('numbers', {}).get(name)
        return float(value) if isinstance(value, (int, float)) else None

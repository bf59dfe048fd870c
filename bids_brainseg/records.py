# SPDX-License-Identifier: Apache-2.0
"""The nouns of the program: what one room hands to another. Frozen, typed, of the standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

#: Files of a model bundle.
WEIGHTS, REFERENCE, MASK = 'weights.safetensors', 'reference.nii.gz', 'mask.nii.gz'
#: File in the folder of a running network: how many passes are done.
PASSES = 'passes.txt'
#: With what a segmentation may compute; the first is the usual one.
PRECISIONS = ('float32', 'mixed_bfloat16')


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
class UnusedImage:
    """An image that no scan is made of.

    Attributes
    ----------
    path : Path
        Below the root of the dataset.
    reason : str
        The same words for all images of a kind.
    """

    path: Path
    reason: str

    @property
    def subject(self) -> str:
        """Label of the participant whose folder it lies in."""
        return self.path.parts[0].removeprefix('sub-')

    @property
    def session(self) -> str | None:
        """Label of the session whose folder it lies in."""
        folder = self.path.parts[1]
        return folder.removeprefix('ses-') if folder.startswith('ses-') and len(self.path.parts) > 2 else None


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
    qc : mapping
        Thresholds of :func:`bids_brainseg.core.quality.verdict`.
    usual_entropy : mapping
        What was measured on good scans, for each class by index: ``limit``, the local entropy that 95 of
        100 voxels do not exceed (:func:`bids_brainseg.core.uncertainty.usual_limits`), ``mean``, the mean
        entropy, and ``what``, on which scans; empty if nothing was measured.
    card : mapping
        How it was trained, measured scores, limits.
    sha256 : mapping of str to str
        Of each file.
    volume_errors : mapping
        How far volumes are from those of labels (``volumes.json``); empty if that was not measured.
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
    mirrored_passes: bool = False
    qc: Mapping = field(default_factory=dict)
    usual_entropy: Mapping = field(default_factory=dict)
    card: Mapping = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    volume_errors: Mapping = field(default_factory=dict)

    @property
    def entropy_limits(self) -> tuple[float, ...]:
        """Local entropy of each class that is still usual; empty if it was not measured."""
        return tuple(self.usual_entropy.get('limit', ()))

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
    precision : str
        Arithmetic of the network, one of :data:`PRECISIONS`.
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
    precision: str = 'float32'
    device: str = ''
    backend: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PackagedAlignment:
    """What of a template comes with the program: its grid, and how it lies to a reference.

    Attributes
    ----------
    matrix : 4 x 4 float
        Points of the reference to points of the template, RAS mm.
    shape : tuple of int
    affine : 4 x 4 float
        Voxel indices of the template to RAS mm.
    """

    matrix: tuple[tuple[float, ...], ...]
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]


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
        T1-weighted head; its name alone where the alignment is packaged.
    aligned_to : Bundle
        A model whose reference is a head in the same contrast.
    packaged : PackagedAlignment, optional
        To the reference of that model; without it the head is registered in the run.
    """

    label: str
    entities: dict[str, str]
    path: Path
    aligned_to: Bundle
    packaged: PackagedAlignment | None = None


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
        Segmentation of FreeSurfer, or of this program.
    table : ClassTable
        What its numbers mean.
    t1w : Path, optional
        The T1w that the labels lie on by their scanner coordinates; None if it is the scan itself.
    skip : str, optional
        Why the case cannot be used.
    """

    record: ImageRecord
    labels: Path | None = None
    table: ClassTable = ClassTable('freesurfer')
    t1w: Path | None = None
    skip: str | None = None


#: Derivatives that the train level takes labels of real scans from; those of the first are preferred.
LABEL_SOURCES = ('freesurfer', 'brainseg')


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What was asked of the train level beside the defaults; None and empty: not given.

    Attributes
    ----------
    modality : str, optional
        What the network is trained for.
    recipe : Path, optional
        File of stages, for several modalities.
    label_maps : tuple of Path
        Files or folders.
    exclude : Path, optional
        Table of whom to leave out.
    label_verdicts : tuple of str
        Verdicts with which segmentations of this program may serve as labels.
    agreement_threshold, validation_share, synthetic_share : float, optional
    validation_label : tuple of str
        Who validates.
    init : Path, optional
        Bundle to begin with.
    filters : int, optional
    ranges : mapping
        How far pairs are changed.
    no_augmentation : bool
        Real pairs stay as they are.
    bundle_name, license : str, optional
    stage : mapping
        Fields of :class:`TrainingStage`.
    """

    modality: str | None = None
    recipe: Path | None = None
    label_maps: tuple[Path, ...] = ()
    exclude: Path | None = None
    label_verdicts: tuple[str, ...] = ('pass',)
    agreement_threshold: float | None = None
    validation_share: float | None = None
    validation_label: tuple[str, ...] = ()
    synthetic_share: float | None = None
    init: Path | None = None
    filters: int | None = None
    ranges: Mapping[str, float] = field(default_factory=dict)
    no_augmentation: bool = False
    bundle_name: str | None = None
    license: str | None = None
    stage: Mapping[str, object] = field(default_factory=dict)


#: What a stage may choose from.
CHOICES = {
    'optimizer': ('adam', 'muon'),
    'schedule': ('constant', 'cosine'),
    'precision': ('auto', *PRECISIONS, 'mixed_float16'),
    'sample_on': ('auto', 'host', 'device'),
}
#: Numbers of a stage: the type, and the least and the largest that make sense.
NUMBERS = {
    'epochs': (int, 1, None),
    'patience': (int, 0, None),
    'steps_per_epoch': (int, 1, None),
    'validate_every': (int, 1, None),
    'batch_size': (int, 1, None),
    'workers': (int, 1, None),
    'seed': (int, 0, None),
    'learning_rate': (float, 0.0, 1.0),
    'class_balance': (float, 0.0, 1.0),
    'cross_entropy_weight': (float, 0.0, None),
    'ema_momentum': (float, 0.0, 1.0),
    'synthetic_share': (float, 0.0, 1.0),
    'checkpoint_seconds': (float, 0.0, None),
}


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """One run of the training loop: what is learned from, and how.

    Attributes
    ----------
    name : str
        Letters, digits, ``-`` and ``_``; names its folder.
    contrasts : tuple of str
        Modalities.
    architecture : mapping
        Arguments of :func:`bids_brainseg.network.unet.build_unet`.
    after : str, optional
        Earlier stage whose weights it begins with.
    init : str, optional
        Weights (``*.safetensors``) or bundle to begin with.
    grid_spacing : float, optional
        Edge of the voxels, mm; None: as the bundles have it.
    grid_shape : tuple of int, optional
        Voxels about the center of that grid; None: its whole field of view.
    window : tuple of int, optional
        Train on parts of this shape, in voxels.
    ranges, augmentation : mapping, optional
        How far synthetic pairs go, and real ones (None: these stay as they are); see
        :class:`bids_brainseg.synthesis.ranges.AugmentationRanges`.
    synthetic_share : float
        Of synthetic pairs, in [0, 1].
    epochs, patience : int
        At most so many, and the number without a better validation loss after which to stop (0: never).
    steps_per_epoch, batch_size : int
        Batches in an epoch, pairs in a batch.
    validate_every : int
        Epochs between validations; the last is always validated.
    optimizer : {'adam', 'muon'}
        'adam' is the published one; 'muon' is
        :class:`~bids_brainseg.network.optimizers.ConvolutionMuon`, whose rate may be ten times higher.
    learning_rate : float
        Of the optimizer.
    schedule : {'constant', 'cosine'}
        'cosine' lets it fall to 1 % over all epochs.
    class_balance, cross_entropy_weight : float
        Of :class:`~bids_brainseg.network.losses.DiceCrossEntropy`.
    ema_momentum : float
        Of the running average of the weights, which is then what is validated and kept; 0: none.
    seed : int
        Of the first weights, the dropout and the pairs.
    precision : {'auto', 'float32', 'mixed_bfloat16', 'mixed_float16'}
    sample_on : {'auto', 'host', 'device'}
        Where synthetic pairs are made.
    workers : int
        Threads that make pairs.
    checkpoint_seconds : float
        Time between checkpoints within an epoch.

    Raises
    ------
    ValueError
        If a value makes no sense; names it and what is possible.
    """

    name: str
    contrasts: tuple[str, ...]
    architecture: Mapping
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    after: str | None = None
    init: str | None = None
    grid_spacing: float | None = None
    grid_shape: tuple[int, int, int] | None = None
    window: tuple[int, int, int] | None = None
    ranges: Mapping = field(default_factory=dict)
    augmentation: Mapping | None = None
    synthetic_share: float = 1.0
    patience: int = 0
    batch_size: int = 1
    validate_every: int = 1
    optimizer: str = 'adam'
    schedule: str = 'constant'
    class_balance: float = 0.0
    cross_entropy_weight: float = 1.0
    ema_momentum: float = 0.0
    seed: int = 0
    precision: str = 'auto'
    sample_on: str = 'auto'
    workers: int = 1
    checkpoint_seconds: float = 300

    def __post_init__(self):
        if not re.fullmatch(r'[A-Za-z0-9_-]+', str(self.name)):
            raise ValueError(f'a stage is named {self.name!r}; use letters, digits, "-" and "_"')
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f'stage {self.name}: {name} is {getattr(self, name)!r}; it must be one of '
                    f'{", ".join(choices)}'
                )
        for name, (kind, least, most) in NUMBERS.items():
            value = getattr(self, name)
            allowed = (int, float) if kind is float else (int,)
            fits = isinstance(value, allowed) and not isinstance(value, bool)
            if not (fits and least <= value and (most is None or value <= most)):
                what = 'whole number' if kind is int else 'number'
                span = f'of {least} or more' if most is None else f'from {least:g} to {most:g}'
                raise ValueError(f'stage {self.name}: {name} is {value!r}; it must be a {what} {span}')
        for name in ('window', 'grid_shape'):
            value = getattr(self, name)
            if value is not None and not _is_shape(value):
                raise ValueError(
                    f'stage {self.name}: {name} is {value!r}; it must be three numbers of voxels'
                )
        if self.after is not None and self.init is not None:
            raise ValueError(f'stage {self.name}: give "after" or "init", not both')

    def identity(self, *, complete: bool = False) -> dict:
        """Return what decides which weights come out, as plain values.

        Parameters
        ----------
        complete : bool
            The number of epochs too. A stage that goes on may be given more of them, unless its schedule
            depends on their number; for a stage that has ended they are part of what it is.
        """
        values = asdict(self)
        for name in ('workers', 'checkpoint_seconds', 'sample_on', 'precision', 'init', 'after', 'name'):
            del values[name]
        if not complete:
            del values['patience']
            if self.schedule == 'constant':
                del values['epochs']
        return plain_values(values)


@dataclass(frozen=True)
class TrainingScan:
    """A scan on the network grid with its labels, as the train level leaves them among the derivatives."""

    image: str
    labels: str
    name: str
    modality: str


@dataclass(frozen=True, kw_only=True)
class PlannedBundle:
    """A bundle that is to be made.

    Attributes
    ----------
    modality : str
    stage : str
        Whose weights it gets.
    folder : str
        Where.
    name, version, license : str
    card : mapping
        What is known of it before.
    """

    modality: str
    stage: str
    folder: str
    name: str
    version: str
    license: str
    card: Mapping = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Everything that the network process needs to know: data, stages, bundles.

    Attributes
    ----------
    stages : tuple of TrainingStage
        In the order in which they run.
    folder : str
        Where results go.
    bundles : tuple of PlannedBundle
    bases : mapping of str to str
        Modality to the folder of the bundle whose reference, grid and rules are used; empty: references are
        made from the label maps that train.
    reference_name : str
        Of the references that are made.
    label_maps : mapping
        ``train`` and ``validate`` to paths.
    scans : mapping
        ``train`` and ``validate`` to tuples of TrainingScan.
    hashes : mapping of str to str
        Contents of label maps, bases and initial weights by their path.
    mc_samples : int, optional
        Passes that bundles are scored with; None: as they say.
    evaluation_pairs : int
        Synthetic scans of each modality that bundles are scored with; 0: the pairs that validate.
    calibration_copies : int
        Corrupted copies of each of these scans that find the threshold of the CV; 0: it is not calibrated.
    acceptable_dice : float, optional
        Mean Dice below which a segmentation counts as bad; None: nine tenths of the median.
    """

    stages: tuple[TrainingStage, ...]
    folder: str
    bundles: tuple[PlannedBundle, ...] = ()
    bases: Mapping[str, str] = field(default_factory=dict)
    reference_name: str = ''
    label_maps: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scans: Mapping[str, tuple[TrainingScan, ...]] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    mc_samples: int | None = None
    evaluation_pairs: int = 0
    calibration_copies: int = 0
    acceptable_dice: float | None = None

    def __post_init__(self):
        known = set()
        for stage in self.stages:
            if stage.name in known:
                raise ValueError(f'two stages are named {stage.name}; give each its own name')
            if stage.after is not None and stage.after not in known:
                raise ValueError(
                    f'stage {stage.name} comes after {stage.after!r}, which is no earlier stage; earlier: '
                    f'{", ".join(sorted(known)) or "none"}'
                )
            known.add(stage.name)
        for bundle in self.bundles:
            if bundle.stage not in known:
                raise ValueError(
                    f'the bundle {bundle.name} takes the weights of stage {bundle.stage!r}; there are '
                    f'{", ".join(sorted(known))}'
                )

    def stage(self, name: str) -> TrainingStage:
        """Return the stage of a name."""
        return next(stage for stage in self.stages if stage.name == name)

    def identity(self, name: str | None = None) -> dict:
        """Return what decides which weights a stage ends with: its options, its data, and what came before.

        Parameters
        ----------
        name : str, optional
            Of the stage; by default the last.

        Returns
        -------
        dict
            Plain values, as JSON gives them back. Files are known by their content.
        """
        stage = self.stages[-1] if name is None else self.stage(name)
        roles = ('train', 'validate')
        chosen = {
            role: [asdict(scan) for scan in self.scans.get(role, ()) if scan.modality in stage.contrasts]
            for role in roles
        }
        earlier = None
        if stage.after is not None:
            earlier = self.identity(stage.after) | self.stage(stage.after).identity(complete=True)
        bases = {m: self._content(path) for m, path in self.bases.items() if m in stage.contrasts}
        return plain_values(
            {
                **stage.identity(),
                'base': bases or self.reference_name,
                'init': stage.init and self._content(stage.init),
                'scans': chosen,
                'label_maps': {
                    role: [self._content(path) for path in self.label_maps.get(role, ())] for role in roles
                },
                'after': earlier,
            }
        )

    def _content(self, path: str) -> str:
        return self.hashes.get(path, path)

    def to_json(self) -> dict:
        """Return plain values that :meth:`from_json` takes back."""
        return plain_values(asdict(self))

    @classmethod
    def from_json(cls, content: Mapping) -> TrainingPlan:
        """Build from the values of :meth:`to_json`.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value makes no sense; names it.
        """
        values = dict(content)
        for name, kind in (('stages', TrainingStage), ('bundles', PlannedBundle)):
            values[name] = tuple(from_mapping(kind, x, f'one of {name}') for x in values.get(name, ()))
        values['scans'] = {
            role: tuple(from_mapping(TrainingScan, x, 'a scan') for x in scans)
            for role, scans in values.get('scans', {}).items()
        }
        values['label_maps'] = {role: tuple(found) for role, found in values.get('label_maps', {}).items()}
        return from_mapping(cls, values, 'the plan')


def _is_shape(value: object) -> bool:
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    return len(numbers) == 3 and all(isinstance(n, int) and n > 0 for n in numbers)


def from_mapping(kind: type, content: Mapping, where: str):
    """Build a record from a mapping, lists becoming tuples.

    Parameters
    ----------
    kind : dataclass
    content : mapping
    where : str
        What the mapping is, for errors.

    Raises
    ------
    ValueError
        If it is no mapping, or a key is unknown or missing; names the key and those that are known.

    Examples
    --------
    >>> from_mapping(ClassTable, {'nam': 'x'}, 'the table')
    Traceback (most recent call last):
    ValueError: the table holds nam, which nothing reads; known: default, mapping, name, split
    """
    if not isinstance(content, Mapping):
        raise ValueError(f'{where} must be a table of names and values, not {content!r}')
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(set(content) - set(known)):
        raise ValueError(
            f'{where} holds {", ".join(unknown)}, which nothing reads; known: {", ".join(sorted(known))}'
        )
    required = {n for n, item in known.items() if item.default is MISSING and item.default_factory is MISSING}
    if missing := sorted(required - set(content)):
        raise ValueError(f'{where} lacks {", ".join(missing)}')
    return kind(**{name: tuple(x) if isinstance(x, list) else x for name, x in content.items()})


def plain_values(value: object) -> object:
    """Return a value as JSON would give it back: tuples as lists, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@dataclass(frozen=True)
class Outcome:
    """What became of one scan: ``done``, ``failed`` or ``skipped``, and why; if done, its verdict and why."""

    record: ImageRecord
    status: str
    reason: str = ''
    crashfile: Path | None = None
    verdict: str = ''
    findings: tuple[str, ...] = ()

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
        ``'dseg'``, ``'probseg'``, ``'uncertainty'``, ``'mask'``, ``'morph'``, ``'aseg'``, ``'qc'``,
        ``'agreement'``: those that exist, in the space of the scan.
    figures : mapping of Path
        Kind (``'alignment'``) to figure.
    unfetched : mapping of Path
        The same for figures whose content is not on this disk (git-annex, Git LFS).
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
    unfetched: Mapping[str, Path] = field(default_factory=dict)
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
        """What distinguishes the scans of one subject: ``ses-1 T1w``."""
        return ' '.join([*(f'{k}-{v}' for k, v in self.entities.items() if k != 'sub'), self.label])

    def number(self, name: str) -> float | None:
        """Return a quality number; None if it does not exist or is not a number."""
        value = self.qc.get('numbers', {}).get(name)
        return float(value) if isinstance(value, (int, float)) else None

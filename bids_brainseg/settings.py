# SPDX-License-Identifier: Apache-2.0
"""The settings of one run: made from the command line, read by the levels and the two top factories."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from . import __version__
from .data import modalities
from .records import TrainingRequest

#: The dataset that is made of single scans, below OUTPUT_DIR.
SCANS_DATASET = Path('sourcedata', 'scans')


def graph_name(stem: str, version: str = __version__) -> str:
    """Return the name of a graph and of its folder in the work folder.

    Nipype takes the result of a step again when its inputs are the same, so that each version needs its own.

    >>> graph_name('brainseg', '0.1.0+local')
    'brainseg_0_1_0_local_wf'
    """
    return re.sub(r'\W', '_', f'{stem}_{version}_wf')


@dataclass(frozen=True)
class Settings:
    """What the user asked for; nothing in it changes during a run.

    ``None`` in ``mc_samples``, ``cv_threshold`` or ``ct_window`` means the value of the model bundle, in
    ``precision`` the first of :data:`bids_brainseg.records.PRECISIONS`.
    """

    bids_dir: Path
    output_dir: Path
    work_dir: Path
    level: str = 'participant'
    run_uuid: str = ''
    options: tuple[tuple[str, ...], ...] = ()  # as on a command line: flag and values

    # without BIDS: images or folders of DICOM files, of which bids_dir is made
    scans: tuple[Path, ...] = ()
    scans_modality: str | None = None

    # selection
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    modalities: tuple[str, ...] = field(default_factory=lambda: tuple(modalities()))
    bids_filters: Mapping = field(default_factory=dict)
    bids_database_dir: Path | None = None
    derivatives: Mapping = field(default_factory=dict)  # name to folder
    skip_bids_validation: bool = False

    # resources
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_gb: float = 8.0
    low_mem: bool = False
    device: str = 'auto'
    plugin: str = 'MultiProc'
    plugin_args: Mapping = field(default_factory=dict)

    # segmentation
    models: tuple[tuple[str, Path], ...] = ()  # (modality, or '' for the bundle's own; folder)
    mc_samples: int | None = None
    random_seed: int = 0
    precision: str | None = None  # of a segmentation; a training has its own
    cv_threshold: float | None = None
    qc_thresholds: Mapping = field(default_factory=dict)
    ct_window: tuple[float, float] | None = None
    label_resampling: str = 'posterior'
    save_probseg: bool = False
    output_spaces: tuple[str, ...] = ()  # NAME[:res-N][:cohort-N], in addition to that of the scan

    # evaluation
    label_table: str | Path = 'auto'  # or freesurfer, brainseg, a file
    label_filter: Mapping = field(default_factory=dict)
    calibrate: int = 0  # corrupted copies of each scan
    acceptable_dice: float | None = None
    keep_misplaced_labels: bool = False
    study: str | None = None  # scaling or equal-size
    study_sizes: tuple[int, ...] = ()

    training: TrainingRequest = TrainingRequest()

    # reporting
    reports_only: bool = False
    boilerplate_only: bool = False
    write_graph: bool = False
    stop_on_first_crash: bool = False
    resource_monitor: bool = False
    clean_workdir: bool = False
    dry_run: bool = False
    verbosity: int = 0

    def log_dir(self, subject: str, session: str | None) -> Path:
        """Return the folder of this run for one subject (and session): crash files, settings, outcomes."""
        parts = [f'sub-{subject}', *([f'ses-{session}'] if session else [])]
        return self.output_dir.joinpath(*parts, 'log', self.run_uuid)

    def to_toml(self) -> str:
        """Return the settings as TOML; those that are left to the model bundle do not appear.

        >>> print(Settings(Path('in'), Path('out'), Path('w'), nprocs=2).to_toml().splitlines()[0])
        bids_dir = "in"
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return ''.join(f'{name} = {_toml(value)}\n' for name, value in values.items() if value is not None)


def _toml(value: object) -> str:
    """Return one value in TOML, which is JSON except for tables.

    >>> _toml({'T1w': Path('m'), 'n': (1, 2.5), 'x': {'y': None}})
    '{"T1w" = "m", "n" = [1, 2.5], "x" = {"y" = "null"}}'
    """
    if isinstance(value, TrainingRequest):
        value = {name: item for name, item in asdict(value).items() if item not in ((), {}, False, None)}
    if isinstance(value, Mapping):
        pairs = (f'{json.dumps(str(k), ensure_ascii=False)} = {_toml(v)}' for k, v in value.items())
        return '{' + ', '.join(pairs) + '}'
    if value is None:  # TOML has no word for it
        return '"null"'
    if isinstance(value, list | tuple):
        return '[' + ', '.join(_toml(item) for item in value) + ']'
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)

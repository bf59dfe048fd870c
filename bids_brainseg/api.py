# SPDX-License-Identifier: Apache-2.0
"""Segment one image from Python: the command, its graph and its files, with an image in and arrays out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from .errors import BrainsegError, InputError
from .lifetime import bound
from .records import ScanResult
from .results.scans import read_scans


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What :func:`segment` returns.

    Attributes
    ----------
    labels : nibabel.Nifti1Image
        (I, J, K) integers on the grid of the scan: 0 background, 1 to 27 the structures of ``volumes``.
    volumes : pandas.DataFrame
        The table ``*_morph.tsv``: a row for each structure and total, by name. Volumes are in mm3, ``cv_mc``
        in per cent.
    verdict : str
        ``'pass'``, ``'review'`` or ``'fail'``.
    reasons : tuple of str
        Why it is not ``'pass'``.
    modality : str
        What the scan was segmented as.
    numbers : mapping of float
        The QC numbers of ``*_qc.json``.
    output_dir : Path, optional
        Where the page and all other results are; None if no folder was given.
    """

    labels: nib.Nifti1Image = field(repr=False)
    volumes: pd.DataFrame = field(repr=False)
    verdict: str
    reasons: tuple[str, ...]
    modality: str
    numbers: Mapping[str, float] = field(repr=False)
    output_dir: Path | None = None


def segment(
    image: nib.spatialimages.SpatialImage | str | os.PathLike,
    modality: str | None = None,
    *,
    output_dir: str | os.PathLike | None = None,
    **options: object,
) -> Segmentation:
    """Segment one scan, as ``bids_brainseg SCAN OUTPUT_DIR`` does.

    Parameters
    ----------
    image : nibabel image or path-like
        An image in memory, an image file or a folder of DICOM files with one scan. It is not changed.
    modality : str, optional
        ``'T1w'``, ``'FLAIR'``, ``'dwi'`` or ``'ct'``; needed where the name or the values do not say it.
    output_dir : path-like, optional
        Folder for the page and all other results; without one they are deleted.
    **options
        Options of the command, with underscores: ``mc_samples=5``, ``device='gpu'``, ``model=folder``.

    Returns
    -------
    Segmentation

    Raises
    ------
    InputError
        If the scan cannot be segmented.
    BrainsegError
        If the command was wrong or could not run.

    Examples
    --------
    ``head`` is a nibabel image; ``bundle`` names a small model, where most people need no such option.

    >>> result = bids_brainseg.segment(head, modality='T1w', model=bundle)
    >>> result.labels.shape == head.shape
    True
    >>> result.verdict in ('pass', 'review', 'fail')
    True
    >>> float(result.volumes.loc['Left-Hippocampus', 'volume_mm3']) >= 0
    True
    """
    with tempfile.TemporaryDirectory(prefix='bids_brainseg_') as scratch:
        if isinstance(image, nib.spatialimages.SpatialImage):
            scan = Path(scratch) / 'scan.nii.gz'
            nib.save(image, scan)
        else:
            scan = Path(image)
        folder = Path(output_dir) if output_dir is not None else Path(scratch) / 'out'
        words = [str(scan), str(folder), *(['--modality', modality] if modality else []), *_words(options)]
        before = {result.name: _run_of(result) for result in read_scans(folder)} if folder.is_dir() else {}
        # A process of its own: a notebook has no main module for workers to import, and keeps its settings.
        command = [sys.executable, '-m', 'bids_brainseg', *words]
        run = subprocess.run(bound(command), capture_output=True, text=True, check=False, errors='replace')
        results = read_scans(folder) if folder.is_dir() else []
        ours = [result for result in results if before.get(result.name) != _run_of(result)]
        if run.returncode or len(ours) != 1:
            failed = next((result.reason for result in ours if result.status != 'done'), None)
            if failed:
                raise InputError(failed)
            if len(ours) > 1:
                raise InputError(f'{scan} holds {len(ours)} scans; give one of them')
            raise BrainsegError(_last_line(run.stderr) or _last_line(run.stdout))
        return _segmentation(ours[0], folder if output_dir is not None else None)


def _words(options: Mapping[str, object]) -> list[str]:
    """Write options as on a command line.

    >>> _words({'mc_samples': 5, 'save_probseg': True, 'low_mem': False, 'ct_window': (0, 80)})
    ['--mc-samples', '5', '--save-probseg', '--ct-window', '0', '80']
    """
    words = []
    for name, value in options.items():
        flag = '--' + name.replace('_', '-')
        if value is True:
            words.append(flag)
        elif value is not False and value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [flag, *map(str, values)]
    return words


def _run_of(result: ScanResult) -> str | None:
    return result.outcome.run if result.outcome else None


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix('bids_brainseg: error: ') if lines else 'bids_brainseg ended without a word'


def _segmentation(result: ScanResult, output_dir: Path | None) -> Segmentation:
    labels = nib.load(result.files['dseg'])
    qc = result.qc
    return Segmentation(
        # read now: the file may be gone when somebody asks for the array
        labels=nib.Nifti1Image(np.asarray(labels.dataobj), labels.affine, labels.header),
        volumes=pd.read_csv(result.files['morph'], sep='\t', na_values='n/a', index_col='name'),
        verdict=qc['verdict'],
        reasons=tuple(qc['reasons']),
        modality=result.modality,
        numbers=dict(qc['numbers']),
        output_dir=output_dir,
    )

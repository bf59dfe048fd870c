# SPDX-License-Identifier: Apache-2.0
"""Paths of the outputs, and the files that describe the output dataset."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from .. import __version__
from ..data import modalities
from ..errors import BidsError
from ..files import read_text, unfetched, write_json, write_text
from ..machine import container_image
from ..records import ImageRecord
from .colors import color_tables
from .sidecars import output_rules

NAME = 'bids_brainseg'
BIDS_VERSION = '1.10.0'
LOGGER = logging.getLogger('bids_brainseg')
#: Every output folder of this program holds it.
COLOR_TABLE_FILE = 'desc-brainseg_dseg.tsv'


def scan_label(record: ImageRecord) -> str:
    """Return the label that distinguishes the scans of one session in output names, usually the suffix.

    Parameters
    ----------
    record : ImageRecord

    Returns
    -------
    str
        Entities that output names need for themselves (``space``, ``desc`` ...) are kept in it:
        ``sub-01_desc-defaced_T1w`` gives ``defacedT1w``.
    """
    folded = [record.entities[key] for key in output_rules()['folded_into_desc'] if key in record.entities]
    if not folded:
        return record.suffix
    return ''.join([folded[0], *(word[:1].upper() + word[1:] for word in (*folded[1:], record.suffix))])


def output_path(
    record: ImageRecord,
    output_dir: Path,
    *,
    suffix: str,
    extension: str | None = None,
    folder: str | None = None,
    **entities: str | None,
) -> Path:
    """Return the path of one output of a scan.

    Parameters
    ----------
    record : ImageRecord
        The scan; all its entities are kept.
    output_dir : Path
        Root of the derivatives.
    suffix : str
        ``'dseg'``. The usual entities of a suffix are added (``space-orig`` ...).
    extension : str, optional
        ``'.nii.gz'``; by default the usual one of the suffix.
    folder : str, optional
        Below the session; the data type of the modality if None.
    **entities : str or None
        More entities by their key (``**{'from': 'T1w'}``); None removes one.

    Returns
    -------
    Path
        ``sub-01/anat/sub-01_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz`` below ``output_dir``.
    """
    rules = output_rules()
    label = scan_label(record)
    source = {key: value for key, value in record.entities.items() if key not in rules['folded_into_desc']}
    usual = {key: text.format(scan=label) for key, text in rules['names'].get(suffix, {}).items()}
    merged = {**source, **usual, **entities}
    order = rules['entity_order']
    ordered = sorted((key for key in merged if key in order), key=order.index)
    others = [key for key in merged if key not in order]
    pairs = [f'{key}-{merged[key]}' for key in (*ordered, *others) if merged[key] is not None]
    parts = [f'sub-{record.subject}']
    parts += [f'ses-{record.session}'] if record.session is not None else []
    parts += [folder or modalities()[record.modality].datatypes[0]]
    extension = rules['extensions'][suffix] if extension is None else extension
    return Path(output_dir, *parts, '_'.join([*pairs, suffix]) + extension)


def xfm_path(
    record: ImageRecord,
    output_dir: Path,
    *,
    reference: str,
    inverse: bool = False,
    extension: str | None = None,
) -> Path:
    """Return the path of the affine that moves the scan to the reference.

    Parameters
    ----------
    record : ImageRecord
    output_dir : Path
        Root of the derivatives.
    reference : str
        Its name in ``from`` and ``to``.
    inverse : bool
        From the reference to the scan.
    extension : str, optional
        By default that of an ITK transform.

    Returns
    -------
    Path
    """
    ends = (reference, scan_label(record)) if inverse else (scan_label(record), reference)
    return output_path(
        record, output_dir, suffix='xfm', extension=extension, **dict(zip(('from', 'to'), ends, strict=True))
    )


def figure_path(record: ImageRecord, output_dir: Path, *, kind: str) -> Path:
    """Return the path of a figure.

    Parameters
    ----------
    record : ImageRecord
    output_dir : Path
        Root of the derivatives.
    kind : str
        Key of ``figures`` in ``outputs.json``.

    Returns
    -------
    Path
        ``sub-01/figures/sub-01_ses-1_desc-alignment_T1w.svg`` below ``output_dir``.
    """
    extension = output_rules()['figures'][kind]
    path = output_path(record, output_dir, suffix=scan_label(record), extension=extension, desc=kind)
    return Path(output_dir) / f'sub-{record.subject}' / 'figures' / path.name


def write_dataset_files(
    output_dir: Path,
    bids_dir: Path,
    *,
    links: Mapping[str, Path] | None = None,
    container: str | None = None,
) -> list[Path]:
    """Write the description of the derivatives, ``.bidsignore`` and the color table.

    Every job writes the same bytes, and no file is ever half written.

    Parameters
    ----------
    output_dir, bids_dir : Path
        Roots of the derivatives and of the dataset they come from.
    links : mapping of str to Path, optional
        Further source datasets by name.
    container : str, optional
        Name of the container image; that of :func:`bids_brainseg.machine.container_image` if None.

    Returns
    -------
    list of Path

    Raises
    ------
    BidsError
        With exit code 2 if the folder holds a dataset of another program.
    """
    output_dir, bids_dir = Path(output_dir), Path(bids_dir)
    refuse_other_dataset(output_dir)
    container = container or container_image()
    outside = [pattern for modality in modalities().values() for pattern in modality.bidsignore]
    ignored = dict.fromkeys([*output_rules()['bidsignore'], *outside])
    columns = output_rules()['lut_columns']
    colors = {'Description': 'Classes of the dseg images', **columns}
    numbers = {key: column for key, column in columns.items() if key != 'freesurfer'}
    numbers = {'Description': "Structures of the dseg images with FreeSurfer's numbers", **numbers}
    return [
        write_json(
            _description(output_dir, bids_dir, dict(links or {}), container),
            output_dir / 'dataset_description.json',
        ),
        write_text('\n'.join(ignored) + '\n', output_dir / '.bidsignore'),
        *(write_text(text, output_dir / name) for name, text in color_tables().items()),
        write_json(colors, output_dir / 'desc-brainseg_dseg.json'),
        write_json(numbers, output_dir / 'seg-aseg_dseg.json'),
    ]


def _description(output_dir: Path, bids_dir: Path, links: dict[str, Path], container: str | None) -> dict:
    try:
        raw = dict(json.loads(read_text(bids_dir / 'dataset_description.json')))
    except (OSError, ValueError, TypeError):  # label maps to train on need not be a dataset
        raw = {}
    made_by = {'Name': NAME, 'Version': __version__}
    if url := _code_url():
        made_by['CodeURL'] = url
    if container:
        kind = 'apptainer' if Path('/.singularity.d').exists() else 'docker'
        made_by['Container'] = {'Type': kind, 'Tag': container}
    source = {'URL': bids_dir.resolve().as_uri()}
    if raw.get('DatasetDOI'):
        source['DOI'] = raw['DatasetDOI']
    return {
        'Name': f'{NAME}: segmentation of {raw.get("Name") or bids_dir.resolve().name}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [made_by, *_earlier_makers(output_dir)],
        'HowToAcknowledge': 'Please cite what logs/CITATION.md names.',
        'SourceDatasets': [source],
        'DatasetLinks': {
            name: _link(output_dir, path) for name, path in sorted({'raw': bids_dir, **links}.items())
        },
    }


def _code_url() -> str | None:
    """Return the address of the source code from the metadata of the installed package."""
    try:
        urls = metadata(NAME).get_all('Project-URL') or []
    except PackageNotFoundError:
        return None
    named = dict(text.split(', ', 1) for text in urls if ', ' in text)
    return next(
        (named[name] for name in ('Source', 'Source Code', 'Repository', 'Homepage') if name in named), None
    )


def _link(output_dir: Path, dataset: Path) -> str:
    """Link by a relative path if one of the two is inside the other and moves with it, else absolutely."""
    here, there = output_dir.resolve(), Path(dataset).resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        return Path(os.path.relpath(there, here)).as_posix()
    return there.as_uri()


def _makers(output_dir: Path) -> list[dict]:
    """Return who made the derivatives by their description, the last one first; none if it cannot be read."""
    try:
        makers = json.loads(read_text(output_dir / 'dataset_description.json'))['GeneratedBy']
        return [dict(maker) for maker in makers]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _earlier_makers(output_dir: Path) -> list[dict]:
    """Return the entries of other versions of this program, which stay in the description."""
    return [
        maker for maker in _makers(output_dir)
        if maker.get('Name') == NAME and maker.get('Version') not in (None, __version__)
    ]  # fmt: skip


def other_version(output_dir: Path) -> str | None:
    """Return the version of this program that wrote to a folder last; None if it is this one, or nobody did.

    Parameters
    ----------
    output_dir : Path

    Returns
    -------
    str or None
    """
    last = next(iter(_makers(Path(output_dir))), {}).get('Version')
    return str(last) if last not in (None, __version__) else None


def refuse_other_dataset(output_dir: Path) -> None:
    """Refuse a folder that holds a dataset of another program.

    Parameters
    ----------
    output_dir : Path

    Raises
    ------
    BidsError
        With exit code 2.
    """
    existing = output_dir / 'dataset_description.json'
    reason = unfetched(existing)
    if not existing.is_file() and not reason:
        return
    makers = _makers(output_dir)
    maker = str(makers[0].get('Name', 'unknown')) if makers else 'unknown'
    if maker == 'unknown' and os.path.lexists(output_dir / COLOR_TABLE_FILE):
        LOGGER.warning('%s cannot be read and is written anew (%s)', existing, reason or 'it is damaged')
        return
    if maker != NAME:
        raise BidsError(
            f'the output folder holds another dataset: {existing} was made by {maker}; '
            'choose an empty folder or one of this program',
            2,
        )

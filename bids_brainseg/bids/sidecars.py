# SPDX-License-Identifier: Apache-2.0
"""Sidecars of the outputs: where they come from, how they were made, what their numbers mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from .. import __version__
from ..data import label_table, label_table_hash, modalities, resource
from ..records import ImageRecord, Provenance

if TYPE_CHECKING:
    from pandas import DataFrame

COLOR_TABLE = 'bids::desc-brainseg_dseg.tsv'
#: Entity ``seg`` of the label images with FreeSurfer's numbers, and the table that belongs to them.
FREESURFER_SEG, FREESURFER_TABLE = 'aseg', 'bids::seg-aseg_dseg.tsv'


def provenance_keys(provenance: Provenance) -> dict:
    """Return the keys of a sidecar that say how outputs were made.

    Parameters
    ----------
    provenance : Provenance

    Returns
    -------
    dict
    """
    return {
        'Model': {
            'Name': provenance.model,
            'SHA256': provenance.model_sha256,
            'Reference': provenance.reference,
        },
        'MonteCarloSamples': provenance.mc_samples,
        'MirroredPasses': provenance.mirrored,
        'RandomSeed': provenance.seed,
        'Precision': provenance.precision,
        'Device': provenance.device,
        'Backend': provenance.backend or 'n/a',
        'LabelResampling': provenance.label_resampling,
        'Thresholds': {'cv_percent': provenance.cv_threshold},
        'ClassMap': {'SHA256': label_table_hash(), 'Table': COLOR_TABLE},
        # Not SoftwareVersions: in BIDS that is the software of the scanner.
        'Versions': {'bids_brainseg': __version__, **provenance.versions},
    }


@cache
def output_rules() -> dict:
    """Return the rules of output names and tables (``outputs.json``)."""
    return json.loads(resource('outputs.json').read_text(encoding='utf-8'))


def bids_uri(record: ImageRecord) -> str:
    """Return the BIDS URI of a scan; ``raw`` is linked in the description of the derivatives.

    Parameters
    ----------
    record : ImageRecord

    Returns
    -------
    str
    """
    return f'bids:raw:{record.relative_path.as_posix()}'


def sidecar(
    record: ImageRecord, *, suffix: str, provenance: Provenance | None = None, **extra: object
) -> dict:
    """Describe one output of a scan.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    suffix : str
        ``'dseg'``, ``'probseg'``, ``'uncertainty'``, ``'xfm'`` ...
    provenance : Provenance, optional
        How it was made.
    **extra : object
        Further keys, which win.

    Returns
    -------
    dict
        For :func:`bids_brainseg.files.write_json`.
    """
    rules = output_rules()
    content: dict = {
        'Description': rules['descriptions'].get(suffix, 'n/a'),
        'Sources': [bids_uri(record)],
    }
    if suffix in rules['units']:
        content['Units'] = rules['units'][suffix]
    if 'space' in rules['names'].get(suffix, {}):
        content['SpatialReference'] = bids_uri(record)
    if suffix == 'dseg':
        content['Manual'] = False
    if suffix == 'mask':
        content['Type'] = 'Brain'
    if suffix == 'probseg':
        content['LabelMap'] = [label.name for label in label_table()]
    if suffix == 'xfm':
        content |= {
            'Type': 'affine',
            'Format': {
                '.txt': 'ITK transform, text; LPS, points of To to points of From',
                '.lta': 'FreeSurfer LTA; RAS, points of From to points of To',
            },
        }
    if modalities()[record.modality].diffusion is not None:
        content['VolumesAveraged'] = 'n/a' if record.volumes is None else list(record.volumes)
        content['BValue'] = 'n/a' if record.b_value is None else record.b_value  # s/mm2
    if provenance is not None:
        content |= provenance_keys(provenance)
    return content | extra


def freesurfer_keys() -> dict:
    """Return what differs in the sidecar of a label image with FreeSurfer's numbers.

    Returns
    -------
    dict
    """
    return {
        'Description': output_rules()['descriptions'][FREESURFER_SEG],
        'Units': 'FreeSurfer number',
        'ClassMap': {'SHA256': label_table_hash(), 'Table': FREESURFER_TABLE},
    }


def xfm_sidecar(
    record: ImageRecord,
    *,
    reference: str,
    inverse: bool = False,
    provenance: Provenance | None = None,
    **extra: object,
) -> dict:
    """Describe an affine; ``From`` is the image that it moves onto the grid of ``To``.

    Parameters
    ----------
    record : ImageRecord
        The scan.
    reference : str
        Name of the reference.
    inverse : bool
        From the reference to the scan.
    provenance : Provenance, optional
    **extra : object
        Further keys, which win.

    Returns
    -------
    dict
    """
    moved, fixed = (reference, record.bids_name) if inverse else (record.bids_name, reference)
    meaning = f'Moves {moved} onto the grid of {fixed}; it maps points of {fixed} to points of {moved}.'
    ends = {'From': moved, 'To': fixed, 'Description': meaning}
    return sidecar(record, suffix='xfm', provenance=provenance, **{**ends, **extra})


def morph_dictionary(record: ImageRecord, *, provenance: Provenance | None = None, **extra: object) -> dict:
    """Describe the table of volumes: each column with its unit, then where the numbers come from.

    Parameters
    ----------
    record : ImageRecord
    provenance : Provenance, optional
    **extra : object
        Further keys, which win.

    Returns
    -------
    dict
    """
    return {
        **output_rules()['morph_columns'],
        **sidecar(record, suffix='morph', provenance=provenance, **extra),
    }


def morph_table(
    columns: Mapping[str, Sequence[float]],
    *,
    flags: Mapping[int, str] | None = None,
    totals: Mapping[str, float] | None = None,
) -> DataFrame:
    """Make the table of volumes of one scan.

    Parameters
    ----------
    columns : mapping of str to sequence of 28 float
        By class index, background first (it is left out): ``volume_mm3`` and further ones of
        ``morph_columns`` in ``outputs.json``.
    flags : mapping of int to str, optional
        Class index to the reason why it should be reviewed.
    totals : mapping of str to float, optional
        Name to volume, mm3.

    Returns
    -------
    pandas.DataFrame
        27 structures, then the totals, with the columns of ``morph_columns``.

    Raises
    ------
    ValueError
        If a column has another length than the class table.
    """
    import pandas as pd  # slow, and --help does not need it

    labels, flags = label_table(), flags or {}
    for column, values in columns.items():
        if len(values) != len(labels):
            raise ValueError(f'{column} has {len(values)} values; expected {len(labels)}, background first')
    rows = [
        {
            'index': str(label.index),
            'name': label.name,
            'hemisphere': label.hemisphere,
            **{column: float(values[label.index]) for column, values in columns.items()},
            'flag': flags.get(label.index, 'n/a'),
        }
        for label in labels[1:]
    ]
    rows += [
        {'index': 'n/a', 'name': name, 'hemisphere': 'n/a', 'volume_mm3': volume, 'flag': 'n/a'}
        for name, volume in (totals or {}).items()
    ]
    return pd.DataFrame(rows, columns=list(output_rules()['morph_columns']))


def scanner(metadata: Mapping) -> dict:
    """Return what the sidecars of a scan say about the scanner: maker, model, field strength.

    Parameters
    ----------
    metadata : mapping
        Of the JSON sidecars.

    Returns
    -------
    dict

    Examples
    --------
    >>> scanner({'Manufacturer': 'Siemens', 'MagneticFieldStrength': 3, 'EchoTime': 0.002})
    {'Manufacturer': 'Siemens', 'MagneticFieldStrength': 3}
    """
    return {key: metadata[key] for key in output_rules()['scanner_keys'] if metadata.get(key) is not None}


def _slice_facts(metadata: Mapping) -> dict[str, float]:
    """Return what the sidecars of a scan say about its slices: thickness and distance in mm, where they do.

    Parameters
    ----------
    metadata : mapping
        Of the JSON sidecars.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> _slice_facts({'SliceThickness': 5, 'SpacingBetweenSlices': 'unknown'})
    {'slice_thickness_mm': 5}
    """
    keys = {'SliceThickness': 'slice_thickness_mm', 'SpacingBetweenSlices': 'slice_spacing_mm'}
    values = {name: metadata.get(key) for key, name in keys.items()}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def qc_document(
    record: ImageRecord,
    *,
    verdict: str,
    reasons: Sequence[str],
    numbers: Mapping[str, object],
    dictionary: Mapping[str, Mapping],
    header: Mapping[str, object] | None = None,
    provenance: Provenance | None = None,
    **extra: object,
) -> dict:
    """Describe a scan by all its quality numbers.

    Parameters
    ----------
    record : ImageRecord
        The scan; its warnings are kept, and what its sidecars say about scanner and slices.
    verdict : str
        ``'pass'``, ``'review'`` or ``'fail'``.
    reasons : sequence of str
        Why it is not ``'pass'``.
    numbers : mapping
        Name to number, for every name of the dictionary.
    dictionary : mapping of mappings
        Name to ``unit``, ``range`` (lowest and highest value, None without limit) and ``description``; its
        order is that of the document.
    header : mapping, optional
        Orientation, voxel size, codes: what the header says.
    provenance : Provenance, optional
        How the outputs were made.
    **extra : object
        Further keys, which win.

    Returns
    -------
    dict
        For :func:`bids_brainseg.files.write_json`.
    """
    content = sidecar(record, suffix='qc')
    content |= {
        'verdict': verdict,
        'reasons': list(reasons),
        'warnings': list(record.warnings),
        'modality': record.modality,
        'numbers': {name: numbers[name] for name in dictionary},
        'Units': {name: _unit(entry) for name, entry in dictionary.items()},
        'Meaning': meanings(dictionary),
        'header': {**(header or {}), **_slice_facts(record.metadata)},
        'Scanner': scanner(record.metadata),
    }
    if provenance is not None:
        content |= provenance_keys(provenance)
    return content | extra


def meanings(dictionary: Mapping[str, Mapping]) -> dict[str, dict]:
    """Describe numbers as a sidecar does.

    Parameters
    ----------
    dictionary : mapping of mappings
        Name to ``description``, ``unit`` and ``range``.

    Returns
    -------
    dict of dict
        Name to ``Description``, ``Units`` and ``Range``.
    """
    return {
        name: {'Description': entry['description'], 'Units': _unit(entry), 'Range': entry['range']}
        for name, entry in dictionary.items()
    }


def _unit(entry: Mapping) -> str:
    """Spell the unit of a number as the sidecars of images do."""
    return entry['unit'].replace('mm3', 'mm^3') or 'unitless'

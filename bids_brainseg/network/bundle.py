# SPDX-License-Identifier: Apache-2.0
"""Model bundles: a folder with weights, reference and one ``model.json``. No Keras is imported here.

Layout::

    model.json              what this file describes
    weights.safetensors     read by the prediction process only
    reference.nii.gz        head in the bundle's contrast, common space
    mask.nii.gz             cranial cavity on the grid of the reference
    volumes.json            how far volumes are from those of labels; may be absent
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_brainseg.core.geometry import grid_with_spacing
from bids_brainseg.data import label_table_hash, modalities, resource
from bids_brainseg.errors import ModelError
from bids_brainseg.files import read_text, unfetched, write_json, write_text
from bids_brainseg.records import MASK, REFERENCE, WEIGHTS, Bundle

FORMAT = 1
VOLUMES = 'volumes.json'


def find_bundle(modality: str) -> Path:
    """Return the folder of the packaged bundle of a modality.

    Parameters
    ----------
    modality : str
        Suffix of its scans.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        If there is none.
    """
    try:
        return resource(f'models/{modalities()[modality].bundle}')
    except (KeyError, FileNotFoundError) as error:
        raise ModelError(f'no packaged model for {modality!r}; name a bundle with --model') from error


def load_bundle(path: str | os.PathLike) -> Bundle:
    """Read and check a bundle.

    Parameters
    ----------
    path : path
        Its folder.

    Returns
    -------
    Bundle

    Raises
    ------
    ModelError
        If it is no bundle, a file is missing or changed, or its classes are not those of this version.
    """
    path = Path(path).resolve()
    try:
        content = json.loads(read_text(path / 'model.json'))
    except (OSError, ValueError) as error:
        raise ModelError(f'not a model bundle: {path} ({error}); name a folder with model.json') from error
    if content.get('format') != FORMAT:
        raise ModelError(
            f'model bundle of format {content.get("format")!r}: {path}; this version reads format {FORMAT}'
        )
    if content.get('classes') != label_table_hash():
        raise ModelError(
            f'model bundle was made for other classes: {path}; use the version of bids_brainseg it belongs to'
        )
    content = {'mirrored_passes': False, 'usual_entropy': {}} | content  # which older bundles do not say
    names = [n for n in Bundle.__dataclass_fields__ if n not in ('path', 'volume_errors')]
    missing = [n for n in names if n not in content]
    if missing:
        raise ModelError(f'model bundle is incomplete: {path / "model.json"} lacks {", ".join(missing)}')
    for name in (WEIGHTS, REFERENCE, MASK):
        if reason := unfetched(path / name):
            raise ModelError(f'model bundle is incomplete: {path / name}: {reason}')
        if not (path / name).is_file():
            raise ModelError(f'model bundle is incomplete: {path} lacks {name}; get the bundle anew')
        if file_sha256(path / name) != content['sha256'].get(name):
            raise ModelError(
                f'model bundle is damaged: {path / name} does not have the hash in model.json; get it anew'
            )
    content['grid_shape'] = tuple(content['grid_shape'])
    content['grid_affine'] = tuple(tuple(row) for row in content['grid_affine'])
    step = 2 ** content['architecture']['depth']
    if any(n % step for n in content['grid_shape']):
        raise ModelError(
            f'model bundle has a grid of {content["grid_shape"]}: every side must be a multiple of {step}'
        )
    errors = _read_volume_errors(path, content['sha256'][WEIGHTS])
    return Bundle(path=path, volume_errors=errors, **{n: content[n] for n in names})


def _read_volume_errors(path: Path, weights: str) -> dict:
    file = path / VOLUMES
    if not file.is_file():
        return {}
    try:
        content = json.loads(read_text(file))
    except (OSError, ValueError) as error:
        raise ModelError(f'{file} cannot be read ({error}); remove it, or get the bundle anew') from error
    if content.get('weights') != weights:
        raise ModelError(
            f'{file} was made with other weights than those beside it; make it anew with '
            '"python -m bids_brainseg.process calibrate", or remove it: volumes have no interval then'
        )
    if missing := {'slope', 'factor', 'structures'} - content.keys():
        raise ModelError(f'{file} lacks {", ".join(sorted(missing))}; make it anew, or get the bundle anew')
    return content


def write_volume_errors(bundle: Bundle, content: Mapping, text: str) -> Bundle:
    """Put beside a bundle how far its volumes are from those of labels.

    Parameters
    ----------
    bundle : Bundle
    content : mapping
        ``slope``, ``factor`` and ``structures`` of
        :meth:`bids_brainseg.core.volume_errors.VolumeErrors.to_mapping`, and where they come from.
    text : str
        What the card says of them.

    Returns
    -------
    Bundle
        As :func:`load_bundle` reads it.
    """
    write_json({'weights': bundle.weights_sha256, **content}, bundle.path / VOLUMES)
    model = json.loads(read_text(bundle.path / 'model.json'))
    model['card'] = {**model['card'], 'intervals': text}
    write_text(json.dumps(model, indent=2, ensure_ascii=False) + '\n', bundle.path / 'model.json')
    return load_bundle(bundle.path)


def on_grid(bundle: Bundle, spacing: float) -> Bundle:
    """Describe a bundle whose network works on other voxels, over the same field of view.

    Parameters
    ----------
    bundle : Bundle
    spacing : float
        Edge of the voxels, mm.

    Returns
    -------
    Bundle
        Of the same folder; nothing is written.
    """
    multiple = 2 ** bundle.architecture['depth']
    shape, affine = grid_with_spacing(bundle.grid_shape, bundle.grid_affine, spacing, multiple)
    return replace(bundle, grid_shape=shape, grid_affine=tuple(map(tuple, affine.tolist())))


def write_bundle(path: str | os.PathLike, **content: Any) -> Bundle:
    """Complete a folder that holds weights, reference and mask with its ``model.json``.

    Parameters
    ----------
    path : path
        The folder.
    **content
        Fields of :class:`Bundle` other than `path` and `sha256`.

    Returns
    -------
    Bundle
        As :func:`load_bundle` reads it.
    """
    path = Path(path)
    content = {
        'format': FORMAT,
        'classes': label_table_hash(),
        **content,
        'sha256': {name: file_sha256(path / name) for name in (WEIGHTS, REFERENCE, MASK)},
    }
    (path / VOLUMES).unlink(missing_ok=True)  # of the weights that lay here before
    write_text(json.dumps(content, indent=2) + '\n', path / 'model.json')
    return load_bundle(path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the content of a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()

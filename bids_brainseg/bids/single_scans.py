# SPDX-License-Identifier: Apache-2.0
"""Make a BIDS dataset of images and DICOM folders: links and names, nothing of the user's is changed."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from ..data import Modality, modalities
from ..errors import BidsError, InputError
from ..files import write_json, write_text, write_whole
from ..imaging import is_hounsfield, load_image, save_like, volume_count
from ..records import ImageRecord
from .dicom import Series, convert
from .diffusion import has_word
from .names import record_from_path, split_name

DESCRIPTION = {
    'Name': 'single scans',
    'BIDSVersion': '1.10.0',
    'DatasetType': 'raw',
    'GeneratedBy': [
        {'Name': 'bids_brainseg', 'Description': 'Links to scans that were not in a BIDS dataset'}
    ],
}
#: Key of the sidecars: what the user named.
ORIGIN = 'SourceFile'
BIDS_NAME = re.compile(r'sub-[A-Za-z0-9+]+(_[A-Za-z]+-[A-Za-z0-9+]+)*_[A-Za-z0-9]+')
NIFTI = ('.nii.gz', '.nii')
EXTENSIONS = (*NIFTI, '.mgz', '.mgh', '.hdr', '.img', '.json')


class Scan(NamedTuple):
    """One image that becomes a part of the dataset.

    Attributes
    ----------
    image : Path
        What is linked, or copied if it is in a temporary folder.
    origin : Path
        What the user named: the image, or the folder of DICOM files.
    modality : str
    metadata : mapping
        For the sidecar.
    run : int, optional
        To tell apart the scans of one folder.
    """

    image: Path
    origin: Path
    modality: str
    metadata: Mapping
    run: int | None = None


def make_dataset(
    origins: Sequence[Path], dataset: Path, *, modality: str | None = None
) -> list[tuple[Path, ImageRecord]]:
    """Put images and the series of DICOM folders into a dataset, which may hold scans of earlier calls.

    Parameters
    ----------
    origins : sequence of Path
        Images, folders of DICOM files, or single DICOM files of many frames.
    dataset : Path
        Root of the dataset; made if it does not exist. NIfTI files become links.
    modality : str, optional
        Of all scans. Otherwise their names, sidecars or values have to say it.

    Returns
    -------
    list of tuple
        What the user named, and the scan in the dataset.

    Raises
    ------
    BidsError
        With exit code 2 if the modality of a scan is not known, or a folder holds no scan to segment.
    InputError
        If an image cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix='bids_brainseg_dicom_') as scratch:
        scans, unknown = [], []
        for number, origin in enumerate(dict.fromkeys(map(_whole, origins))):
            if is_image(origin):
                metadata = _sidecar(origin)
                name = modality or find_modality(origin, metadata)
                if name is None:
                    unknown.append(origin.name)
                else:
                    scans.append(Scan(origin, origin, name, metadata))
            else:
                series = convert(origin, Path(scratch) / str(number))
                scans += _of_series(series, origin, modality)
        if unknown:
            raise BidsError(
                f'the modality of {", ".join(unknown)} is not known from name, sidecar or values; '
                f'add --modality, one of {", ".join(modalities())}',
                2,
            )
        _write_description(dataset)
        return [(scan.origin, record_from_path(_add(scan, dataset), scan.modality)) for scan in scans]


def _whole(path: Path) -> Path:
    """Name a pair of header and image by the image."""
    image = path.with_suffix('.img')
    return image if path.suffix == '.hdr' and image.is_file() else path


def is_image(path: Path) -> bool:
    """Tell an image from a DICOM file or folder, by its name."""
    return path.name.lower().endswith(EXTENSIONS)


def find_modality(image: Path, metadata: Mapping) -> str | None:
    """Tell the modality of an image from its name, its sidecar, its b-values or its values.

    Parameters
    ----------
    image : Path
    metadata : mapping
        Its sidecar.

    Returns
    -------
    str or None
        None if nothing says it, or if two are named.
    """
    named = modality_of_words(_stem(image))
    if named is not None:
        return named
    if (described := modality_of_metadata(metadata)) is not None:
        return described
    if _beside(image, '.bval').is_file():
        return next(name for name, rule in modalities().items() if rule.diffusion is not None)
    return _modality_of_values(image)


def modality_of_words(text: str) -> str | None:
    """Tell the modality from the words in the name of a file or the description of a series.

    Examples
    --------
    >>> modality_of_words('IXI002-Guys-0828-T1'), modality_of_words('sub-01_acq-2D_FLAIR')
    ('T1w', 'FLAIR')
    >>> modality_of_words('ep2d_diff_ADC'), modality_of_words('t1_flair'), modality_of_words('0042')
    (None, None, None)
    """
    words = [word for word in re.split(r'[^A-Za-z0-9]+', text) if word]
    found = [name for name, rule in modalities().items() if _says(words, rule)]
    return found[0] if len(found) == 1 else None


def modality_of_metadata(metadata: Mapping) -> str | None:
    """Tell the modality from a sidecar, as converters of DICOM write it."""
    kind = metadata.get('Modality')
    if kind in (None, 'MR'):
        text = [str(metadata.get(key, '')) for key in ('SeriesDescription', 'ProtocolName')]
        kinds = metadata.get('ImageType') or ()  # ADC, TRACEW ...
        return modality_of_words(' '.join([*text, *map(str, kinds if isinstance(kinds, list) else [kinds])]))
    return next((name for name, rule in modalities().items() if kind in rule.suffixes), None)


def _says(words: Sequence[str], rule: Modality) -> bool:
    own = (*rule.scan_words, *(suffix.casefold() for suffix in rule.suffixes))
    others = any(word.casefold() in rule.excluded_values for word in words)
    return has_word(words, own) and not has_word(words, rule.excluded_words) and not others


def _modality_of_values(image: Path) -> str | None:
    """Return the modality with Hounsfield units if air and brain have the values of that unit."""
    names = [name for name, rule in modalities().items() if rule.hounsfield]
    if len(names) != 1 or volume_count(image) > 1:
        return None
    try:
        return names[0] if is_hounsfield(load_image(image)) else None
    except InputError:
        return None


def _of_series(series: Sequence[Series], origin: Path, modality: str | None) -> list[Scan]:
    """Choose the series of a folder that can be segmented."""
    known = {one: one.diffusion or modality_of_metadata(one.metadata) for one in series}
    chosen = {one: name for one, name in known.items() if name is not None and modality in (None, name)}
    if not chosen and modality is not None and len(series) == 1 and known[series[0]] is None:
        chosen = {series[0]: modality}
    if not chosen:
        listed = '; '.join(one.title for one in series)
        raise BidsError(
            f'{origin} holds no series that can be segmented{f" as {modality}" if modality else ""}; found: '
            f'{listed}. Give the folder of one series with --modality, one of {", ".join(modalities())}',
            2,
        )
    names = list(chosen.values())
    return [
        Scan(one.image, origin, name, one.metadata, _run(names, index))
        for index, (one, name) in enumerate(chosen.items())
    ]


def _run(names: Sequence[str], index: int) -> int | None:
    """Number the scans of one modality, if there are several.

    >>> [_run(['T1w', 'ct', 'T1w'], index) for index in range(3)]
    [1, None, 2]
    """
    name = names[index]
    return names[: index + 1].count(name) if names.count(name) > 1 else None


def _write_description(dataset: Path) -> None:
    write_text(
        ''.join(f'{pattern}\n' for rule in modalities().values() for pattern in rule.bidsignore),
        dataset / '.bidsignore',
    )
    write_json(DESCRIPTION, dataset / 'dataset_description.json')


def _add(scan: Scan, dataset: Path) -> Path:
    """Put one scan into the dataset, under a label that no other scan has."""
    rule = modalities()[scan.modality]
    named = BIDS_NAME.fullmatch(_stem(scan.origin))
    entities, suffix = split_name(_stem(scan.origin))[:2] if named else ({'sub': _label(scan.origin)}, '')
    if scan.run is not None:
        entities['run'] = str(scan.run)
    suffix = suffix if suffix in rule.suffixes else rule.suffixes[0]
    extension = '.nii' if scan.image.name.endswith('.nii') else '.nii.gz'
    for label in _labels(entities['sub']):
        pairs = {**entities, 'sub': label}
        folders = [f'{key}-{pairs[key]}' for key in ('sub', 'ses') if key in pairs]
        name = '_'.join([*(f'{key}-{value}' for key, value in pairs.items()), suffix])
        target = dataset.joinpath(*folders, rule.datatypes[0], name + extension)
        if _claim(dataset, target, scan.origin, shared=bool(named)):
            _fill(scan, target, diffusion=rule.diffusion is not None)
            return target
    raise AssertionError  # the labels do not end


def _claim(dataset: Path, target: Path, origin: Path, *, shared: bool) -> bool:
    """Reserve a label for a scan, or find it reserved for the same one.

    Parameters
    ----------
    dataset, target, origin : Path
        Root of the dataset, scan in it, and what the user named.
    shared : bool
        The name is that of BIDS, whose participants have several scans; otherwise a label is of one origin.
    """
    subject = dataset / target.relative_to(dataset).parts[0]
    names = {path.name for path in dataset.glob('sub-*')} - {subject.name}
    if subject.name.casefold() in map(str.casefold, names):
        return False  # another label on a disk that ignores case
    try:
        subject.mkdir(parents=True)
        return True
    except FileExistsError:
        pass
    if shared:
        sidecar = _beside(target, '.json')
        return not sidecar.exists() or _origin(sidecar) == origin
    return {_origin(path) for path in subject.rglob('*.json')} == {origin}


def _fill(scan: Scan, target: Path, *, diffusion: bool) -> None:
    """Write sidecar and image; the image comes last, so that a scan is whole or absent."""
    write_json({**scan.metadata, ORIGIN: str(scan.origin)}, _beside(target, '.json'))
    take = _link if scan.image == scan.origin else _copy  # what was converted is in a temporary folder
    for extension in ('.bval', '.bvec') if diffusion else ():
        if (table := _beside(scan.image, extension)).is_file():
            take(table, _beside(target, extension))
    if scan.image.name.endswith(NIFTI):
        take(scan.image, target)
    else:
        image = load_image(scan.image)
        save_like(image.data, image, target)


def _link(source: Path, target: Path) -> None:
    if target.is_symlink() and target.readlink() == source:
        return
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(source)
    except OSError:  # a file system without links
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    with write_whole(target) as temporary:
        shutil.copyfile(source, temporary)


def _labels(label: str) -> Iterator[str]:
    """Give a label, and what to call it if it is taken.

    >>> from itertools import islice
    >>> list(islice(_labels('scan'), 3))
    ['scan', 'scanx2', 'scanx3']
    """
    yield label
    for number in count(2):
        yield f'{label}x{number}'


def _label(origin: Path) -> str:
    """Make a label of the name of a file or folder.

    >>> _label(Path('/data/MPRAGE 0042 (2).nii.gz')), _label(Path('/dicom/é_-'))
    ('MPRAGE00422', 'scan')
    """
    return re.sub(r'[^A-Za-z0-9]', '', _stem(origin)) or 'scan'


def _stem(path: Path) -> str:
    extension = next((end for end in EXTENSIONS if path.name.lower().endswith(end)), '')
    return path.name[: len(path.name) - len(extension)]


def _beside(image: Path, extension: str) -> Path:
    return image.with_name(_stem(image) + extension)


def _sidecar(image: Path) -> dict:
    try:
        content = json.loads(_beside(image, '.json').read_text(encoding='utf-8-sig'))
    except (OSError, ValueError):  # none, or none that can be read: it is not needed
        return {}
    return content if isinstance(content, dict) else {}


def _origin(sidecar: Path) -> Path | None:
    try:
        return Path(json.loads(sidecar.read_text(encoding='utf-8'))[ORIGIN])
    except (OSError, ValueError, KeyError, TypeError):
        return None

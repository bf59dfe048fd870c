# SPDX-License-Identifier: Apache-2.0
"""Convert DICOM files by dcm2niix; nothing is written beside them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data import modalities
from ..errors import BidsError
from ..imaging import image_shape
from ..lifetime import bound

#: A stack of fewer slices is a localizer.
MIN_SLICES = 6
#: What dcm2niix adds to the name of a series that it resampled: gantry tilt, unequal slices.
CORRECTED = re.compile(r'(?:_(?:Tilt|Eq)(?:_\d+)?)+', re.IGNORECASE)
#: Who the scan is of, and where and by whom it was made, stays out of the sidecar.
PRIVATE = re.compile(
    r'^(Patient(?!Position)|Institution|Station|Device|Referring|Performing|Accession|Procedure|Study|Operator)|UID$'
)


@dataclass(frozen=True, eq=False)
class Series:
    """One series, converted.

    Attributes
    ----------
    image : Path
        NIfTI, with ``.bval`` and ``.bvec`` beside it if it has b-values.
    metadata : mapping
        As dcm2niix describes it, without who the scan is of.
    """

    image: Path
    metadata: Mapping

    @property
    def diffusion(self) -> str | None:
        """Name of the modality of diffusion series, if this is one."""
        kinds = {str(kind).casefold() for kind in self.metadata.get('ImageType', ())}
        measured = self.image.with_name(self.image.name.removesuffix('.nii.gz') + '.bval').is_file()
        for name, rule in modalities().items():
            if rule.diffusion is not None and not kinds & {*rule.excluded_words, *rule.excluded_values}:
                return name if measured or kinds & {*rule.diffusion['trace_words']} else None
        return None

    @property
    def title(self) -> str:
        """Number and description, for messages."""
        about = self.metadata
        return f'{about.get("SeriesNumber", "?")} {about.get("SeriesDescription", "")}'.strip()


def convert(source: Path, out_dir: Path) -> list[Series]:
    """Convert the series of a folder, or one DICOM file of many frames.

    Parameters
    ----------
    source : Path
        Folder, searched with the folders in it, or file.
    out_dir : Path
        Made; holds the images.

    Returns
    -------
    list of Series
        By date and number, without localizers, and without the original of a series that was resampled.

    Raises
    ------
    BidsError
        With exit code 2 if there are no DICOM images, or those of several people.
    """
    import dcm2niix

    out_dir.mkdir(parents=True)
    single = ['-s', 'y'] if source.is_file() else []
    options = ['-z', 'y', '-b', 'y', '-ba', 'n', '-d', '9', '-f', '%s', *single]
    command = [dcm2niix.bin, *options, '-o', str(out_dir), str(source)]
    run = subprocess.run(bound(command), capture_output=True, text=True, check=False, errors='replace')
    images = sorted(out_dir.glob('*.nii.gz'))
    if not images:
        said = [line for line in (run.stdout + run.stderr).splitlines() if 'error' in line.lower()]
        raise BidsError(
            f'no DICOM image found in {source}, and it is no BIDS dataset (it has no '
            f'dataset_description.json){": " + said[-1] if said else ""}; name an image, a folder of DICOM '
            'files, or BIDS_DIR OUTPUT_DIR LEVEL',
            2,
        )
    described = {image: _metadata(image) for image in images}
    persons = {tuple(str(about.get(key)) for key in _PERSON) for about in described.values() if about}
    if len(persons) > 1:
        raise BidsError(f'{source} holds scans of {len(persons)} people; give one folder for each', 2)
    chosen = [image for image in images if _is_whole(image) and not _is_superseded(image, images)]
    if not chosen:
        raise BidsError(f'{source} holds localizers alone; give the folder of a whole scan', 2)
    series = [
        Series(image, {key: value for key, value in described[image].items() if not PRIVATE.search(key)})
        for image in chosen
    ]
    return sorted(series, key=_order)


_PERSON = ('PatientID', 'PatientName', 'PatientBirthDate')


def _metadata(image: Path) -> dict:
    """Read the sidecar of a series; a resampled copy shares that of the original."""
    sidecar = image.with_name(CORRECTED.sub('', image.name.removesuffix('.nii.gz')) + '.json')
    own = image.with_name(image.name.removesuffix('.nii.gz') + '.json')
    for path in (own, sidecar):
        if path.is_file():
            return json.loads(path.read_text(encoding='utf-8', errors='replace'))
    return {}


def _is_superseded(image: Path, images: list[Path]) -> bool:
    """Whether dcm2niix wrote a copy of this series with equal, upright slices."""
    stem = image.name.removesuffix('.nii.gz')
    longer = (other.name.removesuffix('.nii.gz') for other in images if other != image)
    return any(name.startswith(stem) and CORRECTED.fullmatch(name[len(stem) :]) for name in longer)


def _is_whole(image: Path) -> bool:
    return (*image_shape(image), 1)[2] >= MIN_SLICES


def _order(series: Series) -> tuple:
    about = series.metadata
    return (str(about.get('AcquisitionDateTime', '')), int(about.get('SeriesNumber', 0)), series.image.name)

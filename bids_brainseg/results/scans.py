# SPDX-License-Identifier: Apache-2.0
"""What is written already: the scans of a subject from its outputs alone, without the raw data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..bids.names import sort_key, split_name, strip_prefix
from ..bids.sidecars import output_rules
from ..data import datatypes

OWN = 'orig'  # the space of the scan itself; the same scan in a template's space is another matter


@dataclass(frozen=True)
class ScanOutputs:
    """The outputs of one scan that are on disk.

    Attributes
    ----------
    name : str
        The scan's entities and its label: ``sub-01_ses-1_T1w``.
    label : str
        ``desc`` of the outputs: ``T1w``.
    subject, session : str
        Labels without prefix; the session may be None.
    datatype : str
        Folder of the modality: ``'anat'``, ``'dwi'`` ...
    entities : dict of str
        Those of the scan.
    files : dict of Path
        ``'dseg'``, ``'probseg'``, ``'uncertainty'``, ``'morph'``, ``'qc'``, ``'xfm'`` (scan to reference),
        ``'xfm_inverse'``; only what exists.
    figures : dict of Path
        Kind (``'alignment'``) to figure.
    """

    name: str
    label: str
    subject: str
    session: str | None
    datatype: str
    entities: dict[str, str]
    files: dict[str, Path] = field(default_factory=dict)
    figures: dict[str, Path] = field(default_factory=dict)


def list_outputs(output_dir: Path, subject: str) -> list[ScanOutputs]:
    """Find the scans of a subject that have outputs, by session, data type and name.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    subject : str
        Label, with or without ``sub-``.
    """
    top = Path(output_dir) / f'sub-{strip_prefix(subject, "sub")}'
    found: dict[tuple, ScanOutputs] = {}
    transforms = []
    for path in sorted([*top.glob('*/*'), *top.glob('ses-*/*/*')]):
        entities, suffix, extension = split_name(path.name)
        if path.name.startswith('.') or path.parent.name not in datatypes() or not path.is_file():
            continue
        if suffix == 'xfm' and extension == '.txt':
            transforms.append((path, entities))
        elif (
            _main(suffix) == extension
            and {'sub', 'desc'} <= set(entities)
            and entities.get('space', OWN) == OWN
        ):
            scan = _scan(found, path, entities)
            scan.files[suffix] = path
    for path, entities in transforms:
        for (_, source, label), scan in found.items():
            if scan.datatype == path.parent.name and source == _source(entities):
                if entities.get('from') == label:
                    scan.files['xfm'] = path
                elif entities.get('to') == label:
                    scan.files['xfm_inverse'] = path
    for path in sorted(top.glob('figures/*')):
        entities, suffix, _ = split_name(path.name)
        for (_, source, label), scan in found.items():
            if suffix == label and source == _source(entities) and 'desc' in entities:
                scan.figures[entities['desc']] = path
    return sorted(found.values(), key=lambda scan: (sort_key(scan.session), scan.datatype, scan.name))


def _main(suffix: str) -> str | None:
    return {
        'dseg': '.nii.gz', 'probseg': '.nii.gz', 'uncertainty': '.nii.gz', 'morph': '.tsv', 'qc': '.json'
    }.get(suffix)  # fmt: skip


def _source(entities: dict[str, str]) -> tuple:
    return tuple((k, v) for k, v in entities.items() if k not in output_rules()['folded_into_desc'])


def _scan(found: dict[tuple, ScanOutputs], path: Path, entities: dict[str, str]) -> ScanOutputs:
    source, label = _source(entities), entities['desc']
    key = (path.parent, source, label)
    if key not in found:
        found[key] = ScanOutputs(
            name='_'.join([*(f'{k}-{v}' for k, v in source), label]),
            label=label,
            subject=entities['sub'],
            session=entities.get('ses'),
            datatype=path.parent.name,
            entities=dict(source),
        )
    return found[key]

# SPDX-License-Identifier: Apache-2.0
"""The methods section: what was done, with the parameters that the results themselves carry."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache

from ..data import resource

BACK = {
    'posterior': 'the probabilities were interpolated linearly onto the grid of the scan, where the '
    'likeliest structure was taken',
    'nearest': 'the labels were carried to the grid of the scan, each voxel taking the nearest one',
}
#: What every run rests on, and where passes were drawn; in the order of the list of references.
ALWAYS = ('zopes2021', 'klein2010', 'buckner2004', 'gorgolewski2011', 'gorgolewski2016')
PASSES = ('gal2016',)
#: Cited where the card of a model says that it learned from scans drawn from label maps.
SYNTHETIC, SYNTHETIC_WORDS = ('billot2023',), ('synthseg', 'generative model')


@cache
def references() -> dict[str, dict]:
    """Return what may be cited (``references.json``), key to fields of BibTeX."""
    return json.loads(resource('references.json').read_text(encoding='utf-8'))


def methods_text(qcs: Iterable[Mapping], cards: Mapping[tuple[str, str], Mapping] | None = None) -> str:
    """Describe how scans were processed, one paragraph for each way.

    Parameters
    ----------
    qcs : iterable of mapping
        Contents of ``*_qc.json``; those of scans without a result are passed over.
    cards : mapping, optional
        :func:`model_key` to ``model.json`` of the bundle.

    Returns
    -------
    str
        Paragraphs and ``#`` headings, parted by blank lines; '' if no scan has a result.
    """
    qcs = [qc for qc in qcs if qc.get('Model')]
    cards = cards or {}
    modalities: dict[str, list[str]] = {}
    for qc in qcs:
        found = modalities.setdefault(_paragraph(qc, cards), [])
        if qc.get('modality') not in found:
            found.append(str(qc.get('modality')))
    if not modalities:
        return ''
    paragraphs = [f'{", ".join(found)} scans {text}' for text, found in modalities.items()]
    listed = '\n\n'.join(_cited(references()[key]) for key in cited(qcs, cards))
    return '\n\n'.join([*paragraphs, f'# References\n\n{listed}'])


def cited(qcs: Iterable[Mapping], cards: Mapping[tuple[str, str], Mapping] | None = None) -> list[str]:
    """List the keys of what these results rest on."""
    qcs = [qc for qc in qcs if qc.get('Model')]
    keys = set(ALWAYS if qcs else ())
    for qc in qcs:
        keys |= set(PASSES if _passes_of(qc) else ())
        keys |= set(SYNTHETIC if _is_synthetic(qc, cards or {}) else ())
    return [key for key in references() if key in keys]


def bibliography(qcs: Iterable[Mapping], cards: Mapping[tuple[str, str], Mapping] | None = None) -> str:
    """Write the references of :func:`methods_text` as BibTeX; '' if no scan has a result."""
    entries = []
    for key in cited(qcs, cards):
        fields = dict(references()[key])
        kind = fields.pop('type')
        if kind == 'inproceedings':
            fields['booktitle'] = fields.pop('journal')
        fields['pages'] = fields['pages'].replace('-', '--')
        fields['author'] = ' and '.join(
            name if name == 'others' else ', '.join(name.rsplit(' ', 1))
            for name in fields['author'].split(' and ')
        )
        inner = ',\n'.join(f'  {name} = {{{text}}}' for name, text in fields.items())
        entries.append(f'@{kind}{{{key},\n{inner}\n}}\n')
    return '\n'.join(entries)


def model_key(qc: Mapping) -> tuple[str, str]:
    """Name the model behind a result: its name, and the hash of its weights."""
    model = qc.get('Model') or {}
    return str(model.get('Name')), str(model.get('SHA256'))


def _cited(fields: Mapping[str, str]) -> str:
    authors = fields['author'].replace(' and others', ', et al').replace(' and ', ', ')
    place = f'{fields["journal"]} {fields["volume"]}:{fields["pages"]} ({fields["year"]})'
    return f'{authors}. {fields["title"]}. {place}. doi:{fields["doi"]}'


def _paragraph(qc: Mapping, cards: Mapping[tuple[str, str], Mapping]) -> str:
    model = qc['Model']
    version = (qc.get('Versions') or {}).get('bids_brainseg', '')
    name, weights = model.get('Name'), str(model.get('SHA256') or '')[:12]
    learned = ''
    if _is_synthetic(qc, cards):
        learned = ', trained on scans drawn from label maps by a generative model after Billot et al. (2023)'
    return (
        f'were segmented into 27 structures by bids_brainseg {version} (model {name}, weights {weights}), '
        'a nipype workflow (Gorgolewski et al., 2011) over a BIDS dataset (Gorgolewski et al., 2016), '
        f'after Zopes et al. (2021). Each was aligned to the reference {model.get("Reference")} '
        'by an affine transform (elastix; Klein et al., 2010), resampled onto the grid of the network, '
        f'scaled to intensities from 0 to 100, and given to a 3D U-Net{learned}. {_passes(qc)} '
        f'By the inverse of the affine, {BACK[str(qc.get("LabelResampling", "posterior"))]}. '
        'The uncertainty is the entropy of the mean softmax, divided by log 28. The intracranial '
        'volume was estimated from the determinant of the affine (Buckner et al., 2004).'
    )


def _passes_of(qc: Mapping) -> int:
    return int(qc.get('MonteCarloSamples') or 0)


def _is_synthetic(qc: Mapping, cards: Mapping[tuple[str, str], Mapping]) -> bool:
    card = (cards.get(model_key(qc)) or {}).get('card') or {}
    told = str((card.get('training') or {}).get('data', '')).lower()
    return any(word in told for word in SYNTHETIC_WORDS)


def _passes(qc: Mapping) -> str:
    passes = _passes_of(qc)
    if not passes:
        return 'The network was applied once, without Monte-Carlo dropout, so no spread is given.'
    threshold = (qc.get('Thresholds') or {}).get('cv_percent')
    marked = '' if threshold is None else f', marked above {threshold:g} %'
    turned = ', half of which saw the scan mirrored left to right' if qc.get('MirroredPasses') else ''
    return (
        f'The segmentation is the likeliest structure of the mean of {passes} passes with dropout active '
        f'(Monte-Carlo dropout; Gal and Ghahramani, 2016; '
        f'seed {qc.get("RandomSeed", "n/a")}){turned}; the spread of '
        f'a volume over the passes is given as its coefficient of variation{marked}.'
    )

# SPDX-License-Identifier: Apache-2.0
"""The methods section: what was done, with the parameters that the results themselves carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

REFERENCES = (
    'Zopes J, Platscher M, Paganucci S, Federau C. Multi-modal segmentation of 3D brain scans using '
    'neural networks. Frontiers in Neurology 12:653375 (2021). doi:10.3389/fneur.2021.653375',
    'Klein S, Staring M, Murphy K, Viergever MA, Pluim JPW. elastix: a toolbox for intensity-based medical '
    'image registration. IEEE Trans Med Imaging 29:196-205 (2010). doi:10.1109/TMI.2009.2035616',
)
BACK = {
    'posterior': 'the probabilities were interpolated linearly onto the grid of the scan, where the '
    'likeliest structure was taken',
    'nearest': 'the labels were carried to the grid of the scan, each voxel taking the nearest one',
}


def methods_text(qcs: Iterable[Mapping]) -> str:
    """Describe how scans were processed, one paragraph for each way.

    Parameters
    ----------
    qcs : iterable of mapping
        Contents of ``*_qc.json``; those of scans without a result are passed over.

    Returns
    -------
    str
        Paragraphs and ``#`` headings, parted by blank lines; '' if no scan has a result.
    """
    modalities: dict[str, list[str]] = {}
    for qc in qcs:
        if qc.get('Model'):
            found = modalities.setdefault(_paragraph(qc), [])
            if qc.get('modality') not in found:
                found.append(str(qc.get('modality')))
    if not modalities:
        return ''
    paragraphs = [f'{", ".join(found)} scans {text}' for text, found in modalities.items()]
    listed = '\n\n'.join(REFERENCES)
    return '\n\n'.join([*paragraphs, f'# References\n\n{listed}'])


def _paragraph(qc: Mapping) -> str:
    model = qc['Model']
    version = (qc.get('Versions') or {}).get('bids_brainseg', '')
    name, weights = model.get('Name'), str(model.get('SHA256') or '')[:12]
    return (
        f'were segmented into 27 structures by bids_brainseg {version} (model {name}, weights {weights}), '
        f'after Zopes et al. (2021). Each was aligned to the reference {model.get("Reference")} '
        'by an affine transform (elastix; Klein et al., 2010), resampled onto the grid of the network, '
        f'scaled to intensities from 0 to 100, and given to a 3D U-Net. {_passes(qc)} By the inverse of the '
        'affine, '
        f'{BACK[str(qc.get("LabelResampling", "posterior"))]}. The uncertainty is the entropy of the mean '
        'softmax, divided by log 28.'
    )


def _passes(qc: Mapping) -> str:
    passes = int(qc.get('MonteCarloSamples') or 0)
    if not passes:
        return 'The network was applied once, without Monte-Carlo dropout, so no spread is given.'
    threshold = (qc.get('Thresholds') or {}).get('cv_percent')
    marked = '' if threshold is None else f', marked above {threshold:g} %'
    return (
        f'The segmentation is the likeliest structure of the mean of {passes} passes with dropout active '
        f'(Monte-Carlo dropout, seed {qc.get("RandomSeed", "n/a")}); the spread of a volume over the passes '
        f'is given as its coefficient of variation{marked}.'
    )


def methods_html(text: str) -> str:
    """Turn paragraphs, parted by blank lines, and ``#`` headings into HTML; '' stays ''."""
    parts = []
    for block in (block.strip() for block in text.split('\n\n')):
        if block.startswith('#'):
            heading, _, block = block.partition('\n')
            parts.append(f'<h4>{escape(heading.lstrip("# "))}</h4>')
        if block:
            parts.append(f'<p>{escape(block)}</p>')
    return f'<div class="methods">{"".join(parts)}</div>' if parts else ''

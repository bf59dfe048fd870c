# SPDX-License-Identifier: Apache-2.0
"""Phrases of the methods text that depend on the parameters of a run.

``[@key]`` and ``@key`` cite an entry of ``data/references.json``. Each sentence is a line. What differs
between models stands in sentences of its own, and none names a subject or a modality, because pages say once
what scans share.
"""

from __future__ import annotations

from collections.abc import Mapping

from nipype import __version__ as nipype_version

from .. import __version__

#: Words in the card of a model by which it learned from scans synthesized from label maps.
SYNTHETIC_WORDS = ('synthseg', 'generative model')

RESAMPLING = {
    'posterior': 'the mean probabilities were interpolated linearly onto the grid of {image}, where each '
    'voxel received the most probable structure',
    'nearest': 'the most probable structures were resampled to the grid of {image} by nearest neighbor',
}
INTENSITY = {
    ('window', None): 'the window from {low:g} to {high:g}',
    ('percentile', None): 'the range between percentiles {low:g} and {high:g} of the head',
    (
        'percentile',
        'cavity',
    ): 'the range from percentile {low:g} of all voxels to percentile {high:g} of the brain',
}


def program() -> str:
    """Name this program, its version and what it stands on.

    >>> program().startswith('Scans were segmented into 27 structures with bids_brainseg ')
    True
    """
    return (
        f'Scans were segmented into 27 structures with bids_brainseg {__version__}, a workflow of nipype '
        f'{nipype_version} [@gorgolewski2011] over a BIDS dataset [@gorgolewski2016], after the method of '
        '@zopes2021.\n'
    )


def intensity_range(rule: Mapping) -> str:
    """Say what a rule scales to [0, 100].

    >>> intensity_range({'type': 'window', 'low': 0, 'high': 80})
    'the window from 0 to 80'
    """
    return INTENSITY[rule['type'], rule.get('region')].format(**rule)


def network_grid(shape: tuple[int, ...], affine: tuple[tuple[float, ...], ...]) -> str:
    """Give the voxels of a grid whose axes are those of space, and their size.

    >>> network_grid((112, 144, 128), ((1.4, 0, 0, -78), (0, 1.4, 0, -112), (0, 0, 1.4, -78), (0, 0, 0, 1)))
    '112 x 144 x 128 voxels of 1.4 x 1.4 x 1.4 mm'
    """
    sizes = ' x '.join(f'{sum(affine[row][axis] ** 2 for row in range(3)) ** 0.5:g}' for axis in range(3))
    return f'{" x ".join(map(str, shape))} voxels of {sizes} mm'


def training_data(card: Mapping) -> str:
    """Say what kind of scans a model learned from, as far as its card says.

    >>> training_data({'training': {'data': 'label maps (SynthSeg repository)'}})
    ', trained on synthetic scans generated from label maps [after @billot2023]'
    >>> training_data({})
    ''
    """
    data = str((card.get('training') or {}).get('data', '')).lower()
    synthetic = any(word in data for word in SYNTHETIC_WORDS)
    return ', trained on synthetic scans generated from label maps [after @billot2023]' * synthetic


def passes(mc_samples: int, mirrored: bool, random_seed: int) -> str:
    """Say how often the network was applied.

    >>> passes(0, False, 0)
    'in one pass without dropout'
    >>> passes(15, True, 0)
    'as the mean of 15 passes with dropout active [Monte-Carlo dropout, seed 0; @gal2016], half of which saw the scan mirrored left to right'
    """  # noqa: E501
    if not mc_samples:
        return 'in one pass without dropout'
    half = ', half of which saw the scan mirrored left to right' * mirrored
    return (
        f'as the mean of {mc_samples} passes with dropout active [Monte-Carlo dropout, seed {random_seed}; '
        f'@gal2016]{half}'
    )


def arithmetic(precision: str) -> str:
    """Say with which numbers the network computed, unless they were the usual ones.

    >>> arithmetic('mixed_bfloat16'), arithmetic('float32')
    (', in bfloat16 arithmetic', '')
    """
    return '' if precision == 'float32' else f', in {precision.removeprefix("mixed_")} arithmetic'


def measures(mc_samples: int, cv_threshold: float, intervals: bool) -> str:
    """Say what is measured.

    >>> 'Coefficients above 12 % are marked.' in measures(15, 12.0, False)
    True
    >>> 'oefficient' in measures(1, 12.0, False)
    False
    """
    ends = (
        'Volumes are those of the labels; each has a 90 % interval for the volume of reference labels, from '
        'the errors of the model on labeled scans and the spread over the passes [locally weighted conformal '
        'prediction; @lei2018].\n'
    )
    spread = (
        'The spread of a volume over the passes is given as its coefficient of variation.\n'
        f'Coefficients above {cv_threshold:g} % are marked.\n'
    )
    return (
        'Uncertainty is the entropy of the mean probabilities, divided by log 28.\n'
        f'{spread * (mc_samples > 1)}'
        f'{ends * intervals}'
        'The intracranial volume was estimated from the spread of the cerebrum (the determinant of '
        'its covariance), which follows the size of a head as the determinant of the affine to an atlas '
        'does [@buckner2004].\n'
    )

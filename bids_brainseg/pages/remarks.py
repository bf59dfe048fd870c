# SPDX-License-Identifier: Apache-2.0
"""What the header and the values of a scan mean for its volumes, in words."""

from __future__ import annotations

from collections.abc import Mapping

from ..data import modalities

OBLIQUE_DEGREES = 20.0
SHEAR_DEGREES = 0.5
LONG_VOXEL, THICK_MM = 3.0, 3.0
UNEVEN = 0.02  # relative difference between what sidecar and header say
CUT, INSIDE, SATURATED = 0.05, 0.99, 0.001
HU_RANGE = (-4096.0, 16000.0)
SPACES = {3: 'Talairach', 4: 'MNI'}


def remarks(qc: Mapping) -> list[str]:
    """Say in words what is unusual about the grid, the field of view and the intensities of a scan.

    Parameters
    ----------
    qc : mapping
        ``header``, ``numbers`` and ``modality``, as in ``*_qc.json``; what is absent is ignored.

    Returns
    -------
    list of str
        Sentences; none for a scan without anything unusual.
    """
    header, numbers = qc.get('header') or {}, qc.get('numbers') or {}
    return [
        *_codes(header),
        *_axes(header),
        *_slices(header),
        *_field_of_view(numbers),
        *_values(header, numbers, str(qc.get('modality'))),
    ]


def _codes(header: Mapping) -> list[str]:
    sentences = []
    qform, sform = header.get('qform_code'), header.get('sform_code')
    for name, code in (('qform', qform), ('sform', sform)):
        if code in SPACES:
            sentences.append(
                f'The {name} code is {code} ({SPACES[code]} space). If the scan was scaled or warped to a '
                'template, its volumes are not those of the head.'
            )
    if sform == 0 and qform:
        sentences.append('The sform code is 0; the qform gives the position.')
    if qform == 0 and sform:
        sentences.append(
            'The qform code is 0; software that reads only the qform cannot tell left from right.'
        )
    return sentences


def _axes(header: Mapping) -> list[str]:
    sentences = []
    angle, shear = _number(header, 'obliquity_degrees'), _number(header, 'shear_degrees')
    if angle > OBLIQUE_DEGREES:
        sentences.append(f'The slices are oblique by {angle:.0f}°; volumes are not affected.')
    if shear > SHEAR_DEGREES:
        sentences.append(
            f'The axes are {shear:.1f}° away from right angles, as in a CT with a tilted gantry. The affine '
            'records this and the volumes account for it; software that ignores it shows a sheared head.'
        )
    return sentences


def _slices(header: Mapping) -> list[str]:
    sentences = []
    sizes = header.get('voxel_size_mm') or [1.0]
    long, ratio = max(sizes), _number(header, 'anisotropy')
    if ratio > LONG_VOXEL or long > THICK_MM:
        sentences.append(
            f'Voxels are {long:.3g} mm long and {min(sizes):.3g} mm wide. Small and thin structures are '
            'averaged with their neighbors, so their volumes are less certain.'
        )
    spacing, thickness = _number(header, 'slice_spacing_mm'), _number(header, 'slice_thickness_mm')
    if spacing > 0 and all(abs(size / spacing - 1) > UNEVEN for size in sizes):
        sentences.append(
            f'The sidecar gives a slice spacing of {spacing:.3g} mm, but no axis of the image has it: slices '
            'may be uneven or missing.'
        )
    if thickness > 0 and long > thickness * (1 + 5 * UNEVEN):
        sentences.append(
            f'Slices are {thickness:.3g} mm thick but {long:.3g} mm apart: the gaps were not imaged.'
        )
    return sentences


def _field_of_view(numbers: Mapping) -> list[str]:
    sentences = []
    cut, inside = _number(numbers, 'fov_truncation'), numbers.get('fov_coverage')
    if cut > CUT:
        sentences.append(
            f'Structures touch the edge of the field of view (with more than {100 * cut:.0f} % of their '
            'largest cross-section). The brain may be cut off and its volumes too small.'
        )
    if isinstance(inside, int | float) and inside < INSIDE:
        sentences.append(
            f'By the alignment, {100 * (1 - inside):.1f} % of the brain lies outside the field of view.'
        )
    return sentences


def _values(header: Mapping, numbers: Mapping, modality: str) -> list[str]:
    sentences = []
    low, high = header.get('value_range') or (0, 0)
    known = modalities().get(modality)
    if known and known.hounsfield and (low < HU_RANGE[0] or high > HU_RANGE[1]):
        sentences.append(
            f'Values range from {low:.0f} to {high:.0f} HU, beyond any tissue: metal or padding.'
        )
    if known and not known.hounsfield and low < 0:
        sentences.append(
            f'The lowest value is {low:.4g}, but MR magnitude is never negative. Is the scan filtered? If '
            'many are, signal to noise and contrast cannot be measured.'
        )
    fraction = _number(numbers, 'saturation_fraction')
    if fraction > SATURATED:
        sentences.append(
            f'{100 * fraction:.1f} % of the brain has the largest value of the scan: it was clipped.'
        )
    return sentences


def _number(values: Mapping, name: str) -> float:
    """Return a number, 0 where there is none."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else 0.0

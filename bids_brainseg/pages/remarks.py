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
        ``header``, ``numbers`` and ``modality``, as in ``*_qc.json``; what is absent is passed over.

    Returns
    -------
    list of str
        Sentences; none for a scan without peculiarities.
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
    told = []
    qform, sform = header.get('qform_code'), header.get('sform_code')
    for name, code in (('qform', qform), ('sform', sform)):
        if code in SPACES:
            told.append(
                f'The {name} code {code} says that the scan lies in {SPACES[code]} space. If it was fitted '
                'to a template, its volumes are not those of the head.'
            )
    if sform == 0 and qform:
        told.append('The sform code is 0; the position comes from the qform.')
    if qform == 0 and sform:
        told.append('The qform code is 0; programs that read only the qform do not know left from right.')
    return told


def _axes(header: Mapping) -> list[str]:
    told = []
    angle, shear = _number(header, 'obliquity_degrees'), _number(header, 'shear_degrees')
    if angle > OBLIQUE_DEGREES:
        told.append(
            f'The slices are turned by {angle:.0f}° against the axes of the body; volumes do not suffer.'
        )
    if shear > SHEAR_DEGREES:
        told.append(
            f'The axes are {shear:.1f}° away from right angles, as a CT with a tilted gantry has it. The '
            'affine says so and the volumes take it into account; programs that ignore it see a sheared head.'
        )
    return told


def _slices(header: Mapping) -> list[str]:
    told = []
    sizes = header.get('voxel_size_mm') or [1.0]
    long, ratio = max(sizes), _number(header, 'anisotropy')
    if ratio > LONG_VOXEL or long > THICK_MM:
        told.append(
            f'Voxels are {long:.3g} mm long and {min(sizes):.3g} mm wide: small and thin structures are '
            'averaged with their neighbors, and their volumes are less certain.'
        )
    spacing, thickness = _number(header, 'slice_spacing_mm'), _number(header, 'slice_thickness_mm')
    if spacing > 0 and all(abs(size / spacing - 1) > UNEVEN for size in sizes):
        told.append(
            f'The sidecar gives a spacing between slices of {spacing:.3g} mm, which no axis of the image '
            'has: the slices may be uneven, or some were left out.'
        )
    if thickness > 0 and long > thickness * (1 + 5 * UNEVEN):
        told.append(
            f'Slices of {thickness:.3g} mm lie {long:.3g} mm apart: what is in the gaps was not measured.'
        )
    return told


def _field_of_view(numbers: Mapping) -> list[str]:
    told = []
    cut, inside = _number(numbers, 'fov_truncation'), numbers.get('fov_coverage')
    if cut > CUT:
        told.append(
            f'Structures touch the border of the field of view (over {100 * cut:.0f} % of their largest '
            'cross-section): the brain may be cut, and then its volumes are too small.'
        )
    if isinstance(inside, int | float) and inside < INSIDE:
        told.append(
            f'By the alignment, {100 * (1 - inside):.1f} % of the brain lie outside the field of view.'
        )
    return told


def _values(header: Mapping, numbers: Mapping, modality: str) -> list[str]:
    told = []
    known = modalities().get(modality)
    low, high = header.get('value_range') or (0, 0)
    if known and known.hounsfield and (low < HU_RANGE[0] or high > HU_RANGE[1]):
        told.append(f'Values from {low:.0f} to {high:.0f} HU: no tissue has them (metal, or padding).')
    if known and not known.hounsfield and low < 0:
        told.append(f'Negative values, down to {low:.4g}: an MR magnitude has none. Was the scan filtered?')
    share = _number(numbers, 'saturation_fraction')
    if share > SATURATED:
        told.append(f'{100 * share:.1f} % of the brain have the largest value of the scan: it was clipped.')
    return told


def _number(values: Mapping, name: str) -> float:
    """Return a number, 0 where there is none."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else 0.0

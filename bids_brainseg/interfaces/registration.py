# SPDX-License-Identifier: Apache-2.0
"""Nodes around the affine between a scan and the reference of its model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from ..core.geometry import invert
from ..imaging import load_grid, load_image
from ..registration import Registration, register_affine
from ..registration.transforms import save_itk_affine, save_lta
from .images import read_matrix


class RegisterInputSpec(BaseInterfaceInputSpec):
    """What every registration of a scan takes."""

    in_file = File(exists=True, mandatory=True, desc='checked scan')
    window = traits.Tuple(traits.Float, traits.Float, desc='clip intensities to this range (CT: HU)')
    random_seed = traits.Int(0, usedefault=True, desc='seed of the sampler')
    # Hashed: another number of threads sums in another order, and the last digits of the matrix change.
    num_threads = traits.Int(1, usedefault=True, desc='processor threads')


def register_options(inputs: RegisterInputSpec) -> dict:
    """Return the keyword arguments that all functions of :mod:`bids_brainseg.registration` share."""
    window = inputs.window if isdefined(inputs.window) else None
    return {'threads': inputs.num_threads, 'seed': inputs.random_seed, 'window': window}


def write_registration(registration: Registration, name: str, path: Path) -> str:
    """Write a registration as JSON, its matrix under a name that says from where to where."""
    facts = asdict(registration)
    facts[name] = facts.pop('matrix').tolist()
    path.write_text(json.dumps(facts, indent=2))
    return str(path)


class _CoregisterInputSpec(RegisterInputSpec):
    # Bundles share their reference, each with its own copy: what the files hold is what counts.
    reference = File(mandatory=True, nohash=True, desc="the bundle's: a head in the scan's contrast")
    reference_mask = File(nohash=True, desc='brain mask on the grid of the reference')
    reference_sha256 = traits.Tuple(
        traits.Str, traits.Str, mandatory=True, desc='hashes of the reference and its mask'
    )


class _CoregisterOutputSpec(TraitedSpec):
    registration = File(
        desc='JSON: 4x4 RAS matrix from points of the reference to points of the scan, similarity'
    )


class Coregister(SimpleInterface):
    """Estimate the affine between a scan and the reference."""

    input_spec = _CoregisterInputSpec
    output_spec = _CoregisterOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        moving, fixed = load_image(self.inputs.in_file), load_image(self.inputs.reference)
        mask = self.inputs.reference_mask
        registration = register_affine(
            moving.data,
            moving.affine,
            fixed.data,
            fixed.affine,
            fixed_mask=load_image(mask).data > 0.5 if isdefined(mask) else None,
            **register_options(self.inputs),
        )
        path = Path(runtime.cwd) / 'registration.json'
        self._results['registration'] = write_registration(registration, 'reference_to_scan', path)
        return runtime


class _WriteTransformsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    reference = File(mandatory=True, desc='image that the scan was aligned to')
    registration = File(exists=True, mandatory=True, desc='JSON with the matrix, reference to scan')
    onward = File(exists=True, desc="JSON with the matrix from the registration's reference to `reference`")


class _WriteTransformsOutputSpec(TraitedSpec):
    scan_to_reference = File(desc='ITK transform that moves images from the scan to the reference')
    reference_to_scan = File(desc='ITK transform that moves images from the reference to the scan')
    scan_to_reference_lta = File(desc='the first one as FreeSurfer reads it')


class WriteTransforms(SimpleInterface):
    """Write both directions of the affine as ITK reads them, and the first one as FreeSurfer does.

    Notes
    -----
    ITK and ANTs pull: the transform that moves an *image* from the scan to the reference maps *points*
    of the reference to points of the scan. The second direction is the inverse of the same matrix. An LTA
    holds the matrix the other way round, and both grids.

    With `onward`, the scan and `reference` (a template) were both aligned to a third image, and the affine
    between the two is the one through it.
    """

    input_spec = _WriteTransformsInputSpec
    output_spec = _WriteTransformsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        matrix = read_matrix(self.inputs.registration)
        if isdefined(self.inputs.onward):
            matrix = matrix @ invert(read_matrix(self.inputs.onward))
        inverse, folder = invert(matrix), Path(runtime.cwd)
        scan, reference = load_grid(self.inputs.in_file), load_grid(self.inputs.reference)
        grids = ((image.data.shape, image.affine) for image in (scan, reference))
        written = {
            'scan_to_reference': save_itk_affine(matrix, folder / 'scan_to_reference.txt'),
            'reference_to_scan': save_itk_affine(inverse, folder / 'reference_to_scan.txt'),
            'scan_to_reference_lta': save_lta(inverse, *grids, folder / 'scan_to_reference.lta'),
        }
        self._results.update({name: str(path) for name, path in written.items()})
        return runtime

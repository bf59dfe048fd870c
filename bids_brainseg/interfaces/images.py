# SPDX-License-Identifier: Apache-2.0
"""Nodes that read a scan, resample it to the network's grid, and resample the answer to the scan."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
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
from ..core.intensity import normalize
from ..core.posterior_resampling import resample_map, resample_posterior
from ..core.resampling import resample, resample_labels_nearest
from ..core.threads import map_threads
from ..data import modalities
from ..imaging import (
    check_scan,
    compress,
    header_facts,
    image_on_grid,
    load_grid,
    load_image,
    load_mask,
    save_like,
)

# Steps of 1/255 are enough for the entropy, and as floats it would compress badly.
ENTROPY_STEP = 1 / 255
GRID_SHAPE = traits.Tuple(traits.Int, traits.Int, traits.Int)


def read_matrix(path: str, name: str = 'reference_to_scan') -> np.ndarray:
    """Read the 4x4 RAS matrix that a registration node left."""
    return np.array(json.loads(Path(path).read_text())[name], float)


def read_array(path: str) -> np.ndarray:
    """Read the voxels of an intermediate image, which, unlike a scan, may be constant."""
    proxy = nb.load(path).dataobj
    if (proxy.slope, proxy.inter) == (1, 0):
        return np.asanyarray(proxy)
    # nibabel would go through 64 bits, in twice the time and memory.
    array = proxy.get_unscaled() * np.float32(proxy.slope)
    array += np.float32(proxy.inter)
    return array


class _CheckImageInputSpec(BaseInterfaceInputSpec):
    # Not `exists=True`: a missing file has to fail in its own node, not while the graph is built.
    in_file = File(mandatory=True, desc='scan as it lies in the dataset')
    header_file = File(desc='header of a pair of .hdr and .img, so that a change of it counts')
    volumes = traits.List(
        traits.Int, usedefault=True, desc='indices of the volumes of a series to average; empty for one'
    )
    modality = traits.Str(desc='modality whose units the scan must have')


class _CheckImageOutputSpec(TraitedSpec):
    out_file = File(desc='one volume, float32, on the grid and with the header of the scan')
    facts = File(desc='JSON: header facts, notes on what was repaired, doubts that a person has to settle')


class CheckImage(SimpleInterface):
    """Open a scan, refuse what cannot be segmented, and save it as one plain volume."""

    input_spec = _CheckImageInputSpec
    output_spec = _CheckImageOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        loaded = load_image(self.inputs.in_file, volumes=tuple(self.inputs.volumes) or None)
        modality = self.inputs.modality if isdefined(self.inputs.modality) else None
        image = check_scan(loaded, hounsfield=modality is not None and modalities()[modality].hounsfield)
        self._results['out_file'] = str(Path(runtime.cwd) / 'checked.nii')
        save_like(image.data, image, self._results['out_file'], np.float32)
        self._results['facts'] = str(Path(runtime.cwd) / 'facts.json')
        facts = {'header': header_facts(loaded), 'notes': list(image.notes), 'doubts': list(image.doubts)}
        Path(self._results['facts']).write_text(json.dumps(facts, indent=2))
        return runtime


class _ResampleAndNormalizeInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    registration = File(exists=True, mandatory=True, desc='JSON with the matrix, reference to scan')
    grid_shape = GRID_SHAPE
    grid_affine = traits.List(traits.List(traits.Float), desc='voxels of the network grid to RAS mm (4 x 4)')
    intensity = traits.Dict(desc='intensity rule of the bundle')
    # another mask means another alignment, which is hashed
    mask = File(mandatory=True, nohash=True, desc='cranial cavity of the reference, where rules may look')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='processor threads')


class _ResampleAndNormalizeOutputSpec(TraitedSpec):
    out_file = File(desc='scan on the network grid, intensities in [0, 100]')


class ResampleAndNormalize(SimpleInterface):
    """Resample a scan onto the network's grid by a cubic spline and scale its intensities."""

    input_spec = _ResampleAndNormalizeInputSpec
    output_spec = _ResampleAndNormalizeOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image = load_image(self.inputs.in_file)
        grid = np.array(self.inputs.grid_affine)
        resampled = resample(
            image.data,
            image.affine,
            self.inputs.grid_shape,
            grid,
            read_matrix(self.inputs.registration),
            order=3,
            cval=float(image.data.min()),  # beyond the field of view there is air: 0 in MR, -1000 HU in CT
            threads=self.inputs.num_threads,
        )
        self._results['out_file'] = str(Path(runtime.cwd) / 'preprocessed.nii')
        rule = self.inputs.intensity
        region = load_mask(self.inputs.mask, self.inputs.grid_shape, grid) if 'region' in rule else None
        preprocessed = normalize(resampled, rule, region)
        save_like(preprocessed, image_on_grid(preprocessed, grid), self._results['out_file'], np.float32)
        return runtime


class _ResampleToScanInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan, whose grid and header are kept')
    posterior = File(
        exists=True, mandatory=True, desc='mean softmax on the network grid, (28, I, J, K), .npy'
    )
    uncertainty = File(exists=True, desc='normalized entropy on the network grid, [0, 1], if wanted')
    registration = File(exists=True, mandatory=True, desc='JSON with the matrix, reference to scan')
    grid_affine = traits.List(traits.List(traits.Float), desc='voxels of the network grid to RAS mm (4 x 4)')
    method = traits.Enum('posterior', 'nearest', usedefault=True, desc='how labels are resampled')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='processor threads')


class _ResampleToScanOutputSpec(TraitedSpec):
    dseg = File(desc="labels on the scan's own grid, uint8")
    uncertainty = File(desc="normalized entropy on the scan's own grid, [0, 1]")
    dseg_gz = File(desc='the labels to hand out, compressed; the steps that read them spare the time')
    uncertainty_gz = File(desc='the entropy to hand out, compressed')


class ResampleToScan(SimpleInterface):
    """Resample the segmentation and its uncertainty to the scan's own grid."""

    input_spec = _ResampleToScanInputSpec
    output_spec = _ResampleToScanOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image = load_grid(self.inputs.in_file)
        posterior = np.load(self.inputs.posterior)
        threads = self.inputs.num_threads
        scan_to_reference = invert(read_matrix(self.inputs.registration))
        grids = (self.inputs.grid_affine, image.data.shape, image.affine, scan_to_reference)
        if self.inputs.method == 'nearest':
            labels = resample_labels_nearest(posterior.argmax(axis=0), *grids)
        else:
            labels = resample_posterior(posterior, *grids, threads=threads)
        self._results['dseg'] = str(Path(runtime.cwd) / 'dseg.nii')
        save_like(labels, image, self._results['dseg'], np.uint8)
        if isdefined(self.inputs.uncertainty):
            entropy = read_array(self.inputs.uncertainty)
            entropy = resample_map(entropy, *grids, negligible=ENTROPY_STEP / 2, threads=threads)
            self._results['uncertainty'] = str(Path(runtime.cwd) / 'uncertainty.nii')
            save_like(entropy, image, self._results['uncertainty'], np.uint8, slope=ENTROPY_STEP)
        map_threads(compress, self._results.values(), threads)
        self._results |= {f'{name}_gz': f'{path}.gz' for name, path in self._results.items()}
        return runtime

# SPDX-License-Identifier: Apache-2.0
"""The probability of each structure on the scan's own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, SimpleInterface, TraitedSpec, traits

from ..core.geometry import invert
from ..core.resampling import resample
from .images import read_matrix

STEPS = 255  # probabilities are kept in steps of 1/255: a 28-class series in float32 would fill gigabytes


class _ScanProbabilitiesInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan, whose grid and header are kept')
    posterior = File(
        exists=True, mandatory=True, desc='mean softmax on the network grid, (28, I, J, K), .npy'
    )
    registration = File(exists=True, mandatory=True, desc='JSON with the matrix, reference to scan')
    grid_affine = traits.List(traits.List(traits.Float), desc='voxels of the network grid to RAS mm (4 x 4)')


class _ScanProbabilitiesOutputSpec(TraitedSpec):
    out_file = File(desc='4D image, one volume per class, background first; uint8 scaled to [0, 1]')


class ScanProbabilities(SimpleInterface):
    """Resample each class of the posterior linearly onto the scan's own grid."""

    input_spec = _ScanProbabilitiesInputSpec
    output_spec = _ScanProbabilitiesOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan = nb.load(self.inputs.in_file)
        posterior = np.load(self.inputs.posterior, mmap_mode='r')
        matrix = invert(read_matrix(self.inputs.registration))
        series = np.empty((*scan.shape, len(posterior)), np.uint8, order='F')
        for index, volume in enumerate(posterior):
            outside = 1.0 if index == 0 else 0.0  # beyond the network's grid everything is background
            resampled = resample(
                volume, self.inputs.grid_affine, scan.shape, scan.affine, matrix,
                order=1, antialias=False, cval=outside,
            )  # fmt: skip
            np.rint(resampled * STEPS, out=resampled)
            series[..., index] = resampled
        image = nb.Nifti1Image(series, None, scan.header, dtype=np.uint8)
        image.header.set_slope_inter(1 / STEPS, 0)
        self._results['out_file'] = str(Path(runtime.cwd) / 'probseg.nii.gz')
        nb.save(image, self._results['out_file'])
        return runtime

# SPDX-License-Identifier: Apache-2.0
"""The node that corrupts a scan on purpose; only calibration has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, SimpleInterface, TraitedSpec, traits

from ..core.corruption import corrupt
from ..imaging import image_on_grid, load_image, save_like


class _CorruptInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    kind = traits.Str(mandatory=True, desc='what happens to it')
    severity = traits.Range(0.0, 1.0, mandatory=True, desc='how much of it')
    seed = traits.Int(0, usedefault=True, desc='of what is random about it')
    parameters = traits.Dict(usedefault=True, desc='of the kind, in the unit of the scan')


class _CorruptOutputSpec(TraitedSpec):
    out_file = File(desc='corrupted scan, float32')


class Corrupt(SimpleInterface):
    """Add noise, motion, ghosts or a field; lose slices or a part of the field of view; turn the contrast."""

    input_spec = _CorruptInputSpec
    output_spec = _CorruptOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        image = load_image(inputs.in_file)
        corrupted, affine = corrupt(
            image.data, image.affine, inputs.kind, inputs.severity, inputs.seed, **inputs.parameters
        )
        self._results['out_file'] = str(Path(runtime.cwd) / 'corrupted.nii')
        save_like(corrupted, image_on_grid(corrupted, affine), self._results['out_file'], np.float32)
        return runtime

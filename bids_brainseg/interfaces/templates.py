# SPDX-License-Identifier: Apache-2.0
"""The node that stands for a template whose alignment is packaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, SimpleInterface, TraitedSpec, traits

from ..files import write_json
from ..imaging import image_on_grid, save_like
from ..records import Template

#: NIfTI code of the space of the MNI.
MNI = 4


class _PackagedTemplateInputSpec(BaseInterfaceInputSpec):
    template = traits.Instance(Template, mandatory=True, desc='the template, with its alignment')


class _PackagedTemplateOutputSpec(TraitedSpec):
    grid = File(desc='image of zeros on the grid of the template')
    registration = File(desc='JSON with the matrix, reference to template')


class PackagedTemplate(SimpleInterface):
    """Write the grid of a template, and how it lies to the reference."""

    input_spec = _PackagedTemplateInputSpec
    output_spec = _PackagedTemplateOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        packaged, folder = self.inputs.template.packaged, Path(runtime.cwd)
        image = image_on_grid(np.zeros(packaged.shape), packaged.affine, code=MNI)
        self._results['grid'] = str(save_like(image.data, image, folder / 'grid.nii', np.uint8))
        matrix = {'reference_to_scan': packaged.matrix}
        self._results['registration'] = str(write_json(matrix, folder / 'registration.json'))
        return runtime

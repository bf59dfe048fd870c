# SPDX-License-Identifier: Apache-2.0
"""What the node writes of a packaged template."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nitransforms.linear import load as load_linear

from bids_brainseg.bids.templates import find_templates
from bids_brainseg.interfaces.images import read_matrix
from bids_brainseg.interfaces.registration import WriteTransforms
from bids_brainseg.interfaces.templates import PackagedTemplate
from bids_brainseg.workflows.examples import example_bundle


def test_grid_and_matrix_are_those_of_the_template(tmp_path, monkeypatch, make_nifti):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    (template,) = find_templates(['MNI152NLin2009cAsym:res-4'], example_bundle())
    written = PackagedTemplate(template=template).run().outputs
    grid = nib.load(written.grid)
    assert grid.shape == (49, 58, 49) and grid.header['sform_code'] == 4
    np.testing.assert_array_equal(grid.affine, template.packaged.affine)
    np.testing.assert_array_equal(read_matrix(written.registration), template.packaged.matrix)
    # of a scan that lies where the template does, the way to the template is none
    both = {name: written.registration for name in ('registration', 'onward')}
    transforms = WriteTransforms(in_file=str(make_nifti()), reference=written.grid, **both).run().outputs
    for path in (transforms.scan_to_reference, transforms.reference_to_scan):
        np.testing.assert_allclose(load_linear(path, fmt='itk').matrix, np.eye(4), atol=1e-9)

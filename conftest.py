# SPDX-License-Identifier: Apache-2.0
"""What examples in docstrings may use."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def names_of_examples(request, doctest_namespace):
    """Give the example of ``segment`` a head and a small model."""
    if request.node.name == 'bids_brainseg.api.segment':
        import nibabel as nib
        from tiny import make_tiny_bundle

        import bids_brainseg

        bundle = make_tiny_bundle(request.getfixturevalue('tmp_path') / 'T1w')
        head = nib.load(bundle / 'reference.nii.gz')
        doctest_namespace.update(bids_brainseg=bids_brainseg, bundle=bundle, head=head)

# SPDX-License-Identifier: Apache-2.0
"""What examples in docstrings may use."""

from __future__ import annotations

import tempfile

import pytest

#: An example that is a whole run.
WHOLE_RUN = 'bids_brainseg.api.segment'


def pytest_collection_modifyitems(items):
    """Leave the example out where whole runs are left out."""
    for item in items:
        if item.name == WHOLE_RUN:
            item.add_marker('integration')


@pytest.fixture(autouse=True)
def temporary_files_of_examples(request, monkeypatch):
    """Keep what examples leave among the temporary files in a folder that pytest removes."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.setattr(tempfile, 'tempdir', str(request.getfixturevalue('tmp_path')))


@pytest.fixture(autouse=True)
def names_of_examples(request, doctest_namespace):
    """Give the example of ``segment`` a head and a small model."""
    if request.node.name == WHOLE_RUN:
        import nibabel as nib
        from tiny import make_tiny_bundle

        import bids_brainseg

        bundle = make_tiny_bundle(request.getfixturevalue('tmp_path') / 'T1w')
        head = nib.load(bundle / 'reference.nii.gz')
        doctest_namespace.update(bids_brainseg=bids_brainseg, bundle=bundle, head=head)

# SPDX-License-Identifier: Apache-2.0
"""From the dataset to one plain volume."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.corrupt import Corrupt
from ..interfaces.images import CheckImage
from ..records import ImageRecord


def init_check_wf(
    *, record: ImageRecord, corrupt: Mapping | None = None, mem_gb: float = 1.5, name: str = 'check_wf'
) -> Workflow:
    """Open a scan, refuse what cannot be segmented, and hand on one volume.

    Parameters
    ----------
    record : ImageRecord
        The scan: its modality, whose units are checked, and the volumes of a series to average.
    corrupt : mapping, optional
        Inputs of :class:`bids_brainseg.interfaces.corrupt.Corrupt`, by which calibration corrupts the scan.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        The scan as it lies in the dataset.

    Outputs
    -------
    out_file
        One volume, float32, on the grid of the scan.
    facts
        JSON: header facts, and notes on what was repaired.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_record
    >>> wf = init_check_wf(record=example_record())
    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file']), name='inputnode')
    inputnode.inputs.in_file = str(record.path)
    outputnode = pe.Node(niu.IdentityInterface(fields=['out_file', 'facts']), name='outputnode')
    workflow.__desc__ = 'The chosen volumes of each series were averaged.\n' * bool(record.volumes)

    check = pe.Node(
        CheckImage(modality=record.modality, volumes=list(record.volumes or ())), name='check', mem_gb=mem_gb
    )
    if '.img' in record.path.suffixes:
        check.inputs.header_file = str(record.path.with_name(record.path.name.replace('.img', '.hdr')))
    images = [check]
    if corrupt is not None:
        images += [pe.Node(Corrupt(**corrupt), name='corrupt', mem_gb=mem_gb)]
        workflow.__postdesc__ = 'Each scan was corrupted on purpose.\n'
    # fmt: off
    workflow.connect([
        (inputnode, check, [('in_file', 'in_file')]),
        *[(one, following, [('out_file', 'in_file')]) for one, following in pairwise(images)],
        (images[-1], outputnode, [('out_file', 'out_file')]),
        (check, outputnode, [('facts', 'facts')]),
    ])
    # fmt: on
    return workflow

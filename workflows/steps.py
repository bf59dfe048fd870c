# SPDX-License-Identifier: Apache-2.0
"""Nodes that more than one graph holds, and how optional branches are connected."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.pipeline import engine as pe

from ..interfaces.images import ResampleToScan
from ..interfaces.registration import Coregister
from ..records import Bundle


def coregister_node(
    *,
    bundle: Bundle,
    threads: int,
    random_seed: int,
    mem_gb: float,
    window: tuple[float, float] | None = None,
) -> pe.Node:
    """Make the node ``coregister``, which aligns an image to the reference of a model by an affine.

    Parameters
    ----------
    bundle : Bundle
        Names the reference.
    threads, random_seed : int
        Processor threads; seed of the registration's sampler.
    mem_gb : float
        Memory that the node may take, GB.
    window : (float, float), optional
        Intensities to which the image is clipped before.
    """
    node = pe.Node(
        Coregister(
            reference=str(bundle.reference_path),
            reference_mask=str(bundle.mask_path),
            reference_sha256=tuple(bundle.reference_sha256),
            num_threads=threads,
            random_seed=random_seed,
        ),
        name='coregister',
        n_procs=threads,
        mem_gb=mem_gb,
    )
    if window is not None:
        node.inputs.window = window
    return node


def resample_to_scan_node(*, bundle: Bundle, label_resampling: str, threads: int, mem_gb: float) -> pe.Node:
    """Make the node ``resample_to_scan``, which resamples a posterior to the grid of an image.

    Parameters
    ----------
    bundle : Bundle
        Names the grid of the network.
    label_resampling : str
        ``'posterior'`` or ``'nearest'``.
    threads : int
        Processor threads.
    mem_gb : float
        Memory that the node may take, GB.
    """
    return pe.Node(
        ResampleToScan(
            grid_affine=[list(row) for row in bundle.grid_affine],
            method=label_resampling,
            num_threads=threads,
        ),
        name='resample_to_scan',
        n_procs=threads,
        mem_gb=mem_gb,
    )


def branch_edges(branch: pe.Workflow, sources: Mapping[str, tuple]) -> list[tuple]:
    """Connect every field of a branch's ``inputnode`` to what has that name.

    This is the one interface of all that follows the segmentation: a branch names its inputs as the results
    of a scan are named, and takes those that it needs.

    Parameters
    ----------
    branch : Workflow
        With an ``inputnode``.
    sources : mapping
        Name of a field to the node, or workflow, that has it, and to the name of the output there.

    Returns
    -------
    list of edges, as ``connect`` takes them

    Raises
    ------
    KeyError
        If the branch wants what no source has.

    Examples
    --------
    >>> from nipype.interfaces.utility import IdentityInterface
    >>> scan = pe.Node(IdentityInterface(fields=['out_file']), name='scan')
    >>> branch = pe.Workflow(name='branch')
    >>> branch.add_nodes([pe.Node(IdentityInterface(fields=['in_file']), name='inputnode')])
    >>> branch_edges(branch, {'in_file': (scan, 'out_file'), 'dseg': (scan, 'dseg')})
    [(scan, branch, [('out_file', 'inputnode.in_file')])]
    """
    fields = branch.inputs.inputnode.copyable_trait_names()
    return [(sources[field][0], branch, [(sources[field][1], f'inputnode.{field}')]) for field in fields]

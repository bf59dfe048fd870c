# SPDX-License-Identifier: Apache-2.0
"""Nodes that more than one graph holds."""

from __future__ import annotations

from nipype.pipeline import engine as pe

from ..interfaces.images import ResampleToScan
from ..interfaces.registration import Coregister


def coregister_node(*, bundle, threads: int, random_seed: int, mem_gb: float, **more) -> pe.Node:
    """Make the node ``coregister``, which aligns an image to the reference of a model by an affine."""
    return pe.Node(
        Coregister(
            reference=str(bundle.reference_path),
            reference_mask=str(bundle.mask_path),
            reference_sha256=tuple(bundle.reference_sha256),
            num_threads=threads,
            random_seed=random_seed,
            **more,
        ),
        name='coregister',
        n_procs=threads,
        mem_gb=mem_gb,
    )


def resample_to_scan_node(*, bundle, label_resampling: str, threads: int, mem_gb: float) -> pe.Node:
    """Make the node ``back``, which carries what the network said onto the grid of an image."""
    return pe.Node(
        ResampleToScan(
            grid_affine=[list(row) for row in bundle.grid_affine],
            method=label_resampling,
            num_threads=threads,
        ),
        name='back',
        n_procs=threads,
        mem_gb=mem_gb,
    )

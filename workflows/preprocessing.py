# SPDX-License-Identifier: Apache-2.0
"""From a checked scan to what the network reads; the same for inference, training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.images import ResampleAndNormalize
from ..records import Bundle
from .descriptions import intensity_range, network_grid
from .steps import coregister_node


def init_preprocessing_wf(
    *,
    bundle: Bundle,
    threads: int = 1,
    random_seed: int = 0,
    mem_gb: float = 2.0,
    name: str = 'preprocessing_wf',
) -> Workflow:
    """Align a scan to a reference, resample it onto the network's grid and scale its intensities.

    Parameters
    ----------
    bundle : Bundle
        Names the reference, the grid and the intensity rule.
    threads : int
        Processor threads of one step.
    random_seed : int
        Seed of the registration's sampler.
    mem_gb : float
        Memory that one step may take, GB.

    Inputs
    ------
    in_file
        Checked scan, one 3D volume.

    Outputs
    -------
    registration
        JSON with the 4x4 RAS matrix from points of the reference to points of the scan, and its similarity.
    preprocessed
        Scan on the network grid, intensities in [0, 100].

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle
    >>> wf = init_preprocessing_wf(bundle=example_bundle())
    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=['in_file']), name='inputnode')
    outputnode = pe.Node(niu.IdentityInterface(fields=['registration', 'preprocessed']), name='outputnode')
    workflow.__desc__ = (
        f'Each scan was aligned to the reference {bundle.reference_name} by an affine transform estimated '
        'with elastix [@klein2010], and resampled by cubic splines onto a grid of '
        f'{network_grid(bundle.grid_shape, bundle.grid_affine)}.\n'
        f'Of the intensities, {intensity_range(bundle.intensity)} was scaled to [0, 100].\n'
    )

    coregister = coregister_node(
        bundle=bundle,
        threads=threads,
        random_seed=random_seed,
        mem_gb=mem_gb,
        **registration_window(bundle.intensity),
    )
    preprocess = pe.Node(
        ResampleAndNormalize(
            grid_shape=tuple(bundle.grid_shape),
            grid_affine=[list(row) for row in bundle.grid_affine],
            intensity=dict(bundle.intensity),
            mask=str(bundle.mask_path),
            num_threads=threads,
        ),
        name='preprocess',
        n_procs=threads,
        mem_gb=mem_gb,
    )
    # fmt: off
    workflow.connect([
        (inputnode, coregister, [('in_file', 'in_file')]),
        (inputnode, preprocess, [('in_file', 'in_file')]),
        (coregister, preprocess, [('registration', 'registration')]),
        (coregister, outputnode, [('registration', 'registration')]),
        (preprocess, outputnode, [('out_file', 'preprocessed')]),
    ])
    # fmt: on
    return workflow


def registration_window(rule: Mapping) -> dict:
    """Give the registration the window of the intensities where they have a unit, and no window otherwise.

    >>> registration_window({'type': 'window', 'low': 0, 'high': 80})
    {'window': (0.0, 80.0)}
    >>> registration_window({'type': 'percentile', 'low': 1, 'high': 99})
    {}
    """
    return {'window': (float(rule['low']), float(rule['high']))} if rule['type'] == 'window' else {}

# SPDX-License-Identifier: Apache-2.0
"""From what the network reads to labels and their uncertainty on the scan's own grid."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.segment import Segment
from ..records import Bundle
from .descriptions import RESAMPLING, arithmetic, passes, training_data
from .steps import resample_to_scan_node


def init_segmentation_wf(
    *,
    bundle: Bundle,
    random_seed: int = 0,
    precision: str = 'float32',
    label_resampling: str = 'posterior',
    device: str = 'auto',
    use_gpu: bool = False,
    threads: int = 1,
    heavy_gb: float | None = None,
    name: str = 'segmentation_wf',
) -> Workflow:
    """Apply the network to a preprocessed scan, and resample its answer to the scan's own grid.

    Parameters
    ----------
    bundle : Bundle
        The model.
    random_seed : int
        Of the dropout masks.
    precision : str
        Arithmetic of the network, one of :data:`bids_brainseg.records.PRECISIONS`.
    label_resampling : str
        ``'posterior'`` or ``'nearest'``.
    device, use_gpu : str, bool
        ``'auto'``, ``'cpu'`` or ``'gpu'``; whether the network waits for a GPU slot, not for threads.
    threads : int
        Processor threads of one step.
    heavy_gb : float, optional
        Memory that each step claims, GB.

    Inputs
    ------
    in_file
        Checked scan, whose grid the labels get.
    preprocessed
        Scan on the network grid, intensities in [0, 100].
    registration
        JSON with the 4x4 RAS matrix from points of the reference to points of the scan.

    Outputs
    -------
    posterior, samples
        Mean softmax on the network grid; JSON with what each pass found, device, versions and seconds.
    dseg, uncertainty
        Labels and normalized entropy on the scan's own grid.
    dseg_gz, uncertainty_gz
        The same, compressed.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle
    >>> wf = init_segmentation_wf(bundle=example_bundle())
    """
    workflow = Workflow(name=name)
    network, scan = ['posterior', 'samples'], ['dseg', 'uncertainty', 'dseg_gz', 'uncertainty_gz']
    inputnode = pe.Node(
        niu.IdentityInterface(fields=['in_file', 'preprocessed', 'registration']), name='inputnode'
    )
    outputnode = pe.Node(niu.IdentityInterface(fields=[*network, *scan]), name='outputnode')
    workflow.__desc__ = (
        'A 3D U-Net gave the probability of each structure, '
        f'{passes(bundle.mc_samples, bundle.mirrored_passes, random_seed)}'
        f'{arithmetic(precision)}.\n'
        f'The weights of the network were those of the model {bundle.name} {bundle.version} (SHA-256 '
        f'{bundle.weights_sha256[:12]}){training_data(bundle.card)}.\n'
        f'By the inverse of the affine, {RESAMPLING[label_resampling].format(image="the scan")}.\n'
    )

    segment = pe.Node(
        Segment(
            bundle=str(bundle.path),
            weights_sha256=bundle.weights_sha256,
            mc_samples=bundle.mc_samples,
            mirrored=bundle.mirrored_passes,
            random_seed=random_seed,
            precision=precision,
            device=device,
            num_threads=threads,
            use_gpu=use_gpu,
        ),
        name='segment',
        n_procs=1 if use_gpu else threads,  # nipype reads it as GPU slots on a GPU node
        mem_gb=heavy_gb or 5.0,
    )
    resample_to_scan = resample_to_scan_node(
        bundle=bundle, label_resampling=label_resampling, threads=threads, mem_gb=heavy_gb or 2.0
    )
    # fmt: off
    workflow.connect([
        (inputnode, segment, [('preprocessed', 'in_file')]),
        (inputnode, resample_to_scan, [('in_file', 'in_file'), ('registration', 'registration')]),
        (segment, resample_to_scan, [('posterior', 'posterior'), ('uncertainty', 'uncertainty')]),
        (segment, outputnode, [(field, field) for field in network]),
        (resample_to_scan, outputnode, [(field, field) for field in scan]),
    ])
    # fmt: on
    return workflow

# SPDX-License-Identifier: Apache-2.0
"""The network as a process of its own: when it ends, the device and its memory are free."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

from nipype.interfaces.base import (
    Bunch,
    CommandLine,
    CommandLineInputSpec,
    Directory,
    File,
    TraitedSpec,
    traits,
)

from ..errors import ModelError, explain
from ..lifetime import PARENT
from ..records import PRECISIONS


class _SegmentInputSpec(CommandLineInputSpec):
    in_file = File(
        exists=True,
        mandatory=True,
        argstr='--image %s',
        desc='scan on the network grid, intensities in [0, 100]',
    )
    # The folder may move; what it holds is what counts, hence the hash beside it.
    bundle = Directory(mandatory=True, argstr='--bundle %s', nohash=True, desc='model bundle')
    weights_sha256 = traits.Str(mandatory=True, desc='hash of the weights in the bundle')
    mc_samples = traits.Range(
        low=0, value=15, argstr='--mc-samples %d', usedefault=True, desc='Monte-Carlo passes'
    )
    mirrored = traits.Bool(argstr='--mirrored', desc='half of the passes see the scan mirrored left to right')
    random_seed = traits.Int(0, argstr='--seed %d', usedefault=True, desc='seed of the dropout masks')
    precision = traits.Enum(
        *PRECISIONS, argstr='--precision %s', usedefault=True, desc='floating-point precision of the network'
    )
    device = traits.Enum(
        'auto', 'cpu', 'gpu', argstr='--device %s', usedefault=True, nohash=True, desc='device'
    )
    num_threads = traits.Int(1, argstr='--threads %d', usedefault=True, nohash=True, desc='processor threads')
    use_gpu = traits.Bool(
        False, usedefault=True, nohash=True, desc='tells the scheduler to wait for a GPU slot'
    )
    out_dir = traits.Str(
        '.', argstr='--out-dir %s', usedefault=True, nohash=True, desc='where the results go'
    )


class _SegmentOutputSpec(TraitedSpec):
    posterior = File(exists=True, desc='mean softmax, (28, I, J, K) float16, .npy')
    uncertainty = File(exists=True, desc='normalized entropy of the mean softmax, [0, 1]')
    samples = File(exists=True, desc='JSON: voxels of each class in each pass, device, versions, seconds')


class Segment(CommandLine):
    """Run the network on one preprocessed scan."""

    _cmd = f'{shlex.quote(sys.executable)} -m bids_brainseg.process predict'
    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    @property
    def cmdline(self) -> str:
        """Return the command, in place of the shell that starts it: killing one process ends it."""
        return f'exec {super().cmdline}'

    def _get_environ(self) -> dict[str, str]:
        return {**super()._get_environ(), PARENT: str(os.getpid())}

    def _run_interface(self, runtime: Bunch, correct_return_codes: tuple[int, ...] = (0,)) -> Bunch:
        runtime = super()._run_interface(runtime, correct_return_codes=range(-signal.NSIG, 256))
        if runtime.returncode not in correct_return_codes:
            raise ModelError(explain(runtime.returncode, runtime.stderr or runtime.stdout or ''))
        return runtime

    def _list_outputs(self):
        names = {'posterior': 'posterior.npy', 'uncertainty': 'uncertainty.nii', 'samples': 'samples.json'}
        return {field: str(Path(self.inputs.out_dir).absolute() / name) for field, name in names.items()}

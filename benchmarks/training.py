# SPDX-License-Identifier: Apache-2.0
"""Seconds and memory of a training step, and of making a pair, by the number of feature maps.

    python benchmarks/training.py LABEL_MAP... [--filters 16 32] [--spacing 1.4] [--window 96 96 80]
                                  [--batch-size 1] [--precision auto] [--sample-on auto] [--peak TFLOPS]

Every number of feature maps has a process of its own, with the network, loss and optimizer of the train level
and random weights. ``KERAS_BACKEND`` chooses the backend. A step is what the training waits for: making pairs
on the host goes on beside it, in one thread. Memory is the peak of the process, and on a GPU that of the
device. The work of a step counts as three forward passes; ``--peak`` is what the card can do in the
arithmetic used.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bids_brainseg.data import modalities, training_defaults
from bids_brainseg.network.backend import configure, find_device
from bids_brainseg.records import TrainingStage

SPACE = 1.4 * 112, 1.4 * 144, 1.4 * 128  # mm, the field of view of the packaged bundles
MULTIPLE = 16  # of the sides of the grid
COLUMNS = {
    'filters': 3, 'backend': 11, 'precision': 15, 'made_on': 9, 'pair_s': 8, 'first_s': 9, 'step_s': 8,
    'worst_s': 9, 'tflops': 8, 'share': 7, 'peak_gib': 9, 'device_gib': 11,
}  # fmt: skip


def flop(model, shape) -> float:
    """Count the operations of the convolutions in a forward pass of one scan."""
    import numpy as np

    deepest = max(level_of(layer.name) for layer in model.layers) + 1
    total = 0.0
    for layer in model.layers:
        if '_conv_' in layer.name or layer.name == 'logits' or layer.name.startswith('up_'):
            level = deepest if layer.name.startswith('bottleneck') else level_of(layer.name)
            # a transposed convolution of stride 2 adds up one of its 8 weights per place
            places = np.prod(shape) / 8 ** (level + layer.name.startswith('up_'))
            total += 2 * float(places) * float(np.prod(layer.kernel.shape))
    return total


def level_of(name: str) -> int:
    """Return how many poolings lie before a layer, by its name."""
    found = re.match(r'(?:encoder|decoder|up)_(\d+)', name)
    return int(found[1]) if found else 0


def device_memory() -> float | None:
    """Return the peak memory of the device in GiB, as the backend tells it."""
    import keras

    backend = keras.backend.backend()
    if backend == 'jax':
        import jax

        used = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
    elif backend == 'torch':
        import torch

        used = torch.cuda.max_memory_allocated()
    else:
        import tensorflow as tf

        used = tf.config.experimental.get_memory_info('GPU:0')['peak']
    return used and used / 2**30


def measure(args, filters: int) -> dict:
    """Train some steps in this process; return the row of the table."""
    configure(args.device)
    import keras
    import numpy as np

    from bids_brainseg.network.losses import DiceCrossEntropy
    from bids_brainseg.network.unet import build_unet
    from bids_brainseg.synthesis.device import DeviceSource, sampled_on
    from bids_brainseg.synthesis.ranges import AugmentationRanges
    from bids_brainseg.training.label_maps import align_label_map
    from bids_brainseg.training.loop import build_optimizer, set_precision, stream
    from bids_brainseg.training.references import defaults, grid_affine, packaged_references
    from bids_brainseg.training.sources import synthesizer

    device = find_device(args.device)
    precision = set_precision(args.precision, device)
    keras.utils.set_random_seed(0)
    shape = [MULTIPLE * round(side / args.spacing / MULTIPLE) for side in SPACE]
    with TemporaryDirectory() as folder:
        maps = [align_label_map(path, Path(folder), defaults()['centers']) for path in args.label_maps]
    source = synthesizer(
        maps, packaged_references(modalities()), shape=shape, window=args.window, seed=0,
        affine=grid_affine(shape, args.spacing, defaults()['center']), ranges=AugmentationRanges(),
    )  # fmt: skip
    begun = time.perf_counter()
    for number in range(args.pairs):
        source.pair(number)
    pair = (time.perf_counter() - begun) / args.pairs
    source = sampled_on(args.sample_on, device, source)
    model = build_unet(filters=filters, seed=0)
    stage = TrainingStage(
        **{**training_defaults()['stage'], 'steps_per_epoch': 1}, name='x', contrasts=(), architecture={}
    )
    loss = DiceCrossEntropy(stage.class_balance, stage.cross_entropy_weight)
    model.compile(optimizer=build_optimizer(stage), loss=loss)
    learner = source.learner(model, loss) if isinstance(source, DeviceSource) else model
    seconds = []
    with closing(stream(source, start=0, workers=1, batch=args.batch_size)) as batches:
        for _ in range(args.steps + 1):
            begun = time.perf_counter()
            float(learner.train_on_batch(*next(batches)))
            seconds.append(time.perf_counter() - begun)
    step = float(np.median(seconds[1:]))
    tflops = 3 * args.batch_size * flop(model, args.window or shape) / step / 1e12
    return {
        'filters': filters,
        'backend': keras.backend.backend(),
        'precision': precision,
        'made_on': 'device' if isinstance(source, DeviceSource) else 'host',
        'pair_s': pair,
        'first_s': seconds[0],
        'step_s': step,
        'worst_s': max(seconds[1:]),
        'tflops': tflops,
        'share': args.peak and tflops / args.peak,
        'peak_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        'device_gib': device_memory() if device == 'gpu' else None,
    }


def spelled(value) -> str:
    """Spell an entry of the table."""
    if isinstance(value, float):
        return f'{value:.3g}'
    return '-' if value is None else str(value)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('label_maps', type=Path, nargs='+')
    parser.add_argument('--filters', type=int, nargs='+', default=[16, 32])
    parser.add_argument('--spacing', type=float, default=1.4, help='of the grid, mm')
    parser.add_argument('--window', type=int, nargs=3)
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--steps', type=int, default=8, help='after the first')
    parser.add_argument('--pairs', type=int, default=8, help='to make on the host')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--sample-on', choices=['auto', 'host', 'device'], default='auto')
    parser.add_argument('--device', choices=['auto', 'cpu', 'gpu'], default='auto')
    parser.add_argument('--peak', type=float, help='TFLOP/s')
    parser.add_argument('--here', action='store_true', help=argparse.SUPPRESS)  # no process of its own
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args, *args.filters)))
        return
    print(''.join(f'{name:>{width}}' for name, width in COLUMNS.items()), flush=True)
    for filters in args.filters:
        command = [sys.executable, *sys.argv, '--here', '--filters', str(filters)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if ended.returncode:
            sys.exit(f'F = {filters}: the process ended with status {ended.returncode}')
        row = json.loads(ended.stdout.splitlines()[-1])
        print(''.join(f'{spelled(row[name]):>{width}}' for name, width in COLUMNS.items()), flush=True)


if __name__ == '__main__':
    main()

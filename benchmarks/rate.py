# SPDX-License-Identifier: Apache-2.0
"""Share of the machine's rate of matrix products that a Monte-Carlo pass and a training step reach.

    python benchmarks/rate.py [--filters 16] [--threads 1] [--shape 112 144 128] [--window 96 96 80]

Processor seconds of this process count, the least of some repetitions, so that other work on the machine
disturbs little; with one thread none of them are spent waiting. The float32 matrix product is measured in the
same process, before and after. The weights are random. The work of a step counts as three forward passes, the
work of a pass leaves out the first block, which all passes share.
"""

from __future__ import annotations

import argparse
import time

from training import flop

from bids_brainseg.network.backend import configure

SIDE = 4096  # of the matrices


def least(call, repetitions: int) -> float:
    """Return the least processor seconds of a call."""
    call()
    seconds = []
    for _ in range(repetitions):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    return min(seconds)


def matrix_rate(repetitions: int) -> float:
    """Return the rate of a product of two square float32 matrices, GFLOP per processor second."""
    from keras import ops

    matrix = ops.ones((SIDE, SIDE))
    return 2 * SIDE**3 / least(lambda: float(ops.matmul(matrix, matrix)[0, 0]), repetitions) / 1e9


def pass_call(args):
    """Return a call that makes one pass as inference does, and its work in GFLOP."""
    import keras
    import numpy as np

    from bids_brainseg.network.layers import PosteriorAccumulator
    from bids_brainseg.network.unet import build_unet, split_first_block

    _, rest = split_first_block(build_unet(filters=args.filters, seed=0))
    sampler = keras.Model(rest.input, PosteriorAccumulator(args.shape, 28)(rest.output))
    features = np.random.default_rng(0).normal(0, 1, (1, *args.shape, args.filters))
    features = keras.ops.convert_to_tensor(features, 'float32')
    return lambda: sampler.predict_on_batch(features), flop(rest, args.shape) / 1e9


def step_call(args):
    """Return a call that makes one training step on a window, and its work in GFLOP."""
    import numpy as np

    from bids_brainseg.network.losses import DiceCrossEntropy
    from bids_brainseg.network.unet import build_unet
    from bids_brainseg.training.loop import OPTIMIZERS

    model = build_unet(filters=args.filters, seed=0)
    model.compile(optimizer=OPTIMIZERS[args.optimizer](1e-4), loss=DiceCrossEntropy())
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 100, (1, *args.window, 1)).astype(np.float32)
    labels = rng.integers(0, 28, (1, *args.window), np.uint8)
    return lambda: model.train_on_batch(image, labels), 3 * flop(model, args.window) / 1e9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--filters', type=int, default=16)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--shape', type=int, nargs=3, default=[112, 144, 128], help='of a pass')
    parser.add_argument('--window', type=int, nargs=3, default=[96, 96, 80], help='of a step')
    parser.add_argument('--optimizer', choices=['adam', 'muon'], default='adam')
    parser.add_argument('--repetitions', type=int, default=4)
    args = parser.parse_args()
    configure('cpu', args.threads)
    before = matrix_rate(args.repetitions)
    rows = {}
    for name, make in (('pass', pass_call), ('step', step_call)):
        call, work = make(args)
        rows[name] = work, least(call, args.repetitions)
    rate = max(before, matrix_rate(args.repetitions))
    print(f'matrix product: {rate:.0f} GFLOP per processor second')
    print(f'{"":6}{"GFLOP":>8}{"s":>8}{"GFLOP/s":>10}{"share":>8}')
    for name, (work, seconds) in rows.items():
        print(f'{name:6}{work:8.0f}{seconds:8.2f}{work / seconds:10.0f}{work / seconds / rate:8.2f}')


if __name__ == '__main__':
    main()

# SPDX-License-Identifier: Apache-2.0
"""The network in a process of its own: ``python -m bids_brainseg.process``, predict, train or calibrate."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from bids_brainseg.errors import BrainsegError, ModelError
from bids_brainseg.records import PASSES, PRECISIONS

from .lifetime import end_with_named_parent
from .network.backend import configure, find_device, import_keras, set_precision


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the process."""
    parser = argparse.ArgumentParser(prog='python -m bids_brainseg.process', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    predict = commands.add_parser('predict', help='segment an image on the network grid')
    predict.set_defaults(run=_predict)
    predict.add_argument(
        '--image', type=Path, required=True, help='intensities in [0, 100] on the grid of the bundle'
    )
    predict.add_argument('--bundle', type=Path, required=True, help='folder of the model')
    predict.add_argument(
        '--mc-samples', type=int, required=True, help='Monte-Carlo passes; 0: one without dropout'
    )
    predict.add_argument(
        '--mirrored', action='store_true', help='half of the passes see the scan mirrored left to right'
    )
    predict.add_argument('--seed', type=int, default=0)
    predict.add_argument('--precision', choices=PRECISIONS, default=PRECISIONS[0])
    predict.add_argument('--out-dir', type=Path, required=True)

    train = commands.add_parser('train', help='train as a plan of the train level says, and make bundles')
    train.set_defaults(run=_train)
    train.add_argument('--plan', type=Path, required=True, help='JSON that the train level wrote')
    train.add_argument('--work-dir', type=Path, required=True, help='gets checkpoints')

    calibrate = commands.add_parser(
        'calibrate',
        help='measure how far the volumes of a bundle are from those of labels, for their intervals',
    )
    calibrate.set_defaults(run=_calibrate)
    calibrate.add_argument(
        '--bundle', type=Path, required=True, help='folder of the model, which gets the file'
    )
    calibrate.add_argument(
        '--label-maps', type=Path, nargs='+', required=True, help='files; scans are drawn from them'
    )
    calibrate.add_argument('--pairs', type=int, default=1, help='scans of each label map')
    calibrate.add_argument('--copies', type=int, default=1, help='corrupted copies of each scan')
    calibrate.add_argument('--mc-samples', type=int, help='passes; those of the bundle if not given')
    calibrate.add_argument(
        '--inflation', type=float, default=1.0, help='how much wider real scans need them (evaluation.json)'
    )
    calibrate.add_argument('--because', default='', help='where the inflation comes from')
    calibrate.add_argument('--work-dir', type=Path, required=True, help='keeps what was measured')

    for command in commands.choices.values():
        command.add_argument('--device', choices=['auto', 'cpu', 'gpu'], default='auto')
        command.add_argument('--threads', type=int, default=0, help='0: as many as there are cores')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    end_with_named_parent()
    args = get_parser().parse_args(argv)
    configure(args.device, args.threads)
    import_keras()
    try:
        args.run(args)
    except BrainsegError as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def _predict(args: argparse.Namespace) -> None:
    import keras
    import numpy as np

    from bids_brainseg import __version__
    from bids_brainseg.files import write_text
    from bids_brainseg.imaging import load_image, save_like

    from .network.bundle import load_bundle
    from .network.predict import predict_samples

    device = find_device(args.device)
    set_precision(args.precision, device)
    begun = time.perf_counter()
    bundle = load_bundle(args.bundle)
    image = load_image(args.image)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    prediction, seconds = predict_samples(
        image.data,
        bundle,
        mc_samples=args.mc_samples,
        mirrored=args.mirrored,
        seed=args.seed,
        report=lambda done: write_text(f'{done}\n', args.out_dir / PASSES),
    )
    np.save(args.out_dir / 'posterior.npy', prediction.mean)
    save_like(prediction.entropy, image, args.out_dir / 'uncertainty.nii', np.float32)
    overlap = prediction.labels.intersection_over_union()
    seconds['total'] = time.perf_counter() - begun
    samples = {
        'counts': [[int(n) for n in row] for row in prediction.labels.counts],
        'voxel_mm3_grid': float(abs(np.linalg.det(np.asarray(bundle.grid_affine)[:3, :3]))),
        'mc_samples': args.mc_samples,
        'mirrored': args.mirrored and args.mc_samples > 1,
        'seed': args.seed,
        'device': device,
        'backend': keras.backend.backend(),
        'mc_iou': [None if np.isnan(x) else float(x) for x in overlap],
        'mutual_information_mean': prediction.mutual_information,
        'seconds': {name: round(value, 3) for name, value in seconds.items()},
        'versions': {'bids_brainseg': __version__, 'keras': keras.__version__, **_versions()},
    }
    (args.out_dir / 'samples.json').write_text(json.dumps(samples, indent=2) + '\n')


def _versions() -> dict[str, str]:
    """Return the versions of what numbers depend on, of the whole environment: all steps share it."""
    import keras

    backend = keras.backend.backend()
    versions = {backend: import_module(backend).__version__}
    return versions | {name: version(name) for name in ('itk-elastix', 'nibabel', 'numpy')}


def _train(args: argparse.Namespace) -> None:
    from .records import TrainingPlan
    from .training.run import run

    try:
        plan = TrainingPlan.from_json(json.loads(args.plan.read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f'the plan cannot be used: {args.plan}: {error}') from error
    run(plan, args.work_dir, device=find_device(args.device))


def _calibrate(args: argparse.Namespace) -> None:
    from .network.bundle import load_bundle
    from .training.volume_calibration import calibrate_volumes

    find_device(args.device)
    _, text = calibrate_volumes(
        load_bundle(args.bundle),
        args.label_maps,
        args.work_dir,
        pairs=args.pairs,
        copies=args.copies,
        mc_samples=args.mc_samples,
        inflation=args.inflation,
        because=args.because,
    )
    print(text)


if __name__ == '__main__':
    code = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # all is written, and TensorFlow takes a second to tidy up

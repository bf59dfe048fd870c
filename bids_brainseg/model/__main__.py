# SPDX-License-Identifier: Apache-2.0
"""The network in a process of its own: ``python -m bids_brainseg.model predict ...``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from bids_brainseg.errors import BrainsegError, ModelError


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the process."""
    parser = argparse.ArgumentParser(prog='python -m bids_brainseg.model')
    commands = parser.add_subparsers(dest='command', required=True)
    predict = commands.add_parser('predict', help='segment an image on the network grid')
    predict.add_argument('--image', type=Path, required=True, help='intensities in [0, 100] on the grid of the bundle')
    predict.add_argument('--bundle', type=Path, required=True, help='folder of the model')
    predict.add_argument('--mc-samples', type=int, required=True, help='Monte-Carlo passes; 0: one without dropout')
    predict.add_argument('--seed', type=int, default=0)
    predict.add_argument('--device', choices=['auto', 'cpu', 'gpu'], default='auto')
    predict.add_argument('--threads', type=int, default=0, help='0: as many as there are cores')
    predict.add_argument('--out-dir', type=Path, required=True)
    return parser


def main(argv=None) -> int:
    """Run a command; return the exit code."""
    args = get_parser().parse_args(argv)
    _configure(args.device, args.threads)
    try:
        _predict(args)
    except BrainsegError as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def _configure(device: str, threads: int) -> None:
    # all of it is read when the backend is imported, which is why nothing above imports Keras
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
    if device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
        os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    if threads:
        for name in ('OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS'):
            os.environ[name] = str(threads)
        os.environ.setdefault('TF_NUM_INTEROP_THREADS', '1')


def _predict(args) -> None:
    import keras
    import numpy as np

    from bids_brainseg import __version__
    from bids_brainseg.imaging import load_image, save_like

    from .bundle import load_bundle
    from .predict import predict_samples

    device = _device(args.device, keras)
    begun = time.perf_counter()
    bundle = load_bundle(args.bundle)
    image = load_image(args.image)
    posterior, seconds = predict_samples(image.data, bundle, mc_samples=args.mc_samples, seed=args.seed)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    np.save(args.out_dir / 'posterior.npy', posterior.mean())
    save_like(posterior.entropy(), image, args.out_dir / 'uncertainty.nii.gz', np.float32)
    overlap = posterior.intersection_over_union()
    seconds['total'] = time.perf_counter() - begun
    samples = {
        'counts': [[int(n) for n in row] for row in posterior.counts],
        'voxel_mm3_grid': float(abs(np.linalg.det(np.asarray(bundle.grid_affine)[:3, :3]))),
        'mc_samples': args.mc_samples,
        'seed': args.seed,
        'device': device,
        'backend': keras.backend.backend(),
        'mc_iou': [None if np.isnan(x) else float(x) for x in overlap],
        'mutual_information_mean': float(posterior.mutual_information().mean()),
        'seconds': {name: round(value, 3) for name, value in seconds.items()},
        'versions': {'bids_brainseg': __version__, 'keras': keras.__version__},
    }
    (args.out_dir / 'samples.json').write_text(json.dumps(samples, indent=2) + '\n')


def _device(wanted: str, keras) -> str:
    found = keras.distribution.list_devices('gpu') if wanted != 'cpu' else []
    if wanted == 'gpu' and not found:
        raise ModelError(
            'no GPU is visible to the network (--device gpu); install the gpu extra and check the driver, or use --device cpu'
        )
    return 'gpu' if found else 'cpu'


if __name__ == '__main__':
    sys.exit(main())

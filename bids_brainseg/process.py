# SPDX-License-Identifier: Apache-2.0
"""The network in a process of its own: ``python -m bids_brainseg.process predict ...``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from bids_brainseg.data import modalities
from bids_brainseg.errors import BrainsegError

from .network.backend import configure, find_device


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
    predict.add_argument('--out-dir', type=Path, required=True)

    prepare = commands.add_parser('prepare', help='align label maps and average them to references')
    prepare.set_defaults(run=_prepare)
    prepare.add_argument(
        '--label-maps', type=Path, nargs='+', required=True, help='whole-head label maps to train on'
    )
    prepare.add_argument(
        '--held-out', type=Path, nargs='+', required=True, help='label maps that only validate'
    )
    prepare.add_argument('--out-dir', type=Path, required=True)

    train = commands.add_parser('train', help='train on scans drawn from prepared label maps')
    train.set_defaults(run=_train)
    train.add_argument('--prepared', type=Path, required=True, help='folder that `prepare` made')
    train.add_argument(
        '--out-dir', type=Path, required=True, help='gets last.safetensors, architecture.json, log.csv'
    )
    train.add_argument('--contrasts', nargs='+', default=list(modalities()))
    train.add_argument(
        '--shape', type=int, nargs=3, default=[112, 144, 128], help='grid (default: that of the bundles)'
    )
    train.add_argument('--spacing', type=float, default=1.4, help='of the grid, mm')
    train.add_argument('--window', type=int, nargs=3, help='pairs of this shape, somewhere in the grid')
    train.add_argument('--steps', type=int, required=True, help='batches to see (whole --check-every)')
    train.add_argument('--batch-size', type=int, default=1, help='pairs in a step')
    train.add_argument('--optimizer', choices=['adam', 'muon'], default='adam')
    train.add_argument('--learning-rate', type=float, default=1e-3)
    train.add_argument('--schedule', choices=['constant', 'cosine'], default='cosine')
    train.add_argument('--balance', type=float, default=0.0, help='1: all classes weigh alike')
    train.add_argument('--entropy-weight', type=float, default=1.0, help='factor of the cross-entropy')
    train.add_argument('--average', type=float, default=0.99, help='decay of the averaged weights')
    train.add_argument('--filters', type=int, default=32)
    train.add_argument('--dropout', type=float, default=0.2)
    train.add_argument('--dropout-kind', choices=['element', 'channel'], default='element')
    train.add_argument('--normalization', choices=['instance', 'group', 'batch'], default='instance')
    train.add_argument(
        '--range', nargs='+', default=[], metavar='NAME=VALUE', help='how far samples go, e.g. free=0.1'
    )
    train.add_argument('--init', type=Path, help='weights to start from')
    train.add_argument('--start', type=int, default=0, help='number of the first pair')
    train.add_argument('--seed', type=int, default=1)
    train.add_argument(
        '--check-every', type=int, default=50, help='steps between checkpoints, an epoch of the log'
    )
    train.add_argument(
        '--validate-every', type=int, default=500, help='steps between scores on held-out heads'
    )
    train.add_argument('--workers', type=int, default=1, help='threads that draw pairs')
    train.add_argument(
        '--sample-on', choices=['auto', 'host', 'device'], default='auto',
        help='where pairs are drawn; auto: on a GPU if there is one',
    )  # fmt: skip
    train.add_argument(
        '--precision', choices=['auto', 'float32', 'mixed_bfloat16', 'mixed_float16'], default='auto',
        help='auto: mixed_bfloat16 on a GPU, else float32',
    )  # fmt: skip

    fit = commands.add_parser('fit', help='train as a plan of the train level says, and make a bundle')
    fit.set_defaults(run=_fit)
    fit.add_argument('--plan', type=Path, required=True, help='JSON that the train level wrote')
    fit.add_argument('--work-dir', type=Path, required=True, help='gets the checkpoint')

    pack = commands.add_parser(
        'pack', help='score trained weights on held-out heads and make a bundle of them'
    )
    pack.set_defaults(run=_pack)
    pack.add_argument('--prepared', type=Path, required=True)
    pack.add_argument('--trained', type=Path, required=True, help='folder that `train` made')
    pack.add_argument('--modality', required=True)
    pack.add_argument('--model-version', required=True)
    pack.add_argument('--card', type=Path, required=True, help='JSON: what to say about training and limits')
    pack.add_argument('--pairs', type=int, default=10, help='held-out pairs to score')
    pack.add_argument('--out-dir', type=Path, required=True)

    for command in commands.choices.values():
        command.add_argument('--device', choices=['auto', 'cpu', 'gpu'], default='auto')
        command.add_argument('--threads', type=int, default=0, help='0: as many as there are cores')
    return parser


def main(argv=None) -> int:
    """Run a command; return the exit code."""
    args = get_parser().parse_args(argv)
    configure(args.device, args.threads)
    try:
        args.run(args)
    except BrainsegError as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def _predict(args) -> None:
    import keras
    import numpy as np

    from bids_brainseg import __version__
    from bids_brainseg.imaging import load_image, save_like

    from .network.bundle import load_bundle
    from .network.predict import predict_samples

    device = find_device(args.device)
    begun = time.perf_counter()
    bundle = load_bundle(args.bundle)
    image = load_image(args.image)
    prediction, seconds = predict_samples(
        image.data, bundle, mc_samples=args.mc_samples, mirrored=args.mirrored, seed=args.seed
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
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
        'versions': {'bids_brainseg': __version__, 'keras': keras.__version__},
    }
    (args.out_dir / 'samples.json').write_text(json.dumps(samples, indent=2) + '\n')


def _prepare(args) -> None:
    from .training.build import prepare

    prepare(args.label_maps, args.held_out, args.out_dir)


def _train(args) -> None:
    import keras
    import numpy as np

    from .network.unet import build_unet
    from .network.weights import load_weights, save_weights
    from .records import MASK
    from .synthesis.device import DeviceSource, sampled_on
    from .synthesis.generator import AugmentationRanges
    from .training.build import held_out_pairs, load_heads, synthesizer
    from .training.loop import Recipe, fit, score, set_precision

    device = find_device(args.device)
    precision = set_precision(args.precision, device)
    keras.utils.set_random_seed(args.seed)
    architecture = {'filters': args.filters, 'depth': 4, 'classes': 28, 'dropout': args.dropout,
                    'dropout_kind': args.dropout_kind, 'normalization': args.normalization}  # fmt: skip
    model = build_unet(**architecture, seed=args.seed)
    if args.init:
        load_weights(model, args.init)
    spans = {name: float(value) for name, _, value in (text.partition('=') for text in args.range)}
    grid = {'shape': args.shape, 'spacing': args.spacing}
    heads = load_heads(args.prepared, 'train')
    where = grid | {'mask': args.prepared / MASK}
    held_out = held_out_pairs(load_heads(args.prepared, 'validate'), args.contrasts, **where, count=2)
    source = synthesizer(
        heads, args.contrasts, **where, ranges=AugmentationRanges(**spans), seed=args.seed, window=args.window
    )
    source = sampled_on(args.sample_on, device, source)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (args.out_dir / 'architecture.json').write_text(json.dumps(architecture, indent=2) + '\n')
    recipe = Recipe.from_defaults(
        epochs=-(-args.steps // args.check_every), steps_per_epoch=args.check_every, patience=0,
        optimizer=args.optimizer, learning_rate=args.learning_rate, schedule=args.schedule,
        balance=args.balance, average=args.average, entropy_weight=args.entropy_weight,
        seed=args.seed, workers=args.workers, checkpoint_seconds=120, batch_size=args.batch_size,
    )  # fmt: skip

    def scores(progress, twin) -> dict:
        save_weights(twin, args.out_dir / 'last.safetensors')
        if progress.step % args.validate_every and progress.epoch != recipe.epochs:
            return {}
        found = {name: float(np.nanmean(score(twin, pairs))) for name, pairs in held_out.items()}
        return {f'dice_{name}': round(value, 4) for name, value in found.items()}

    fit(
        model,
        source,
        args.out_dir,
        recipe,
        twin=build_unet(**architecture, stochastic=False),
        start=args.start,
        facts={'architecture': architecture, 'contrasts': args.contrasts, **grid, 'window': args.window,
               'ranges': spans, 'heads': len(heads), 'init': str(args.init)}
        | ({} if precision == 'float32' else {'precision': precision})
        | ({'sample_on': 'device'} if isinstance(source, DeviceSource) else {}),
        on_epoch=scores,
    )  # fmt: skip


def _fit(args) -> None:
    from .training.run import run

    run(json.loads(args.plan.read_text()), args.work_dir, device=find_device(args.device))


def _pack(args) -> None:
    import numpy as np

    from bids_brainseg.data import label_table

    from .network.unet import build_unet
    from .network.weights import load_weights, save_weights
    from .records import MASK
    from .training.build import defaults, held_out_pairs, load_heads, pack
    from .training.loop import score

    architecture = json.loads((args.trained / 'architecture.json').read_text())
    card = json.loads(args.card.read_text())
    model = build_unet(**architecture, stochastic=False)
    load_weights(model, args.trained / 'last.safetensors')
    half = args.trained / 'half.safetensors'
    save_weights(model, half, dtype='float16')
    # the scores are those of the weights as they are stored
    load_weights(model, half)
    heads = load_heads(args.prepared, 'validate')
    grid = defaults()['grid'] | {'mask': args.prepared / MASK}
    pairs = held_out_pairs(heads, [args.modality], **grid, count=args.pairs)[args.modality]
    dice = score(model, pairs)
    card.setdefault('dice', {})['held_out_label_maps'] = {
        'what': f'{args.pairs} scans drawn from held-out label maps, network grid, one pass without dropout',
        'average': round(float(np.nanmean(dice)), 4),
        **{label.name: round(float(value), 4) for label, value in zip(label_table()[1:], dice, strict=True)},
    }
    bundle = pack(
        args.out_dir,
        args.prepared,
        half,
        args.modality,
        version=args.model_version,
        architecture=architecture,
        card=card,
    )
    print(bundle.path, card['dice']['held_out_label_maps']['average'])


if __name__ == '__main__':
    sys.exit(main())

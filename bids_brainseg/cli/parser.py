# SPDX-License-Identifier: Apache-2.0
"""The options of the command line, and how one word of it is read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from ..data import augmentation_names, modalities, resource, training_defaults

LEVELS = ('participant', 'group', 'train', 'evaluate')
LABEL_TABLES = ('auto', 'freesurfer', 'brainseg')

Group = argparse._ArgumentGroup


class _Version(argparse.Action):
    """Look up the version only when it is asked for."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from .. import __version__

        parser.exit(message=f'bids_brainseg {__version__}\n')


def spell_number(number: float) -> str:
    """Return the shortest text that is read as the same number.

    >>> spell_number(80.0), spell_number(0.25), spell_number(1e-4)
    ('80', '0.25', '0.0001')
    """
    text = f'{number:g}'
    return text if float(text) == number else repr(float(number))


class Gigabytes(float):
    """An amount of memory; as text it is what ``--mem`` reads.

    >>> str(Gigabytes(16)), str(Gigabytes(0.1 + 0.2))
    ('16G', '0.30000000000000004G')
    """

    def __str__(self) -> str:
        return f'{spell_number(self)}G'


class NamedPath(NamedTuple):
    """A file or folder with a name, ``NAME=PATH``; the name may be empty."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f'{self.name}={self.path}' if self.name else str(self.path)


def get_parser() -> argparse.ArgumentParser:
    """Build the parser; it has no side effect, so the documentation prints it."""
    *titles, last = (modality.title for modality in modalities().values())
    parser = argparse.ArgumentParser(
        prog='bids_brainseg',
        usage=f'%(prog)s [-h] BIDS_DIR OUTPUT_DIR {{{",".join(LEVELS)}}} [options]',
        description=f'Segment the {", ".join(titles)} and {last} brain scans of a BIDS dataset into 27 '
        'structures on the grid of each scan, with volumes, uncertainty and a report for each participant.',
        epilog='Exit codes: 0 everything was done; 1 something failed (it is listed, and the rest was done); '
        '2 wrong usage; 16 not a BIDS dataset; 17 unknown level; 18 the filters select nothing.',
    )
    parser.add_argument('bids_dir', type=_path, metavar='BIDS_DIR', help='root of the dataset; only read')
    parser.add_argument('output_dir', type=_path, metavar='OUTPUT_DIR', help='folder for the derivatives')
    parser.add_argument('level', metavar='LEVEL', help=f'level of the analysis: {", ".join(LEVELS)}')
    parser.add_argument(
        '--version', action=_Version, nargs=0, dest=argparse.SUPPRESS, help='print the version and exit'
    )
    _add_selection(parser.add_argument_group('selection'))
    _add_resources(parser.add_argument_group('resources'))
    _add_segmentation(parser.add_argument_group('segmentation'))
    _add_training(parser.add_argument_group('training (level train, and --study)'))
    _add_network(parser.add_argument_group('network and optimizer (level train, and --study)'))
    _add_evaluation(parser.add_argument_group('evaluation (level evaluate)'))
    _add_reporting(parser.add_argument_group('reporting'))
    return parser


def _add_selection(group: Group) -> None:
    group.add_argument(
        '--participant-label',
        nargs='+',
        default=[],
        metavar='LABEL',
        help='participants to process, with or without "sub-" (default: all)',
    )
    group.add_argument(
        '--session-label',
        nargs='+',
        default=[],
        metavar='LABEL',
        help='sessions to process, with or without "ses-" (default: all)',
    )
    group.add_argument(
        '--modalities',
        nargs='+',
        choices=list(modalities()),
        default=list(modalities()),
        help='modalities to process (default: all)',
    )
    group.add_argument(
        '--bids-filter-file',
        type=_file,
        metavar='FILE.json',
        help='pybids filters for each modality, e.g. {"T1w": {"acquisition": null, "run": "*"}}; null: the '
        'entity must be absent, "*": any value',
    )
    group.add_argument('--skip-bids-validation', action='store_true', help='do not run the BIDS validator')
    group.add_argument(
        '--bids-database-dir',
        type=_path,
        metavar='DIR',
        help='folder for the pybids index; created if needed, used again by later runs',
    )
    group.add_argument(
        '-d',
        '--derivatives',
        nargs='+',
        type=_named_path,
        default=[],
        metavar='NAME=DIR',
        help='derivatives to read. train: freesurfer=DIR, the labels to learn. evaluate: labels=DIR, the '
        'reference labels (BIDS derivatives with dseg images, or a folder of FreeSurfer subjects)',
    )


def _add_resources(group: Group) -> None:
    group.add_argument(
        '-w',
        '--work-dir',
        type=_path,
        default='work',
        metavar='DIR',
        help='folder for intermediate results; the next run reuses them (default: ./work)',
    )
    group.add_argument('--nprocs', type=_positive, metavar='N', help='processors to use (default: all)')
    group.add_argument(
        '--omp-nthreads',
        type=_positive,
        metavar='N',
        help='threads of one step, e.g. registration or network (default: all processors, at most 8)',
    )
    group.add_argument(
        '--mem',
        type=_gigabytes,
        metavar='SIZE',
        help='memory to use, e.g. 16G or 16000M; megabytes if no unit is given (default: 90%% of all)',
    )
    group.add_argument('--low-mem', action='store_true', help='run steps that need much memory one by one')
    group.add_argument(
        '--device',
        choices=('auto', 'cpu', 'gpu'),
        default='auto',
        help='where the network runs (default: %(default)s)',
    )
    group.add_argument(
        '--use-plugin',
        type=_file,
        metavar='FILE.yml',
        help='nipype plugin and plugin_args (SLURM, SGE, PBS ...), to run the steps as jobs of a cluster',
    )


def _add_segmentation(group: Group) -> None:
    group.add_argument(
        '--model',
        nargs='+',
        type=_named_path,
        default=[],
        metavar='[MODALITY=]DIR',
        help='model bundles to use instead of the packaged ones, e.g. --model T1w=my_t1w dwi=my_dwi',
    )
    group.add_argument(
        '--mc-samples',
        type=_count,
        metavar='N',
        help='number of Monte-Carlo dropout passes; 0: one pass without dropout (default: set by the model)',
    )
    group.add_argument(
        '--random-seed',
        type=_count,
        default=0,
        metavar='N',
        help='seed of all random numbers: dropout, corruption, training (default: %(default)s)',
    )
    group.add_argument(
        '--cv-threshold',
        type=_percentage,
        metavar='PERCENT',
        help='flag structures whose volume has a larger coefficient of variation over the passes '
        '(default: set by the model)',
    )
    group.add_argument(
        '--qc-thresholds',
        type=_file,
        metavar='FILE.json',
        help='thresholds of the QC numbers, instead of those of the program and the model, e.g. '
        '{"all": {"alignment": {"review_below": 0.5}}, "ct": {"fov_truncation": null}}; null removes a rule',
    )
    group.add_argument(
        '--ct-window',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='range that CT is clipped to, in Hounsfield units (default: set by the model)',
    )
    group.add_argument(
        '--label-resampling',
        choices=('posterior', 'nearest'),
        default='posterior',
        help='how labels are resampled to the grid of the scan: from the probabilities, or from the nearest '
        'label (default: %(default)s)',
    )
    group.add_argument('--save-probseg', action='store_true', help='also write the probability maps')
    group.add_argument(
        '--output-spaces',
        nargs='+',
        default=[],
        metavar='SPACE',
        help='also write the segmentation in the space of these templates (affine registration), in the '
        'notation of TemplateFlow: NAME[:res-N][:cohort-N], e.g. MNI152NLin2009cAsym:res-1; read from '
        'TEMPLATEFLOW_HOME, and fetched only with TEMPLATEFLOW_AUTOUPDATE=on in the environment',
    )


def _add_training(group: Group) -> None:
    defaults = training_defaults()
    thresholds = ', '.join(f'{name} {rule.agreement_threshold:g}' for name, rule in modalities().items())
    group.add_argument('--modality', choices=list(modalities()), help='modality of the training scans')
    group.add_argument(
        '--recipe',
        type=_recipe,
        metavar='FILE',
        help='train in stages, and bundles for several modalities, as a file says; or the name of a packaged '
        'recipe (see docs/training.rst)',
    )
    group.add_argument(
        '--label-maps',
        nargs='+',
        type=_path,
        default=[],
        metavar='PATH',
        help='label maps of whole heads or of FreeSurfer to synthesize scans from: files or folders',
    )
    group.add_argument(
        '--synthetic-share',
        type=_share,
        metavar='SHARE',
        help='fraction of synthetic pairs if there are real scans as well '
        f'(default: {defaults["synthetic"]["share"]})',
    )
    group.add_argument(
        '--exclude',
        type=_file,
        metavar='FILE.tsv',
        help='scans to leave out: columns participant_id, session_id, reason',
    )
    group.add_argument(
        '--agreement-threshold',
        type=_share,
        metavar='NUMBER',
        help=f'reject scans whose labels fit the image less well, 0 to 1 (default: {thresholds})',
    )
    group.add_argument(
        '--validation-share',
        type=_share,
        metavar='SHARE',
        help='fraction of the participants held out for validation '
        f'(default: {defaults["validation_share"]})',
    )
    group.add_argument(
        '--validation-label',
        nargs='+',
        default=[],
        metavar='LABEL',
        help='participants held out for validation',
    )
    group.add_argument(
        '--range',
        nargs='+',
        default=[],
        dest='ranges',
        metavar='NAME=VALUE',
        help=f'strength of the augmentation: {", ".join(augmentation_names())} (see docs/training.rst)',
    )
    group.add_argument('--no-augmentation', action='store_true', help='train on the scans as they are')
    group.add_argument(
        '--sample-on',
        choices=('auto', 'host', 'device'),
        help='where synthetic pairs are made (default: auto, which is the GPU if there is one and all pairs '
        'are synthetic)',
    )
    group.add_argument(
        '--bundle-name',
        type=_name,
        metavar='NAME',
        help='name of the new bundle, letters and digits (default: own and the modality)',
    )
    group.add_argument('--license', help='license of the new weights, for the model card')


def _add_network(group: Group) -> None:
    defaults = training_defaults()
    stage = defaults['stage']
    group.add_argument(
        '--init',
        type=_path,
        metavar='PATH',
        help='bundle to start from: its weights, reference and architecture; with --recipe a file of weights '
        'will do',
    )
    group.add_argument(
        '--filters',
        type=_positive,
        metavar='F',
        help=f'feature maps of the first block (default: {defaults["architecture"]["filters"]})',
    )
    group.add_argument(
        '--grid-spacing',
        type=_millimeters,
        metavar='MM',
        help='voxel size of the network grid; 2.8 takes about a sixth of the time and memory of 1.4, but '
        'loses small structures (default: that of the bundle whose reference is used; packaged: 1.4)',
    )
    # flag -> name in the stage, type, help
    numbers = {
        '--epochs': ('epochs', _positive, 'maximum number of epochs'),
        '--patience': (
            'patience', _count, 'stop after this many epochs without a better validation loss; 0: never'
        ),
        '--steps-per-epoch': (
            'steps_per_epoch', _positive, 'training steps in an epoch (default: each scan once; 100 if there '
            'are only label maps)'
        ),
        '--batch-size': ('batch_size', _positive, 'pairs in a step'),
        '--learning-rate': ('learning_rate', _rate, 'learning rate of the optimizer'),
        '--class-balance': (
            'class_balance', _share,
            'exponent of the class weights in the cross-entropy; 0: by size, 1: all equal',
        ),
        '--cross-entropy-weight': (
            'cross_entropy_weight', _factor, 'weight of the cross-entropy in the loss, beside the Dice term'
        ),
        '--ema-momentum': (
            'ema_momentum', _share, 'momentum of the moving average of the weights; 0: no average'
        ),
        '--workers': ('workers', _positive, 'threads that prepare training pairs'),
        '--checkpoint-seconds': (
            'checkpoint_seconds', _count, 'seconds between checkpoints; 0: after every step'
        ),
    }  # fmt: skip
    for flag, (name, kind, text) in numbers.items():
        default = '' if stage[name] is None else f' (default: {stage[name]:g})'
        group.add_argument(flag, dest=name, type=kind, metavar='N', help=text + default)
    group.add_argument(
        '--optimizer',
        choices=('adam', 'muon'),
        help=f'optimizer; muon needs far fewer steps, see docs/training.rst (default: {stage["optimizer"]})',
    )
    group.add_argument(
        '--schedule',
        choices=('constant', 'cosine'),
        help='schedule of the learning rate; cosine: falls to 1 %% over all epochs '
        f'(default: {stage["schedule"]})',
    )
    group.add_argument(
        '--window',
        nargs=3,
        type=_positive,
        metavar='N',
        help='train on random patches of this shape, in voxels (default: the whole grid)',
    )
    group.add_argument(
        '--precision',
        choices=('auto', 'float32', 'mixed_bfloat16', 'mixed_float16'),
        help='floating-point precision of the training (default: auto, which is mixed_bfloat16 on a GPU and '
        'float32 elsewhere)',
    )


def _add_evaluation(group: Group) -> None:
    group.add_argument(
        '--label-table',
        type=_table,
        default='auto',
        metavar=f'{{{",".join(LABEL_TABLES)},FILE.tsv}}',
        help='meaning of the numbers in the reference labels (default: %(default)s, taken from a table or '
        'the file names of that dataset)',
    )
    group.add_argument(
        '--label-filter',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='entities of the reference labels, e.g. desc=manual, if several images fit a scan',
    )
    group.add_argument(
        '--calibrate',
        nargs='?',
        type=_count,
        const=6,
        default=0,
        metavar='N',
        help='also segment N corrupted copies of each scan (default: 6), and find the thresholds that best '
        'separate good from bad segmentations',
    )
    group.add_argument(
        '--acceptable-dice',
        type=_share,
        metavar='D_A',
        help='mean Dice below which a segmentation counts as bad (default: 0.9 times the median of the '
        'scans that are not corrupted)',
    )
    group.add_argument(
        '--study',
        choices=('scaling', 'equal-size'),
        help='also train networks with the training options and score them on the selected scans. scaling: '
        'on 4, 8, 16 ... subjects; equal-size: on the same number for each modality',
    )
    group.add_argument(
        '--study-sizes',
        nargs='+',
        type=_positive,
        default=[],
        metavar='N',
        help='numbers of subjects to train on; equal-size uses the first (default: 4, 8, 16 ... up to all; '
        'equal-size: as many as every modality has)',
    )


def _add_reporting(group: Group) -> None:
    group.add_argument(
        '--reports-only', action='store_true', help='only write the pages again, from existing derivatives'
    )
    group.add_argument('--write-graph', action='store_true', help='draw the workflow into the work folder')
    group.add_argument('--stop-on-first-crash', action='store_true', help='stop the run at the first failure')
    group.add_argument(
        '--resource-monitor', action='store_true', help='record memory and processor use of each step'
    )
    group.add_argument(
        '--clean-workdir',
        action='store_true',
        help='first delete the intermediate results of the selected participants',
    )
    group.add_argument('--dry-run', action='store_true', help='list what would run and be written, and exit')
    group.add_argument(
        '-v',
        '--verbose',
        action='count',
        default=0,
        dest='verbosity',
        help='show the log; -vv: show all of it',
    )


def _path(text: str) -> Path:
    return Path(text).resolve()


def _file(text: str) -> Path:
    return Path(text).absolute()  # not resolved: it may be a pipe of the shell, <(command)


def _named_path(text: str) -> NamedPath:
    """Read ``NAME=PATH`` or ``PATH``.

    >>> str(_named_path('T1w=/models/a=1')), str(_named_path('/models/a=1'))
    ('T1w=/models/a=1', '/models/a=1')
    """
    name, equals, path = text.partition('=')
    named = equals and '/' not in name
    return NamedPath(name, _path(path)) if named else NamedPath('', _path(text))


def _recipe(text: str) -> Path:
    packaged = resource('recipes') / f'{text}.json'
    return packaged if packaged.is_file() and not Path(text).exists() else Path(text).resolve()


def _table(text: str) -> str | Path:
    return text if text in LABEL_TABLES else _path(text)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{number} is less than 1')
    return number


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f'{number} is negative')
    return number


def _share(text: str) -> float:
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number


def _rate(text: str) -> float:
    if not 0 < (number := float(text)) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return number


def _factor(text: str) -> float:
    if not 0 <= (number := float(text)) < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number of 0 or more')
    return number


def _name(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(f'{text!r} holds more than letters and digits')
    return text


def _millimeters(text: str) -> float:
    if not 0.5 <= (number := float(text)) <= 8:
        raise argparse.ArgumentTypeError(f'{text} mm is not between 0.5 and 8')
    return number


def _percentage(text: str) -> float:
    if not (number := float(text.removesuffix('%'))) > 0:
        raise argparse.ArgumentTypeError(f'{text} is not above 0')
    return number


def _gigabytes(text: str) -> Gigabytes:
    """Read an amount of memory.

    >>> _gigabytes('16G'), _gigabytes('16000'), _gigabytes('0.5 TB')
    (16.0, 16.0, 500.0)
    """
    digits = text.strip().upper().removesuffix('B').removesuffix('I').strip()
    unit = digits[-1:] if digits[-1:] in tuple('KMGT') else 'M'
    number = float(digits.removesuffix(unit)) * {'K': 1e-6, 'M': 1e-3, 'G': 1.0, 'T': 1e3}[unit]
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is {number:g} GB, less than one; write e.g. 16G')
    return Gigabytes(number)

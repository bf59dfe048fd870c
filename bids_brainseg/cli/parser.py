# SPDX-License-Identifier: Apache-2.0
"""The options of the command line, and what single words of it mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data import modalities, training_defaults

LEVELS = ('participant', 'group', 'train', 'evaluate')


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser, namespace, values, option_string=None):
        from .. import __version__

        parser.exit(message=f'bids_brainseg {__version__}\n')


def get_parser() -> argparse.ArgumentParser:
    """Build the parser; it has no side effect, so the documentation prints it."""
    *titles, last = (modality.title for modality in modalities().values())
    parser = argparse.ArgumentParser(
        prog='bids_brainseg',
        description=f'Segment the {", ".join(titles)} and {last} brain scans of a BIDS dataset into 27 '
        'structures, each scan on its own grid, with volumes, an uncertainty and a page to look at.',
        epilog='Exit codes: 0 all done; 1 something failed (the rest was finished and is listed); 2 usage; '
        '16 not a BIDS dataset; 17 unknown level; 18 the filters select nothing.',
    )
    parser.add_argument('bids_dir', type=Path, metavar='BIDS_DIR', help='the dataset; it is only read')
    parser.add_argument('output_dir', type=Path, metavar='OUTPUT_DIR', help='where the derivatives go')
    parser.add_argument('level', metavar='LEVEL', help=f'level of the analysis: {", ".join(LEVELS)}')
    parser.add_argument(
        '--version', action=_Version, nargs=0, dest=argparse.SUPPRESS, help='print the version and exit'
    )
    selection = parser.add_argument_group('selection')
    _add_selection(selection)
    _add_derivatives(selection)
    _add_resources(parser.add_argument_group('resources'))
    _add_segmentation(parser.add_argument_group('segmentation'))
    _add_training(parser.add_argument_group('training'))
    _add_evaluate(parser.add_argument_group('evaluate'))
    _add_reporting(parser.add_argument_group('reporting'))
    return parser


def _add_selection(group):
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
        help='kinds of scan to process (default: all)',
    )
    group.add_argument(
        '--bids-filter-file',
        type=Path,
        metavar='FILE.json',
        help='pybids filters per modality, e.g. {"T1w": {"acquisition": null, "run": "*"}}: null means that '
        'the entity must be absent, "*" that any value will do',
    )
    group.add_argument(
        '--skip-bids-validation', action='store_true', help='do not run the BIDS validator on the dataset'
    )
    group.add_argument(
        '--bids-database-dir',
        type=Path,
        metavar='DIR',
        help='folder of a pybids index; made when absent and used again by the next run',
    )


def _add_derivatives(group):
    group.add_argument(
        '-d',
        '--derivatives',
        nargs='+',
        default=[],
        metavar='NAME=DIR',
        help='derivatives to read; train: freesurfer=DIR, the labels to learn; evaluate: labels=DIR, the '
        'reference labels (a BIDS derivative with dseg images, or a folder of FreeSurfer subjects)',
    )


def _add_resources(group):
    group.add_argument(
        '-w',
        '--work-dir',
        type=Path,
        default=Path('work'),
        metavar='DIR',
        help='intermediate results; keep it, and the next run skips what is done (default: ./work)',
    )
    group.add_argument('--nprocs', type=_positive, metavar='N', help='processor cores to use (default: all)')
    group.add_argument(
        '--omp-nthreads',
        type=_positive,
        metavar='N',
        help='threads of one step: registration, network (default: all cores, at most 8)',
    )
    group.add_argument(
        '--mem',
        type=_gigabytes,
        metavar='SIZE',
        help='memory to plan with, e.g. 16G or 16000M; a bare number is megabytes (default: 90%% of all)',
    )
    group.add_argument(
        '--low-mem', action='store_true', help='run the steps that need much memory one after the other'
    )
    group.add_argument(
        '--device',
        choices=('auto', 'cpu', 'gpu'),
        default='auto',
        help='where the network runs (default: auto)',
    )
    group.add_argument(
        '--use-plugin',
        type=Path,
        metavar='FILE.yml',
        help='nipype plugin and plugin_args (SLURM, SGE, PBS ...) instead of local processes',
    )


def _add_segmentation(group):
    group.add_argument(
        '--model',
        nargs='+',
        default=[],
        metavar='[MODALITY=]DIR',
        help='model bundles to use instead of the packaged ones, e.g. --model T1w=my_t1w dwi=my_dwi',
    )
    group.add_argument(
        '--mc-samples',
        type=_count,
        metavar='N',
        help='Monte-Carlo passes of the network; 0: one deterministic pass (default: as the model says)',
    )
    group.add_argument('--random-seed', type=_count, default=0, metavar='N', help='(default: %(default)s)')
    group.add_argument(
        '--cv-threshold',
        type=_percentage,
        metavar='PERCENT',
        help='flag structures whose volume varies more over the passes (default: as the model says)',
    )
    group.add_argument(
        '--qc-thresholds',
        type=Path,
        metavar='FILE.json',
        help='bounds of the quality numbers that win over those of the program and of the model, e.g. '
        '{"all": {"alignment": {"review_below": 0.5}}, "ct": {"fov_truncation": null}}; null removes a rule',
    )
    group.add_argument(
        '--ct-window',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='Hounsfield units that CT is clipped to (default: as the model says)',
    )
    group.add_argument(
        '--label-resampling',
        choices=('posterior', 'nearest'),
        default='posterior',
        help="how labels come back to the scan's grid (default: %(default)s)",
    )
    group.add_argument(
        '--save-probseg', action='store_true', help='also write the probability of each structure'
    )
    group.add_argument(
        '--output-spaces',
        nargs='+',
        default=[],
        metavar='SPACE',
        help='also write the segmentation on the grid of templates, through an affine: '
        'NAME[:res-N][:cohort-N] as in TemplateFlow, e.g. MNI152NLin2009cAsym:res-1; they have to be on '
        "this disk already (the scan's own grid is always written)",
    )


def _add_evaluate(group):
    group.add_argument(
        '--label-table',
        default='auto',
        metavar='{auto,freesurfer,brainseg,FILE.tsv}',
        help='what the numbers of the reference labels mean (default: %(default)s, as a table or the names '
        'in that dataset say)',
    )
    group.add_argument(
        '--label-filter',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='entities that the reference labels must have, e.g. desc=manual, where several would fit a scan',
    )
    group.add_argument(
        '--calibrate',
        nargs='?',
        type=_count,
        const=6,
        default=0,
        metavar='N',
        help='also corrupt each scan in N ways (default: 6), and find the thresholds that best tell good '
        'segmentations from bad ones',
    )
    group.add_argument(
        '--acceptable-dice',
        type=_share,
        metavar='D_A',
        help='mean Dice below which a segmentation counts as bad (default: nine tenths of the median of the '
        'scans as they are)',
    )
    group.add_argument(
        '--study',
        choices=('scaling', 'equal-size'),
        help='also train networks, with the options of training, on 4, 8, 16 ... people, or on equally many '
        'for each modality, and score them on the test scans (those selected that have labels)',
    )
    group.add_argument(
        '--study-sizes',
        nargs='+',
        type=_positive,
        default=[],
        metavar='N',
        help='people to train on; equal-size takes the first (default: doubled from 4 to all; the most that '
        'every modality has)',
    )


def _add_training(group):
    known = training_defaults()
    recipe, augmentation = known['recipe'], known['augmentation']
    group.add_argument('--modality', choices=list(modalities()), help='what the network is trained for')
    group.add_argument(
        '--label-maps',
        nargs='+',
        type=Path,
        default=[],
        metavar='PATH',
        help='whole-head or FreeSurfer label maps, files or folders, from which scans are drawn',
    )
    group.add_argument(
        '--synthetic-share',
        type=_share,
        metavar='SHARE',
        help=f'of drawn pairs, where there are scans too (default: {known["synthetic"]["share"]})',
    )
    group.add_argument(
        '--exclude', type=Path, metavar='FILE.tsv', help='who is left out: participant_id, session_id, reason'
    )
    thresholds = ', '.join(f'{name} {rule.agreement_threshold:g}' for name, rule in modalities().items())
    group.add_argument(
        '--agreement-threshold',
        type=_share,
        metavar='NUMBER',
        help=f'reject scans whose labels fit worse, 0 to 1 (default: {thresholds})',
    )
    group.add_argument(
        '--validation-share',
        type=_share,
        metavar='SHARE',
        help=f'of the participants that validate (default: {known["validation_share"]})',
    )
    group.add_argument(
        '--validation-label', nargs='+', default=[], metavar='LABEL', help='the participants that validate'
    )
    group.add_argument(
        '--init', type=Path, metavar='DIR', help='bundle to begin with: its weights, reference, architecture'
    )
    group.add_argument(
        '--filters',
        type=_positive,
        metavar='F',
        help=f'feature maps of the first block (default: {known["architecture"]["filters"]})',
    )
    group.add_argument(
        '--grid-spacing',
        type=_millimeters,
        metavar='MM',
        help='voxel size of the network grid (default: that of the bundle whose reference is used, 1.4 for '
        'the packaged ones); 2.8 takes about a sixth of the time and memory, and loses small structures',
    )
    numbers = {
        'epochs': (_positive, 'at most so many'),
        'patience': (_count, 'stop after so many epochs without a better validation loss; 0: never'),
        'steps_per_epoch': (_positive, 'default: each scan once, or 100 with label maps alone'),
        'batch_size': (_positive, 'pairs in a step'),
        'learning_rate': (_rate, 'of the optimizer'),
        'balance': (_share, 'weight of small structures in the cross-entropy, 0 to 1'),
        'entropy_weight': (_factor, 'factor of the cross-entropy beside the summed Dice'),
        'average': (_share, 'decay of a running average of the weights; 0: none'),
        'workers': (_positive, 'threads that draw pairs'),
        'checkpoint_seconds': (_count, 'time between checkpoints; 0: after every step'),
    }
    for name, (kind, text) in numbers.items():
        default = '' if recipe[name] is None else f' (default: {recipe[name]:g})'
        flag = '--' + ('draw_workers' if name == 'workers' else name).replace('_', '-')
        group.add_argument(flag, dest=name, type=kind, metavar='N', help=text + default)
    group.add_argument(
        '--optimizer',
        choices=('adam', 'muon'),
        help=f'(default: {recipe["optimizer"]}, as published; muon: far fewer steps, docs/training.rst)',
    )
    group.add_argument(
        '--schedule',
        choices=('constant', 'cosine'),
        help=f'of the learning rate (default: {recipe["schedule"]}; cosine: falls to 1 %% over all epochs)',
    )
    group.add_argument(
        '--window', nargs=3, type=_positive, metavar='N', help='train on parts of this shape, in voxels'
    )
    group.add_argument(
        '--range',
        nargs='+',
        default=[],
        dest='ranges',
        metavar='NAME=VALUE',
        help=f'how far pairs are changed, of {", ".join(augmentation)} (docs/training.rst)',
    )
    group.add_argument('--no-augmentation', action='store_true', help='train on the scans as they are')
    group.add_argument(
        '--precision',
        choices=('auto', 'float32', 'mixed_bfloat16', 'mixed_float16'),
        help='of the arithmetic in training (default: auto, which is mixed_bfloat16 on a GPU, else float32)',
    )
    group.add_argument(
        '--sample-on',
        choices=('auto', 'host', 'device'),
        help='where pairs are drawn from label maps (default: auto, which is the GPU if there is one and all '
        'pairs are drawn ones)',
    )
    group.add_argument(
        '--bundle-name', type=_name, metavar='NAME', help='letters and digits (default: own and modality)'
    )
    group.add_argument('--license', help='of the weights, for the card')


def _add_reporting(group):
    group.add_argument(
        '--reports-only', action='store_true', help='write the pages anew from the derivatives that exist'
    )
    group.add_argument('--write-graph', action='store_true', help='draw the graph into the work folder')
    group.add_argument('--stop-on-first-crash', action='store_true', help='a failed scan stops the whole run')
    group.add_argument(
        '--resource-monitor', action='store_true', help='record memory and processor load per step'
    )
    group.add_argument(
        '--clean-workdir',
        action='store_true',
        help='forget the intermediate results of the selected participants first',
    )
    group.add_argument(
        '--dry-run', action='store_true', help='list what would run and what would come out, and stop'
    )
    group.add_argument(
        '-v', '--verbose', action='count', default=0, dest='verbosity', help='say more; -vv: say everything'
    )


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


def _gigabytes(text: str) -> float:
    """Read an amount of memory.

    >>> _gigabytes('16G'), _gigabytes('16000'), _gigabytes('0.5 TB')
    (16.0, 16.0, 500.0)
    """
    digits = text.strip().upper().removesuffix('B').removesuffix('I').strip()
    unit = digits[-1:] if digits[-1:] in tuple('KMGT') else 'M'
    number = float(digits.removesuffix(unit)) * {'K': 1e-6, 'M': 1e-3, 'G': 1.0, 'T': 1e3}[unit]
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text} is {number:g} GB, less than one; write e.g. 16G')
    return number

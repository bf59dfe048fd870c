# SPDX-License-Identifier: Apache-2.0
"""The options of the command line, and the levels that take them."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Collection, Sequence
from typing import NoReturn

from ..core.quality import LEVELS as VERDICTS
from ..data import augmentation_names, modalities, training_defaults
from ..records import CHOICES, TrainingRequest
from . import words
from .words import LABEL_TABLES

LEVELS = ('participant', 'group', 'train', 'evaluate')
#: What a command with scans in place of BIDS_DIR does, for ``--help`` and for the options it takes.
SCANS = 'scans'
#: The level evaluate when it trains as well.
STUDY = 'evaluate --study'
SEGMENTING = ('participant', 'evaluate', SCANS)
RUNNING = ('participant', 'train', 'evaluate', SCANS)
TRAINING = ('train', STUDY)
EVERYWHERE = (*LEVELS, SCANS)
PROG = 'bids_brainseg'
EXIT_CODES = {
    0: 'everything was done',
    1: 'something failed (it is listed, and the rest was done)',
    2: 'wrong usage',
    16: 'not a BIDS dataset',
    17: 'unknown level',
    18: 'the filters select nothing',
}
EPILOG = f'Exit codes: {"; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())}.'
#: Level -> what it does, in one line.
TASKS = {
    'participant': 'segment the scans of each participant; a page with the results for each',
    'group': 'tables and a page over all participants, from what the level participant left in OUTPUT_DIR',
    'train': 'train a network on label maps, or on scans with labels',
    'evaluate': 'segment scans that have reference labels, and compare',
    SCANS: 'segment single scans, or a folder of DICOM files, without a BIDS dataset',
}
#: Options that not all the levels of their group take.
LEVELS_OF = {
    '--modalities': ('participant', 'group', 'evaluate'),
    '--bids-filter-file': ('participant', 'train', 'evaluate'),
    '--run-id': ('participant', 'train', 'evaluate'),
    '--derivatives': ('train', 'evaluate'),
    '--output-spaces': ('participant', SCANS),
    '--mc-samples': RUNNING,
    '--random-seed': RUNNING,
    '--precision': RUNNING,
    '--modality': ('train', SCANS),
    '--reports-only': ('participant', 'evaluate'),
    '--boilerplate-only': ('participant',),
    '--dry-run': EVERYWHERE,
    '--config-file': EVERYWHERE,
    '--notrack': EVERYWHERE,
    '--verbose': EVERYWHERE,
}

Group = argparse._ArgumentGroup


class Parser(argparse.ArgumentParser):
    """A parser for which ``--a_b`` is ``--a-b``, and whose errors are one line."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the words; underscores in the name of an option are hyphens."""
        return super().parse_known_args(spell_flags(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong."""
        self.exit(2, f'{self.prog}: error: {message}\n')


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

        print(f'{PROG} {__version__}')  # parser.exit would write to standard error
        parser.exit()


class _Extend(argparse.Action):
    """Collect the labels of all words, each of which may hold several."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[Sequence[str]],
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *(x for word in values for x in word)])


def spell_flags(argv: Sequence[str]) -> list[str]:
    """Write the names of options with hyphens; what follows ``=`` stays.

    >>> spell_flags(['a_b', '--participant_label', '--work_dir=a_b'])
    ['a_b', '--participant-label', '--work-dir=a_b']
    """
    parted = [word.partition('=') if word.startswith('--') else ('', '', word) for word in argv]
    return [name.replace('_', '-') + equals + value for name, equals, value in parted]


def get_parser(level: str | None = None, *, positionals: bool = True) -> Parser:
    """Build the parser; it has no side effect, so the documentation prints it.

    Parameters
    ----------
    level : str, optional
        Show the options of this level alone in the help; all are parsed.
    positionals : bool
        With BIDS_DIR, OUTPUT_DIR and LEVEL. Without, what is not an option is left over.
    """
    *titles, last = (modality.title for modality in modalities().values())
    parser = Parser(
        prog=PROG,
        usage=_usage(level),
        description=TASKS[level][0].upper() + TASKS[level][1:] + '.'
        if level
        else f'Segment the {", ".join(titles)} and {last} brain scans of a BIDS dataset into 27 '
        'structures on the grid of each scan, with volumes, uncertainty and a report for each participant.',
        epilog=EPILOG,
        allow_abbrev=False,
    )
    if positionals:
        _add_positionals(parser, level)
    parser.add_argument(
        '--bids-exec-spec',
        action='store_true',
        default=argparse.SUPPRESS,
        help='print a description of the command for other programs (Boutiques) and exit; of the level '
        'participant, or the one that is named',
    )
    parser.add_argument(
        '--version', action=_Version, nargs=0, dest=argparse.SUPPRESS, help='print the version and exit'
    )
    for title, add, levels in (
        ('selection', _add_selection, LEVELS),
        ('resources', _add_resources, EVERYWHERE),
        ('segmentation', _add_segmentation, SEGMENTING),
        ('training (level train, and --study)', _add_training, TRAINING),
        ('network and optimizer (level train, and --study)', _add_network, TRAINING),
        ('evaluation (level evaluate)', _add_evaluation, ('evaluate',)),
        ('reporting', _add_reporting, RUNNING),
    ):
        group = parser.add_argument_group(title)
        add(group)
        for action in group._group_actions:
            action.levels = LEVELS_OF.get(flag_of(action), levels)
            if level and not {level, STUDY if level == 'evaluate' else level} & {*action.levels}:
                action.help = argparse.SUPPRESS
    return parser


def flag_of(action: argparse.Action) -> str:
    """Return the name by which an option is known: the first of its long ones."""
    return next(name for name in action.option_strings if name.startswith('--'))


def overview() -> str:
    """Return what ``--help`` prints without a level."""
    parser = get_parser()
    tasks = '\n'.join(f'  {name:12} {task}' for name, task in TASKS.items() if name != SCANS)
    return (
        f'usage: {parser.usage}\n\n{parser.description}\n\n'
        f'levels:\n{tasks}\n\n'
        f'without BIDS:\n  {PROG} SCAN.nii.gz [SCAN ...] OUTPUT_DIR, or a folder of DICOM files:\n'
        f'               {TASKS[SCANS]}\n\n'
        f'options of a level: {PROG} LEVEL --help; without BIDS: {PROG} {SCANS} --help\n\n'
        'options that most people need:\n'
        '  --participant-label LABEL ...   which participants\n'
        f'  --modalities NAME ...           which of {", ".join(modalities())}\n'
        '  -w DIR                          folder for intermediate results; the next run reuses them\n'
        '  --nprocs N, --mem SIZE          processors and memory to use\n'
        '  --dry-run                       list what would run and be written\n'
        '  -v, --version                   show the log; print the version\n\n'
        f'{EPILOG}\n'
    )


def show_help(argv: Sequence[str]) -> str:
    """Return the help for the level that is among the words, or the overview."""
    level = next((word for word in argv if word in EVERYWHERE), None)
    return get_parser(level).format_help() if level else overview()


def closest(word: str, names: Collection[str]) -> str:
    """Return a hint at the name that is nearest to a word, or nothing.

    >>> closest('--modality', ['--modalities', '--mem'])
    '; did you mean --modalities?'
    """
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.8)
    return f'; did you mean {near[0]}?' if near else ''


def _usage(level: str | None) -> str:
    if level == SCANS:
        return f'{PROG} SCAN [SCAN ...] OUTPUT_DIR [options]'
    return f'{PROG} BIDS_DIR OUTPUT_DIR {level or "{" + ",".join(LEVELS) + "}"} [options]'


def _add_positionals(parser: Parser, level: str | None) -> None:
    if level == SCANS:
        parser.add_argument(
            'scans', type=words.file, nargs='+', metavar='SCAN', help='images, or folders of DICOM files'
        )
    else:
        parser.add_argument(
            'bids_dir', type=words.path, metavar='BIDS_DIR', help='root of the dataset; only read'
        )
    parser.add_argument(
        'output_dir', type=words.path, metavar='OUTPUT_DIR', help='folder for the derivatives'
    )
    if level != SCANS:
        parser.add_argument('level', metavar='LEVEL', help=f'level of the analysis: {", ".join(LEVELS)}')


def _add_selection(group: Group) -> None:
    group.add_argument(
        '--participant-label',
        '--subject-label',
        nargs='+',
        type=words.labels,
        action=_Extend,
        default=[],
        metavar='LABEL',
        help='participants to process, with or without "sub-", separated by spaces or commas (default: all)',
    )
    group.add_argument(
        '--session-label',
        '--session-id',
        nargs='+',
        type=words.labels,
        action=_Extend,
        default=[],
        metavar='LABEL',
        help='sessions to process, with or without "ses-" (default: all)',
    )
    group.add_argument(
        '--run-id',
        nargs='+',
        type=words.labels,
        action=_Extend,
        default=[],
        metavar='RUN',
        help='runs to process, 1 for run-1 or run-01 (default: all, and scans without a run)',
    )
    group.add_argument(
        '-m',
        '--modalities',
        nargs='+',
        type=words.modality_names,
        action=_Extend,
        default=[],
        metavar='NAME',
        help=f'modalities to process, of {", ".join(modalities())} (default: all)',
    )
    group.add_argument(
        '--bids-filter-file',
        type=words.file,
        metavar='FILE.json',
        help='pybids filters for each modality, e.g. {"T1w": {"acquisition": null, "run": "*"}}; null: the '
        'entity must be absent, "*": any value',
    )
    group.add_argument('--skip-bids-validation', action='store_true', help='do not run the BIDS validator')
    group.add_argument(
        '--bids-database-dir',
        type=words.path,
        metavar='DIR',
        help='folder for the pybids index, which later runs over all participants use while it holds what is '
        'there; created if needed',
    )
    group.add_argument(
        '-d',
        '--derivatives',
        nargs='+',
        type=words.named_path,
        default=[],
        metavar='NAME=DIR',
        help='derivatives to read. train: freesurfer=DIR, the labels to learn, or brainseg=DIR, what this '
        'program made of the T1w, for scans without. evaluate: labels=DIR, the '
        'reference labels (BIDS derivatives with dseg images, or a folder of FreeSurfer subjects)',
    )


def _add_resources(group: Group) -> None:
    group.add_argument(
        '-w',
        '--work-dir',
        type=words.path,
        default='work',
        metavar='DIR',
        help='folder for intermediate results; the next run reuses them (default: ./work; within the dataset '
        'OUTPUT_DIR/work)',
    )
    group.add_argument(
        '--nprocs',
        '--nthreads',
        '--n-cpus',
        '--n-procs',
        type=words.positive,
        metavar='N',
        help='processors to use (default: all)',
    )
    group.add_argument(
        '--omp-nthreads',
        '--ants-nthreads',
        type=words.positive,
        metavar='N',
        help='threads of one step, e.g. registration or network (default: all processors, at most 8)',
    )
    group.add_argument(
        '--mem',
        '--mem-mb',
        type=words.memory,
        metavar='SIZE',
        help='memory to use, e.g. 16G or 16000M; megabytes if no unit is given (default: 90%% of all)',
    )
    group.add_argument(
        '--mem-gb',
        type=words.gigabytes,
        dest='mem',
        metavar='SIZE',
        help='the same; gigabytes if no unit is given',
    )
    group.add_argument('--low-mem', action='store_true', help='run steps that need much memory one by one')
    group.add_argument(
        '--device',
        type=words.device,
        choices=('auto', 'cpu', 'gpu'),
        default='auto',
        help='where the network runs; cuda is gpu (default: %(default)s)',
    )
    group.add_argument(
        '--use-plugin',
        '--nipype-plugin-file',
        type=words.file,
        metavar='FILE.yml',
        help='nipype plugin and plugin_args (SLURM, SGE, PBS ...), to run the steps as jobs of a cluster',
    )


def _add_segmentation(group: Group) -> None:
    group.add_argument(
        '--model',
        nargs='+',
        type=words.named_path,
        default=[],
        metavar='[MODALITY=]DIR',
        help='model bundles to use instead of the packaged ones, e.g. --model T1w=my_t1w dwi=my_dwi',
    )
    group.add_argument(
        '--mc-samples',
        type=words.count,
        metavar='N',
        help='number of Monte-Carlo dropout passes; 0: one pass without dropout (default: set by the model)',
    )
    group.add_argument(
        '--random-seed',
        type=words.count,
        default=0,
        metavar='N',
        help='seed of all random numbers: dropout, corruption, training (default: %(default)s)',
    )
    group.add_argument(
        '--precision',
        choices=CHOICES['precision'],
        help='floating-point precision of the network; mixed_bfloat16 is faster where the processor or the '
        'GPU computes with bfloat16 itself (default: auto, which is float32, but mixed_bfloat16 for a '
        'training on a GPU)',
    )
    group.add_argument(
        '--cv-threshold',
        type=words.percentage,
        metavar='PERCENT',
        help='flag structures whose volume has a larger coefficient of variation over the passes '
        '(default: set by the model)',
    )
    group.add_argument(
        '--qc-thresholds',
        type=words.file,
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
        'notation of TemplateFlow: NAME[:res-N][:cohort-N]; MNI152NLin2009cAsym is packaged, others are read '
        'from TEMPLATEFLOW_HOME, and fetched only with TEMPLATEFLOW_AUTOUPDATE=on in the environment',
    )


def _add_training(group: Group) -> None:
    defaults = training_defaults()
    thresholds = ', '.join(f'{name} {rule.agreement_threshold:g}' for name, rule in modalities().items())
    group.add_argument(
        '--modality',
        type=words.modality_name,
        choices=list(modalities()),
        help='modality of the training scans; without BIDS: of the scans (default: from name or values)',
    )
    group.add_argument(
        '--recipe',
        type=words.recipe,
        metavar='FILE',
        help='train in stages, and bundles for several modalities, as a file says; or the name of a packaged '
        'recipe (see docs/training.rst)',
    )
    group.add_argument(
        '--label-maps',
        nargs='+',
        type=words.path,
        default=[],
        metavar='PATH',
        help='label maps of whole heads or of FreeSurfer to synthesize scans from: files or folders',
    )
    group.add_argument(
        '--synthetic-share',
        type=words.share,
        metavar='SHARE',
        help='fraction of synthetic pairs if there are real scans as well '
        f'(default: {defaults["synthetic"]["share"]})',
    )
    group.add_argument(
        '--exclude',
        type=words.file,
        metavar='FILE.tsv',
        help='scans to leave out: columns participant_id, session_id, reason',
    )
    group.add_argument(
        '--label-verdicts',
        nargs='+',
        choices=VERDICTS,
        default=list(TrainingRequest().label_verdicts),
        metavar='VERDICT',
        help='verdicts with which segmentations of --derivatives brainseg=DIR are learned from: '
        f'{", ".join(VERDICTS)} (default: {" ".join(TrainingRequest().label_verdicts)})',
    )
    group.add_argument(
        '--agreement-threshold',
        type=words.share,
        metavar='NUMBER',
        help=f'reject scans whose labels fit the image less well, 0 to 1 (default: {thresholds})',
    )
    group.add_argument(
        '--validation-share',
        type=words.share,
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
        type=words.name,
        metavar='NAME',
        help='name of the new bundle, letters and digits (default: own and the modality)',
    )
    group.add_argument('--license', help='license of the new weights, for the model card')


def _add_network(group: Group) -> None:
    defaults = training_defaults()
    stage = defaults['stage']
    group.add_argument(
        '--init',
        type=words.path,
        metavar='PATH',
        help='bundle to start from: its weights, reference and architecture; with --recipe a file of weights '
        'will do',
    )
    group.add_argument(
        '--filters',
        type=words.positive,
        metavar='F',
        help=f'feature maps of the first block (default: {defaults["architecture"]["filters"]})',
    )
    group.add_argument(
        '--grid-spacing',
        type=words.millimeters,
        metavar='MM',
        help='voxel size of the network grid; 2.8 takes about a sixth of the time and memory of 1.4, but '
        'loses small structures (default: that of the bundle whose reference is used; packaged: 1.4)',
    )
    # flag -> name in the stage, type, help
    numbers = {
        '--epochs': ('epochs', words.positive, 'maximum number of epochs'),
        '--patience': (
            'patience', words.count, 'stop after this many epochs without a better validation loss; 0: never'
        ),
        '--steps-per-epoch': (
            'steps_per_epoch', words.positive, 'training steps in an epoch (default: each scan once; 100 if '
            'there are only label maps)'
        ),
        '--batch-size': ('batch_size', words.positive, 'pairs in a step'),
        '--learning-rate': ('learning_rate', words.rate, 'learning rate of the optimizer'),
        '--class-balance': (
            'class_balance', words.share,
            'exponent of the class weights in the cross-entropy; 0: by size, 1: all equal',
        ),
        '--cross-entropy-weight': (
            'cross_entropy_weight', words.factor, 'weight of the cross-entropy in the loss, beside the Dice '
            'term'
        ),
        '--ema-momentum': (
            'ema_momentum', words.share, 'momentum of the moving average of the weights; 0: no average'
        ),
        '--workers': ('workers', words.positive, 'threads that prepare training pairs'),
        '--checkpoint-seconds': (
            'checkpoint_seconds', words.count, 'seconds between checkpoints; 0: after every step'
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
        type=words.positive,
        metavar='N',
        help='train on random patches of this shape, in voxels (default: the whole grid)',
    )


def _add_evaluation(group: Group) -> None:
    group.add_argument(
        '--label-table',
        type=words.table,
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
        type=words.count,
        const=6,
        default=0,
        metavar='N',
        help='also segment N corrupted copies of each scan (default: 6), and find the thresholds that best '
        'separate good from bad segmentations',
    )
    group.add_argument(
        '--acceptable-dice',
        type=words.share,
        metavar='D_A',
        help='mean Dice below which a segmentation counts as bad (default: 0.9 times the median of the '
        'scans that are not corrupted)',
    )
    group.add_argument(
        '--keep-misplaced-labels',
        action='store_true',
        help='average also over scans whose reference labels do not lie on the brain (default: they are '
        'listed and left out of all averages, and the exit code is 1)',
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
        type=words.positive,
        default=[],
        metavar='N',
        help='numbers of subjects to train on; equal-size uses the first (default: 4, 8, 16 ... up to all; '
        'equal-size: as many as every modality has)',
    )


def _add_reporting(group: Group) -> None:
    group.add_argument(
        '--reports-only', action='store_true', help='only write the pages again, from existing derivatives'
    )
    group.add_argument(
        '--boilerplate-only',
        action='store_true',
        help='only write the methods text that a run would have, to OUTPUT_DIR/logs/CITATION.md and .bib',
    )
    group.add_argument('--write-graph', action='store_true', help='draw the workflow into the work folder')
    group.add_argument('--stop-on-first-crash', action='store_true', help='stop the run at the first failure')
    group.add_argument(
        '--resource-monitor',
        action='store_true',
        help='record time, memory and processor use of each step in a table of OUTPUT_DIR/logs',
    )
    group.add_argument(
        '--clean-workdir',
        action='store_true',
        help='first delete the intermediate results of the selected participants',
    )
    group.add_argument('--dry-run', action='store_true', help='list what would run and be written, and exit')
    group.add_argument(
        '--config-file',
        type=words.file,
        metavar='FILE.toml',
        help='take the settings of an earlier run from the settings.toml in its log folder; options given '
        'here replace them',
    )
    group.add_argument(
        '--notrack',
        '--no-sub',
        action='store_true',
        help='accepted for scripts of other programs: nothing is ever sent',
    )
    group.add_argument(
        '-v',
        '--verbose',
        action='count',
        default=0,
        dest='verbosity',
        help='show the log; -vv: show all of it',
    )

# SPDX-License-Identifier: Apache-2.0
"""The command line: words in, one frozen :class:`Settings` out; nothing is created, written or indexed."""

from __future__ import annotations

import argparse
import json
import os
import time
import uuid
from pathlib import Path

from ..data import training_defaults
from ..errors import BrainsegError
from ..settings import MODALITIES, Settings

LEVELS = ('participant', 'group', 'train', 'evaluate')
UNKNOWN_LEVEL = 17
#: Nipype's plugins that wait for what they run, and those that do not.
PLUGINS = ('SLURM', 'SGE', 'PBS', 'LSF', 'OAR', 'Condor', 'MultiProc', 'LegacyMultiProc', 'Linear')
DETACHED = ('SLURMGraph', 'SGEGraph', 'PBSGraph', 'CondorDAGMan')


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser, namespace, values, option_string=None):
        from .. import __version__

        parser.exit(message=f'bids_brainseg {__version__}\n')


def get_parser() -> argparse.ArgumentParser:
    """Build the parser; it has no side effect, so the documentation prints it."""
    parser = argparse.ArgumentParser(
        prog='bids_brainseg',
        description='Segment the T1w, FLAIR, diffusion-weighted and CT brain scans of a BIDS dataset into 27 '
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
        choices=MODALITIES,
        default=list(MODALITIES),
        help='kinds of scan to process (default: all four)',
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
        help='derivatives to read; train: freesurfer=DIR, whose labels are learnt; evaluate: labels=DIR, the '
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
        '{"all": {"alignment": {"look_below": 0.5}}, "ct": {"fov_cut": null}}; null takes a rule away',
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
        help='also spoil each scan in N ways (default: 6), and find the thresholds that best tell good '
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
    group.add_argument('--modality', choices=MODALITIES, help='what the network is trained for')
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
    thresholds = ', '.join(f'{name} {value}' for name, value in known['agreement'].items())
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
        type=_millimetres,
        metavar='MM',
        help='voxel size of the network grid (default: that of the bundle whose reference is used, 1.4 for '
        'the packaged ones); 2.8 takes about a sixth of the time and memory, and loses small structures',
    )
    numbers = {
        'epochs': (_positive, 'at most so many'),
        'patience': (_count, 'stop after so many epochs without a better validation loss; 0: never'),
        'steps_per_epoch': (_positive, 'default: each scan once, or 100 with label maps alone'),
        'batch_size': (_positive, 'pairs in a step'),
        'learning_rate': (_rate, 'of Adam'),
        'balance': (_share, 'weight of small structures in the cross-entropy, 0 to 1'),
        'average': (_share, 'decay of a running average of the weights; 0: none'),
        'workers': (_positive, 'threads that draw pairs'),
        'checkpoint_seconds': (_count, 'time between checkpoints; 0: after every step'),
    }
    for name, (kind, text) in numbers.items():
        default = '' if recipe[name] is None else f' (default: {recipe[name]:g})'
        flag = '--' + ('draw_workers' if name == 'workers' else name).replace('_', '-')
        group.add_argument(flag, dest=name, type=kind, metavar='N', help=text + default)
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
    group.add_argument('--licence', help='of the weights, for the card')


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


def parse(argv: list[str] | None = None) -> Settings:
    """Turn the words of the command line into settings.

    Raises
    ------
    SystemExit
        With code 2 for a usage error, 17 for an unknown level, 0 after ``--help`` and ``--version``.
    """
    parser = get_parser()
    words = parser.parse_args(argv)
    if words.level not in LEVELS:
        parser.exit(
            UNKNOWN_LEVEL,
            f'{parser.prog}: error: unknown level {words.level!r}; this version knows: {", ".join(LEVELS)}\n',
        )
    values = vars(words)
    for name in ('bids_dir', 'output_dir', 'work_dir', 'bids_database_dir'):
        values[name] = values[name] and values[name].resolve()
    _check_folders(parser, words)
    plugin, plugin_args = _plugin(parser, values.pop('use_plugin'))
    nprocs = words.nprocs or len(os.sched_getaffinity(0))
    refined = {
        'run_uuid': f'{time.strftime("%Y%m%d-%H%M%S")}_{uuid.uuid4()}',
        'participant_label': _labels(words.participant_label, 'sub-'),
        'session_label': _labels(words.session_label, 'ses-'),
        'modalities': tuple(dict.fromkeys(words.modalities)),
        'bids_filters': _filters(parser, values.pop('bids_filter_file')),
        'nprocs': nprocs,
        'omp_nthreads': min(words.omp_nthreads or 8, nprocs),
        'mem_gb': values.pop('mem') or 0.9 * _memory_gb(),
        'plugin': plugin,
        'plugin_args': plugin_args,
        'models': _models(parser, values.pop('model')),
        'qc_thresholds': _thresholds(parser, words.qc_thresholds),
        'derivatives': _derivatives(parser, words.derivatives),
        'training': _training(parser, words, values),
        'ct_window': _window(parser, words.ct_window),
        'study_sizes': tuple(dict.fromkeys(words.study_sizes)),
        'label_table': _label_table(parser, words.label_table),
        'label_filter': dict(_pair(parser, '--label-filter', word) for word in words.label_filter),
        'output_spaces': _spaces(parser, words.output_spaces),
    }
    return Settings(**values | refined)


def _check_folders(parser, words):
    if words.output_dir == words.bids_dir:
        parser.error(
            f'OUTPUT_DIR is BIDS_DIR ({words.bids_dir}), which is only read; '
            f'choose another folder, e.g. {words.bids_dir / "derivatives" / "brainseg"}'
        )
    inside = words.output_dir.is_relative_to(words.bids_dir)
    if inside and not words.output_dir.is_relative_to(words.bids_dir / 'derivatives'):
        parser.error(
            f'OUTPUT_DIR is inside BIDS_DIR ({words.output_dir}), which is only read; choose a folder below '
            f'{words.bids_dir / "derivatives"}, or one elsewhere'
        )
    for name, folder in _derivatives(parser, words.derivatives).items():
        if folder == words.output_dir:
            parser.error(
                f'OUTPUT_DIR is the folder of --derivatives {name} ({folder}), which is only read; '
                'choose another folder'
            )
    if words.work_dir.is_relative_to(words.bids_dir):
        parser.error(
            f'--work-dir is inside BIDS_DIR ({words.work_dir}), which is only read; choose another folder'
        )


def _labels(labels: list[str], prefix: str) -> tuple[str, ...]:
    """Strip prefixes, drop repetitions.

    >>> _labels(['sub-01', '01', '02'], 'sub-')
    ('01', '02')
    """
    return tuple(dict.fromkeys(label.removeprefix(prefix) for label in labels))


def _filters(parser, path: Path | None) -> dict:
    if path is None:
        return {}
    try:
        filters = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        parser.error(f'--bids-filter-file {path} cannot be read as JSON: {error}')
    if not isinstance(filters, dict) or not all(isinstance(value, dict) for value in filters.values()):
        parser.error(f'--bids-filter-file {path} must hold {{"MODALITY": {{"entity": "value"}}}}')
    return filters


def _thresholds(parser, path: Path | None) -> dict:
    from ..data.quality import check_rules

    if path is None:
        return {}
    try:
        return check_rules(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        parser.error(f'--qc-thresholds {path} cannot be read as JSON: {error}')
    except BrainsegError as error:
        parser.error(f'--qc-thresholds {path}: {error}')


def _plugin(parser, path: Path | None) -> tuple[str, dict]:
    if path is None:
        return 'MultiProc', {}
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        parser.error(f'--use-plugin {path} cannot be read as YAML: {error}')
    if not isinstance(found, dict) or not isinstance(found.get('plugin'), str):
        parser.error(f'--use-plugin {path} must name a nipype plugin, e.g. "plugin: SLURM"')
    name = found['plugin']
    if name in DETACHED:
        parser.error(
            f'--use-plugin {path}: {name} submits all steps and leaves, so nobody would collect what failed '
            f'or write the pages; use one that waits: {", ".join(PLUGINS)}'
        )
    if name not in PLUGINS:
        parser.error(f'--use-plugin {path}: unknown plugin {name!r}; known: {", ".join(PLUGINS)}')
    return found['plugin'], found.get('plugin_args') or {}


def _models(parser, words: list[str]) -> tuple[tuple[str, Path], ...]:
    models = []
    for word in words:
        modality, equals, folder = word.rpartition('=')
        if equals and modality not in MODALITIES:
            parser.error(f'--model {word}: unknown modality {modality!r}; known: {", ".join(MODALITIES)}')
        if not Path(folder).is_dir():
            parser.error(f'--model {word}: {folder} is not a folder; give the folder of a model bundle')
        models.append((modality, Path(folder).resolve()))
    return tuple(models)


def _derivatives(parser, words: list[str]) -> dict[str, Path]:
    found = {}
    for word in words:
        name, equals, folder = word.partition('=')
        if not equals or not name:
            parser.error(f'--derivatives {word}: write NAME=DIR, e.g. freesurfer={word}')
        if not Path(folder).is_dir():
            parser.error(f'--derivatives {word}: {folder} is not a folder')
        found[name] = Path(folder).resolve()
    return found


#: Options of the train level that are no part of the recipe.
TRAINING = (
    'modality', 'label_maps', 'synthetic_share', 'exclude', 'agreement_threshold', 'validation_share',
    'validation_label', 'init', 'filters', 'grid_spacing', 'ranges', 'no_augmentation', 'bundle_name',
    'licence',
)  # fmt: skip


def _training(parser, words, values: dict) -> dict:
    """Gather the options of the train level; what was not given is left out."""
    recipe = {name: values.pop(name) for name in training_defaults()['recipe'] if name in values}
    found = {name: values.pop(name) for name in TRAINING}
    if words.level != 'train' and not words.study:
        return {}
    if words.level == 'train' and found['modality'] is None:
        parser.error(f'train needs --modality, one of {", ".join(MODALITIES)}')
    if not found['label_maps'] and 'freesurfer' not in dict(_derivatives(parser, words.derivatives)):
        parser.error('training needs labels: --derivatives freesurfer=DIR, or --label-maps, or both')
    if recipe['sample_on'] == 'device' and 'freesurfer' in dict(_derivatives(parser, words.derivatives)):
        parser.error(
            '--sample-on device is for label maps alone: real scans are moved by the processor; '
            'leave out --derivatives freesurfer, or --sample-on'
        )
    found['ranges'] = _ranges(parser, found['ranges']) or None
    found['label_maps'] = tuple(path.resolve() for path in found['label_maps'])
    found['validation_label'] = _labels(found['validation_label'], 'sub-')
    for name in ('exclude', 'init'):
        found[name] = found[name] and found[name].resolve()
    found['recipe'] = {name: value for name, value in recipe.items() if value is not None}
    given = (item for item in found.items() if item[1] is not None and item[1] is not False)
    return {name: value for name, value in given if value != ()}


def _ranges(parser, words: list[str]) -> dict:
    known = training_defaults()['augmentation']
    found = {}
    for word in words:
        name, _, value = word.partition('=')
        if name not in known:
            parser.error(f'--range {word}: unknown name {name!r}; known: {", ".join(known)}')
        try:
            found[name] = float(value)
        except ValueError:
            parser.error(f'--range {word}: write NAME=VALUE, e.g. {name}=0.1')
    return found


def _pair(parser, flag: str, word: str) -> tuple[str, str]:
    name, equals, value = word.partition('=')
    if not (name and equals and value):
        parser.error(f'{flag} {word}: expected NAME=VALUE')
    return name, value


def _label_table(parser, word: str) -> str | Path:
    if word in ('auto', 'freesurfer', 'brainseg'):
        return word
    if not Path(word).is_file():
        parser.error(f'--label-table {word}: neither auto, freesurfer, brainseg nor a file')
    return Path(word).resolve()


def _window(parser, window: list[float] | None) -> tuple[float, float] | None:
    if window is None:
        return None
    low, high = window
    if not low < high:
        parser.error(f'--ct-window {low:g} {high:g}: the first number must be the lower one')
    return low, high


def _spaces(parser, words: list[str]) -> tuple[str, ...]:
    from ..bids.templates import parse_space

    for word in words:
        try:
            parse_space(word)
        except ValueError as error:
            parser.error(f'--output-spaces: {error}')
    return tuple(dict.fromkeys(words))


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


def _name(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise argparse.ArgumentTypeError(f'{text!r} holds more than letters and digits')
    return text


def _millimetres(text: str) -> float:
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


def _memory_gb() -> float:
    """Memory of this machine, or of the container or job that this process lives in."""
    total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    for limit in ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no control group, or "max"
            continue
    return total / 1e9

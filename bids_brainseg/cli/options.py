# SPDX-License-Identifier: Apache-2.0
"""From the words of a command to one frozen :class:`Settings`; nothing is created, written or indexed."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from ..core.quality import check_rules
from ..data import augmentation_names, modalities, training_defaults
from ..data.quality import qc_numbers
from ..files import read_text
from ..machine import available_memory_gb, available_processors
from ..records import LABEL_SOURCES, PRECISIONS, TrainingRequest
from ..settings import SCANS_DATASET, Settings
from .config_file import config_contents, config_words, read_config
from .descriptor import describe, level_among
from .parser import (
    EVERYWHERE,
    LEVELS,
    SCANS,
    STUDY,
    Parser,
    closest,
    flag_of,
    get_parser,
    show_help,
    spell_flags,
)
from .words import LABEL_TABLES, NamedPath, spell
from .words import file as read_file
from .words import path as read_path

UNKNOWN_LEVEL = 17
#: Nipype's plugins that wait for what they run, and those that do not.
LOCAL_PLUGINS = ('MultiProc', 'LegacyMultiProc', 'Linear')
PLUGINS = ('SLURM', 'SGE', 'PBS', 'LSF', 'OAR', 'Condor', *LOCAL_PLUGINS)
#: How messages call levels.
NAMES_OF_LEVELS = {SCANS: 'commands without BIDS'}
IMAGES = ('.nii', '.nii.gz', '.img', '.hdr', '.mgz', '.mgh')
DETACHED = ('SLURMGraph', 'SGEGraph', 'PBSGraph', 'CondorDAGMan')


def parse(argv: list[str] | None = None) -> Settings:
    """Turn the words of the command line into settings.

    Raises
    ------
    SystemExit
        With code 2 for a usage error, 17 for an unknown level, 0 after ``--help`` and ``--version``.
    """
    argv = spell_flags(sys.argv[1:] if argv is None else argv)
    if {'-h', '--help'} & {*argv}:
        print(show_help(argv), end='')
        raise SystemExit(0)
    if '--bids-exec-spec' in argv:
        print(json.dumps(describe(level_among(argv)), indent=2))
        raise SystemExit(0)
    parser = get_parser(positionals=False)
    words, rest = parser.parse_known_args(argv)
    level, scans = _take_positionals(parser, words, [word for word in rest if word != '--'])
    given = _given(parser, argv)
    _refuse_other_levels(parser, given, level, words.study)
    typed = {action.dest for action in given}
    if words.config_file is not None:
        content = read_config(parser, words.config_file)
        places = {name: getattr(words, name) for name in ('bids_dir', 'output_dir', 'level')}
        words, _ = parser.parse_known_args([*argv, *config_words(content, parser, typed, level)])
        vars(words).update(places | config_contents(content, typed))
    if scans and 'work_dir' not in typed:  # nobody asked for intermediate results
        words.work_dir = None
    elif words.work_dir == read_path('work') and words.work_dir.is_relative_to(words.bids_dir):
        if 'work_dir' not in typed:  # the command was given within the dataset, which is only read
            words.work_dir = words.output_dir / 'work'
    return _settings(parser, words, scans)


def _settings(parser: Parser, words: argparse.Namespace, scans: tuple[Path, ...]) -> Settings:
    """Check and refine what was parsed."""
    options = spell_options(parser, words)
    values = vars(words)
    derivatives = _derivatives(parser, words.derivatives)
    run_uuid = f'{time.strftime("%Y%m%d-%H%M%S")}_{uuid.uuid4()}'
    if scans:
        _check_scans(parser, words, scans)
        words.work_dir = words.work_dir or Path(tempfile.gettempdir()).resolve() / f'bids_brainseg_{run_uuid}'
    else:
        _check_folders(parser, words, derivatives)
    plugin, plugin_args = _plugin(parser, values.pop('use_plugin'))
    if words.resource_monitor and plugin not in LOCAL_PLUGINS:
        parser.error(
            f'--resource-monitor measures steps that run here; those of {plugin} are jobs, which the '
            'scheduler measures, e.g. sacct --format=JobName,Elapsed,MaxRSS,TotalCPU; leave it out'
        )
    precision = _precision(parser, words)
    nprocs = words.nprocs or available_processors()
    filters = _filters(parser, values.pop('bids_filter_file'))
    for name in ('notrack', 'config_file'):
        del values[name]
    refined = {
        'run_uuid': run_uuid,
        'options': options,
        'scans': scans,
        'scans_modality': words.modality if scans else None,
        'participant_label': _labels(words.participant_label, 'sub-'),
        'session_label': _labels(words.session_label, 'ses-'),
        'modalities': tuple(dict.fromkeys(words.modalities or modalities())),
        'bids_filters': _with_runs(filters, _labels(values.pop('run_id'), 'run-')),
        'nprocs': nprocs,
        'omp_nthreads': min(words.omp_nthreads or 8, nprocs),
        'mem_gb': float(values.pop('mem') or 0.9 * available_memory_gb()),
        'plugin': plugin,
        'plugin_args': plugin_args,
        'models': _models(parser, values.pop('model')),
        'qc_thresholds': _thresholds(parser, words.qc_thresholds),
        'derivatives': derivatives,
        'training': _training(parser, words, values, derivatives),
        'precision': precision,
        'ct_window': _window(parser, words.ct_window),
        'study_sizes': tuple(dict.fromkeys(words.study_sizes)),
        'label_table': _label_table(parser, words.label_table),
        'label_filter': dict(_pair(parser, '--label-filter', word) for word in words.label_filter),
        'output_spaces': tuple(dict.fromkeys(words.output_spaces)),
    }
    return Settings(**values | refined)


def spell_options(parser: Parser, words: argparse.Namespace) -> tuple[tuple[str, ...], ...]:
    """Write the options that differ from their defaults as on a command line, with absolute paths.

    >>> parser = get_parser()
    >>> words = '/in /out participant --mem 8G -w /w --ct-window 0 80 -vv'.split()
    >>> spell_options(parser, parser.parse_args(words))[:3]
    (('--work-dir', '/w'), ('--mem', '8G'), ('--ct-window', '0', '80'))
    """
    options: dict[str, list[tuple[str, ...]]] = {}
    for action in parser._actions:
        value = getattr(words, action.dest, None)
        if not action.option_strings or value is None or value == action.default or action.dest in options:
            continue
        flag = flag_of(action)
        if isinstance(value, Mapping):  # read from another file, which is spelled itself
            continue
        if action.nargs == 0:  # given or not; -v may be given several times
            options[action.dest] = [(flag,)] * int(value)
        else:
            items = value if isinstance(value, list) else [value]
            options[action.dest] = [(flag, *(spell(item) for item in items))]
    return tuple(option for group in options.values() for option in group)


def _take_positionals(
    parser: Parser, words: argparse.Namespace, rest: Sequence[str]
) -> tuple[str, tuple[Path, ...]]:
    """Put folders and level, or scans and OUTPUT_DIR, into the words; return the level and the scans."""
    for word in rest:
        if word.startswith('-') and word != '-':
            hint = closest(word.partition('=')[0], parser._option_string_actions)
            parser.error(f'unknown option {word}{hint}')
    scans = _scans(rest)
    if scans:
        words.bids_dir = read_path(rest[len(scans)]) / SCANS_DATASET
        words.output_dir, words.level = read_path(rest[len(scans)]), 'participant'
        return SCANS, scans
    if len(rest) == 1 and _is_image(rest[0]):
        parser.error(f'the following arguments are required: OUTPUT_DIR; e.g. {parser.prog} {rest[0]} OUT')
    names = ('BIDS_DIR', 'OUTPUT_DIR', 'LEVEL')
    if missing := names[len(rest) :]:
        known = f' (one of {", ".join(LEVELS)})' if 'LEVEL' in missing else ''
        parser.error(f'the following arguments are required: {", ".join(missing)}{known}; see --help')
    if rest[2] not in LEVELS:
        parser.exit(
            UNKNOWN_LEVEL,
            f'{parser.prog}: error: unknown level {rest[2]!r}; this version knows: {", ".join(LEVELS)}\n',
        )
    if surplus := rest[3:]:
        parser.error(f'unrecognized arguments: {" ".join(surplus)}')
    words.bids_dir, words.output_dir, words.level = read_path(rest[0]), read_path(rest[1]), rest[2]
    return words.level, ()


def _scans(rest: Sequence[str]) -> tuple[Path, ...]:
    """Return the images and folders that are given in place of BIDS_DIR; none if it is a BIDS dataset."""
    if rest[2:] and rest[-1] == 'participant' and _is_image(rest[0]):
        rest = rest[:-1]
    level = difflib.get_close_matches(rest[-1], LEVELS, n=1, cutoff=0.7) if rest else []
    found = all(_is_image(word) or _is_plain_folder(word) for word in rest[:-1])
    return tuple(read_file(word) for word in rest[:-1]) if len(rest) > 1 and found and not level else ()


def _is_image(word: str) -> bool:
    return word.endswith(IMAGES) or read_file(word).is_file()


def _is_plain_folder(word: str) -> bool:
    return read_file(word).is_dir() and not (read_file(word) / 'dataset_description.json').exists()


def _given(parser: Parser, argv: Sequence[str]) -> dict[argparse.Action, str]:
    """Return the options that were given, as they were written."""
    given = {}
    for word in argv:
        name = word.partition('=')[0] if word.startswith('--') else word[:2]
        if name.startswith('-') and name in parser._option_string_actions:
            given.setdefault(parser._option_string_actions[name], name)
    return given


def _refuse_other_levels(
    parser: Parser, given: Mapping[argparse.Action, str], level: str, study: str | None
) -> None:
    here = {level, STUDY} if level == 'evaluate' and study else {level}
    ours = [flag_of(action) for action in parser._actions if here & {*getattr(action, 'levels', EVERYWHERE)}]
    for action, flag in given.items():
        levels = getattr(action, 'levels', EVERYWHERE)
        if not here & {*levels}:
            *others, last = [NAMES_OF_LEVELS.get(name, name) for name in levels]
            where = f'{", ".join(others)} and {last}' if others else last
            parser.error(
                f'{flag} is an option of {where}, not of {NAMES_OF_LEVELS.get(level, level)}'
                + closest(flag, ours)
            )


def _check_scans(parser: Parser, words: argparse.Namespace, scans: Sequence[Path]) -> None:
    for scan in scans:
        if not scan.exists():
            parser.error(f'{scan} does not exist')
        if scan.is_dir() and words.output_dir.is_relative_to(scan.resolve()):
            parser.error(
                f'OUTPUT_DIR is inside {scan} ({words.output_dir}), which is only read; choose another folder'
            )


def _check_folders(
    parser: Parser, words: argparse.Namespace, derivatives: Mapping[str, Path]
) -> None:
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
    for name, folder in derivatives.items():
        if folder == words.output_dir:
            parser.error(
                f'OUTPUT_DIR is the folder of --derivatives {name} ({folder}), which is only read; '
                'choose another folder'
            )
    inside = words.work_dir.is_relative_to(words.bids_dir)
    if inside and not words.work_dir.is_relative_to(words.bids_dir / 'derivatives'):
        parser.error(
            f'--work-dir is inside BIDS_DIR ({words.work_dir}), which is only read; choose a folder below '
            f'{words.bids_dir / "derivatives"}, or one elsewhere'
        )


def _labels(labels: list[str], prefix: str) -> tuple[str, ...]:
    """Strip prefixes, drop repetitions.

    >>> _labels(['sub-01', '01', '02'], 'sub-')
    ('01', '02')
    """
    return tuple(dict.fromkeys(label.removeprefix(prefix) for label in labels))


def _filters(parser: Parser, source: Path | Mapping | None) -> dict:
    filters = {} if source is None else _content(parser, '--bids-filter-file', source)
    if not isinstance(filters, dict) or not all(isinstance(value, dict) for value in filters.values()):
        parser.error(f'--bids-filter-file {source} must hold {{"MODALITY": {{"entity": "value"}}}}')
    return filters


def _with_runs(filters: Mapping[str, dict], runs: Sequence[str]) -> dict[str, dict]:
    """Add runs to the filters of each modality.

    >>> _with_runs({'t1w': {'run': '1', 'acq': 'x'}}, ['2'])['t1w']
    {'run': ['2'], 'acq': 'x'}
    """
    if not runs:
        return dict(filters)
    named = {name.casefold(): name for name in filters}
    names = {named.get(modality.casefold(), modality) for modality in modalities()}
    return {**filters, **{name: {**filters.get(name, {}), 'run': list(runs)} for name in sorted(names)}}


def _thresholds(parser: Parser, source: Path | Mapping | None) -> dict:
    if source is None:
        return {}
    try:
        return check_rules(_content(parser, '--qc-thresholds', source), modalities(), qc_numbers())
    except ValueError as error:
        parser.error(f'--qc-thresholds {source}: {error}')


def _content(parser: Parser, flag: str, source: Path | Mapping | None) -> object:
    """Return what a JSON file holds, or what ``--config-file`` says it held."""
    if isinstance(source, Mapping):
        return source
    try:
        return json.loads(read_text(source))
    except (OSError, ValueError) as error:
        parser.error(f'{flag} {source} cannot be read as JSON: {error}')


def _plugin(parser: Parser, path: Path | Mapping | None) -> tuple[str, dict]:
    if path is None:
        return 'MultiProc', {}
    import yaml  # a fifth of what --help takes, for this option alone

    try:
        content = path if isinstance(path, Mapping) else yaml.safe_load(read_text(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        parser.error(f'--use-plugin {path} cannot be read as YAML: {error}')
    if not isinstance(content, dict) or not isinstance(content.get('plugin'), str):
        parser.error(f'--use-plugin {path} must name a nipype plugin, e.g. "plugin: SLURM"')
    name = content['plugin']
    if name in DETACHED:
        parser.error(
            f'--use-plugin {path}: {name} submits the jobs and does not wait for them, so that no failure is '
            f'collected and no page is written; use a plugin that waits: {", ".join(PLUGINS)}'
        )
    if name not in PLUGINS:
        parser.error(f'--use-plugin {path}: unknown plugin {name!r}; known: {", ".join(PLUGINS)}')
    # Files for other NiPreps name the older one; here both are processes on this machine.
    return name.removeprefix('Legacy'), content.get('plugin_args') or {}


def _models(parser: Parser, words: Sequence[NamedPath]) -> tuple[tuple[str, Path], ...]:
    for word in words:
        if word.name and word.name not in modalities():
            parser.error(f'--model {word}: unknown modality {word.name!r}; known: {", ".join(modalities())}')
        if not word.path.is_dir():
            parser.error(f'--model {word}: {word.path} is not a folder; give the folder of a model bundle')
    return tuple((word.name, word.path) for word in words)


def _derivatives(parser: Parser, words: Sequence[NamedPath]) -> dict[str, Path]:
    for word in words:
        if not word.name:
            parser.error(f'--derivatives {word}: write NAME=DIR, e.g. freesurfer={word}')
        if not word.path.is_dir():
            parser.error(f'--derivatives {word}: {word.path} is not a folder')
    return {word.name: word.path for word in words}


#: Options of the train level that are no part of a stage.
TRAINING = tuple(item.name for item in fields(TrainingRequest) if item.name != 'stage')
#: What a recipe leaves to the command.
BESIDE_RECIPE = {'workers', 'checkpoint_seconds', 'sample_on', 'precision'}


def _training(
    parser: Parser, words: argparse.Namespace, values: dict, derivatives: Mapping[str, Path]
) -> TrainingRequest:
    """Take the options of the train level out of the values."""
    stage = {name: values.pop(name) for name in training_defaults()['stage'] if name in values}
    stage = {name: value for name, value in stage.items() if value is not None}
    training = {name: values.pop(name) for name in TRAINING}
    if words.level != 'train' and not words.study:
        return TrainingRequest()
    if training['recipe'] is not None:
        _check_recipe(parser, words, training, stage)
    elif words.level == 'train' and training['modality'] is None:
        parser.error(f'train needs --modality, one of {", ".join(modalities())}, or --recipe')
    given = [name for name in LABEL_SOURCES if name in derivatives]
    if not training['label_maps'] and not given:
        parser.error(
            'training needs labels: --derivatives freesurfer=DIR or brainseg=DIR, or --label-maps, or both'
        )
    if stage.get('sample_on') == 'device' and given:
        parser.error(
            '--sample-on device is for label maps alone: real scans are augmented by the processor; '
            f'leave out --derivatives {" ".join(given)}, or --sample-on'
        )
    training['ranges'] = _ranges(parser, training['ranges'])
    training['label_maps'] = tuple(training['label_maps'])
    training['label_verdicts'] = tuple(training['label_verdicts'])
    training['validation_label'] = _labels(training['validation_label'], 'sub-')
    return TrainingRequest(**training, stage=stage)


def _check_recipe(
    parser: Parser, words: argparse.Namespace, training: Mapping, stage: Mapping
) -> None:
    """Refuse options that the recipe says."""
    if words.study:
        parser.error('--recipe is for the train level; a study takes the options of one network')
    said = [name for name in stage if name not in BESIDE_RECIPE]
    others = ('modality', 'synthetic_share', 'filters', 'ranges', 'no_augmentation', 'bundle_name', 'license')
    said += [name for name in others if training[name]]
    if said:
        flags = {'ranges': 'range'}
        spelled = ' '.join(f'--{flags.get(name, name).replace("_", "-")}' for name in said)
        parser.error(f'{spelled}: the recipe says that; change {training["recipe"]}, or leave the option out')


def _ranges(parser: Parser, words: Sequence[str]) -> dict[str, float]:
    names = augmentation_names()
    ranges = {}
    for word in words:
        name, _, value = word.partition('=')
        if name not in names:
            parser.error(f'--range {word}: unknown name {name!r}; known: {", ".join(names)}')
        try:
            ranges[name] = float(value)
        except ValueError:
            parser.error(f'--range {word}: write NAME=VALUE, e.g. {name}=0.1')
    return ranges


def _pair(parser: Parser, flag: str, word: str) -> tuple[str, str]:
    name, equals, value = word.partition('=')
    if not (name and equals and value):
        parser.error(f'{flag} {word}: expected NAME=VALUE')
    return name, value


def _label_table(parser: Parser, table: str | Path) -> str | Path:
    if table not in LABEL_TABLES and not Path(table).is_file():
        *names, last = LABEL_TABLES
        parser.error(f'--label-table {table}: neither {", ".join(names)}, {last} nor a file')
    return table


def _precision(parser: Parser, words: argparse.Namespace) -> str | None:
    """Return the precision of segmentations, or None for the usual one."""
    trains = words.level == 'train' or bool(words.study)
    if words.precision == 'mixed_float16' and not trains:
        parser.error('--precision mixed_float16 is for a training; a segmentation takes mixed_bfloat16')
    return words.precision if words.level != 'train' and words.precision in PRECISIONS else None


def _window(parser: Parser, window: list[float] | None) -> tuple[float, float] | None:
    if window is None:
        return None
    low, high = window
    if not low < high:
        parser.error(f'--ct-window {low:g} {high:g}: the first number must be the lower one')
    return low, high

# SPDX-License-Identifier: Apache-2.0
"""From the words of a command to one frozen :class:`Settings`; nothing is created, written or indexed."""

from __future__ import annotations

import argparse
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from ..core.quality import check_rules
from ..data import augmentation_names, modalities, training_defaults
from ..data.quality import qc_numbers
from ..records import TrainingRequest
from ..settings import Settings
from .parser import LABEL_TABLES, LEVELS, NamedPath, get_parser, spell_number

UNKNOWN_LEVEL = 17
#: Nipype's plugins that wait for what they run, and those that do not.
PLUGINS = ('SLURM', 'SGE', 'PBS', 'LSF', 'OAR', 'Condor', 'MultiProc', 'LegacyMultiProc', 'Linear')
DETACHED = ('SLURMGraph', 'SGEGraph', 'PBSGraph', 'CondorDAGMan')


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
    options = spell_options(parser, words)
    derivatives = _derivatives(parser, words.derivatives)
    _check_folders(parser, words, derivatives)
    plugin, plugin_args = _plugin(parser, values.pop('use_plugin'))
    nprocs = words.nprocs or len(os.sched_getaffinity(0))
    refined = {
        'run_uuid': f'{time.strftime("%Y%m%d-%H%M%S")}_{uuid.uuid4()}',
        'options': options,
        'participant_label': _labels(words.participant_label, 'sub-'),
        'session_label': _labels(words.session_label, 'ses-'),
        'modalities': tuple(dict.fromkeys(words.modalities)),
        'bids_filters': _filters(parser, values.pop('bids_filter_file')),
        'nprocs': nprocs,
        'omp_nthreads': min(words.omp_nthreads or 8, nprocs),
        'mem_gb': float(values.pop('mem') or 0.9 * _memory_gb()),
        'plugin': plugin,
        'plugin_args': plugin_args,
        'models': _models(parser, values.pop('model')),
        'qc_thresholds': _thresholds(parser, words.qc_thresholds),
        'derivatives': derivatives,
        'training': _training(parser, words, values, derivatives),
        'ct_window': _window(parser, words.ct_window),
        'study_sizes': tuple(dict.fromkeys(words.study_sizes)),
        'label_table': _label_table(parser, words.label_table),
        'label_filter': dict(_pair(parser, '--label-filter', word) for word in words.label_filter),
        'output_spaces': tuple(dict.fromkeys(words.output_spaces)),
    }
    return Settings(**values | refined)


def spell_options(parser: argparse.ArgumentParser, words: argparse.Namespace) -> tuple[tuple[str, ...], ...]:
    """Write the options that differ from their defaults as on a command line, with absolute paths.

    >>> parser = get_parser()
    >>> words = '/in /out participant --mem 8G -w /w --ct-window 0 80 -vv'.split()
    >>> spell_options(parser, parser.parse_args(words))[:3]
    (('--work-dir', '/w'), ('--mem', '8G'), ('--ct-window', '0', '80'))
    """
    options: list[tuple[str, ...]] = []
    for action in parser._actions:
        value = getattr(words, action.dest, None)
        if not action.option_strings or value is None or value == action.default:
            continue
        flag = action.option_strings[-1]
        if action.nargs == 0:  # given or not; -v may be given several times
            options += [(flag,)] * int(value)
        else:
            options.append(
                (flag, *(_spell(item) for item in (value if isinstance(value, list) else [value])))
            )
    return tuple(options)


def _spell(value: object) -> str:
    return spell_number(value) if type(value) is float else str(value)


def _check_folders(
    parser: argparse.ArgumentParser, words: argparse.Namespace, derivatives: Mapping[str, Path]
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


def _filters(parser: argparse.ArgumentParser, path: Path | None) -> dict:
    if path is None:
        return {}
    try:
        filters = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        parser.error(f'--bids-filter-file {path} cannot be read as JSON: {error}')
    if not isinstance(filters, dict) or not all(isinstance(value, dict) for value in filters.values()):
        parser.error(f'--bids-filter-file {path} must hold {{"MODALITY": {{"entity": "value"}}}}')
    return filters


def _thresholds(parser: argparse.ArgumentParser, path: Path | None) -> dict:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        parser.error(f'--qc-thresholds {path} cannot be read as JSON: {error}')
    try:
        return check_rules(content, modalities(), qc_numbers())
    except ValueError as error:
        parser.error(f'--qc-thresholds {path}: {error}')


def _plugin(parser: argparse.ArgumentParser, path: Path | None) -> tuple[str, dict]:
    if path is None:
        return 'MultiProc', {}
    import yaml  # a fifth of what --help takes, for this option alone

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
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
    return name, content.get('plugin_args') or {}


def _models(parser: argparse.ArgumentParser, words: Sequence[NamedPath]) -> tuple[tuple[str, Path], ...]:
    for word in words:
        if word.name and word.name not in modalities():
            parser.error(f'--model {word}: unknown modality {word.name!r}; known: {", ".join(modalities())}')
        if not word.path.is_dir():
            parser.error(f'--model {word}: {word.path} is not a folder; give the folder of a model bundle')
    return tuple((word.name, word.path) for word in words)


def _derivatives(parser: argparse.ArgumentParser, words: Sequence[NamedPath]) -> dict[str, Path]:
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
    parser: argparse.ArgumentParser, words: argparse.Namespace, values: dict, derivatives: Mapping[str, Path]
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
    if not training['label_maps'] and 'freesurfer' not in derivatives:
        parser.error('training needs labels: --derivatives freesurfer=DIR, or --label-maps, or both')
    if stage.get('sample_on') == 'device' and 'freesurfer' in derivatives:
        parser.error(
            '--sample-on device is for label maps alone: real scans are augmented by the processor; '
            'leave out --derivatives freesurfer, or --sample-on'
        )
    training['ranges'] = _ranges(parser, training['ranges'])
    training['label_maps'] = tuple(training['label_maps'])
    training['validation_label'] = _labels(training['validation_label'], 'sub-')
    return TrainingRequest(**training, stage=stage)


def _check_recipe(
    parser: argparse.ArgumentParser, words: argparse.Namespace, training: Mapping, stage: Mapping
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


def _ranges(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, float]:
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


def _pair(parser: argparse.ArgumentParser, flag: str, word: str) -> tuple[str, str]:
    name, equals, value = word.partition('=')
    if not (name and equals and value):
        parser.error(f'{flag} {word}: expected NAME=VALUE')
    return name, value


def _label_table(parser: argparse.ArgumentParser, table: str | Path) -> str | Path:
    if table not in LABEL_TABLES and not Path(table).is_file():
        *names, last = LABEL_TABLES
        parser.error(f'--label-table {table}: neither {", ".join(names)}, {last} nor a file')
    return table


def _window(parser: argparse.ArgumentParser, window: list[float] | None) -> tuple[float, float] | None:
    if window is None:
        return None
    low, high = window
    if not low < high:
        parser.error(f'--ct-window {low:g} {high:g}: the first number must be the lower one')
    return low, high


def _memory_gb() -> float:
    """Memory of this machine, or of the container or job that this process lives in."""
    total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    for limit in ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no control group, or "max"
            continue
    return total / 1e9

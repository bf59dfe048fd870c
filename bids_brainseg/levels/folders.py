# SPDX-License-Identifier: Apache-2.0
"""The folders that a run writes to: checked before hours are spent, and described."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .. import __version__
from ..bids.paths import other_version, write_dataset_files
from ..errors import BrainsegError, explain_refusal
from ..files import write_text
from ..records import Bundle
from ..settings import Settings

LOGGER = logging.getLogger('bids_brainseg')


def check_writable(folder: Path, what: str) -> None:
    """Make a folder and write a file there.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    what : str
        Name of the folder in the message, e.g. ``'output folder'``.

    Raises
    ------
    BrainsegError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix='.writable-'):
            pass
    except OSError as error:
        raise BrainsegError(
            f'the {what} cannot be written: {folder} ({error.strerror}); '
            'choose another one, or change its permissions'
        ) from error


@contextlib.contextmanager
def tolerated(what: str) -> Iterator[list[str]]:
    """Let a block fail that writes what describes a run: that is told, and the results are kept.

    Parameters
    ----------
    what : str
        That is written, e.g. ``'the settings'``.

    Yields
    ------
    list of str
        Gets the reason why it was not.
    """
    problems: list[str] = []
    try:
        yield problems
    except OSError as error:
        problems.append(explain_refusal(str(error)) or str(error))
        print(f'not written: {what}: {problems[0]}', file=sys.stderr)


def prepare_output(settings: Settings, links: Mapping[str, Path] | None = None) -> None:
    """Make the output folder and the files that describe the dataset.

    Parameters
    ----------
    settings : Settings
        Of the run.
    links : mapping, optional
        Further datasets that the outputs come from: name -> folder.
    """
    check_writable(settings.output_dir, 'output folder')
    if version := other_version(settings.output_dir):
        LOGGER.warning(
            '%s holds results of version %s, and this is %s; their volumes may not be comparable: segment '
            'all scans again, or choose another folder', settings.output_dir, version, __version__,
        )  # fmt: skip
    write_dataset_files(settings.output_dir, settings.bids_dir, links=dict(links or {}))


def copy_model_cards(bundles: Iterable[Bundle], output_dir: Path) -> None:
    """Copy the description of each model to the outputs, where the report reads it."""
    for bundle in bundles:
        name = f'{bundle.name}-{bundle.weights_sha256[:12]}.json'
        write_text((bundle.path / 'model.json').read_text(), output_dir / 'logs' / 'models' / name)

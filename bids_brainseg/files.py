# SPDX-License-Identifier: Apache-2.0
"""Write files so that they are complete or absent; read and write plain text tables.

:func:`write_whole` is the only function that moves a file to its final name. Everything that the program
leaves behind is written through it.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import filecmp
import io
import json
import math
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

#: A temporary file of another machine that nobody has touched for this long was left by a killed process.
_STALE_SECONDS = 24 * 3600
#: Letters that :func:`write_whole` adds to a name at most, while it writes.
TEMPORARY_LETTERS = 48
_BEING_WRITTEN: set[Path] = set()  # by the threads of this process


@contextlib.contextmanager
def write_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path to write to, and move the file into place once it is complete.

    The temporary file lies in the folder of the target, since only there a move is one step, and is hidden,
    so that nobody takes it for a result. What killed processes left of the same target is removed.

    Parameters
    ----------
    path : path-like
        The target. Its folder is made if need be; an older file is replaced.

    Yields
    ------
    Path
        To write to. It has the extension of the target and does not exist yet. If the block raises, it is
        removed and the target stays as it was.

    Raises
    ------
    OSError
        If the folder or the file cannot be written.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> with write_whole(folder / 'labels.tsv') as temporary:
    ...     _ = temporary.write_text('index')
    >>> [path.name for path in folder.iterdir()]
    ['labels.tsv']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    stem, dot, extension = path.name.partition('.')
    temporary = path.with_name(f'.{stem}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part{dot}{extension}')
    _BEING_WRITTEN.add(temporary)
    try:
        yield temporary
        with temporary.open('rb') as stream:  # on disk before it gets its name, even if the power fails
            os.fsync(stream.fileno())
            _share(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        _BEING_WRITTEN.discard(temporary)


def _share(descriptor: int) -> None:
    """Let those read a file who may read any new one; safetensors, for one, writes for its owner alone."""
    if not os.fstat(descriptor).st_mode & 0o077:
        os.umask(mask := os.umask(0))
        with contextlib.suppress(OSError):  # storage without modes
            os.fchmod(descriptor, 0o666 & ~mask)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of one target whose writers no longer run."""
    stem, dot, extension = path.name.partition('.')
    ours, ending = re.escape(stem), re.escape(dot + extension)
    pattern = re.compile(rf'\.{ours}\.([^.]+)-(\d+)-[0-9a-f]{{8}}\.part{ending}')
    for entry in os.scandir(path.parent):  # which holds the pages of everybody
        match = entry.name.startswith('.') and pattern.fullmatch(entry.name)
        if match and not _is_written(Path(entry.path), match[1], int(match[2])):
            with contextlib.suppress(OSError):  # another writer may remove it at the same time
                os.unlink(entry.path)


def _is_written(temporary: Path, host: str, process: int) -> bool:
    if host != _host():  # its processes cannot be asked
        with contextlib.suppress(FileNotFoundError):
            return time.time() - temporary.stat().st_mtime < _STALE_SECONDS
        return False
    if process == os.getpid():
        return temporary in _BEING_WRITTEN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def _host() -> str:
    return re.sub(r'[^A-Za-z0-9]', '', socket.gethostname().partition('.')[0])[:24] or 'host'


def write_text(text: str, path: str | os.PathLike) -> Path:
    """Write a text file in UTF-8; leave it untouched if it holds this text already."""
    path = Path(path)
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        return path
    with write_whole(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_json(content: Mapping, path: str | os.PathLike) -> Path:
    """Write a mapping as JSON; nan and infinity become ``"n/a"``."""
    return write_text(json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + '\n', path)


class _DataFrame(Protocol):
    def to_csv(self, **options: object) -> str: ...


def write_tsv(table: _DataFrame, path: str | os.PathLike) -> Path:
    """Write a pandas DataFrame as BIDS asks for: tabs, no index column, ``n/a`` for a missing value."""
    text = table.to_csv(sep='\t', index=False, na_rep='n/a', float_format='%.8g', lineterminator='\n')
    return write_text(text, path)


def copy_file(source: str | os.PathLike, path: str | os.PathLike) -> Path:
    """Copy the content of a file; leave the target untouched if it holds the same bytes already."""
    path = Path(path)
    if path.is_file() and filecmp.cmp(source, path, shallow=False):
        return path
    with write_whole(path) as temporary:
        shutil.copyfile(source, temporary)
    return path


#: What stands in the place of a file whose content was not fetched, and how to fetch it.
_POINTERS = {b'/annex/objects/': 'datalad get', b'version https://git-lfs': 'git lfs pull --include'}
_POINTER_BYTES = 32_768  # git-annex takes no larger file for a pointer


def unfetched(path: str | os.PathLike) -> str | None:
    """Say how to fetch a file of which git-annex or Git LFS left only a link or a pointer.

    Parameters
    ----------
    path : path-like
        A file, which need not exist.

    Returns
    -------
    str or None
        None if the content is there, or there is no such file at all.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / 'dwi.bval'
    >>> _ = path.write_text('version https://git-lfs.github.com/spec/v1')
    >>> unfetched(path)
    'its content is not on this disk; fetch it: git lfs pull --include dwi.bval'
    """
    path = Path(path)
    try:
        if path.is_symlink() and not path.exists():
            return f'its link is broken; fetch its content: datalad get {path.name}'
        if not path.is_file() or path.stat().st_size > _POINTER_BYTES:
            return None
        with path.open('rb') as stream:
            start = stream.read(max(map(len, _POINTERS)))
    except OSError:  # whoever opens it says what is wrong
        return None
    command = next((how for mark, how in _POINTERS.items() if start.startswith(mark)), None)
    return command and f'its content is not on this disk; fetch it: {command} {path.name}'


def read_text(path: str | os.PathLike) -> str:
    """Read a text file that somebody wrote: UTF-8 or, if it begins with the mark of it, UTF-16.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is neither, or is not on this disk (see :func:`unfetched`).
    """
    if reason := unfetched(path):
        raise ValueError(reason)
    content = Path(path).read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode('utf-16' if utf16 else 'utf-8-sig')


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read a tab-separated table as text, one mapping per row; a missing cell is None."""
    return list(csv.DictReader(io.StringIO(read_text(path), newline=''), delimiter='\t'))


def as_float(value: object) -> float:
    """Return a number of a table or a JSON file as float; nan for what is none.

    >>> as_float('1.5'), as_float(2), as_float('n/a'), as_float(None)
    (1.5, 2.0, nan, nan)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return float('nan')


def plain(value: object) -> object:
    """Return what JSON can hold: arrays become lists, paths become text, nan and infinity become ``'n/a'``.

    >>> plain({'cv': float('nan'), 'files': (Path('a'),)})
    {'cv': 'n/a', 'files': ['a']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, 'tolist'):  # numpy, which this room does without
        return plain(value.tolist())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return 'n/a'
    return value

# SPDX-License-Identifier: Apache-2.0
"""Ways in which a file of the outputs may be damaged."""

from __future__ import annotations

import random
from pathlib import Path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replaced_by(content: bytes | str):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to('../../.git/annex/objects/x')


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


#: In words -> a function of the path.
DAMAGE = {
    'cut short': cut,
    'empty': replaced_by(''),
    'a link to nothing': link_to_nothing,
    'a pointer of git-annex': replaced_by('/annex/objects/MD5E-s1--0\n'),
    'a pointer of LFS': replaced_by('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'),
    'not text': replaced_by(random.Random(0).randbytes(2000)),
    'a list': replaced_by('[1, 2]'),
    'null': replaced_by('null'),
    'other keys': replaced_by('{"a": {"b": 1}, "Scans": {"x": 3}, "numbers": {"mean": [1]}, "Unused": 3}'),
    'a folder': folder_in_its_place,
}

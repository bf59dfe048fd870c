# SPDX-License-Identifier: Apache-2.0
"""Sidecars by the inheritance principle, read only for the scans that were selected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..records import relative_path
from .names import split_name


class Sidecars:
    """The sidecars of one dataset; each folder is listed once.

    Indexing all of them with pybids would open every JSON file of the dataset, whoever is asked for.
    """

    def __init__(self):
        self._folders: dict[tuple[Path, str], list[tuple[Path, dict, str]]] = {}

    def applicable(self, image: Path, extension: str) -> list[Path]:
        """Return the sidecars that apply to an image, from the general to the specific.

        A sidecar applies if it lies in a folder above or beside the image, has its suffix, and its name holds
        no entity that the image lacks or has otherwise.
        """
        entities, suffix, _ = split_name(image.name)
        depth = len(relative_path(image).parts)
        found = []
        for folder in reversed(image.parents[:depth]):
            inside = [
                (len(theirs), path)
                for path, theirs, their_suffix in self._listing(folder, extension)
                if their_suffix == suffix and all(entities.get(key) == theirs[key] for key in theirs)
            ]
            found += [path for _, path in sorted(inside)]
        return found

    def metadata(self, image: Path) -> tuple[dict, tuple[str, ...]]:
        """Return the merged JSON sidecars of an image, and warnings about those that cannot be read."""
        merged: dict = {}
        warnings = []
        for path in self.applicable(image, '.json'):
            try:
                content = json.loads(path.read_text(encoding='utf-8'))
            except (OSError, ValueError) as error:
                warnings.append(f'sidecar cannot be read: {path.name}: {error}')
                continue
            if isinstance(content, Mapping):
                merged.update(content)
            else:
                warnings.append(f'sidecar is not a mapping: {path.name}')
        return merged, tuple(warnings)

    def _listing(self, folder: Path, extension: str) -> list[tuple[Path, dict, str]]:
        key = (folder, extension)
        if key not in self._folders:
            self._folders[key] = [
                (path, *split_name(path.name)[:2])
                for path in (folder.iterdir() if folder.is_dir() else ())
                if path.name.endswith(extension) and split_name(path.name)[2] == extension
            ]
        return self._folders[key]

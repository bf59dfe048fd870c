# SPDX-License-Identifier: Apache-2.0
"""Read sidecars by the inheritance principle, for the selected scans only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..files import read_text
from ..records import relative_path
from .names import split_name


class Sidecars:
    """The sidecars of one dataset; each folder is listed once.

    Indexing them with pybids would open every JSON file of the dataset, also for a single participant.
    """

    def __init__(self):
        self._folders: dict[tuple[Path, str], list[tuple[Path, dict, str]]] = {}

    def applicable(self, image: Path, extension: str) -> list[Path]:
        """Return the sidecars that apply to an image, from the general to the specific.

        A sidecar applies if it is in the folder of the image or above, has the suffix of the image, and each
        entity of its name has the same value in the name of the image.

        Parameters
        ----------
        image : Path
        extension : str
            ``'.json'``, ``'.bval'``.

        Returns
        -------
        list of Path
        """
        entities, suffix, _ = split_name(image.name)
        depth = len(relative_path(image).parts)
        sidecars = []
        for folder in reversed(image.parents[:depth]):
            inside = [
                (len(of_sidecar), path)
                for path, of_sidecar, its_suffix in self._listing(folder, extension)
                if its_suffix == suffix and all(entities.get(key) == of_sidecar[key] for key in of_sidecar)
            ]
            sidecars += [path for _, path in sorted(inside)]
        return sidecars

    def metadata(self, image: Path) -> tuple[dict, tuple[str, ...]]:
        """Merge the JSON sidecars of an image.

        Parameters
        ----------
        image : Path

        Returns
        -------
        metadata : dict
        warnings : tuple of str
            About sidecars that cannot be read.
        """
        merged: dict = {}
        warnings = []
        for path in self.applicable(image, '.json'):
            try:
                content = json.loads(read_text(path))
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

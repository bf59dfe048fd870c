# SPDX-License-Identifier: Apache-2.0
"""Where training pairs come from: prepared scans with their labels, and mixtures with drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from bids_brainseg.data import mirrored_classes
from bids_brainseg.errors import InputError
from bids_brainseg.imaging import load_image

from ..synthesis.fields import points
from ..synthesis.generator import Synthesizer
from ..synthesis.label_map import place
from ..synthesis.ranges import AugmentationRanges
from ..synthesis.scene import sample_deformation
from ..synthesis.view import sample_crop


class PreprocessedScan(NamedTuple):
    """A scan on the network grid with its labels, as the train level leaves them among the derivatives."""

    image: Path
    labels: Path
    name: str

    def load(self, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Read both.

        Parameters
        ----------
        shape : tuple of int
            Network grid.

        Returns
        -------
        image : `shape` float32 array in [0, 100]
        labels : `shape` uint8 array of class indices

        Raises
        ------
        InputError
            If either is not on the grid.
        """
        image, labels = load_image(self.image), load_image(self.labels)
        for found in (image, labels):
            if found.data.shape != tuple(shape):
                raise InputError(
                    f'prepared for another grid, found {found.data.shape}, expected {tuple(shape)}: '
                    f'{found.path}; remove it, and it is prepared anew'
                )
        return image.data, labels.data.astype(np.uint8)


@dataclass(frozen=True)
class ScanPairs:
    """Draw training pairs from prepared scans, moved and cropped at random.

    Parameters
    ----------
    scans : sequence of PreprocessedScan
        Each is seen once before any is seen again, in an order that changes.
    shape : tuple of int
        Network grid.
    affine : (4, 4) float array
        Its voxel indices to RAS mm; axes along those of the space.
    ranges : AugmentationRanges
        How far pairs move; what concerns tissues plays no part. None: pairs stay as they are.
    seed : int
        The pair number n depends on the seed and n alone.
    window : tuple of int, optional
        Pairs of this shape, each somewhere in the grid.
    """

    scans: Sequence[PreprocessedScan]
    shape: tuple[int, int, int]
    affine: np.ndarray
    ranges: AugmentationRanges | None = None
    seed: int = 0
    window: tuple[int, int, int] | None = None

    def pair(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a scan and its labels.

        Parameters
        ----------
        number : int
            Which of the endless pairs.

        Returns
        -------
        image : `shape` or `window` float32 array in [0, 100]
        labels : uint8 array of class indices, of the same shape
        """
        turn, place = divmod(number, len(self.scans))
        order = np.random.default_rng([self.seed, turn, 1]).permutation(len(self.scans))
        image, labels = self.scans[order[place]].load(self.shape)
        rng = np.random.default_rng([self.seed, number])
        start = rng.integers(np.subtract(self.shape, self.window) + 1) if self.window else np.zeros(3, int)
        size = self.window or self.shape
        if self.ranges is None:
            box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
            return image[box], labels[box]
        return self._moved(rng, image, labels, start, size)

    def _moved(self, rng, image, labels, start, size):
        mirror = self.ranges.flip and rng.random() < 0.5
        deformation = sample_deformation(rng, self.ranges, self.shape, self.affine, mirror=mirror)
        grid = self.affine.copy()
        grid[:3, 3] += self.affine[:3, :3] @ start
        where = np.stack(list(points(place(np.linalg.inv(self.affine), size, grid, deformation), size)))
        # beyond the grid there is air and background: 0 in both
        moved = ndimage.map_coordinates(image, where, order=1, mode='grid-constant')
        classes = ndimage.map_coordinates(labels, where, order=0, mode='grid-constant')
        if rng.random() < self.ranges.crop:
            x, y, z = sample_crop(rng, size)
            moved[~(x[:, None, None] & y[:, None] & z)] = 0
        return moved, np.array(mirrored_classes(), np.uint8)[classes] if mirror else classes


@dataclass(frozen=True)
class Mixture:
    """Draw from real and from synthetic pairs.

    Parameters
    ----------
    real : ScanPairs
    synthetic : Synthesizer
    share : float
        Of synthetic pairs, in [0, 1].
    seed : int
        Which of both pair number n comes from depends on the seed and n alone.
    """

    real: ScanPairs
    synthetic: Synthesizer
    share: float
    seed: int = 0

    def pair(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a scan and its labels, as :meth:`ScanPairs.pair` does."""
        drawn = np.random.default_rng([self.seed, number, 2]).random() < self.share
        return (self.synthetic if drawn else self.real).pair(number)

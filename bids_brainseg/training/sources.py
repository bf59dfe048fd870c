# SPDX-License-Identifier: Apache-2.0
"""Where training pairs come from: real scans with their labels, synthetic ones, and mixtures of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_brainseg.data import mirrored_classes
from bids_brainseg.errors import InputError
from bids_brainseg.imaging import load_image, load_mask
from bids_brainseg.records import TrainingScan

from ..synthesis.fields import points
from ..synthesis.generator import Synthesizer
from ..synthesis.label_map import LabelMap, grid_placement
from ..synthesis.ranges import AugmentationRanges
from ..synthesis.scene import sample_deformation
from ..synthesis.view import sample_crop
from .references import Reference


def load_pair(scan: TrainingScan, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read a scan on the network grid and its labels.

    Parameters
    ----------
    scan : TrainingScan
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
    image, labels = load_image(scan.image), load_image(scan.labels)
    for volume in (image, labels):
        if volume.data.shape != tuple(shape):
            raise InputError(
                f'prepared for another grid, found {volume.data.shape}, expected {tuple(shape)}: '
                f'{volume.path}; remove it, and it is prepared anew'
            )
    return image.data, labels.data.astype(np.uint8)


class ScanSequence(Sequence):
    """Validation scans, read when they are asked for: hundreds of them would fill the memory."""

    def __init__(self, scans: Sequence[TrainingScan], shape: tuple[int, int, int]) -> None:
        self.scans, self.shape = scans, shape

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return load_pair(self.scans[index], self.shape)


@dataclass(frozen=True)
class ScanPairs:
    """Training pairs from real scans, moved and cropped at random.

    Parameters
    ----------
    scans : sequence of TrainingScan
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

    scans: Sequence[TrainingScan]
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
        turn, index = divmod(number, len(self.scans))
        order = np.random.default_rng([self.seed, turn, 1]).permutation(len(self.scans))
        image, labels = load_pair(self.scans[order[index]], self.shape)
        rng = np.random.default_rng([self.seed, number])
        start = rng.integers(np.subtract(self.shape, self.window) + 1) if self.window else np.zeros(3, int)
        size = self.window or self.shape
        if self.ranges is None:
            box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
            return image[box], labels[box]
        return self._moved(rng, image, labels, start, size)

    def _moved(
        self,
        rng: np.random.Generator,
        image: np.ndarray,
        labels: np.ndarray,
        start: np.ndarray,
        size: tuple[int, int, int],
    ) -> tuple[np.ndarray, np.ndarray]:
        mirror = self.ranges.flip and rng.random() < 0.5
        deformation = sample_deformation(rng, self.ranges, self.shape, self.affine, mirror=mirror)
        grid = self.affine.copy()
        grid[:3, 3] += self.affine[:3, :3] @ start
        placement = grid_placement(np.linalg.inv(self.affine), size, grid, deformation)
        where = np.stack(list(points(placement, size)))
        # beyond the grid there is air and background: 0 in both
        moved = ndimage.map_coordinates(image, where, order=1, mode='grid-constant')
        classes = ndimage.map_coordinates(labels, where, order=0, mode='grid-constant')
        if rng.random() < self.ranges.crop:
            x, y, z = sample_crop(rng, size)
            moved[~(x[:, None, None] & y[:, None] & z)] = 0
        return moved, np.array(mirrored_classes(), np.uint8)[classes] if mirror else classes


@dataclass(frozen=True)
class Mixture:
    """Real and synthetic pairs in turn, at random.

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
        """Return a scan and its labels.

        Parameters
        ----------
        number : int
            Which of the endless pairs.

        Returns
        -------
        image : (I, J, K) float32 array in [0, 100]
        labels : uint8 array of class indices, of the same shape
        """
        synthetic = np.random.default_rng([self.seed, number, 2]).random() < self.share
        return (self.synthetic if synthetic else self.real).pair(number)


def synthesizer(
    label_maps: Sequence[LabelMap],
    references: Mapping[str, Reference],
    *,
    shape: Sequence[int],
    affine: np.ndarray,
    ranges: AugmentationRanges,
    seed: int,
    window: Sequence[int] | None = None,
) -> Synthesizer:
    """Return what makes synthetic pairs of some modalities on a grid.

    Parameters
    ----------
    label_maps, shape, affine, ranges, seed, window
        Of :class:`~bids_brainseg.synthesis.generator.Synthesizer`.
    references : mapping of str to Reference
        The modalities; their intensity rules, and the cavity in which these read percentiles.

    Returns
    -------
    Synthesizer

    Raises
    ------
    ValueError
        If the window is larger than the grid.
    """
    if window is not None and np.any(np.greater(window, shape)):
        raise ValueError(f'`window` must fit in the grid {tuple(shape)}. Received instead: {tuple(window)}')
    first = next(iter(references.values()))
    return Synthesizer(
        label_maps,
        tuple(shape),
        np.asarray(affine),
        {name: reference.intensity for name, reference in references.items()},
        ranges=ranges,
        seed=seed,
        region=load_mask(first.mask, shape, affine),
        window=window and tuple(window),
    )


#: Held-out pairs, unlike training pairs: heads as they align, whole, healthy, in their own contrast.
HELD_OUT = AugmentationRanges(
    rotation=3, displacement=1.5, scale=0.03, random_contrast=0, crop=0, deface=0, lesions=0
)


def held_out_pairs(
    label_maps: Sequence[LabelMap],
    references: Mapping[str, Reference],
    *,
    shape: Sequence[int],
    affine: np.ndarray,
    count: int,
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Return fixed pairs of each modality, the same in every call.

    Parameters
    ----------
    label_maps : sequence of LabelMap
    references : mapping of str to Reference
    shape, affine
        Grid.
    count : int
        Pairs of each modality.

    Returns
    -------
    dict of str to list of (image, labels)
        `shape` float32 array in [0, 100] and uint8 array of class indices.
    """
    result = {}
    for name, reference in references.items():
        grid = {'shape': shape, 'affine': affine}
        source = synthesizer(label_maps, {name: reference}, **grid, ranges=HELD_OUT, seed=99)
        result[name] = [source.pair(number) for number in range(count)]
    return result

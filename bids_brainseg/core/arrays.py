# SPDX-License-Identifier: Apache-2.0
"""NumPy as an array namespace: the few functions that code for the host and for a device has in common.

Code that takes a namespace `xp` runs on NumPy with :class:`NumpyOps`, or with another namespace of the same
functions on other arrays (:class:`bids_brainseg.synthesis.device.KerasOps`, in a compiled step, where shapes
are fixed and nothing can be raised).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: An array or scalar of whatever library computes: NumPy on the host, a Keras backend on a device.
Tensor = Any
#: The functions of such a library: :class:`NumpyOps`, or another class with the same ones.
ArrayNamespace = Any


class Intensities:
    """Intensities of an image, or of a part of it, in no order that matters.

    Parameters
    ----------
    values : (n,) array
        All finite.
    """

    #: Values that are enough for a percentile that need not be exact.
    ENOUGH = 500_000

    def __init__(self, values: NDArray):
        self.values = values

    @classmethod
    def of(cls, image: NDArray, where: NDArray | None = None) -> Intensities:
        """Take the finite values of an image, of the voxels in the mask `where` if it is given."""
        finite = np.isfinite(image)
        return cls(image[finite if where is None else where & finite])

    @property
    def count(self) -> int:
        """Number of values."""
        return self.values.size

    def percentile(self, q: float | tuple[float, ...]) -> Any:
        """Return one percentile, or one for each number of a tuple; `q` in per cent."""
        return np.percentile(self.values, q)

    def about_percentile(self, q: float | tuple[float, ...]) -> Any:
        """Return the same of evenly spaced values, if there are very many."""
        return np.percentile(self.values[:: max(1, self.values.size // self.ENOUGH)], q)

    def extremes(self) -> tuple[float, float]:
        """Return the least and the greatest value."""
        return float(self.values.min()), float(self.values.max())

    def above(self, threshold: float) -> Intensities:
        """Keep what exceeds a threshold."""
        return Intensities(self.values[self.values > threshold])

    def capped(self, ceiling: float) -> Intensities:
        """Lower to the ceiling what exceeds it."""
        return Intensities(np.minimum(self.values, ceiling))

    def histogram(self, low: float, high: float, bins: int = 256) -> tuple[NDArray, NDArray]:
        """Count the values in bins of equal width: (bins,) counts and (bins + 1,) edges."""
        return np.histogram(self.values, bins=bins, range=(low, high))


class NumpyOps:
    """NumPy as an array namespace."""

    arange, clip, cumsum, exp, matmul, max = np.arange, np.clip, np.cumsum, np.exp, np.matmul, np.max
    maximum, reshape, round, sqrt, take = np.maximum, np.reshape, np.round, np.sqrt, np.take
    tensordot, transpose, where = np.tensordot, np.transpose, np.where
    intensities = Intensities.of

    @staticmethod
    def cast(array: ArrayLike, dtype: str) -> NDArray:
        """Convert to another type of number."""
        return np.asarray(array).astype(dtype)

    @staticmethod
    def choose(flag: bool, yes: Callable, no: Callable) -> Any:
        """Call one of two functions."""
        return yes() if flag else no()

    @staticmethod
    def mean(array: NDArray, where: NDArray) -> Any:
        """Average the values of an array where a mask of its shape is true."""
        return array[where].mean()

    @staticmethod
    def require(condition: bool, message: str) -> None:
        """Raise a ValueError unless the condition holds."""
        if not condition:
            raise ValueError(message)

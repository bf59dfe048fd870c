# SPDX-License-Identifier: Apache-2.0
"""Training pairs that are made where the network computes, in the same compiled step.

The host samples the parameters of a scene (:class:`~bids_brainseg.synthesis.scene.SceneParameters`, small
arrays) and sends them; label maps stay on the device. Noise is sampled there, so pair number n differs from
that of the host, with the same distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from bids_brainseg.core.arrays import Tensor
from bids_brainseg.errors import ModelError

from .generator import PairSource, Synthesizer
from .render import render_image, render_labels
from .scene import EFFECTS, SceneParameters, fixed_shapes


class SortedIntensities:
    """What :class:`bids_brainseg.core.arrays.Intensities` does, in steps of fixed shape.

    Parameters
    ----------
    values : (n,) float32 tensor
        In ascending order, all finite.
    first : scalar int tensor
        How many of them do not count.
    """

    def __init__(self, values: Tensor, first: Tensor = 0) -> None:
        self.values = values
        self.first = ops.cast(first, 'int32')

    @classmethod
    def of(cls, image: Tensor, where: Tensor | None = None) -> SortedIntensities:
        """Sort an image.

        Parameters
        ----------
        image : float32 tensor
            All finite.
        where : bool tensor of the same shape, optional
            Mask; what is outside comes first and does not count.

        Returns
        -------
        SortedIntensities
        """
        if where is None:
            return cls(ops.sort(ops.reshape(image, (-1,))))
        masked = ops.sort(ops.reshape(ops.where(where, image, ops.min(image)), (-1,)))
        return cls(masked, masked.shape[0] - ops.sum(ops.cast(where, 'int32')))

    @property
    def count(self) -> Tensor:
        """Number of values that count."""
        return self.values.shape[0] - self.first

    def percentile(self, q: float | tuple[float, ...]) -> Tensor | tuple[Tensor, ...]:
        """Interpolate linearly between the sorted values.

        Parameters
        ----------
        q : float or tuple of float
            Per cent.

        Returns
        -------
        scalar tensor, or tuple of those
            One for each number of `q`.
        """
        if isinstance(q, tuple):
            return tuple(self.percentile(x) for x in q)
        last = self.values.shape[0] - 1
        first = ops.minimum(ops.cast(self.first, 'float32'), float(last))
        position = first + q / 100 * (last - first)
        below = ops.floor(position)
        pair = ops.take(self.values, ops.cast(ops.stack([below, ops.ceil(position)]), 'int32'))
        return pair[0] + (position - below) * (pair[1] - pair[0])

    about_percentile = percentile

    def extremes(self) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest value.

        Returns
        -------
        least, greatest : scalar tensor
        """
        return self.percentile((0.0, 100.0))

    def above(self, threshold: Tensor) -> SortedIntensities:
        """Let only what exceeds a threshold count.

        Parameters
        ----------
        threshold : scalar

        Returns
        -------
        SortedIntensities
        """
        return SortedIntensities(self.values, ops.maximum(self.first, self._rank(threshold)))

    def capped(self, ceiling: Tensor) -> SortedIntensities:
        """Lower to the ceiling what exceeds it.

        Parameters
        ----------
        ceiling : scalar

        Returns
        -------
        SortedIntensities
        """
        return SortedIntensities(ops.minimum(self.values, ceiling), self.first)

    def histogram(self, low: Tensor, high: Tensor, bins: int = 256) -> tuple[Tensor, Tensor]:
        """Count the values in bins of equal width.

        Parameters
        ----------
        low, high : scalar
            First and last edge.
        bins : int

        Returns
        -------
        counts : (bins,) float32 tensor
        edges : (bins + 1,) float32 tensor
        """
        edges = low + (high - low) * ops.arange(bins, dtype='float32') / bins
        below = ops.cast(ops.searchsorted(self.values, edges), 'int32')
        ranks = ops.append(below, ops.reshape(self._rank(high), (1,)))  # the last bin holds its upper edge
        ranks = ops.cast(ops.maximum(ranks, self.first), 'float32')
        return ranks[1:] - ranks[:-1], ops.append(edges, ops.reshape(high, (1,)))

    def _rank(self, threshold: Tensor) -> Tensor:
        """Count the values that do not exceed a threshold."""
        threshold = ops.reshape(ops.cast(threshold, 'float32'), (1,))
        return ops.cast(ops.searchsorted(self.values, threshold, side='right')[0], 'int32')


class KerasOps:
    """``keras.ops`` as an array namespace, as :class:`bids_brainseg.core.arrays.NumpyOps` is of NumPy."""

    arange, cast, clip, cumsum = map(staticmethod, (ops.arange, ops.cast, ops.clip, ops.cumsum))
    exp, matmul, max, maximum = map(staticmethod, (ops.exp, ops.matmul, ops.max, ops.maximum))
    reshape, round, sqrt = map(staticmethod, (ops.reshape, ops.round, ops.sqrt))
    tensordot, transpose, where = map(staticmethod, (ops.tensordot, ops.transpose, ops.where))
    intensities = SortedIntensities.of

    @staticmethod
    def take(table: Tensor, index: Tensor) -> Tensor:
        """Return entries of a table.

        Parameters
        ----------
        table : (n,) tensor
        index : integer tensor

        Returns
        -------
        tensor of the shape of `index`
        """
        return ops.take(table, ops.cast(index, 'int32'))

    @staticmethod
    def choose(flag: Tensor, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
        """Call both functions, and take the result of one.

        Parameters
        ----------
        flag : scalar bool tensor
        yes, no : callable
            Return tensors, or tuples of those, of the same shapes.

        Returns
        -------
        tensor or tuple of tensors
        """
        return tree.map_structure(lambda a, b: ops.where(flag, a, b), yes(), no())

    @staticmethod
    def mean(array: Tensor, where: Tensor) -> Tensor:
        """Average the values of an array where a mask is true.

        Parameters
        ----------
        array : tensor
        where : bool tensor of the same shape

        Returns
        -------
        scalar tensor
        """
        chosen = ops.cast(where, array.dtype)
        return ops.sum(chosen * array) / ops.sum(chosen)

    @staticmethod
    def require(condition: Tensor, message: str) -> None:
        """Do nothing: a compiled step cannot raise.

        Parameters
        ----------
        condition : scalar bool tensor
        message : str
        """


class DeviceSource:
    """Source of pairs that are made on the device; see :func:`bids_brainseg.training.loop.fit`.

    Parameters
    ----------
    synthesizer : Synthesizer
        Its label maps are copied to the memory of the device.
    """

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.synthesizer = synthesizer
        self.grids = synthesizer.grids
        volumes = [label_map.codes for label_map in synthesizer.label_maps]
        largest = np.max([codes.shape for codes in volumes], axis=0)
        self.codes = [ops.convert_to_tensor(_padded(codes, largest)) for codes in volumes]
        self.key_type = keras.backend.standardize_dtype(keras.random.SeedGenerator(0).state.dtype)

    def pair(self, number: int) -> dict:
        """Return what a pair is made of.

        Parameters
        ----------
        number : int
            Which of the endless pairs; the result depends on the seed of the synthesizer and on it alone.

        Returns
        -------
        dict
            The fields of :func:`~bids_brainseg.synthesis.scene.fixed_shapes`, and ``key``, the seed of the
            noise.
        """
        rng = np.random.default_rng([self.synthesizer.seed, number])
        scene, _ = self.synthesizer.sample(rng, noisy=False)
        key = rng.integers(2**31 - 1, size=2).astype(self.key_type)
        return fixed_shapes(scene, self.grids)._asdict() | {'key': key}

    def collate(self, scenes: Sequence[dict]) -> tuple[dict]:
        """Make a batch that the learner trains on.

        Parameters
        ----------
        scenes : sequence of dict
            From :meth:`pair`.

        Returns
        -------
        tuple of one dict
            The scenes stacked along a new first axis, and their label maps as ``codes``.
        """
        codes = ops.stack([self.codes[scene['label_map']] for scene in scenes])
        return ({**tree.map_structure(lambda *x: np.stack(x), *scenes), 'codes': codes},)

    def learner(self, network: keras.Model, loss: keras.losses.Loss) -> keras.Model:
        """Return the model to train: it renders, then runs the network.

        Parameters
        ----------
        network : keras.Model
            Compiled; its optimizer is shared.
        loss : keras.losses.Loss

        Returns
        -------
        keras.Model
            Compiled.
        """
        model = _RenderingModel(network, loss)
        model.compile(optimizer=network.optimizer)
        return model


class _RenderingModel(keras.Model):
    """Parameters of scenes to labels and probabilities."""

    def __init__(self, network: keras.Model, loss: keras.losses.Loss) -> None:
        super().__init__(dtype='float32', name='rendering')  # the scans are made in full precision
        self.network, self.measure = network, loss
        self.built = True

    def call(self, scenes: Mapping, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """Render and predict."""
        images, labels = render_batch(scenes)
        return labels, self.network(images[..., None], training=training)

    def compute_loss(
        self,
        x: Mapping | None = None,
        y: Tensor | None = None,
        y_pred: tuple[Tensor, Tensor] | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss of what :meth:`call` returned."""
        return self.measure(*y_pred)


def render_batch(scenes: Mapping) -> tuple[Tensor, Tensor]:
    """Return scans and labels.

    Parameters
    ----------
    scenes : mapping
        From :meth:`DeviceSource.collate`.

    Returns
    -------
    images : (batch, I, J, K) float32 tensor in [0, 100]
    labels : (batch, I, J, K) uint8 tensor
    """
    scenes = dict(scenes)
    codes, keys = scenes.pop('codes'), scenes.pop('key')
    images, labels = [], []
    for number in range(codes.shape[0]):
        scene = SceneParameters(**tree.map_structure(lambda x, n=number: x[n], scenes))
        shape = [basis.shape[0] for basis in scene.basis_image]
        noise = _noise(scene.effects, shape, keys[number])
        images.append(render_image(scene, codes[number], noise, KerasOps))
        labels.append(render_labels(scene, codes[number], KerasOps))
    return ops.stack(images), ops.stack(labels)


def _noise(names: Iterable[str], shape: Sequence[int], key: Tensor) -> dict[str, Tensor]:
    """Return the standard normal fields of some effects, on as many slices as there may be."""
    counts = {name: effect.noise_fields for name, effect in EFFECTS.items() if name in names}
    fields = keras.random.normal((sum(counts.values()), *shape), dtype='float32', seed=_Key(key))
    noise, first = {}, 0
    for name, count in counts.items():
        noise[name] = fields[first : first + count]
        first += count
    return noise


class _Key(keras.random.SeedGenerator):
    """A seed that is an input of the step, and no state of the process."""

    def __init__(self, key: Tensor) -> None:
        self.key = key

    def next(self, ordered: bool = True) -> Tensor:
        """Return it."""
        return self.key


def _padded(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Fill an array up with zeros at the end of its axes."""
    return np.pad(array, [(0, n) for n in np.subtract(shape, array.shape)])


def sampled_on(wanted: str, device: str, source: PairSource) -> PairSource | DeviceSource:
    """Return a source that makes its pairs where it is asked to.

    Parameters
    ----------
    wanted : {'auto', 'host', 'device'}
        'auto': on the device if that is a GPU and all pairs are synthetic.
    device : {'cpu', 'gpu'}
        What the network runs on.
    source : Synthesizer, ScanPairs or Mixture

    Returns
    -------
    DeviceSource, or `source` as it is

    Raises
    ------
    ModelError
        If real scans were to be sampled on the device.
    """
    able = isinstance(source, Synthesizer)
    if wanted == 'device' and not able:
        raise ModelError(
            'pairs of real scans cannot be made on the device (--sample-on device); '
            'use --sample-on host, or train on label maps alone'
        )
    asked = wanted == 'device' or (wanted == 'auto' and device == 'gpu')
    return DeviceSource(source) if able and asked else source

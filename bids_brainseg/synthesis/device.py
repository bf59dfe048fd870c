# SPDX-License-Identifier: Apache-2.0
"""Training pairs drawn where the network computes, in the same compiled step.

The host draws the parameters of a scene (:class:`~bids_brainseg.synthesis.render.SceneParameters`, small
arrays) and sends them; label maps stay on the device. Noise is drawn there, so pair number n differs from the
one that the host draws, with the same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops, tree

from bids_brainseg.errors import ModelError

from .generator import (
    MOST_BIAS_CONTROLS,
    MOST_CONTROLS,
    MOST_LESION_CONTROLS,
    MOST_VARIATION_CONTROLS,
    Synthesizer,
    fine_grid,
)
from .render import SceneParameters, render_image, render_labels

#: Rows of the tables by code; the last is that of lesions.
CODES = 256


class SortedIntensities:
    """What :class:`bids_brainseg.core.arrays.Intensities` does, in steps of fixed shape.

    Parameters
    ----------
    values : (n,) float32 tensor
        In ascending order, all finite.
    first : scalar int tensor
        How many of them do not count.
    """

    def __init__(self, values, first=0):
        self.values = values
        self.first = ops.cast(first, 'int32')

    @classmethod
    def of(cls, image, where=None):
        """Sort an image without gaps; what is outside the mask `where` comes first and does not count."""
        if where is None:
            return cls(ops.sort(ops.reshape(image, (-1,))))
        masked = ops.sort(ops.reshape(ops.where(where, image, ops.min(image)), (-1,)))
        return cls(masked, masked.shape[0] - ops.sum(ops.cast(where, 'int32')))

    @property
    def count(self):
        """Number of values that count."""
        return self.values.shape[0] - self.first

    def percentile(self, q):
        """Interpolate linearly between the sorted values, for one percentile or each of a tuple."""
        if isinstance(q, tuple):
            return tuple(self.percentile(x) for x in q)
        last = self.values.shape[0] - 1
        first = ops.minimum(ops.cast(self.first, 'float32'), float(last))
        position = first + q / 100 * (last - first)
        below = ops.floor(position)
        pair = ops.take(self.values, ops.cast(ops.stack([below, ops.ceil(position)]), 'int32'))
        return pair[0] + (position - below) * (pair[1] - pair[0])

    about_percentile = percentile

    def extremes(self):
        """Return the least and the greatest value."""
        return self.percentile((0.0, 100.0))

    def above(self, threshold):
        """Let only what exceeds a threshold count."""
        return SortedIntensities(self.values, ops.maximum(self.first, self._rank(threshold)))

    def capped(self, ceiling):
        """Lower to the ceiling what exceeds it."""
        return SortedIntensities(ops.minimum(self.values, ceiling), self.first)

    def histogram(self, low, high, bins=256):
        """Count the values in bins of equal width: (bins,) counts and (bins + 1,) edges."""
        edges = low + (high - low) * ops.arange(bins, dtype='float32') / bins
        below = ops.cast(ops.searchsorted(self.values, edges), 'int32')
        ranks = ops.append(below, ops.reshape(self._rank(high), (1,)))  # the last bin holds its upper edge
        ranks = ops.cast(ops.maximum(ranks, self.first), 'float32')
        return ranks[1:] - ranks[:-1], ops.append(edges, ops.reshape(high, (1,)))

    def _rank(self, threshold):
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
    def take(table, index):
        """Return entries of a table."""
        return ops.take(table, ops.cast(index, 'int32'))

    @staticmethod
    def choose(flag, yes, no):
        """Call both functions, and take the result of one."""
        return tree.map_structure(lambda a, b: ops.where(flag, a, b), yes(), no())

    @staticmethod
    def mean(array, where):
        """Average the values of an array where a mask of its shape is true."""
        chosen = ops.cast(where, array.dtype)
        return ops.sum(chosen * array) / ops.sum(chosen)

    @staticmethod
    def require(condition, message):
        """Do nothing: a compiled step cannot raise."""


class DeviceSource:
    """Source of pairs that are drawn on the device; see :func:`bids_brainseg.training.loop.fit`.

    Parameters
    ----------
    synthesizer : Synthesizer
        Its label maps are copied to the memory of the device.
    """

    def __init__(self, synthesizer: Synthesizer):
        self.synthesizer = synthesizer
        self.fine_shape = fine_grid(synthesizer.window or synthesizer.shape, synthesizer.affine)[0]
        volumes = [head.codes for head in synthesizer.heads]
        largest = np.max([codes.shape for codes in volumes], axis=0)
        self.codes = [ops.convert_to_tensor(_padded(codes, largest)) for codes in volumes]
        self.key_type = keras.backend.standardize_dtype(keras.random.SeedGenerator(0).state.dtype)

    def pair(self, number: int) -> dict:
        """Return what pair `number` is made of; depends on the seed of the synthesizer and `number` alone."""
        rng = np.random.default_rng([self.synthesizer.seed, number])
        scene, _ = self.synthesizer.draw(rng, noisy=False)
        key = rng.integers(2**31 - 1, size=2).astype(self.key_type)
        return fixed_shapes(scene, self.fine_shape) | {'key': key}

    def collate(self, drawn: Sequence[dict]) -> tuple[dict]:
        """Return the batch that the learner trains on."""
        codes = ops.stack([self.codes[x['head']] for x in drawn])
        return ({**tree.map_structure(lambda *x: np.stack(x), *drawn), 'codes': codes},)

    def learner(self, network: keras.Model, loss: keras.losses.Loss) -> keras.Model:
        """Return the model to train: it draws, then runs `network`, whose optimizer it shares."""
        model = _DrawingModel(network, loss)
        model.compile(optimizer=network.optimizer)
        return model


class _DrawingModel(keras.Model):
    """Parameters of scenes to labels and probabilities."""

    def __init__(self, network, loss):
        super().__init__(dtype='float32', name='drawing')  # the scans are drawn in full precision
        self.network, self.measure = network, loss
        self.built = True

    def call(self, drawn, training=None):
        """Draw and predict."""
        images, labels = draw_batch(drawn)
        return labels, self.network(images[..., None], training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of what :meth:`call` returned."""
        return self.measure(*y_pred)


def draw_batch(drawn: dict):
    """Return scans and labels.

    Parameters
    ----------
    drawn : dict
        From :meth:`DeviceSource.collate`.

    Returns
    -------
    images : (batch, I, J, K) float32 tensor in [0, 100]
    labels : (batch, I, J, K) uint8 tensor
    """
    drawn = dict(drawn)
    codes, keys = drawn.pop('codes'), drawn.pop('key')
    images, labels = [], []
    for number in range(codes.shape[0]):
        scene = SceneParameters(**tree.map_structure(lambda x, n=number: x[n], drawn))
        shape = [basis.shape[0] for basis in scene.basis_image]
        noise = keras.random.normal((3, *shape), dtype='float32', seed=_Key(keys[number]))
        images.append(render_image(scene, codes[number], noise, KerasOps))
        labels.append(render_labels(scene, codes[number], KerasOps))
    return ops.stack(images), ops.stack(labels)


class _Key(keras.random.SeedGenerator):
    """A seed that is an input of the step, and no state of the process."""

    def __init__(self, key):
        self.key = key

    def next(self, ordered=True):
        """Return it."""
        return self.key


def fixed_shapes(scene: SceneParameters, fine_shape: Sequence[int]) -> dict:
    """Return the fields of a scene as arrays whose shapes are those of every other scene.

    Lattices of control points and slices are filled up with some of no weight, tables with unused rows; what
    a scene lacks (lesions, cropping, a region) becomes something without effect.

    Parameters
    ----------
    scene : SceneParameters
    fine_shape : tuple of int
        Of the fine grid: the most slices that are acquired.

    Returns
    -------
    dict of str to array or tuple of arrays
    """
    fixed = scene._asdict()
    if scene.lesion_control is None:
        nothing = [np.zeros((n, 1), np.float32) for n in fine_shape]
        fixed |= {'lesion_control': np.zeros((1, 1, 1), np.float32), 'lesion_basis': nothing}
        fixed['lesion_threshold'] = np.float32(np.inf)
    for name, most in (('control', MOST_CONTROLS), ('lesion_control', MOST_LESION_CONTROLS),
                       ('bias_control', MOST_BIAS_CONTROLS),
                       ('variation_control', MOST_VARIATION_CONTROLS)):  # fmt: skip
        fixed[name] = _padded(fixed[name], (most,) * 3)
    widths = {'basis_labels': (MOST_CONTROLS,) * 3, 'basis_image': (MOST_CONTROLS,) * 3, 'back': fine_shape,
              'lesion_basis': (MOST_LESION_CONTROLS,) * 3,
              'variation_basis': (MOST_VARIATION_CONTROLS,) * 3}  # fmt: skip
    for name, width in widths.items():
        fixed[name] = tuple(_padded(m, (m.shape[0], n)) for m, n in zip(fixed[name], width, strict=True))
    planes = zip(scene.gather, scene.bias_basis, fine_shape, strict=True)
    gather, bias = zip(*((_padded(g, (n, n)), _padded(b, (n, MOST_BIAS_CONTROLS))) for g, b, n in planes),
                       strict=True)  # fmt: skip
    fixed |= {'gather': gather, 'bias_basis': bias, 'classes': _padded(scene.classes, (CODES,))}
    for name in ('mean', 'spread', 'variation', 'white'):
        table = getattr(scene, name)
        fixed[name] = np.append(_padded(table[:-1], (CODES - 1,)), table[-1])
    if scene.shown is None:
        shape = [basis.shape[0] for basis in scene.basis_labels]
        fixed['shown'] = np.ones(shape[0], bool), np.ones(shape[1:], bool)
    if scene.region is None:
        fixed['region'] = np.zeros([basis.shape[0] for basis in scene.basis_labels], bool)
    for name in ('background', 'noise_level', 'gamma', 'low', 'high'):
        fixed[name] = np.float32(fixed[name])
    return fixed


def _padded(array, shape):
    """Fill the last axes up with zeros."""
    missing = np.subtract(shape, array.shape[-len(shape) :])
    return np.pad(array, [(0, 0)] * (array.ndim - len(shape)) + [(0, n) for n in missing])


def sampled_on(wanted: str, device: str, source):
    """Return a source that draws where it is asked to.

    Parameters
    ----------
    wanted : {'auto', 'host', 'device'}
        'auto': on the device if that is a GPU and all pairs are drawn ones.
    device : {'cpu', 'gpu'}
        What the network runs on.
    source : Synthesizer, ScanPairs or Mixture

    Raises
    ------
    ModelError
        If real scans were to be drawn on the device.
    """
    able = isinstance(source, Synthesizer)
    if wanted == 'device' and not able:
        raise ModelError(
            'pairs of real scans cannot be drawn on the device (--sample-on device); '
            'use --sample-on host, or train on label maps alone'
        )
    asked = wanted == 'device' or (wanted == 'auto' and device == 'gpu')
    return DeviceSource(source) if able and asked else source

# SPDX-License-Identifier: Apache-2.0
"""Optimizers that Keras lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from bids_brainseg.core.arrays import Tensor

#: Of the quintic iteration: steepest at 0, and near 1 after five steps for what began above 0.001 or so.
COEFFICIENTS = 3.4445, -4.7750, 2.0315


@keras.saving.register_keras_serializable('bids_brainseg')
class ConvolutionMuon(keras.optimizers.Optimizer):
    """Muon on the kernels of convolutions, Adam on everything else.

    Parameters
    ----------
    learning_rate : float or schedule
        Of both parts. The step of a kernel is scaled to a root mean square of about 0.2 times the rate
        (doi 10.48550/arXiv.2502.16982), that of Adam.
    momentum : float
        Of Muon, with Nesterov's look ahead.
    iterations_per_step : int
        Newton-Schulz iterations.
    beta_1, beta_2, epsilon : float
        Of Adam.
    **kwargs
        Of :class:`keras.optimizers.Optimizer` (running average, name ...).

    Notes
    -----
    A kernel of a convolution counts as the matrix (positions x inputs, outputs), and its momentum is replaced
    by the nearest matrix with orthonormal columns or rows (Jordan et al., Muon, 2024). Muon of Keras takes
    matrices only, so that a convolutional network would be left to Adam. Adam keeps scales and offsets, the
    first convolution (one input) and the last layer (one position), whose rows and columns are no features.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 6e-3,
        *,
        momentum: float = 0.95,
        iterations_per_step: int = 5,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.momentum = momentum
        self.iterations_per_step = iterations_per_step
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the state: the momentum of every variable, and the second moment where Adam is at work.

        Parameters
        ----------
        variables : sequence of keras.Variable
        """
        if self.built:
            return
        super().build(variables)
        self._momenta = [self.add_variable_from_reference(v, name='momentum') for v in variables]
        self._squares = [
            None if is_inner_kernel(v.shape) else self.add_variable_from_reference(v, name='square')
            for v in variables
        ]

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Change one variable.

        Parameters
        ----------
        gradient : tensor
        variable : keras.Variable
        learning_rate : scalar
        """
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        step = self._adam if self._squares[index] is not None else self._muon
        self.assign_sub(variable, rate * step(gradient, index))

    def _muon(self, gradient: Tensor, index: int) -> Tensor:
        momentum = self._momenta[index]
        self.assign(momentum, self.momentum * momentum + gradient)
        ahead = gradient + self.momentum * momentum
        matrix = ops.reshape(ahead, (-1, ahead.shape[-1]))
        scale = 0.2 * math.sqrt(max(matrix.shape))
        return scale * ops.reshape(orthogonalized(matrix, self.iterations_per_step), ahead.shape)

    def _adam(self, gradient: Tensor, index: int) -> Tensor:
        mean, square = self._momenta[index], self._squares[index]
        count = ops.cast(self.iterations + 1, gradient.dtype)
        self.assign_add(mean, (1 - self.beta_1) * (gradient - mean))
        self.assign_add(square, (1 - self.beta_2) * (ops.square(gradient) - square))
        unbiased = ops.sqrt(1 - ops.power(self.beta_2, count)) / (1 - ops.power(self.beta_1, count))
        return unbiased * mean / (ops.sqrt(square) + self.epsilon)

    def get_config(self) -> dict:
        """Return what rebuilds the optimizer."""
        names = ('momentum', 'iterations_per_step', 'beta_1', 'beta_2', 'epsilon')
        return super().get_config() | {name: getattr(self, name) for name in names}


def is_inner_kernel(shape: Sequence[int]) -> bool:
    """Return whether a variable is the kernel of a convolution of several positions and inputs.

    Parameters
    ----------
    shape : sequence of int
        (positions along each axis ..., inputs, outputs), or a transposed convolution's (..., outputs,
        inputs).

    Returns
    -------
    bool

    Examples
    --------
    >>> [is_inner_kernel(shape) for shape in ((3, 3, 3, 16, 32), (3, 3, 3, 1, 16), (1, 1, 1, 16, 28))]
    [True, False, False]
    """
    *positions, inputs, _ = shape if len(shape) > 2 else (1, 1, 1)
    return math.prod(positions) > 1 and inputs > 1


def orthogonalized(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return nearly the matrix with the same singular vectors whose singular values are all 1.

    Parameters
    ----------
    matrix : (m, n) tensor
    iterations : int
        Newton-Schulz iterations.

    Returns
    -------
    (m, n) tensor
        After five iterations singular values between about 0.7 and 1.2, but for those that were below a
        thousandth of the Frobenius norm.

    Notes
    -----
    Every iteration multiplies the matrix by a polynomial of its Gram matrix, and all of these commute. So
    only the smaller Gram matrix is iterated, and the matrix itself is multiplied once, at the end.

    Examples
    --------
    >>> result = orthogonalized(ops.array([[3.0, 0.0], [0.0, -1.0]]))
    >>> [0.7 < abs(float(result[i, i])) < 1.2 for i in range(2)]
    [True, True]
    """
    tall = matrix.shape[0] > matrix.shape[1]
    matrix = matrix / (ops.norm(matrix) + 1e-7)
    turned = ops.transpose(matrix)
    gram = ops.matmul(turned, matrix) if tall else ops.matmul(matrix, turned)
    a, b, c = COEFFICIENTS
    product = identity = ops.eye(gram.shape[0], dtype=gram.dtype)
    for number in range(iterations):
        factor = a * identity + b * gram + c * ops.matmul(gram, gram)
        product = ops.matmul(product, factor) if number else factor
        if number < iterations - 1:
            gram = ops.matmul(ops.matmul(factor, gram), factor)
    return ops.matmul(matrix, product) if tall else ops.matmul(product, matrix)

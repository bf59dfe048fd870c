# SPDX-License-Identifier: Apache-2.0
"""Weights on disk, in a format that cannot run code when read."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bids_brainseg.errors import ModelError
from bids_brainseg.files import write_whole


def save_weights(model: keras.Model, path: Path, *, dtype: str = 'float32') -> None:
    """Write the weights of a network, whole or not at all.

    Parameters
    ----------
    model : keras.Model
    path : Path
        ``*.safetensors``.
    dtype : {'float32', 'float16'}
        How numbers are stored.
    """
    tensors = {v.path: np.ascontiguousarray(np.asarray(v.numpy() if hasattr(v, 'numpy') else v), dtype)
               for v in _stored(model)}  # fmt: skip
    with write_whole(path) as temporary:
        save_file(tensors, temporary)


def load_weights(model: keras.Model, path: Path) -> None:
    """Read weights into a network of the same architecture.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    path : Path
        As written by :func:`save_weights`.

    Raises
    ------
    ModelError
        If the file is damaged, or its names and shapes are not those of the network.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f'weights cannot be read: {path} ({error}); get the bundle anew') from error
    variables = {v.path: v for v in _stored(model)}
    wrong = sorted(set(tensors) ^ set(variables))
    wrong += [n for n in variables if n in tensors and tuple(variables[n].shape) != tensors[n].shape]
    if wrong:
        raise ModelError(
            f'weights do not fit the architecture: {path}, {len(wrong)} of {len(variables)} arrays differ, '
            f'first {wrong[0]}; weights and model.json must come from the same bundle'
        )
    for name, variable in variables.items():
        variable.assign(tensors[name].astype('float32'))


def _stored(model: keras.Model) -> list[keras.Variable]:
    # the seeds of dropout layers are state of a run, not of the network
    return [v for v in model.weights if 'seed_generator' not in v.path]

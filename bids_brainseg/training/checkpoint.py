# SPDX-License-Identifier: Apache-2.0
"""The whole state of a training run in one file, so that it goes on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import ops
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bids_brainseg.errors import ModelError
from bids_brainseg.files import write_whole


def save_checkpoint(model: keras.Model, state: Mapping, path: Path) -> None:
    """Write weights, random state of the dropout, optimizer and what the loop knows, whole or not at all.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    state : mapping
        Anything that JSON can hold, floats exactly.
    path : Path
        ``*.safetensors``.
    """
    tensors = {
        # not ascontiguousarray, which makes a scalar an array of one
        name: np.array(ops.convert_to_numpy(variable), order='C')
        for name, variable in _variables(model).items()
    }
    with write_whole(path) as temporary:
        save_file(tensors, temporary, metadata={'state': json.dumps(state)})


def load_checkpoint(model: keras.Model, path: Path) -> dict:
    """Put everything back and return what the loop knew.

    Parameters
    ----------
    model : keras.Model
        Compiled, of the same architecture and with the same optimizer.
    path : Path
        As written by :func:`save_checkpoint`.

    Returns
    -------
    dict
        The `state` that was saved.

    Raises
    ------
    ModelError
        If the file is damaged or belongs to another network.
    """
    variables = _variables(model)
    try:
        with safe_open(path, 'numpy') as stored:
            wrong = sorted(set(stored.keys()) ^ set(variables))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            state = json.loads(stored.metadata()['state'])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f'checkpoint cannot be read: {path} ({error}); remove it to begin anew') from error
    wrong += [n for n in variables if n in tensors and tuple(variables[n].shape) != tensors[n].shape]
    if wrong:
        raise ModelError(
            f'checkpoint belongs to another network: {path}, {len(wrong)} arrays differ, first {wrong[0]}; '
            'use the same options, or remove it to begin anew'
        )
    for name, variable in variables.items():
        variable.assign(tensors[name])
    return state


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Name every variable that the next step depends on; the metrics of Keras do not."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    # not by path: Keras numbers the seeds and optimizers of a process, and a resumed one counts anew
    named = {f'model/{x.name}/{i}': v for x in model.layers for i, v in enumerate(x.variables)}
    return named | {f'optimizer/{i:04d}': v for i, v in enumerate(model.optimizer.variables)}

# SPDX-License-Identifier: Apache-2.0
"""What Keras computes with: environment of the backend, and the kind of device that it finds."""

from __future__ import annotations

import os
import sys

from bids_brainseg.errors import ModelError

#: What Keras imports where it is installed, for wrappers and plots not used here: a third of its start.
UNUSED_BY_KERAS = 'matplotlib', 'pandas', 'sklearn'


def configure(device: str, threads: int = 0) -> None:
    """Set the environment that the backend reads; to be called before NumPy and Keras are imported.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
        'cpu' hides every GPU.
    threads : int
        0: as many as there are cores.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
    # TensorFlow leaves oneDNN off where it finds no AVX-512; a pass is half as long with it
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '1')
    # threads of NumPy's matrix products would wait for work on the cores that the network needs, and a
    # training step take a fifth longer
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    if device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
        os.environ.setdefault('JAX_PLATFORMS', 'cpu')
    if threads:
        for name in ('OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS'):
            os.environ[name] = str(threads)
        os.environ.setdefault('TF_NUM_INTEROP_THREADS', '1')


def import_keras() -> None:
    """Import Keras as if packages were absent that it takes along if it finds them.

    For a process of its own: there, Keras goes without them from then on. Others may import them afterwards.
    """
    hidden = [name for name in UNUSED_BY_KERAS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # None: an import fails as if it were not installed
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def find_device(wanted: str) -> str:
    """Return the kind of device that the network runs on.

    Parameters
    ----------
    wanted : {'auto', 'cpu', 'gpu'}

    Returns
    -------
    {'cpu', 'gpu'}

    Raises
    ------
    ModelError
        If a GPU is wanted and none is visible.
    """
    gpus = _gpus() if wanted != 'cpu' else []
    if wanted == 'gpu' and not gpus:
        raise ModelError(
            'no GPU is visible to the network (--device gpu); '
            'install the gpu extra and check the driver, or use --device cpu'
        )
    return 'gpu' if gpus else 'cpu'


def set_precision(wanted: str, device: str) -> str:
    """Choose the arithmetic of the networks that are built from now on.

    Parameters
    ----------
    wanted : {'auto', 'float32', 'mixed_bfloat16', 'mixed_float16'}
        'auto', for a training: bfloat16 on a GPU, float32 elsewhere. Mixed: weights, statistics of the
        feature maps, probabilities and loss stay in float32.
    device : {'cpu', 'gpu'}

    Returns
    -------
    str
        The policy.

    Raises
    ------
    ModelError
        For float16 without a GPU: TensorFlow lacks it on processors.
    """
    import keras

    if wanted == 'auto':
        wanted = 'mixed_bfloat16' if device == 'gpu' else 'float32'
    if wanted == 'mixed_float16' and device == 'cpu':
        raise ModelError(
            'float16 needs a GPU, and the network runs on the processor; use --precision float32'
        )
    keras.config.set_dtype_policy(wanted)
    return wanted


def _gpus() -> list[str]:
    import keras

    try:
        return keras.distribution.list_devices('gpu')
    except RuntimeError:  # JAX where there is none
        return []
    except AttributeError:  # Keras keeps no list for torch, but puts tensors on a GPU if there is one
        device = str(keras.ops.ones(1).device)
        return [] if device.startswith('cpu') else [device]

# SPDX-License-Identifier: Apache-2.0
"""Install into an image what bids_brainseg needs, and drop what it never loads.

    python install.py setup.cfg cpu

``cpu`` takes the build of TensorFlow without GPU code, ``gpu`` the one with the CUDA libraries. Of ITK, only
what elastix loads stays (0.2 of 1.6 GB). TensorFlow's headers, libclang and the packages' own tests go too.
"""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

TARGETS = ('cpu', 'gpu')
#: What the registration imports; prints the files of ITK that this loads.
LOADED = """
import sys
from itk import elxParameterObjectPython, itkElastixRegistrationMethodPython, itkPyBufferPython
print(*{line.split()[-1] for line in open('/proc/self/maps') if '/itk/' in line}, sep='\\n')
files = [vars(module).get('__file__') for name, module in sys.modules.items() if name.startswith('itk.')]
print(*filter(None, files), sep='\\n')
"""


def requirements(setup_cfg: Path, target: str) -> list[str]:
    """List what pip should install: the requirements of setup.cfg, with the TensorFlow of the target."""
    config = configparser.ConfigParser()
    config.read(setup_cfg)
    lines = config['options']['install_requires'].split('\n')
    others = [line for line in lines if line and line.split()[0] != 'tensorflow']
    (plain,) = [line for line in lines if line.split()[:1] == ['tensorflow']]
    if target == 'gpu':
        return [*others, *config['options.extras_require']['gpu'].strip().split('\n')]
    return [*others, plain.replace('tensorflow', 'tensorflow-cpu', 1)]


def trim() -> None:
    """Delete what elastix does not load of ITK, TensorFlow's headers, libclang, and the tests of packages."""
    run = subprocess.run([sys.executable, '-c', LOADED], check=True, capture_output=True, text=True)
    loaded = {Path(line).name for line in run.stdout.split()}
    itk, tensorflow = (Path(importlib.util.find_spec(name).origin).parent for name in ('itk', 'tensorflow'))
    for path in (*itk.glob('_*.so'), *itk.glob('*Python.py')):
        if path.name not in loaded:
            path.unlink()
            for compiled in (itk / '__pycache__').glob(f'{path.stem}.*.pyc'):
                compiled.unlink()
    shutil.rmtree(tensorflow / 'include')
    shutil.rmtree(tensorflow.parent / 'clang', ignore_errors=True)
    for folder in [path for path in tensorflow.parent.glob('**/tests') if path.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Install, then trim: in one layer, or the image would keep what was deleted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('setup_cfg', type=Path)
    parser.add_argument('target', choices=TARGETS)
    words = parser.parse_args()
    wanted = requirements(words.setup_cfg, words.target)
    subprocess.run([sys.executable, '-m', 'pip', 'install', *wanted], check=True)
    trim()


if __name__ == '__main__':
    main()

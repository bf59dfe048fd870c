# SPDX-License-Identifier: Apache-2.0
"""Let an interpreter, and all that it starts, find what one finds on macOS; a folder for ``PYTHONPATH``.

What Linux alone has is taken away before anything else is imported. macOS has ``fcntl`` and ``resource``;
modules that ``TEST_ABSENT`` names in the environment are taken away too.
"""

import builtins
import ctypes
import io
import os
import select
import sys
import sysconfig
import types

import psutil  # noqa: F401  (it knows each system, and decides as it is imported)

LINUX = (
    'sched_getaffinity', 'sched_setaffinity', 'pidfd_open', 'memfd_create', 'posix_fadvise', 'eventfd',
    'copy_file_range', 'getrandom', 'splice', 'setns', 'unshare',
)  # fmt: skip
FOLDERS = ('/proc', '/sys')

for name in LINUX:
    vars(os).pop(name, None)
vars(select).pop('epoll', None)
sys.modules.update(dict.fromkeys(os.environ.get('TEST_ABSENT', '').split()))  # importing None is an error


class _Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name == 'prctl':
            raise AttributeError(name)
        return super().__getattr__(name)


def _without_linux(function):
    """Find nothing below the folders of Linux; psutil, which would look elsewhere on macOS, may look."""

    def wrapper(path='.', *args, **options):
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(FOLDERS):
            caller = sys._getframe(1).f_globals.get('__name__', '')
            if not caller.startswith('psutil'):
                raise FileNotFoundError(2, 'No such file or directory', os.fsdecode(path))
        return function(path, *args, **options)

    for capable in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        if function in capable:
            capable.add(wrapper)
    return wrapper


ctypes.CDLL = _Library
builtins.open = io.open = _without_linux(open)
for name in ('open', 'stat', 'lstat', 'listdir', 'scandir', 'readlink'):
    setattr(os, name, _without_linux(getattr(os, name)))
sys.modules['_scproxy'] = types.ModuleType('_scproxy')  # of urllib on macOS
sys.modules['_scproxy']._get_proxies = sys.modules['_scproxy']._get_proxy_settings = dict
os.environ.setdefault('_PYTHON_SYSCONFIGDATA_NAME', sysconfig._get_sysconfigdata_name())  # of this build
sys.platform = 'darwin'

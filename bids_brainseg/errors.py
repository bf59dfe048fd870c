# SPDX-License-Identifier: Apache-2.0
"""The exceptions whose message is shown to the user."""

from __future__ import annotations

import errno
import re
import signal


class BrainsegError(Exception):
    """Base of all errors with a message for the user.

    The message says what was wrong, what was found and what to do.
    """

    exit_code = 1


class InputError(BrainsegError):
    """A scan cannot be used."""


class GeometryError(InputError):
    """The spatial information in the header of a scan is invalid."""


class RegistrationError(BrainsegError):
    """A scan could not be registered to the reference."""


class ModelError(BrainsegError):
    """A model bundle is missing, damaged or does not fit."""


class ResourceError(BrainsegError):
    """The system refused disk, memory or another resource; the input is not to blame."""


class BidsError(BrainsegError):
    """A dataset cannot be used, or nothing in it is selected.

    Parameters
    ----------
    message : str
        What was wrong, what was found, what to do.
    exit_code : int
        16: not a BIDS dataset; 18: nothing is selected; 2: wrong usage.
    """

    def __init__(self, message: str, exit_code: int = 16):
        super().__init__(message)
        self.exit_code = exit_code


_REFUSALS = {
    'no space is left on the disk; free some, or choose other folders (OUTPUT_DIR, -w, TMPDIR)': ('ENOSPC',),
    'the quota of the disk is used up; free some, or choose other folders (OUTPUT_DIR, -w)': ('EDQUOT',),
    'a folder does not answer any more, as if its network or disk were gone; the same command goes on when '
    'it is back': ('ESTALE', 'EIO', 'ENOTCONN', 'EHOSTDOWN', 'EREMOTEIO', 'ETIMEDOUT', 'ENODEV', 'ENXIO'),
    'the file system is read-only; choose other folders (OUTPUT_DIR, -w)': ('EROFS',),
    'too many files are open; allow more (ulimit -n), or use fewer --nprocs': ('EMFILE', 'ENFILE'),
    'no more processes may be started; allow more (ulimit -u), or use fewer --nprocs': ('EAGAIN',),
    'a file is larger than allowed; allow more (ulimit -f)': ('EFBIG',),
    'memory ran out; allow more (--mem, and the limits of the job), or run fewer steps at once (--nprocs, '
    '--low-mem)': ('ENOMEM',),
}  # fmt: skip
_MESSAGES = {
    getattr(errno, name): message
    for message, names in _REFUSALS.items()
    for name in names
    if hasattr(errno, name)
}
#: What programs print if the system gave no error number: NumPy, Python, C++, TensorFlow.
_SIGNS = (
    (re.compile(r'\d+ requested and \d+ written'), errno.ENOSPC),
    (re.compile(r'MemoryError\b|std::bad_alloc|ResourceExhaustedError'), errno.ENOMEM),
)


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, 'scan'), counted(2, 'scan'), counted(1, 'pass'), counted(0, 'pass')
    ('1 scan', '2 scans', '1 pass', '0 passes')
    """
    plural = 'es' if noun.endswith('s') else 's'
    return f'{number} {noun}{"" if number == 1 else plural}'


def explain_refusal(output: str) -> str | None:
    """Return in one line what the system refused, if that is why a traceback ends as it does.

    >>> explain_refusal("OSError: [Errno 28] No space left on device: '/data/a.nii'")
    'no space is left on the disk; free some, or choose other folders (OUTPUT_DIR, -w, TMPDIR): /data/a.nii'
    >>> explain_refusal('ValueError: [Errno 28]\\nMemoryError').partition(';')[0]
    'memory ran out'
    >>> explain_refusal("FileNotFoundError: [Errno 2] No such file or directory: 'a'") is None
    True
    """
    found = []
    for match in re.finditer(r"\[Errno (\d+)\][^'\n]*(?:'([^'\n]+)')?", output):
        if message := _MESSAGES.get(int(match[1])):
            found.append((match.start(), f'{message}: {match[2]}' if match[2] else message))
    for sign, number in _SIGNS:
        found += [(match.start(), _MESSAGES[number]) for match in sign.finditer(output)]
    return max(found)[1] if found else None


def explain(code: int, output: str) -> str:
    """Return in one line why the process of the network ended.

    >>> explain(-9, '')
    'the network process was killed (SIGKILL), usually because memory ran out; use fewer --nprocs'
    >>> explain(1, 'warning\\nbids_brainseg.errors.ModelError: weights do not match\\n')
    'weights do not match'
    >>> explain(1, "  File ...\\nKeyError: 'grid'\\n")
    "the network process ended with code 1: KeyError: 'grid'"
    """
    if refused := explain_refusal(output):
        return refused
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f'signal {number}'
        advice = ', usually because memory ran out; use fewer --nprocs' if name == 'SIGKILL' else ''
        return f'the network process was killed ({name}){advice}'
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else 'no message'
    kind, colon, message = last.partition(': ')
    # any other error keeps its name: "'grid'" alone would not help
    ours = {error.__name__ for error in (BrainsegError, *BrainsegError.__subclasses__(), GeometryError)}
    for_users = colon and kind.rpartition('.')[2] in {*ours, 'ValueError'}
    return message if for_users else f'the network process ended with code {code}: {last}'

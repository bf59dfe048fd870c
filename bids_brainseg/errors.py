# SPDX-License-Identifier: Apache-2.0
"""The exceptions whose message is shown to the user."""

from __future__ import annotations

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


def explain(code: int, output: str) -> str:
    """Return in one line why the process of the network ended.

    >>> explain(-9, '')
    'the network process was killed (SIGKILL), usually because memory ran out; use fewer --nprocs'
    >>> explain(1, 'warning\\nbids_brainseg.errors.ModelError: weights do not match\\n')
    'weights do not match'
    >>> explain(1, "  File ...\\nKeyError: 'grid'\\n")
    "the network process ended with code 1: KeyError: 'grid'"
    """
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

# SPDX-License-Identifier: Apache-2.0
"""The one family of exceptions that a user may meet."""

from __future__ import annotations


class BrainsegError(Exception):
    """Base of all errors with a message for the user.

    The message says what was wrong, what was found and what to do.
    """

    exit_code = 1


class InputError(BrainsegError):
    """A scan cannot be used as it is."""


class GeometryError(InputError):
    """The spatial description of a scan makes no sense."""


class RegistrationError(BrainsegError):
    """A scan could not be aligned to the reference."""


class ModelError(BrainsegError):
    """A model bundle is missing, damaged or does not fit."""


class BidsError(BrainsegError):
    """A dataset cannot be read, or nothing in it was selected.

    Parameters
    ----------
    message : str
        What was wrong, what was found, what to do.
    exit_code : int
        16: not a BIDS dataset; 18: nothing selected.
    """

    def __init__(self, message: str, exit_code: int = 16):
        super().__init__(message)
        self.exit_code = exit_code

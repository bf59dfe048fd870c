# SPDX-License-Identifier: Apache-2.0
"""Run the command as ``python -m bids_brainseg``."""

from __future__ import annotations

import sys

from .cli.run import command

if __name__ == '__main__':
    sys.exit(command())

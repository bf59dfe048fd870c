# SPDX-License-Identifier: Apache-2.0
"""What the tests of images share."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
USER = 1000


def run(*words: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **options
    )

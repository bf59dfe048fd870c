# SPDX-License-Identifier: Apache-2.0
"""The process that nipype's local workers are forked from; nothing of nipype is imported here."""

from __future__ import annotations

from multiprocessing import forkserver

from ..settings import Settings

#: Imported there once, not once per worker.
PRELOADED = ['bids_brainseg.workflows.base']
LEVELS = ('participant', 'evaluate')  # where most runs have scans to segment


def warm_up(settings: Settings) -> None:
    """Let that process import what it needs while this one prepares the run; do nothing if no run follows."""
    segments = settings.level in LEVELS and not (settings.dry_run or settings.reports_only)
    if segments and settings.plugin == 'MultiProc':
        forkserver.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()

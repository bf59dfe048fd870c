# SPDX-License-Identifier: Apache-2.0
"""One page per subject, from the derivatives on disk."""

from __future__ import annotations


def write_subject_report(output_dir, subject, *, failures=(), methods=None):
    """Write OUTPUT_DIR/sub-<subject>.html atomically and return its path.

    Reads sub-<subject>/**/*_desc-*_qc.json, the *_morph.tsv beside each and the figures
    sub-<subject>/figures/<source entities>_desc-{alignment,contours,uncertainty}_<suffix>.svg.
    failures: dicts {'scan': path or name, 'reason': str, 'crashfile': path or None, 'status': 'failed'|'skipped'}.
    methods: text of the methods section (Markdown-free paragraphs), default logs/CITATION.md.
    """
    raise NotImplementedError

# SPDX-License-Identifier: Apache-2.0
"""HTML fragments of the report. `assembly` calls these; the graph need not (it writes qc.json and morph.tsv)."""

from __future__ import annotations


def verdict_html(qc):
    """Say pass, look or fail with the reasons; qc: the mapping of *_qc.json."""
    raise NotImplementedError


def volumes_html(rows, *, cv_threshold=None):
    """Tabulate volumes; rows: list of dicts as in *_morph.tsv, totals included (index n/a)."""
    raise NotImplementedError


def facts_html(qc):
    """List header facts (qc['header'] = imaging.header_facts(...)) and warnings (qc['warnings'])."""
    raise NotImplementedError

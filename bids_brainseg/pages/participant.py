# SPDX-License-Identifier: Apache-2.0
"""The page of a participant: the verdict, figures and numbers of each scan, then the methods.

The page is one file: styles, scripts and figures are in it, and nothing is fetched when it is opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..figures.charts import volumes_chart
from ..figures.viewer import tables
from ..files import write_text
from .drawings import read_drawing
from .inputs import Scan, alignments, find_scans, read_cards, read_validation
from .methods import methods_text
from .model_cards import software, used_cards
from .remarks import remarks
from .render import render
from .scan_view import durations, header_facts, quality_numbers, rank, run_facts, volumes_table

PAGE_BYTES = 9_500_000  # no viewer is added to a page that would become larger


def write_participant_page(
    output_dir: str | os.PathLike,
    subject: str,
    *,
    failures: Sequence[Mapping] = (),
    methods: str | None = None,
    peers: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """Write the page of one participant.

    Parameters
    ----------
    output_dir : path
        Root of the derivatives; ``sub-<subject>/**/*_qc.json``, the ``*_morph.tsv`` beside each and
        ``sub-<subject>/figures/*`` are read, and below ``logs`` the validator's findings and models' cards.
    subject : str
        Label, with or without ``sub-``.
    failures : sequence of mapping, optional
        ``scan`` (path or name), ``reason``, ``crashfile`` (or None), ``status`` ('failed', the default, or
        'skipped') and ``command`` (to try it again) of each scan that has no result.
    methods : str, optional
        Text of the methods section; by default ``logs/CITATION.md``, else :func:`methods_text`.
    peers : mapping, optional
        Modality to the quality of every alignment so far; by default read from ``output_dir``, which takes a
        while where there are thousands.

    Returns
    -------
    Path
        ``output_dir/sub-<subject>.html``, whole or not touched.
    """
    output_dir = Path(output_dir)
    label = subject.removeprefix('sub-')
    scans = find_scans(output_dir, label, failures)
    cards = read_cards(output_dir)
    qcs = [scan.qc for scan in scans]
    if methods is None:
        citation = output_dir / 'logs' / 'CITATION.md'
        methods = citation.read_text(encoding='utf-8') if citation.exists() else methods_text(qcs, cards)
    if peers is None:
        peers = alignments(output_dir)
    room = PAGE_BYTES - sum(path.stat().st_size for scan in scans for path in _always_shown(scan).values())
    views = []
    for place, scan in enumerate(scans, 1):
        views.append(scan_view(scan, f'scan-{place}', output_dir, peers, room))
        if views[-1]['viewer']:
            room -= scan.figures['viewer'].stat().st_size
    page = render(
        'participant.html',
        title=f'sub-{label}',
        scans=views,
        validation=read_validation(output_dir),
        methods=methods,
        cards=used_cards(qcs, cards),
        software=software(qcs),
        viewer_tables=tables(),
    )
    return write_text(page, output_dir / f'sub-{label}.html')


def scan_view(
    scan: Scan,
    anchor: str,
    output_dir: Path,
    peers: Mapping[str, Sequence[float]] | None = None,
    room: int = PAGE_BYTES,
) -> dict:
    """Gather what the template shows of one scan; what is not there is None or empty.

    Parameters
    ----------
    scan : Scan
        Its results.
    anchor : str
        Its place in the page.
    output_dir : Path
        Root of the derivatives, which links start from.
    peers : mapping, optional
        Modality to the alignments of all scans.
    room : int
        Bytes that the viewer may take.
    """
    qc, viewer = scan.qc, scan.figures.get('viewer')
    fits = viewer is not None and viewer.stat().st_size <= room
    threshold = (qc.get('Thresholds') or {}).get('cv_percent')
    return {
        'anchor': anchor,
        'title': scan.title,
        'source': ' '.join(str(source) for source in qc.get('Sources') or [scan.name]),
        'modality': str(qc.get('modality')),
        'verdict': str(qc.get('verdict', 'unknown')),
        'reasons': [str(reason) for reason in qc.get('reasons') or ()],
        'crashfile': qc.get('crashfile'),
        'command': qc.get('command'),
        'numbers': qc.get('numbers') or {},
        'rank': rank(qc, peers or {}),
        'figures': {kind: read_drawing(path, output_dir) for kind, path in _always_shown(scan).items()},
        'viewer': json.loads(viewer.read_text(encoding='utf-8')) if fits else None,
        'viewer_left_out': viewer is not None and not fits,
        'chart': volumes_chart(scan.rows, cv_threshold=threshold),
        'volumes': volumes_table(scan.rows, cv_threshold=threshold) if scan.rows else None,
        'header': header_facts(qc),
        'warnings': list(dict.fromkeys([*(qc.get('warnings') or ()), *remarks(qc)])),
        'quality': quality_numbers(qc),
        'run': run_facts(qc),
        'durations': durations(qc),
    }


def _always_shown(scan: Scan) -> dict[str, Path]:
    """Return the figures that are part of the page whatever its size."""
    return {kind: path for kind, path in scan.figures.items() if kind != 'viewer'}

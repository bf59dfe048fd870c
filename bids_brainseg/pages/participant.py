# SPDX-License-Identifier: Apache-2.0
"""The page of a participant: the verdict, figures and numbers of each scan, then the methods.

The page is one file: styles, scripts and figures are in it, and nothing is fetched when it is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import __version__
from ..figures.viewer import tables
from ..figures.volumes_chart import volumes_chart
from ..files import write_text
from ..records import ScanResult, UnusedImage
from ..results.logs import read_cards, read_validation
from ..results.scans import missing_figures, scan_order, without_derivatives
from .drawings import read_drawings, read_viewer
from .methods import model_key
from .model_cards import software, used_cards
from .remarks import remarks
from .render import render
from .scan_view import (
    durations,
    header_facts,
    quality_numbers,
    rank,
    run_facts,
    usual_uncertainty,
    volumes_table,
)

PAGE_BYTES = 9_500_000  # no viewer is added to a page that would become larger
FIGURES = ('alignment', 'contours', 'uncertainty')  # part of the page whatever its size


def write_participant_page(
    output_dir: str | os.PathLike,
    subject: str,
    scans: Iterable[ScanResult],
    *,
    failures: Sequence[Mapping] = (),
    methods: str = '',
    peers: Mapping[str, Sequence[float]] | None = None,
    unused: Sequence[UnusedImage] = (),
    facts: Sequence[tuple[str, str]] = (),
    dates: Mapping[str, str] | None = None,
) -> Path:
    """Write the page of one participant.

    Parameters
    ----------
    output_dir : path
        Root of the derivatives, where the page goes.
    subject : str
        Label, with or without ``sub-``.
    scans : iterable of ScanResult
        Of :func:`~bids_brainseg.results.scans.read_scans`.
    failures : sequence of mapping, optional
        ``scan`` (its path below the root of the dataset), ``reason``, ``crashfile`` (or None), ``status``
        ('failed', the default, or 'skipped') and ``command`` (to reproduce it) of each scan that this run did
        not process; they go before what `scans` says.
    methods : str, optional
        Text of the methods section.
    peers : mapping, optional
        Modality to the alignments of all scans (:func:`alignments`).
    unused : sequence of UnusedImage, optional
        Images of the participant that no scan is made of.
    facts : sequence of (str, str), optional
        Name and value of what is known of the participant, for the head of the page.
    dates : mapping, optional
        Name of a scan to the day it was made on.

    Returns
    -------
    Path
        ``output_dir/sub-<subject>.html``, whole or not touched.
    """
    output_dir = Path(output_dir)
    label = subject.removeprefix('sub-')
    scans, failures = _with_failures(scans, failures)
    room = PAGE_BYTES - sum(path.stat().st_size for scan in scans for path in _figures(scan).values())
    views, cards = [], read_cards(output_dir)
    for position, scan in enumerate(scans, 1):
        usual = usual_uncertainty(cards.get(model_key(scan.qc), {}))
        view = _scan_view(scan, output_dir, failures.get(scan.name), peers, room, usual)
        views.append(view | {'anchor': f'scan-{position}', 'date': (dates or {}).get(scan.name, '')})
        if view['viewer']:
            room -= scan.figures['viewer'].stat().st_size
    qcs = [scan.qc for scan in scans]
    page = render(
        'participant.html',
        title=f'sub-{label}',
        scans=views,
        unused=unused,
        validation=read_validation(output_dir),
        methods=methods,
        cards=used_cards(qcs, cards),
        facts=facts,
        software=software(qcs),
        viewer_tables=tables(),
    )
    return write_text(page, output_dir / f'sub-{label}.html')


def alignments(scans: Iterable[ScanResult]) -> dict[str, list[float]]:
    """Collect the alignments of scans, modality to sorted numbers."""
    collected: dict[str, list[float]] = {}
    for scan in scans:
        value = scan.number('alignment')
        if value is not None:
            collected.setdefault(scan.modality, []).append(value)
    return {modality: sorted(values) for modality, values in collected.items()}


def _scan_view(
    scan: ScanResult,
    output_dir: Path,
    failure: Mapping | None = None,
    peers: Mapping[str, Sequence[float]] | None = None,
    room: int = PAGE_BYTES,
    usual: Sequence[float] = (),
) -> dict:
    """Gather what the template shows of one scan; what is not there is None or empty.

    Parameters
    ----------
    scan : ScanResult
        Its results.
    output_dir : Path
        Root of the derivatives, which links start from.
    failure : mapping, optional
        Why this run did not process it.
    peers : mapping, optional
        Modality to the alignments of all scans.
    room : int
        Bytes that the viewer may take.
    usual : sequence of float
        Mean uncertainty of each class in good scans.
    """
    qc = scan.qc
    threshold = (qc.get('Thresholds') or {}).get('cv_percent')
    drawings, damaged = read_drawings(_figures(scan), output_dir)
    shown, details = quality_numbers(qc)
    return {
        'name': scan.name,
        'title': scan.title,
        'source': scan.source or scan.name,
        'version': str((qc.get('Versions') or {}).get('bids_brainseg') or __version__),
        'modality': scan.modality,
        **_verdict(scan, failure, output_dir),
        'numbers': qc.get('numbers') or {},
        'rank': rank(scan, peers or {}),
        'figures': drawings,
        'faults': _missing(scan) | damaged,
        **_viewer(scan, room),
        'chart': volumes_chart(scan.rows, cv_threshold=threshold),
        'volumes': volumes_table(scan.rows, cv_threshold=threshold, usual=usual) if scan.rows else None,
        'header': header_facts(qc),
        'warnings': list(dict.fromkeys([*(qc.get('warnings') or ()), *remarks(qc)])),
        'quality': shown,
        'details': details,
        'run': run_facts(qc),
        'durations': durations(qc),
    }


def _viewer(scan: ScanResult, room: int) -> dict:
    """Read what the viewer shows, or say why there is none."""
    path = scan.figures.get('viewer')
    if path is None:
        return {'viewer': None, 'no_viewer': _missing(scan).get('viewer', '')}
    if path.stat().st_size > room:
        words = 'The viewer of this scan was left out to keep the page small. The outlines are above.'
        return {'viewer': None, 'no_viewer': words}
    content, reason = read_viewer(path)
    return {'viewer': content, 'no_viewer': reason}


def _missing(scan: ScanResult) -> dict[str, str]:
    """Say of each figure that is not on this disk, or not as a whole, why it is not shown."""
    return dict(zip(scan.unfetched, missing_figures(scan), strict=True))


def _with_failures(
    scans: Iterable[ScanResult], failures: Iterable[Mapping]
) -> tuple[list[ScanResult], dict[str, Mapping]]:
    """Give each failure to its scan, by name; also scans of which nothing else is known, in their order."""
    scans, by_name = list(scans), {}
    names = {scan.source: scan.name for scan in scans if scan.source}
    for failure in failures:
        path = str(failure['scan'])
        if path not in names:
            scan = without_derivatives(Path(path))
            names[path] = scan.name
            if scan.name not in {other.name for other in scans}:
                scans.append(scan)
        by_name[names[path]] = failure
    return sorted(scans, key=scan_order), by_name


def _verdict(scan: ScanResult, failure: Mapping | None, output_dir: Path) -> dict:
    """Say whether the scan can be trusted, and why not: this run goes before the last one, that before QC."""
    verdict, reasons = str(scan.qc.get('verdict', 'unknown')), list(scan.qc.get('reasons') or ())
    crashfile = scan.outcome and scan.outcome.crashfile
    if failure is not None:
        verdict, reasons = failure.get('status') or 'failed', [failure.get('reason') or 'no reason given']
        crashfile = failure.get('crashfile')
        if scan.usable:
            reasons.append('what is shown below is from an earlier run')
    elif scan.status != 'done':
        verdict, reasons = scan.status, [scan.reason]
    if crashfile and Path(crashfile).is_relative_to(output_dir):
        crashfile = Path(crashfile).relative_to(output_dir)
    command = failure and failure.get('command')
    return {'verdict': verdict, 'reasons': reasons, 'crashfile': crashfile, 'command': command}


def _figures(scan: ScanResult) -> dict[str, Path]:
    return {kind: scan.figures[kind] for kind in FIGURES if kind in scan.figures}

# SPDX-License-Identifier: Apache-2.0
"""One page per subject, from the derivatives on disk, laid out by nireports as ``data/report.yml`` says.

The page is one file: styles and figures are in it, nothing is fetched when it is opened. It is built in a
folder of its own, since nireports indexes whatever lies beside the reportlets, and moved into place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import yaml
from nireports.assembler.report import Report

from ..data import modalities, resource
from ..figures import viewer
from ..figures.charts import volumes_chart
from ..files import read_rows, write_text
from . import cards, fragments
from .methods import methods_html, methods_text
from .remarks import remarks

KINDS = ('alignment', 'contours', 'viewer', 'uncertainty')
PAGE_BYTES = 9_500_000  # no viewer is added to a page that would become larger
INLINE = re.compile(
    r'<img class="svg-reportlet" src="\./([^"]+)"[^>]*/>\s*</div>\s*<small>.*?</small>', re.DOTALL
)


class Surroundings(NamedTuple):
    """What a page says beside its own scans: the dataset's validation, models, and alignment of all scans."""

    validation: Mapping | None = None
    cards: Mapping[tuple[str, str], Mapping] = {}
    peers: Mapping[str, Sequence[float]] = {}


class Scan(NamedTuple):
    """One scan of the page: its name without extension, its numbers, table and figures."""

    name: str
    qc: dict
    rows: list[dict]
    figures: dict[str, Path]

    @property
    def title(self) -> str:
        """The entities that tell scans of one subject apart, and the suffix."""
        *pairs, suffix = self.name.split('_')
        return ' '.join([pair for pair in pairs if not pair.startswith('sub-')] + [suffix])

    @property
    def order(self) -> tuple:
        """Sort key: session, then the order of the modalities, then the name."""
        *pairs, suffix = self.name.split('_')
        session = next((pair for pair in pairs if pair.startswith('ses-')), '')
        known = [name for modality in modalities().values() for name in modality.suffixes]
        return session, known.index(suffix) if suffix in known else len(known), self.name


def write_subject_report(
    output_dir: str | os.PathLike,
    subject: str,
    *,
    failures: Sequence[Mapping] = (),
    methods: str | None = None,
    peers: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """Write the page of one subject.

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
    around = Surroundings(
        cards.read_validation(output_dir),
        cards.read_cards(output_dir),
        cards.alignments(output_dir) if peers is None else peers,
    )
    if methods is None:
        citation = output_dir / 'logs' / 'CITATION.md'
        if citation.exists():
            methods = citation.read_text(encoding='utf-8')
        else:
            methods = methods_text([scan.qc for scan in scans], around.cards)
    with tempfile.TemporaryDirectory(prefix='brainseg_report_') as folder:
        origins = stage(Path(folder), label, scans, methods, around)
        report = Report(
            folder,
            None,
            bootstrap_file=Path(folder) / 'spec.yml',
            out_filename='page.html',
            metadata={'template': str(resource('report.html')), 'subject': label},
        )
        report.generate_report()
        page = (Path(folder) / 'page.html').read_text(encoding='utf-8')
    page = with_viewers(inline(page, origins, output_dir))
    return write_text(page, output_dir / f'sub-{label}.html')


def find_scans(output_dir: Path, label: str, failures: Sequence[Mapping] = ()) -> list[Scan]:
    """Collect what is on disk about each scan of a subject, and what failed, in the order of the page."""
    root = output_dir / f'sub-{label}'
    figures = figures_by_scan(root)
    scans = {}
    for path in sorted(root.rglob('*_qc.json')):
        name = scan_name(path.name)
        qc = json.loads(path.read_text(encoding='utf-8'))
        stem = path.name.removesuffix('_qc.json').replace('_desc-', '_seg-brainseg_desc-')
        table = path.with_name(f'{stem}_morph.tsv')
        scans[name] = Scan(name, qc, read_rows(table) if table.exists() else [], figures.get(name, {}))
    for failure in failures:
        name = re.sub(r'\.nii(\.gz)?$', '', Path(str(failure['scan'])).name)
        known = scans.get(name, Scan(name, {}, [], figures.get(name, {})))
        reasons = [failure.get('reason') or 'no reason given']
        if known.qc or known.figures:
            reasons.append('what is shown below was there before this run')
        told = {'verdict': failure.get('status') or 'failed', 'reasons': reasons}
        crash = failure.get('crashfile')
        if crash and Path(crash).is_relative_to(output_dir):
            crash = Path(crash).relative_to(output_dir)
        more = {'crashfile': crash, 'command': failure.get('command'), 'Sources': [str(failure['scan'])]}
        qc = known.qc | told | more
        scans[name] = known._replace(qc=qc)
    return sorted(scans.values(), key=lambda scan: scan.order)


def scan_name(derivative: str) -> str:
    """Return the name of the scan behind ``<entities>_desc-<scan>_<suffix>.<extension>``.

    >>> scan_name('sub-01_acq-2D_desc-T1w_qc.json')
    'sub-01_acq-2D_T1w'
    """
    entities, _, rest = derivative.partition('_desc-')
    return f'{entities}_{rest.split("_")[0]}'


def figures_by_scan(root: Path) -> dict[str, dict[str, Path]]:
    """Return name of the scan -> kind of figure -> path."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((root / 'figures').glob('*_desc-*')):
        entities, _, rest = path.stem.partition('_desc-')
        kind, _, suffix = rest.partition('_')
        if kind in KINDS and path.suffix == ('.json' if kind == 'viewer' else '.svg'):
            found.setdefault(f'{entities}_{suffix}', {})[kind] = path
    return found


def stage(
    folder: Path, label: str, scans: Sequence[Scan], text: str, around: Surroundings
) -> dict[str, Path]:
    """Lay reportlets and specification out for nireports; returns staged figure -> figure.

    Reportlets are found by desc alone, which holds the scan's number too: nireports does not know every
    entity of BIDS, and reads those of the folders above (a TMPDIR below `sub-01/anat`) as if they were the
    file's own.
    """
    spec = yaml.safe_load(resource('report.yml').read_text(encoding='utf-8'))
    figures = folder / f'sub-{label}' / 'figures'
    figures.mkdir(parents=True)
    origins: dict[str, Path] = {}

    def add(run: int, desc: str, content: str | Path) -> None:
        stem = f'sub-{label}_desc-{desc}{run}_report'
        if isinstance(content, Path):
            shutil.copyfile(content, figures / f'{stem}.svg')
            origins[f'sub-{label}/figures/{stem}.svg'] = content
        elif content:
            (figures / f'{stem}.html').write_text(content, encoding='utf-8')

    qcs = [scan.qc for scan in scans]
    listed = [(scan.title, f'scan-{run}', scan.qc) for run, scan in enumerate(scans, 1)]
    add(0, 'overview', fragments.overview_html(listed) + cards.validation_html(around.validation))
    add(0, 'methods', methods_html(text))
    add(0, 'models', cards.cards_html(qcs, around.cards))
    add(0, 'software', fragments.software_html(qcs))
    room = PAGE_BYTES - sum(path.stat().st_size for scan in scans for path in pictures(scan))
    sections = [_section('overview', spec['subject']['name'], spec['subject']['reportlets'], 0)]
    for run, scan in enumerate(scans, 1):
        parts = scan_parts(scan, around, room)
        room -= len(parts.get('viewer', ''))
        for desc, content in parts.items():
            add(run, desc, content)
        dot = f'<i class="dot {escape(str(scan.qc.get("verdict")))}"></i>{escape(scan.title)}'
        sections.append(_section(f'scan-{run}', dot, spec['scan'], run))
    sections.append(_section('methods', spec['closing']['name'], spec['closing']['reportlets'], 0))
    settings = {'title': spec['title'], 'template_path': spec['template_path'], 'sections': sections}
    (folder / 'spec.yml').write_text(yaml.safe_dump(settings, sort_keys=False, width=10**6), encoding='utf-8')
    return origins


def pictures(scan: Scan) -> list[Path]:
    """List the figures that are part of the page whatever its size."""
    return [path for kind, path in scan.figures.items() if kind != 'viewer']


def scan_parts(
    scan: Scan, around: Surroundings | None = None, room: int = PAGE_BYTES
) -> dict[str, str | Path]:
    """Return every reportlet of a scan, desc -> HTML or figure; what is not there is left out.

    `room`: bytes that a viewer may take.
    """
    around = around or Surroundings()
    threshold = (scan.qc.get('Thresholds') or {}).get('cv_percent')
    sources = ' '.join(str(source) for source in scan.qc.get('Sources') or [scan.name])
    source = f'<p class="path"><code>{escape(sources)}</code></p>'
    parts: dict[str, str | Path] = {'verdict': source + fragments.verdict_html(scan.qc)}
    parts |= {kind: path for kind, path in scan.figures.items() if kind != 'viewer'}
    parts['rank'] = cards.rank_html(scan.qc, around.peers)
    if 'viewer' in scan.figures:
        parts['viewer'] = _viewer(scan.figures['viewer'], room)
    if scan.rows:
        parts['chart'] = f'<div class="wide">{volumes_chart(scan.rows, cv_threshold=threshold)}</div>'
        parts['volumes'] = fragments.volumes_html(scan.rows, cv_threshold=threshold)
    parts['facts'] = fragments.facts_html(scan.qc, remarks(scan.qc))
    parts['numbers'] = fragments.numbers_html(scan.qc)
    parts['run'] = fragments.run_html(scan.qc)
    return parts


def _viewer(path: Path, room: int) -> str:
    if viewer.library() is None:
        return '<p class="note">Left out: the installed nilearn does not bring brainsprite along.</p>'
    if path.stat().st_size > room:
        return '<p class="note">Left out, since the page would become too large. The outlines are above.</p>'
    return viewer.viewer_html(path)


def with_viewers(page: str) -> str:
    """Add what the viewers of a page need, once; a page without one stays as it is."""
    if 'class="viewer"' not in page:
        return page
    tables = json.dumps(viewer.tables())
    glue = resource('report.js').read_text(encoding='utf-8')
    scripts = (
        '<!-- brainsprite: MIT license, as distributed with nilearn -->\n'
        f'<script>{viewer.library()}</script>\n'
        f'<script type="application/json" id="viewer-tables">{tables}</script>\n'
        f'<script>\n{glue}</script>\n'
    )
    head, body, rest = page.rpartition('</body>')
    return head + scripts + body + rest


def inline(page: str, origins: Mapping[str, Path], output_dir: Path) -> str:
    """Put each figure into the page in the place of its link, and a link to its file below."""

    def replace(match: re.Match) -> str:
        origin = origins[match[1]]
        drawing = origin.read_text(encoding='utf-8')
        link = escape(os.path.relpath(origin, output_dir))
        return f'{drawing[drawing.index("<svg") :]}</div><small><a href="{link}">figure file</a></small>'

    return INLINE.sub(replace, page)


def _section(name: str, title: str, reportlets: Sequence[Mapping], run: int) -> dict:
    queries = [
        {**reportlet, 'bids': {'desc': f'{reportlet["bids"]["desc"]}{run}'}} for reportlet in reportlets
    ]
    return {'name': name, 'title': title, 'reportlets': queries}

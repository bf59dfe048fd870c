# SPDX-License-Identifier: Apache-2.0
"""What raters said of scans: read the files that the pages let them save, and compare them with the verdicts.

A page saves its ratings as ``sub-01_rating.tsv`` and ``sub-01_rating.json``; both say the same, and one is
enough.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from ..core.quality import LEVELS
from ..core.statistics import cohen_kappa, linear_weights
from ..files import read_text, unfetched
from ..records import ScanResult

#: Name of this program among the raters.
PROGRAM = 'bids_brainseg'
#: Rater of a file that names none.
UNNAMED = 'unnamed'
_ENDINGS = ('_rating.tsv', '_rating.json')
_NEEDED = ('scan', 'verdict')
#: Folders that hold no rating, and often very many files.
_NOT_AT_TOP, _NOWHERE = {'work', 'logs'}, {'figures', 'log'}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rating:
    """What one rater last said of one scan.

    Attributes
    ----------
    scan : str
        Name of the scan, as :class:`ScanResult` has it.
    rater : str
        Who rated it.
    verdict : str
        ``'pass'``, ``'review'`` or ``'fail'``.
    note : str
        Free text, on one line.
    rated_at : str
        ISO 8601, as the file says; may be empty.
    verdict_seen, version_seen : str
        Verdict of this program, and its version, when the scan was rated.
    file : str
        Path of the file below the root of the derivatives.
    """

    scan: str
    rater: str
    verdict: str
    note: str
    rated_at: str
    verdict_seen: str
    version_seen: str
    file: str


class Ratings(NamedTuple):
    """Ratings by scan and rater, remarks on what was left out, and why files could not be read."""

    ratings: list[Rating]
    notes: list[str]
    damaged: list[str]


def read_ratings(output_dir: Path, scans: Sequence[ScanResult], *, selection: bool = False) -> Ratings:
    """Read all rating files below a folder; a file that cannot be read is named and stops nothing.

    Parameters
    ----------
    output_dir : Path
        Root of the derivatives.
    scans : sequence of ScanResult
        Those that may be rated.
    selection : bool
        They are a part of all scans, so that ratings of others are nothing to remark on.

    Returns
    -------
    Ratings
        The newest rating of each scan and rater, in the order of the scans.
    """
    names = {key: scan.name for scan in scans for key in _names_of(scan)}
    newest: dict[tuple[str, str], tuple[datetime, Rating]] = {}
    unknown, damaged = {}, []
    for path in _rating_files(Path(output_dir)):
        file = path.relative_to(output_dir).as_posix()
        rows, complaint = _read_file(path)
        if complaint:
            damaged.append(f'{file} was skipped: {complaint}')
        for row in rows:
            rating = _rating(row, names.get(row['scan']), file)
            if rating is None:
                unknown.setdefault(row['scan'], file)
                continue
            key, when = (rating.scan, rating.rater), _time(rating.rated_at)
            if key not in newest or when >= newest[key][0]:
                newest[key] = when, rating
    places = {scan.name: place for place, scan in enumerate(scans)}
    ratings = sorted((rating for _, rating in newest.values()), key=lambda r: (places[r.scan], r.rater))
    notes = [f'{file} rates {scan}, which has no result here.' for scan, file in unknown.items()]
    return Ratings(ratings, [] if selection else notes, damaged)


def _names_of(scan: ScanResult) -> set[str]:
    """Return what a rating may call a scan: its name, or the name of its quality document."""
    if 'qc' not in scan.files:
        return {scan.name}
    stem = scan.files['qc'].name.partition('.')[0]
    return {scan.name, stem, stem.removesuffix('_qc')}


def _rating_files(output_dir: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(output_dir):
        pruned = _NOWHERE | (_NOT_AT_TOP if Path(folder) == output_dir else set())
        folders[:] = sorted(name for name in folders if name not in pruned and not name.startswith('.'))
        found += [Path(folder, name) for name in sorted(files) if name.endswith(_ENDINGS) and name[0] != '.']
    return found


def _read_file(path: Path) -> tuple[list[Mapping[str, str]], str]:
    """Return the rows of a file, and what is wrong with it; empty if nothing is."""
    try:
        rows = _json_rows(path) if path.suffix == '.json' else _table_rows(path)
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        return [], unfetched(path) or str(getattr(error, 'strerror', None) or error)
    if not rows:
        return [], 'it holds no rating'
    for number, row in enumerate(rows, start=1):
        if missing := [column for column in _NEEDED if not isinstance(row.get(column), str)]:
            return [], f'rating {number} lacks {" and ".join(missing)}'
        if row['verdict'] not in LEVELS:
            return [], f'rating {number} has the verdict {row["verdict"]!r}, not one of {", ".join(LEVELS)}'
    return rows, ''


def _table_rows(path: Path) -> list[dict]:
    # pages write cells as they are: a quotation mark belongs to the note
    stream = io.StringIO(read_text(path), newline='')
    return list(csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE))


def _json_rows(path: Path) -> list[dict]:
    content = json.loads(read_text(path))
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError('it is not a list of ratings')
    return content


def _rating(row: Mapping, scan: str | None, file: str) -> Rating | None:
    if scan is None:
        return None

    def text(column: str) -> str:
        value = ' '.join(str(row.get(column) or '').split())
        return '' if value == 'n/a' else value

    return Rating(
        scan=scan,
        rater=text('rater') or UNNAMED,
        verdict=row['verdict'],
        note=text('note'),
        rated_at=text('rated_at'),
        verdict_seen=text('bids_brainseg_verdict'),
        version_seen=text('bids_brainseg_version'),
        file=file,
    )


def _time(text: str) -> datetime:
    """Read a time; one that cannot be read is older than all others.

    >>> _time('2026-01-31T12:00:00Z') > _time('2026-01-31T12:00:00+02:00') > _time('yesterday')
    True
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _NEVER
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def compare_ratings(scans: Iterable[ScanResult], ratings: Iterable[Rating]) -> list[dict]:
    """Compare raters with the verdicts of this program and with each other, in all and by modality.

    Parameters
    ----------
    scans : iterable of ScanResult
    ratings : iterable of Rating
        At most one of each scan and rater.

    Returns
    -------
    list of dict
        One for each pair that has scans in common: first all scans, then, if there are several, each
        modality. Counts of verdicts are named ``pass_review``: what the first said, then the second.
    """
    scans = list(scans)
    said: dict[str, dict[str, str]] = {PROGRAM: {}}
    for scan in scans:
        if (verdict := str(scan.qc.get('verdict'))) in LEVELS:
            said[PROGRAM][scan.name] = verdict
    for rating in ratings:
        said.setdefault(rating.rater, {})[rating.scan] = rating.verdict
    rows = []
    for one, other in combinations(said, 2):
        both = [scan for scan in scans if scan.name in said[one] and scan.name in said[other]]
        modalities = list(dict.fromkeys(scan.modality for scan in both))
        parts = {'all': both} if len(modalities) > 1 else {}
        parts |= {name: [scan for scan in both if scan.modality == name] for name in modalities}
        for modality, part in parts.items():
            pairs = [(said[one][scan.name], said[other][scan.name]) for scan in part]
            rows.append({'rater_a': one, 'rater_b': other, 'modality': modality, **_agreement(pairs)})
    return rows


def _agreement(pairs: Sequence[tuple[str, str]]) -> dict:
    counts = [[pairs.count((a, b)) for b in LEVELS] for a in LEVELS]
    exact, linear = cohen_kappa(counts), cohen_kappa(counts, weights=linear_weights(len(LEVELS)))
    return {
        'n_scans': exact.n,
        'n_agree': sum(a == b for a, b in pairs),
        'kappa': exact.kappa, 'kappa_low': exact.low, 'kappa_high': exact.high,
        'kappa_linear': linear.kappa, 'kappa_linear_low': linear.low, 'kappa_linear_high': linear.high,
        **{f'{a}_{b}': counts[i][j] for i, a in enumerate(LEVELS) for j, b in enumerate(LEVELS)},
    }  # fmt: skip

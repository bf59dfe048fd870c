# SPDX-License-Identifier: Apache-2.0
"""Give each kind of scanner one name, however its sidecars spell it (``data/scanners.json``)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from ..data import resource

_STRENGTH = re.compile(r'(?<![\w.])(\d+(?:\.\d+)?)[\s_]?T(?:esla)?(?![A-Za-z0-9])', re.IGNORECASE)
_GAUSS = 10_000  # in one tesla
_MOST_TESLA = 100  # a higher number must be in gauss


def scanner_names(scanners: Sequence[Mapping[str, object]]) -> list[str]:
    """Name the scanners of scans, with the same name for all of one kind.

    Parameters
    ----------
    scanners : sequence of mapping
        ``manufacturer``, ``scanner_model`` and ``field_strength`` (T) of each scan as its sidecar has them;
        any may be empty or missing.

    Returns
    -------
    list of str
        One name per scan: vendor, model, field strength; empty where nothing is known. Case, underscores, and
        the vendor or product family inside the model name make no difference; of several spellings of a model
        the most frequent one is taken.

    Examples
    --------
    >>> one = {'manufacturer': 'SIEMENS', 'scanner_model': 'MAGNETOM Prisma', 'field_strength': 2.89}
    >>> other = {'manufacturer': 'Siemens Healthineers', 'scanner_model': 'Prisma', 'field_strength': 3}
    >>> scanner_names([one, other])
    ['Siemens Prisma, 3 T', 'Siemens Prisma, 3 T']
    """
    parts = [_parts(scanner) for scanner in scanners]
    spellings: dict[tuple, Counter] = {}
    for part in parts:
        spellings.setdefault(_kind(part), Counter())[part] += 1
    shown = {
        kind: min(counts, key=lambda part, counts=counts: (-counts[part], part))
        for kind, counts in spellings.items()
    }
    names = []
    for part in parts:
        vendor, model, strength = shown[_kind(part)]
        name = ' '.join(filter(None, (vendor, model)))
        names.append(', '.join(filter(None, (name, strength and f'{strength} T'))))
    return names


@cache
def _rules() -> dict:
    """Return vendors with their names, words to ignore, and the usual field strengths in T."""
    return json.loads(resource('scanners.json').read_text(encoding='utf-8'))


def _kind(part: tuple[str, str, str]) -> tuple[str, str, str]:
    vendor, model, strength = part
    return vendor.casefold(), model.casefold(), strength


def _parts(scanner: Mapping[str, object]) -> tuple[str, str, str]:
    """Split the entries of a sidecar into vendor, model and field strength, each as it is shown."""
    manufacturer, model = (_words(scanner.get(key)) for key in ('manufacturer', 'scanner_model'))
    strength = _tesla(scanner.get('field_strength'))
    if written := _STRENGTH.search(model):
        strength = strength or _tesla(written[1])
        model = _words(_STRENGTH.sub(' ', model))
    vendor = _vendor(manufacturer) or (_vendor(model) if not manufacturer else '')
    rule = _rules()['vendors'].get(vendor, {'names': [manufacturer] if manufacturer else [], 'families': []})
    for name in (*rule['names'], *rule['families']):
        model = re.sub(rf'(?<!\w){re.escape(name)}(?!\w)', ' ', model, flags=re.IGNORECASE)
    company = _rules()['company_words']
    kept = [word for word in model.split() if word.casefold().strip('.,') not in company]
    return vendor or manufacturer, ' '.join(kept), strength


def _words(text: object) -> str:
    return ' '.join(str(text if text is not None else '').replace('_', ' ').split())


def _vendor(text: str) -> str:
    """Return the vendor that a text names; empty if it names none of the table."""
    plain = text.replace('.', '').casefold()
    for vendor, rule in _rules()['vendors'].items():
        for name in (*rule['names'], *rule['families']):
            if re.search(rf'(?<!\w){re.escape(name)}(?!\w)', plain):
                return vendor
    return ''


def _tesla(value: object) -> str:
    """Return a field strength in T, rounded to a usual one; empty if it is no strength."""
    try:
        tesla = float(str(value))
    except ValueError:
        return ''
    if not 0 < tesla < float('inf'):
        return ''
    if tesla > _MOST_TESLA:
        tesla /= _GAUSS
    usual = min(_rules()['strengths'], key=lambda strength: abs(strength - tesla))
    near = abs(usual - tesla) <= _rules()['tolerance'] * usual
    return f'{usual if near else tesla:.3g}'

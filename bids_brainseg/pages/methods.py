# SPDX-License-Identifier: Apache-2.0
"""The methods section: the texts that graphs left with their results, with citations written out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache

from ..data import resource

CITATION = re.compile(r'\[(?P<before>[^\[\]@]*)@(?P<key>\w+)\]|@(?P<name>\w+)')


@cache
def references() -> dict[str, dict]:
    """Return what may be cited (``references.json``), key to fields of BibTeX."""
    return json.loads(resource('references.json').read_text(encoding='utf-8'))


def methods_text(qcs: Iterable[Mapping]) -> str:
    """Join the methods texts of scans; what they share is said once.

    Parameters
    ----------
    qcs : iterable of mapping
        Contents of ``*_qc.json``. Each line of their ``Methods`` is a sentence, with citations as ``[@key]``
        or ``@key``; scans without a result have none.

    Returns
    -------
    str
        Paragraphs: what was used, what was done with scans of all modalities, what differs between them, and
        the references. '' if no scan has a result.
    """
    paragraphs = _paragraphs(qcs)
    if not paragraphs:
        return ''
    listed = [_reference(references()[key]) for key in _cited(paragraphs)]
    return '\n\n'.join([*map(write_citations, paragraphs), '# References', *listed])


def bibliography(qcs: Iterable[Mapping]) -> str:
    """Write the references of :func:`methods_text` as BibTeX; '' if no scan has a result."""
    entries = []
    for key in _cited(_paragraphs(qcs)):
        fields = dict(references()[key])
        kind = fields.pop('type')
        if kind == 'inproceedings':
            fields['booktitle'] = fields.pop('journal')
        fields['pages'] = fields['pages'].replace('-', '--')
        fields['author'] = ' and '.join(
            name if name == 'others' else ', '.join(name.rsplit(' ', 1))
            for name in fields['author'].split(' and ')
        )
        inner = ',\n'.join(f'  {name} = {{{text}}}' for name, text in fields.items())
        entries.append(f'@{kind}{{{key},\n{inner}\n}}\n')
    return '\n'.join(entries)


def write_citations(text: str) -> str:
    """Write citations as authors and year.

    >>> write_citations('a U-Net [after @billot2023], as @gal2016 do')
    'a U-Net (after Billot et al., 2023), as Gal and Ghahramani (2016) do'
    """

    def write(match: re.Match) -> str:
        fields = references()[match['key'] or match['name']]
        authors = [name.rsplit(' ', 1)[0] for name in fields['author'].split(' and ')]
        who = ' and '.join(authors) if len(authors) < 3 else f'{authors[0]} et al.'
        return f'({match["before"]}{who}, {fields["year"]})' if match['key'] else f'{who} ({fields["year"]})'

    return CITATION.sub(write, text)


def model_key(qc: Mapping) -> tuple[str, str]:
    """Name the model behind a result: its name, and the hash of its weights."""
    model = qc.get('Model') or {}
    return str(model.get('Name')), str(model.get('SHA256'))


def _paragraphs(qcs: Iterable[Mapping]) -> list[str]:
    """Arrange the sentences of scans: the first of each, those that all share, and the others by modality."""
    texts = dict.fromkeys(
        (str(qc.get('modality')), tuple(CITATION.sub(_known, qc['Methods']).splitlines()))
        for qc in qcs
        if qc.get('Methods')
    )
    first = dict.fromkeys(lines[0] for _, lines in texts)
    steps = dict.fromkeys((modality, lines[1:]) for modality, lines in texts)
    shared = [line for line in next(iter(steps), ('', ()))[1] if all(line in lines for _, lines in steps)]
    everyone = ', '.join(dict.fromkeys(modality for modality, _ in steps))
    groups = [(everyone, shared)]
    groups += [(modality, [line for line in lines if line not in shared]) for modality, lines in steps]
    return [*first, *(f'{modality}: {" ".join(lines)}' for modality, lines in groups if lines)]


def _known(match: re.Match) -> str:
    """Keep a citation; of one that only another version knows, keep the words."""
    return match[0] if (match['key'] or match['name']) in references() else match[0].replace('@', '')


def _cited(paragraphs: Iterable[str]) -> list[str]:
    """List what is cited, in the order of the list of references."""
    keys = {match['key'] or match['name'] for text in paragraphs for match in CITATION.finditer(text)}
    return [key for key in references() if key in keys]


def _reference(fields: Mapping[str, str]) -> str:
    authors = fields['author'].replace(' and others', ', et al').replace(' and ', ', ')
    place = f'{fields["journal"]} {fields["volume"]}:{fields["pages"]} ({fields["year"]})'
    return f'{authors}. {fields["title"]}. {place}. doi:{fields["doi"]}'

# SPDX-License-Identifier: Apache-2.0
"""The methods section: the texts that graphs left with their results, with citations written out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby

from ..data import resource

#: So many words that are the same may stand within a value that differs.
SAME_WORDS = 2
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
        One paragraph on what was done, with what differs between modalities in its place, and the references.
        '' if no scan has a result.
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
    """Arrange the sentences of scans in one paragraph; where modalities differ, each value is named."""
    texts = dict.fromkeys(
        (str(qc.get('modality')), tuple(CITATION.sub(_known, qc['Methods']).splitlines()))
        for qc in qcs
        if qc.get('Methods')
    )
    if not texts:
        return []
    places = _aligned([lines for _, lines in texts])
    names = [modality for modality, _ in texts]
    return [' '.join(_sentence(place, names) for place in places)]


def _aligned(texts: Sequence[Sequence[str]]) -> list[dict[int, str]]:
    """Put the sentences of texts that say the same, or the same of other values, in one place.

    Parameters
    ----------
    texts : sequence of sequence of str
        Sentences of each text in their order.

    Returns
    -------
    list of dict
        For each place, number of a text to its sentence.

    Examples
    --------
    >>> _aligned([['Read all.', 'Kept 3.'], ['Kept 4.', 'Done.']])
    [{0: 'Read all.'}, {0: 'Kept 3.', 1: 'Kept 4.'}, {1: 'Done.'}]
    """
    places: list[dict[int, str]] = []
    for number, lines in enumerate(texts):
        start = 0
        for line in lines:
            like = [at for at in range(start, len(places)) if _alike(line, next(iter(places[at].values())))]
            if like:
                start = like[0] + 1
                places[like[0]][number] = line
            else:
                places.insert(start, {number: line})
                start += 1
    return places


def _alike(one: str, other: str) -> bool:
    """Tell whether two sentences have the same words but for some values."""
    pairs = list(zip(one.split(), other.split(), strict=False))
    same = sum(a == b for a, b in pairs)
    return len(one.split()) == len(other.split()) and 2 * same >= len(pairs)


def _sentence(place: Mapping[int, str], names: Sequence[str]) -> str:
    """Write one sentence for all texts that have it.

    Parameters
    ----------
    place : mapping
        Number of a text to its sentence; the sentences have as many words each.
    names : sequence of str
        What each text is about.

    Returns
    -------
    str

    Examples
    --------
    >>> _sentence({0: 'Above 6 % it is marked.', 1: 'Above 7 % it is marked.'}, ['T1w', 'ct'])
    'Above 6 (T1w), 7 (ct) % it is marked.'
    >>> _sentence({1: 'Volumes were averaged.'}, ['T1w', 'dwi'])
    'For dwi: Volumes were averaged.'
    """
    words = [line.split() for line in place.values()]
    owners = [names[number] for number in place]
    columns = list(zip(*words, strict=True))
    varies = [len(set(column)) > 1 for column in columns]
    for at in range(1, len(varies) - 1):  # a value of several words, of which some are the same by chance
        varies[at] = varies[at] or (varies[at - 1] and any(varies[at + 1 : at + 1 + SAME_WORDS]))
    written: list[str] = []
    for varied, run in groupby(zip(varies, columns, strict=True), key=lambda pair: pair[0]):
        span = [column for _, column in run]
        if varied:
            written.append(_values([' '.join(value) for value in zip(*span, strict=True)], owners))
        else:
            written += [column[0] for column in span]
    text = ' '.join(written)
    others = [name for number, name in enumerate(names) if number not in place]
    some = 'some scans of ' if set(others) & set(owners) else ''
    return f'For {some}{", ".join(dict.fromkeys(owners))}: {text}' if others else text


def _values(values: Sequence[str], owners: Sequence[str]) -> str:
    """List values with those that they belong to."""
    by_value: dict[str, list[str]] = {}
    for value, owner in zip(values, owners, strict=True):
        by_value.setdefault(value, []).append(owner)
    stop = next(iter(by_value))[-1] if all(value[-1] in ',.;' for value in by_value) else ''
    if len(set(owners)) == 1:
        return f'{" or ".join(value.rstrip(",.;") for value in by_value)} ({owners[0]}){stop}'
    listed = [f'{value.rstrip(",.;")} ({", ".join(dict.fromkeys(who))})' for value, who in by_value.items()]
    return ', '.join(listed) + stop


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

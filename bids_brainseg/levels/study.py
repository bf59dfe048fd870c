# SPDX-License-Identifier: Apache-2.0
"""The studies of the evaluate level: networks trained on subsets, each scored on the same test scans."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..bids.training_cases import find_label_maps, subject_of
from ..errors import BidsError, BrainsegError
from ..network.bundle import load_bundle
from ..records import LABEL_SOURCES
from ..results.evaluation import averages
from ..results.evaluation_tables import collect_evaluation
from ..settings import Settings
from . import train
from .folders import prepare_output
from .pairs import select_cases
from .scans import run_graph

#: Smallest sizes of the scaling study, each twice the one before; the last is all there is.
FIRST_SIZE = 4
VALIDATE = 1  # subjects of each training set that only validate


class Network(NamedTuple):
    """One network of a study: its modality, and whom it learns from, the one who validates included."""

    modality: str
    subjects: list[str]

    def __str__(self) -> str:
        return f'{self.modality}, {len(self.subjects)} participants: {" ".join(self.subjects)}'


def plan_study(settings: Settings, records: Sequence) -> list[Network]:
    """Decide which networks are trained, on whom.

    Parameters
    ----------
    settings : Settings
        With the options of the train level in ``training``.
    records : sequence of ImageRecord
        Test scans that have reference labels.

    Raises
    ------
    BidsError
        If there is too little to train on.
    """
    given = [name for name in LABEL_SOURCES if name in settings.derivatives]
    if settings.training.label_maps and given:
        raise BidsError(
            f'--study {settings.study} counts participants, of scans or of label maps, and was given both; '
            f'leave --label-maps or --derivatives {" ".join(given)} out',
            2,
        )
    tested = {record.subject for record in records}
    material = {
        modality: [name for name in training_material(settings, modality) if name not in tested]
        for modality in dict.fromkeys(record.modality for record in records)
    }
    return [
        Network(modality, subset(material[modality], size, settings.random_seed))
        for modality, size in sizes(settings, material)
    ]


def study(
    settings: Settings, networks: Sequence[Network], records: Sequence, plans: Mapping
) -> tuple[list[dict], list[dict]]:
    """Train every network and score it on the test scans; one that fails does not stop the others.

    Parameters
    ----------
    settings : Settings
        As for :func:`plan_study`.
    networks : sequence of Network
    records : sequence of ImageRecord
        Test scans.
    plans : mapping
        Of :func:`bids_brainseg.levels.evaluate.find_comparisons`.

    Returns
    -------
    runs : list of dict
        One for each network: what it was trained on, D_A, D_V and ASSD over the test scans and of each.
    failed : list of dict
        ``modality``, ``participants`` and ``reason``.
    """
    top = settings.work_dir / 'study'
    if settings.clean_workdir:
        shutil.rmtree(top, ignore_errors=True)
    # each network is trained as asked for once, and the dataset is not validated again for each
    settings = replace(settings, clean_workdir=False, skip_bids_validation=True)
    runs, failed = [], []
    for network in networks:
        tested = [record for record in records if record.modality == network.modality]
        folder = top / f'{network.modality}-{len(network.subjects)}'
        print(f'study: {network}', flush=True)
        try:
            bundle = train_on(settings, network, folder)
            scored = score(settings, bundle, tested, plans, folder)
            runs.append(scored | {'participants': len(network.subjects)})
        except BrainsegError as error:
            count = len(network.subjects)
            print(f'study: {network.modality}, {count} participants: failed: {error}', file=sys.stderr)
            failed.append({'modality': network.modality, 'participants': count, 'reason': str(error)})
    return runs, failed


def sizes(settings: Settings, material: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """List which networks are trained: modality and number of training subjects.

    Raises
    ------
    BidsError
        If a modality has fewer subjects than the smallest training set needs.
    """
    least = min(len(names) for names in material.values())
    if least <= VALIDATE:
        raise BidsError(
            f'--study {settings.study}: {least} subjects are left to train on after the test scans are taken '
            f'out, {VALIDATE + 1} are needed; select fewer test participants with --participant-label, or '
            'give label maps or FreeSurfer labels of more participants',
            2,
        )
    if settings.study == 'equal-size':
        size = min([*settings.study_sizes[:1], least])
        return [(modality, size) for modality in material]
    pairs = []
    for modality, names in material.items():
        asked = settings.study_sizes or doubled(len(names))
        pairs += [(modality, size) for size in asked if VALIDATE < size <= len(names)]
    if not pairs:
        raise BidsError(
            f'--study-sizes {" ".join(map(str, settings.study_sizes))}: {least} subjects are there; choose '
            f'sizes from {VALIDATE + 1} to that',
            2,
        )
    return pairs


def doubled(most: int) -> list[int]:
    """List 4, 8, 16 ... up to, and with, all.

    >>> doubled(20), doubled(3)
    ([4, 8, 16, 20], [3])
    """
    steps, size = [], FIRST_SIZE
    while size < most:
        steps.append(size)
        size *= 2
    return [*steps, most]


def subset(names: Sequence[str], size: int, seed: int) -> list[str]:
    """Choose subjects; a larger set holds every smaller one of the same seed.

    >>> set(subset('abcdef', 2, 0)) < set(subset('fedcba', 4, 0))
    True
    """
    shuffled = sorted(names)
    random.Random(seed).shuffle(shuffled)
    return sorted(shuffled[:size])


def training_material(settings: Settings, modality: str) -> list[str]:
    """List who can be trained on: the subjects of the label maps, else those with FreeSurfer labels."""
    if settings.training.label_maps:
        return list(dict.fromkeys(subject_of(path) for path in find_label_maps(settings.training.label_maps)))
    cases = select_cases(replace(settings, participant_label=()), [modality])[0][modality]
    return list(dict.fromkeys(case.record.subject for case in cases if case.skip is None))


def train_on(settings: Settings, network: Network, folder: Path) -> Path:
    """Train on some subjects as the train level does; return the folder of the bundle."""
    modality, subjects = network
    maps = find_label_maps(settings.training.label_maps) if settings.training.label_maps else ()
    request = replace(
        settings.training,
        modality=modality,
        validation_label=tuple(subjects[:VALIDATE]),
        label_maps=tuple(path for path in maps if subject_of(path) in subjects),
    )
    train.run(
        replace(
            settings,
            level='train',
            output_dir=folder / 'training',
            work_dir=folder / 'work',
            participant_label=tuple(subjects),
            modalities=(modality,),
            mc_samples=settings.mc_samples or 0,
            training=request,
        )
    )
    return folder / 'training' / f'training_{modality}' / 'bundle'


def score(settings: Settings, bundle: Path, records: Sequence, plans: Mapping, folder: Path) -> dict:
    """Evaluate a network on the test scans."""
    modality = records[0].modality
    aside = replace(
        settings,
        output_dir=folder / 'derivatives',
        # of all networks: they share the reference, so a scan is registered once
        work_dir=settings.work_dir / 'study' / 'work',
        mc_samples=settings.mc_samples or 0,
    )
    prepare_output(aside, links={'labels': settings.derivatives['labels']})
    model = replace(load_bundle(bundle), mc_samples=aside.mc_samples)
    outcomes, _ = run_graph(aside, records, {modality: model}, comparisons=plans)
    done = [outcome.record for outcome in outcomes if outcome.status == 'done']
    if not done:
        raise BidsError(f'no test scan could be segmented: {outcomes[0].reason}', 1)
    scans = collect_evaluation([(done, aside.output_dir)]).scans
    learned = model.card['training']['data']
    return {
        'modality': modality,
        'training_scans': learned['train']['scans'] + learned['train']['label_maps'],
        'validation_scans': learned['validate']['scans'] + learned['validate']['label_maps'],
        'steps': model.card['training']['steps'],
        **averages(scans),
        'test_scans': scans[['scan', 'D_A', 'D_V', 'ASSD_mm']].to_dict('records'),
        'bundle': str(bundle),
    }

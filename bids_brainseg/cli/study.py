# SPDX-License-Identifier: Apache-2.0
"""The studies of the evaluate level: networks trained on subsets, each scored on the same test scans."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import BidsError
from ..model.bundle import load_bundle
from ..settings import Settings

#: Smallest sizes of the scaling study, each twice the one before; the last is all there is.
FIRST_SIZE = 4
VALIDATE = 1  # subjects of each training set that only validate


def study(settings: Settings, records: Sequence, plans: Mapping) -> list[dict]:
    """Train on subsets and score every network on the test scans.

    Parameters
    ----------
    settings : Settings
        With the options of the train level in ``training``.
    records : sequence of ImageRecord
        Test scans that have reference labels.
    plans : mapping
        Of :func:`bids_brainseg.cli.evaluate.find_plans`.

    Returns
    -------
    list of dict
        One for each network: modality, number of training subjects, D_A and ASSD over the test scans.

    Raises
    ------
    BidsError
        If there is too little to train on.
    """
    tested = {record.subject for record in records}
    material = {
        modality: [name for name in training_material(settings, modality) if name not in tested]
        for modality in dict.fromkeys(record.modality for record in records)
    }
    runs = []
    for modality, size in sizes(settings, material):
        own = [record for record in records if record.modality == modality]
        folder = settings.work_dir / 'study' / f'{modality}-{size}'
        chosen = subset(material[modality], size, settings.random_seed)
        print(f'study: {modality}, {size} training subjects: {" ".join(chosen)}', flush=True)
        runs.append(score(settings, train_on(settings, modality, chosen, folder), own, plans, folder, size))
    return runs


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
            'out; select fewer test participants, or give label maps or FreeSurfer labels of more people',
            2,
        )
    if settings.study == 'equal-size':
        size = min([*settings.study_sizes[:1], least])
        return [(modality, size) for modality in material]
    found = []
    for modality, names in material.items():
        asked = settings.study_sizes or doubled(len(names))
        found += [(modality, size) for size in asked if VALIDATE < size <= len(names)]
    if not found:
        raise BidsError(
            f'--study-sizes {" ".join(map(str, settings.study_sizes))}: {least} subjects are there; choose '
            f'sizes from {VALIDATE + 1} to that',
            2,
        )
    return found


def doubled(most: int) -> list[int]:
    """List 4, 8, 16 ... up to, and with, all.

    >>> doubled(20), doubled(3)
    ([4, 8, 16, 20], [3])
    """
    found, size = [], FIRST_SIZE
    while size < most:
        found.append(size)
        size *= 2
    return [*found, most]


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
    from ..bids.training import find_label_maps, subject_of
    from .train import query

    if settings.training.get('label_maps'):
        return list(
            dict.fromkeys(subject_of(path) for path in find_label_maps(settings.training['label_maps']))
        )
    everyone = replace(settings, participant_label=(), training={**settings.training, 'modality': modality})
    cases = query(everyone)
    return list(dict.fromkeys(case.record.subject for case in cases if case.skip is None))


def train_on(settings: Settings, modality: str, subjects: Sequence[str], folder: Path) -> Path:
    """Train on some subjects as the train level does; return the folder of the bundle."""
    from ..bids.training import find_label_maps, subject_of
    from .train import train

    asked = {**settings.training, 'modality': modality, 'validation_label': tuple(subjects[:VALIDATE])}
    if asked.get('label_maps'):
        maps = find_label_maps(asked['label_maps'])
        asked['label_maps'] = tuple(path for path in maps if subject_of(path) in subjects)
    train(
        replace(
            settings,
            level='train',
            output_dir=folder / 'training',
            work_dir=folder / 'work',
            participant_label=tuple(subjects),
            modalities=(modality,),
            training=asked,
        )
    )
    return folder / 'training' / f'training_{modality}' / 'bundle'


def score(
    settings: Settings, bundle: Path, records: Sequence, plans: Mapping, folder: Path, size: int
) -> dict:
    """Evaluate a network on the test scans."""
    from ..bids.evaluation import gather
    from ..reports.evaluation import averages
    from .evaluate import prepare_output, run_plans

    modality = records[0].modality
    aside = replace(
        settings,
        output_dir=folder / 'derivatives',
        work_dir=folder / 'work',
        mc_samples=settings.mc_samples or 0,
    )
    prepare_output(aside, settings.derivatives['labels'])
    model = replace(load_bundle(bundle), mc_samples=aside.mc_samples)
    outcomes = run_plans(aside, list(records), {modality: model}, plans)
    done = [outcome.record for outcome in outcomes if outcome.status == 'done']
    if not done:
        raise BidsError(f'--study: no test scan could be segmented: {outcomes[0].reason}', 1)
    _, scans, _ = gather(done, aside.output_dir)
    return {
        'modality': modality,
        'training_scans': size - VALIDATE,
        'validating': VALIDATE,
        **averages(scans),
        'bundle': str(bundle),
    }

# SPDX-License-Identifier: Apache-2.0
"""Measure how far the volumes of a bundle are from those of labels, for the intervals of inference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_brainseg.core.volume_errors import (
    CONFIDENCE,
    conformal_quantile,
    fit_volume_errors,
    left_out_coverage,
    left_out_scores,
)
from bids_brainseg.data import label_table, mirrored_classes
from bids_brainseg.files import plain
from bids_brainseg.records import Bundle

from ..network.bundle import write_volume_errors
from .label_maps import align_label_map
from .references import Reference, defaults
from .scores import Measured, measure_copies
from .sources import HELD_OUT, synthesizer

#: Fewer participants than this say nothing about the next one.
LEAST_PARTICIPANTS = 3


def volume_errors(
    measured: Mapping[str, Sequence[Measured]], *, inflation: float = 1.0, because: str = ''
) -> tuple[dict, str]:
    """Fit the errors of volumes to labeled scans.

    Parameters
    ----------
    measured : mapping of str to sequence of Measured
        Person, or another group of scans that are not independent, to what was measured on the scans.
    inflation : float
        By how much intervals are wider than these scans ask for, since they are easier than real ones.
    because : str
        Where the inflation comes from.

    Returns
    -------
    content : dict
        For ``volumes.json``; empty if there are too few participants, or no spread over passes.
    text : str
        For the card: how often the intervals hold the labels, or why there are none.
    """
    participants = [participant for participant, own in measured.items() for _ in own]
    every = [one for own in measured.values() for one in own]
    if len(measured) < LEAST_PARTICIPANTS or not all(np.isfinite(one.spread[1:]).any() for one in every):
        return {}, f'no intervals: they need {LEAST_PARTICIPANTS} participants and two passes at least'
    names = [label.name for label in label_table()[1:]]
    groups = [min(pair) for pair in enumerate(mirrored_classes())][1:]
    errors, spread = (np.array([getattr(one, key)[1:] for one in every]) for key in ('errors', 'spread'))
    scores = left_out_scores(errors, spread, groups, participants)
    held = left_out_coverage(scores, participants)
    model = fit_volume_errors(errors, spread, groups, factor=inflation * conformal_quantile(scores))
    coverage = float(np.nanmean(held))
    content = {
        'confidence': CONFIDENCE,
        'inflation': inflation,
        'because': because or 'n/a',
        'participants': len(measured),
        'scans': len(every),
        'coverage': {
            'what': 'fraction of labeled volumes in the intervals of synthetic scans, those of each '
            'participant by the scans of the others, before inflation',
            'all': round(coverage, 3),
            **{name: round(float(np.nanmean(column)), 3) for name, column in zip(names, held.T, strict=True)},
        },
        **model.to_mapping(names),
    }
    wider = f', and are {inflation:g} times as wide for real scans ({because})' if inflation != 1 else ''
    return content, (
        f'90 % intervals hold {100 * coverage:.0f} % of the labeled volumes in {len(every)} synthetic scans '
        f'of {len(measured)} participants (those of each participant come from the errors of the others)'
        f'{wider}'
    )


def calibrate_volumes(
    bundle: Bundle,
    label_maps: Sequence[Path],
    work_dir: Path,
    *,
    pairs: int = 1,
    copies: int = 1,
    mc_samples: int | None = None,
    seed: int = 99,
    inflation: float = 1.0,
    because: str = '',
) -> tuple[Bundle, str]:
    """Draw scans of label maps, segment them, and put the errors of their volumes beside a bundle.

    Parameters
    ----------
    bundle : Bundle
    label_maps : sequence of Path
        Of different participants; best of those that the network was not trained on.
    work_dir : Path
        Keeps what was measured of each label map; the same call goes on with the others.
    pairs, copies : int
        Scans of each label map, and corrupted copies of each scan.
    mc_samples : int, optional
        Monte-Carlo passes; None: as the bundle says.
    seed : int
    inflation, because : float, str
        Of :func:`volume_errors`.

    Returns
    -------
    bundle : Bundle
        With the errors.
    text : str
        What its card says of them.
    """
    reference, measured = Reference.of_bundle(bundle), {}
    grid = {'shape': bundle.grid_shape, 'affine': np.array(bundle.grid_affine)}
    folder = work_dir / f'{bundle.name}_{bundle.weights_sha256[:12]}_{pairs}_{copies}_{mc_samples}_{seed}'
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(label_maps):
        participant = path.name.partition('.')[0]
        kept = folder / f'{participant}.json'
        if not kept.is_file():
            head = align_label_map(path, work_dir, defaults()['centers'])
            ranges = {'ranges': replace(HELD_OUT, flip=False), 'seed': seed + number}
            source = synthesizer([head], {bundle.modality: reference}, **grid, **ranges)
            synthetic = [source.pair(pair) for pair in range(pairs)]
            found = measure_copies(
                bundle, synthetic, copies=copies, mc_samples=mc_samples, seed=seed + number
            )
            rows = [one._asdict() for own in found for one in own]
            kept.write_text(json.dumps(plain({'scans': rows})))
            print(f'{bundle.name}: {participant} measured', flush=True)
        measured[participant] = [_read(row) for row in json.loads(kept.read_text())['scans']]
    content, text = volume_errors(measured, inflation=inflation, because=because)
    return (write_volume_errors(bundle, content, text) if content else bundle), text


def _read(row: Mapping) -> Measured:
    """Turn a row of JSON back into arrays; ``"n/a"`` is nan."""
    arrays = {
        key: np.array([np.nan if x == 'n/a' else x for x in row[key]], float)
        for key in ('dice', 'errors', 'spread')
    }
    return Measured(cv=float('nan') if row['cv'] == 'n/a' else row['cv'], **arrays)

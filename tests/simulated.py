# SPDX-License-Identifier: Apache-2.0
"""Outputs of many participants, as the participant level would have left them, drawn at random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bids_brainseg.data import label_table
from bids_brainseg.results.scans import TOTALS

#: mm3 of a head of average size, about those of adults.
TYPICAL = {
    'Cerebral-White-Matter': 220e3, 'Cerebral-Cortex': 250e3, 'Lateral-Ventricle': 10e3,
    'Cerebellum-White-Matter': 14e3, 'Cerebellum-Cortex': 52e3, 'Thalamus': 7.2e3, 'Caudate': 3.5e3,
    'Putamen': 5e3, 'Pallidum': 1.8e3, '3rd-Ventricle': 1.2e3, '4th-Ventricle': 1.8e3, 'Brain-Stem': 21e3,
    'Hippocampus': 4e3, 'Amygdala': 1.6e3, 'VentralDC': 4e3,
}  # fmt: skip
FOLDER = {'T1w': 'anat', 'FLAIR': 'anat', 'dwi': 'dwi', 'ct': 'ct'}
SCANNERS = (
    ('Siemens', 'Prisma', 3),
    ('Siemens', 'Avanto', 1.5),
    ('GE', 'Discovery MR750', 3),
    ('Philips', 'Ingenia', 3),
)
UNITS = {'alignment': 'squared local correlation, [0, 1]', 'cv_mean': '%', 'brain_mm3': 'mm^3'}
RULES = {
    'alignment': {
        'review_below': 0.45,
        'fail_below': 0.33,
        'label': 'agreement with the reference',
        'unit': '',
    },
    'cv_mean': {'review_above': 2, 'label': 'mean CV', 'unit': '%'},
    'brain_mm3': {'review_below': 800000, 'review_above': 1700000, 'label': 'brain volume', 'unit': 'mm3'},
}
HEAD = 'index\tname\themisphere\tvolume_mm3\tvolume_soft_mm3\tmc_mean_mm3\tmc_std_mm3\tcv_mc\tflag\n'
LABELS = label_table()[1:]


def simulate(
    out: Path,
    people: int,
    *,
    everything: int = 10,
    sessions: int = 20,
    seed: int = 0,
    pages: bool = True,
    pictures: bool = False,
) -> None:
    """Write the outputs of so many people below `out`, with participants.tsv.

    Parameters
    ----------
    out : Path
        Root of the derivatives.
    people : int
        All have a T1w, every third a FLAIR, every `everything`-th all four modalities, every `sessions`-th
        two sessions. Ventricles grow and hippocampi shrink with age; men have larger heads. The scan of every
        50th was badly aligned: its volumes are of half size on one side.
    pages, pictures : bool
        Write empty pages of the participants, and small pictures of the scans.
    """
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    describe(out)
    table = ['participant_id\tage\tsex\tsite']
    for number in range(1, people + 1):
        subject, age, sex = f'{number:04d}', rng.uniform(20, 85), 'MF'[number % 2]
        site = rng.integers(len(SCANNERS))
        table.append(f'sub-{subject}\t{age:.0f}\t{sex}\tsite{site + 1}')
        size = rng.normal(1.57e6 if sex == 'M' else 1.40e6, 1.1e5) / 1.48e6
        own = anatomy(rng, size, age)
        modalities = ['T1w', *(['FLAIR'] if number % 3 == 0 else [])]
        modalities = list(FOLDER) if number % everything == 0 else modalities
        for session in ('1', '2') if number % sessions == 0 else (None,):
            for modality in modalities:
                volumes = own * rng.normal(1, 0.03, len(LABELS)) * (1 if modality == 'T1w' else 1.04)
                if number % 50 == 0 and modality == 'T1w':
                    volumes[[label.hemisphere == 'R' for label in LABELS]] /= 2
                etiv = 1.48e6 * size * rng.normal(1, 0.02)
                scanner = dict(zip(('Manufacturer', 'ManufacturersModelName', 'MagneticFieldStrength'),
                                   SCANNERS[site], strict=True))  # fmt: skip
                cv = rng.gamma(4, 0.4)
                table_path = write_scan(
                    out, subject, session, modality, volumes, etiv, cv=cv, Scanner=scanner
                )
                if pictures:
                    stem = table_path.name.partition('_seg-')[0]
                    write_picture(out / f'sub-{subject}/figures/{stem}_desc-thumbnail_{modality}.jpg', rng)
        if pages:
            (out / f'sub-{subject}.html').write_text(f'<!DOCTYPE html><title>sub-{subject}</title>')
    (out / 'participants.tsv').write_text('\n'.join(table) + '\n')


def write_picture(path: Path, rng: np.random.Generator) -> None:
    """Draw three ovals of gray noise, of the size of a thumbnail."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:168, :424]
    inside = ((rows - 84) / 78) ** 2 + ((columns % 141 - 70) / 60) ** 2 < 1
    noise = rng.integers(60, 200, (42, 106)).repeat(4, axis=0).repeat(4, axis=1)
    Image.fromarray(np.where(inside, noise, 14).astype(np.uint8)).save(path, quality=80)


def describe(out: Path) -> None:
    """Say that this program made the folder."""
    made = {'Name': 'simulated', 'BIDSVersion': '1.10.0', 'DatasetType': 'derivative',
            'GeneratedBy': [{'Name': 'bids_brainseg'}]}  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / 'dataset_description.json').write_text(json.dumps(made))


def anatomy(rng: np.random.Generator, size: float, age: float) -> np.ndarray:
    """Draw the volumes of a person, (27,) mm3."""
    effect = {'Lateral-Ventricle': 1 + 0.02 * (age - 45), 'Hippocampus': 1 - 0.004 * (age - 45)}
    names = [label.name.removeprefix('Left-').removeprefix('Right-') for label in LABELS]
    both = {name: TYPICAL[name] * size * effect.get(name, 1) * rng.lognormal(0, 0.09) for name in TYPICAL}
    return np.array([both[name] for name in names])


def write_scan(
    out: Path,
    subject: str,
    session: str | None,
    modality: str,
    volumes,
    etiv: float,
    *,
    cv: float = 0.5,
    entities: str = '',
    **qc,
) -> Path:
    """Write table and quality document of one scan; returns the path of the table."""
    parts = [f'sub-{subject}', *([f'ses-{session}'] if session else [])]
    folder = out.joinpath(*parts, FOLDER[modality])
    folder.mkdir(parents=True, exist_ok=True)
    stem = '_'.join(parts) + entities
    sums = [sum(v for v, label in zip(volumes, LABELS, strict=True) if 'Ventricle' not in label.name)]
    sums = [*sums, sum(volumes) - sums[0], etiv]
    rows = [
        f'{label.index}\t{label.name}\t{label.hemisphere}\t'
        + f'{v:.8g}\t' * 3
        + f'{v * cv / 100:.8g}\t{cv:.8g}\tn/a'
        for label, v in zip(LABELS, volumes, strict=True)
    ] + [f'n/a\t{name}\tn/a\t{v:.8g}' + '\tn/a' * 5 for name, v in zip(TOTALS, sums, strict=True)]
    verdict = 'review' if cv > 2 else 'pass'
    document = {
        'Sources': [f'bids:raw:{"/".join(parts)}/{FOLDER[modality]}/{stem}_{modality}.nii.gz'],
        'verdict': verdict, 'reasons': [f'mean CV is {cv:.2f} %, above 2 %'] if verdict == 'review' else [],
        'warnings': [], 'modality': modality,
        'numbers': {'alignment': 0.6 + 0.1 * np.sin(etiv), 'cv_mean': cv, 'brain_mm3': sums[0]},
        'Rules': RULES, 'Units': UNITS, 'header': {'voxel_size_mm': [1.0, 1.0, 1.0]},
        'Model': {'Name': modality.lower(), 'SHA256': 'a' * 64}, 'MonteCarloSamples': 15,
        'LabelResampling': 'posterior', 'Versions': {'bids_brainseg': '0.1.0'}, **qc,
    }  # fmt: skip
    (folder / f'{stem}_desc-{modality}_qc.json').write_text(json.dumps(document))
    path = folder / f'{stem}_seg-brainseg_desc-{modality}_morph.tsv'
    path.write_text(HEAD + '\n'.join(rows) + '\n')
    return path

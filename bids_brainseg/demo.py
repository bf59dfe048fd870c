# SPDX-License-Identifier: Apache-2.0
"""Build a small BIDS dataset and try the program on it: ``python -m bids_brainseg.demo FOLDER``.

The T1w is the skull-stripped MNI152 average that nilearn ships. The other contrasts do not exist for that
brain: they are simulated from its gray and white matter maps inside a made-up skull and scalp, each on a grid
such as a clinic would choose. They show that the program runs and what its output looks like, not how well it
segments.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .core.resampling import resample
from .files import write_json, write_text
from .lifetime import bound

TISSUES = ('gray', 'white', 'fluid', 'skull', 'scalp')
SEED = 2026
NOTE = 'Simulated from the MNI152 gray and white matter maps; not an acquired image.'
ACKNOWLEDGE = (
    'MNI152 nonlinear 2009a symmetric average, (C) 1993-2009 Louis Collins, McConnell Brain Imaging Center, '
    'Montreal Neurological Institute, McGill University; redistributed by nilearn.'
)
README = f"""bids_brainseg demo dataset
==========================

One subject, five contrasts, NOT acquired from a person: sub-01_T1w is the (skull-stripped) MNI152 average;
the FLAIR, T2w, dwi and ct are simulated from its gray and white matter maps, with a made-up skull and scalp.
Use it to see that an installation works, never to judge the quality of a segmentation.

{ACKNOWLEDGE}
"""


class Contrast(NamedTuple):
    """One simulated image: a value for each tissue, air and noise, and the grid it is sampled on."""

    values: tuple[float, ...]
    air: float
    noise: float
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


CONTRASTS = {
    'FLAIR': Contrast((260, 200, 40, 15, 320), 0, 6, (192, 232, 58), (1, 1, 3), (11, 4, -3)),
    'T2w': Contrast((300, 210, 560, 15, 240), 0, 6, (256, 304, 58), (0.75, 0.75, 3), (6, -5, 2)),
    'b0': Contrast((260, 220, 700, 10, 40), 0, 9, (104, 120, 42), (2, 2, 4), (4, 0, 2)),
    'b1000': Contrast((125, 112, 35, 5, 10), 0, 9, (104, 120, 42), (2, 2, 4), (4, 0, 2)),
    'ct': Contrast((38, 29, 8, 900, 20), -1000, 4, (400, 480, 42), (0.5, 0.5, 4), (-9, 0, 2), (6, -35, 110)),
}


def template(name: str) -> tuple[np.ndarray, np.ndarray]:
    """One of nilearn's MNI152 images (`t1`, `gm` or `wm`): (I, J, K) uint8 array and 4x4 RAS affine."""
    source = files('nilearn.datasets') / 'data' / f'mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz'
    with as_file(source) as path:
        image = nib.load(path)
        return np.asarray(image.dataobj), image.affine


def head_tissues(brain: np.ndarray, gray: np.ndarray, white: np.ndarray) -> dict[str, np.ndarray]:
    """Fractions in [0, 1] of each tissue, on a 1 mm grid: shells of fixed thickness around the brain."""
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(brain, iterations=3))
    distance = ndimage.distance_transform_edt(~brain).astype(np.float32)

    def within(millimeters: float) -> np.ndarray:
        return np.clip(millimeters + 0.5 - distance, 0, 1)

    inner, outer, skin = within(3), within(10), within(16)
    gray, white = gray / np.float32(255), white / np.float32(255)
    return {
        'gray': gray,
        'white': white,
        'fluid': np.clip(inner - gray - white, 0, 1),
        'skull': outer - inner,
        'scalp': skin - outer,
    }


def scanner_grid(contrast: Contrast, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Affine of the scan (voxels run left, posterior, superior, then turned, moved), and scan -> template."""
    turn = Rotation.from_euler('xyz', contrast.rotation, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(np.array([-1, -1, 1]) * contrast.spacing)
    middle = (np.array(contrast.shape) - 1) / 2
    affine[:3, 3] = center + contrast.shift - affine[:3, :3] @ middle
    to_template = np.eye(4)
    to_template[:3, 3] = -np.array(contrast.shift)
    return affine, to_template


def simulate(
    name: str, tissues: dict[str, np.ndarray], affine: np.ndarray, rng: np.random.Generator
) -> nib.Nifti1Image:
    """An int16 image of one contrast: mix the tissues, average over each voxel, add noise."""
    contrast = CONTRASTS[name]
    mixed = np.full(tissues['gray'].shape, contrast.air, dtype=np.float32)
    for tissue, value in zip(TISSUES, contrast.values, strict=True):
        mixed += tissues[tissue] * np.float32(value - contrast.air)
    # the middle of the head, not of the template's grid
    center = (affine @ [*ndimage.center_of_mass(tissues['white'] + tissues['gray']), 1])[:3] + [0, 0, 6]
    grid, to_template = scanner_grid(contrast, center)
    sampled = resample(mixed, affine, contrast.shape, grid, to_template, antialias=True, cval=contrast.air)
    noise = rng.normal(0, contrast.noise, (2, *sampled.shape)).astype(np.float32)
    # a magnitude image (MR) has Rician noise, a CT Gaussian
    sampled = sampled + noise[0] if contrast.air < 0 else np.hypot(sampled + noise[0], noise[1])
    return as_image(np.rint(sampled).astype(np.int16), grid)


def as_image(array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """A NIfTI image in scanner coordinates (qform and sform code 1), millimeters."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units('mm', 'sec' if array.ndim == 4 else 0)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    return image


def build(out_dir: Path) -> Path:
    """Write the dataset into `out_dir` (made if absent) and return it; the same bytes every time."""
    out_dir = Path(out_dir)
    (t1, affine), (gray, _), (white, _) = (template(name) for name in ('t1', 'gm', 'wm'))
    tissues = head_tissues(t1 > 0, gray, white)
    rng = np.random.default_rng(SEED)

    write_text(README, out_dir / 'README')
    write_text('**/ct\n', out_dir / '.bidsignore')
    write_text('participant_id\nsub-01\n', out_dir / 'participants.tsv')
    save(as_image(t1.astype(np.int16), affine), out_dir, 'anat', 'T1w', 'The MNI152 average, skull-stripped.')
    save(simulate('FLAIR', tissues, affine, rng), out_dir, 'anat', 'FLAIR', NOTE)
    save(simulate('ct', tissues, affine, rng), out_dir, 'ct', 'ct', f'{NOTE} Unit: Hounsfield.')

    series = [simulate(name, tissues, affine, rng) for name in ('b0', 'b1000', 'b1000', 'b1000')]
    volumes = np.stack([np.asarray(image.dataobj) for image in series], axis=-1)
    save(as_image(volumes, series[0].affine), out_dir, 'dwi', 'dwi', NOTE)
    write_text('0 1000 1000 1000\n', out_dir / 'sub-01/dwi/sub-01_dwi.bval')
    write_text('0 1 0 0\n0 0 1 0\n0 0 0 1\n', out_dir / 'sub-01/dwi/sub-01_dwi.bvec')
    save(simulate('T2w', tissues, affine, rng), out_dir, 'anat', 'T2w', NOTE)
    # last, so that a dataset with a description is a whole one
    write_json(
        {
            'Name': 'bids_brainseg demo (MNI152 T1w average; FLAIR, T2w, dwi and ct SIMULATED from it)',
            'BIDSVersion': '1.10.0',
            'DatasetType': 'raw',
            'HowToAcknowledge': ACKNOWLEDGE,
            'GeneratedBy': [{'Name': 'bids_brainseg.demo', 'Description': NOTE}],
        },
        out_dir / 'dataset_description.json',
    )
    return out_dir


def save(image: nib.Nifti1Image, out_dir: Path, datatype: str, suffix: str, description: str) -> None:
    """Write `sub-01_<suffix>.nii.gz` and its sidecar."""
    path = out_dir / 'sub-01' / datatype / f'sub-01_{suffix}.nii.gz'
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    sidecar = {'ImageComments': description, 'Simulated': description.startswith(NOTE)}
    write_json(sidecar, path.with_name(f'sub-01_{suffix}.json'))


def main(argv: list[str] | None = None) -> int:
    """Build the dataset, segment it, and say where the page is."""
    parser = argparse.ArgumentParser(
        prog='python -m bids_brainseg.demo',
        usage='%(prog)s [-h] [--dataset-only] FOLDER [options of bids_brainseg]',
        description='Build a BIDS dataset of one simulated subject, segment it, and say where the page is.',
    )
    parser.add_argument(
        'folder', metavar='FOLDER', type=Path, help='folder for bids, derivatives and work; made if absent'
    )
    parser.add_argument('--dataset-only', action='store_true', help='do not segment it')
    words, options = parser.parse_known_args(argv)
    folder = words.folder.absolute()
    if not (folder / 'bids' / 'dataset_description.json').exists():
        build(folder / 'bids')
    if words.dataset_only:
        print(folder / 'bids')
        return 0
    command = [folder / 'bids', folder / 'derivatives', 'participant', '--work-dir', folder / 'work']
    run = [sys.executable, '-m', 'bids_brainseg', *map(str, command), *options]
    code = subprocess.run(bound(run), check=False).returncode
    print(f'\nReport: file://{folder}/derivatives/sub-01.html')
    return code


if __name__ == '__main__':
    sys.exit(main())

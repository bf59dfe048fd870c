# SPDX-License-Identifier: Apache-2.0
"""From a segmentation to numbers: volumes, their spread, quality and a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from ..bids.sidecars import Provenance, morph_table, qc_document
from ..core import geometry, inspection, volumes
from ..core.quality import verdict
from ..data import label_table
from ..data.quality import population, qc_numbers
from ..files import write_json, write_tsv
from .images import read_array, read_matrix

WHITE, GRAY = ('Cerebral-White-Matter', 'Cerebral-Cortex')
IMPLAUSIBLE_SD = 5.0  # deviation from the training population, and
SPLIT = 0.8  # share that hangs together, at which a structure counts as unlikely or as split


class _ComputeMeasuresInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    dseg = File(exists=True, mandatory=True, desc="labels on the scan's own grid")
    uncertainty = File(exists=True, mandatory=True, desc="normalized entropy on the scan's own grid, [0, 1]")
    posterior = File(
        exists=True, mandatory=True, desc='mean softmax on the network grid, (28, I, J, K), .npy'
    )
    samples = File(
        exists=True, mandatory=True, desc='JSON: voxels of each class in each pass, device, versions'
    )
    registration = File(
        exists=True, mandatory=True, desc='JSON with the matrix, reference to scan, and its quality'
    )
    facts = File(exists=True, mandatory=True, desc='JSON: header facts and notes of the scan')
    record = traits.Any(mandatory=True, desc='the scan')
    model = traits.Dict(
        desc='what the bundle says: name, weights_sha256, reference_name, icv_mm3, cv_threshold, qc'
    )
    label_resampling = traits.Str(desc='posterior or nearest')


class _ComputeMeasuresOutputSpec(TraitedSpec):
    morph = File(desc='table of volumes')
    qc = File(desc='JSON with every QC number and the verdict')
    provenance = File(desc='JSON: how the outputs were made')


class ComputeMeasures(SimpleInterface):
    """Measure a segmented scan."""

    input_spec = _ComputeMeasuresInputSpec
    output_spec = _ComputeMeasuresOutputSpec

    def _run_interface(self, runtime):
        inputs, model = self.inputs, self.inputs.model
        samples, registration, facts = (
            json.loads(Path(path).read_text()) for path in (inputs.samples, inputs.registration, inputs.facts)
        )
        table, numbers = measure(inputs, samples, registration, model)
        provenance = describe(model, samples, inputs.label_resampling)
        rules = thresholds(model)
        decision, reasons = verdict(numbers, rules)
        document = qc_document(
            inputs.record, verdict=decision, reasons=reasons, numbers=numbers, dictionary=qc_numbers(),
            header=facts['header'] | slices(inputs.record), provenance=provenance,
            Rules=rules, Seconds=seconds(samples, registration),
        )  # fmt: skip
        document['warnings'] += [*facts['notes'], *registration['notes']]
        folder = Path(runtime.cwd)
        self._results['morph'] = str(write_tsv(morph_table(**table), folder / 'morph.tsv'))
        self._results['qc'] = str(write_json(document, folder / 'qc.json'))
        self._results['provenance'] = str(write_json(vars(provenance), folder / 'provenance.json'))
        return runtime


def describe(model: dict, samples: dict, label_resampling: str) -> Provenance:
    """Say how the outputs of a scan were made."""
    return Provenance(
        model=model['name'],
        model_sha256=model['weights_sha256'],
        reference=model['reference_name'],
        mc_samples=samples['mc_samples'],
        mirrored=samples['mirrored'],
        seed=samples['seed'],
        device=samples['device'],
        backend=samples['backend'],
        label_resampling=label_resampling,
        thresholds={'cv_percent': model['cv_threshold']},
        versions=samples['versions'],
    )


def measure(inputs, samples: dict, registration: dict, model: dict) -> tuple[dict, dict]:
    """Measure volumes and what quality is judged by.

    Returns
    -------
    columns : dict
        Arguments of :func:`bids_brainseg.bids.paths.morph_table`.
    numbers : dict
        Every quality number; what they mean is in ``qc_numbers.tsv``.
    """
    image = nb.load(inputs.dseg)
    labels, scan = np.asanyarray(image.dataobj), read_array(inputs.in_file)
    matrix = read_matrix(inputs.registration)
    # So much of the scan's space lies in one voxel of the network's grid.
    voxel = samples['voxel_mm3_grid'] * geometry.volume_scaling(matrix)
    hard = volumes.label_volumes(labels, geometry.voxel_volume(image.affine))
    spread = volumes.mc_statistics(np.array(samples['counts'], float) * voxel)
    totals = volumes.brain_totals(hard)
    etiv = volumes.etiv(model['icv_mm3'], geometry.invert(matrix))
    norm = population()
    scores = inspection.population_scores(hard, etiv, norm.log_mean, norm.log_sd)
    pieces = inspection.largest_pieces(labels)
    columns = {
        'volumes': hard,
        'soft_volumes': volumes.soft_volumes(np.load(inputs.posterior, mmap_mode='r'), voxel),
        'mc_mean': spread.mean,
        'mc_std': spread.std,
        'cv': spread.cv,
        'more': {
            'etiv_percent': 100 * hard / etiv,
            'population_score': np.where(hard > 0, scores, np.nan),
            'largest_component_fraction': pieces,
        },
        'flags': flags(hard, spread.cv, model['cv_threshold'], scores, pieces),
        'totals': {'Brain': totals.brain, 'Ventricles': totals.ventricles, 'eTIV': etiv},
    }
    numbers = {
        'brain_mm3': totals.brain,
        'ventricles_mm3': totals.ventricles,
        'etiv_mm3': etiv,
        **of_alignment(registration, matrix),
        **of_passes(samples, spread.cv, read_array(inputs.uncertainty), labels),
        **of_structures(hard, scores, pieces),
        **of_scan(scan, labels),
    }
    return columns, {name: numbers[name] for name in qc_numbers()}


def flags(hard, cv, limit: float, scores, pieces) -> dict[int, str]:
    """Say which structures deserve a look, and why."""
    told = {}
    for label in label_table()[1:]:
        i = label.index
        reasons = [
            f'cv above {limit:g} %' * bool(cv[i] > limit),
            f'{abs(scores[i]):.1f} SD {"above" if scores[i] > 0 else "below"} the training population'
            * bool(abs(scores[i]) > IMPLAUSIBLE_SD),
            f'in pieces, the largest has {100 * pieces[i]:.0f} %' * bool(pieces[i] < SPLIT),
        ]
        told[i] = '; '.join(filter(None, reasons)) if hard[i] else 'absent'
    return {index: reason for index, reason in told.items() if reason}


def of_alignment(registration: dict, matrix: np.ndarray) -> dict:
    """Take from the registration what says whether it can be right."""
    return {
        'alignment': registration['similarity'],
        'fov_coverage': registration['coverage'],
        'scale_min': registration['scales'][0],
        'scale_max': registration['scales'][-1],
        'rotation': geometry.rotation_angle(matrix),
    }


def of_passes(samples: dict, cv: np.ndarray, entropy: np.ndarray, labels: np.ndarray) -> dict:
    """Measure how sure the network is; nothing but the entropy if there was a single pass."""
    overlap = [value for value in samples['mc_iou'][1:] if value is not None]
    many = len(samples['counts']) > 1
    box = geometry.occupied_box(labels)
    inside = labels[box] > 0
    return {
        'cv_mean': volumes.mean_cv(cv),
        'mc_iou_mean': float(np.mean(overlap)) if overlap and many else float('nan'),
        'entropy_mean': float(entropy[box][inside].mean(dtype=float)) if inside.any() else float('nan'),
        'mutual_information_mean': samples['mutual_information_mean'] if many else float('nan'),
    }


def of_structures(hard: np.ndarray, scores: np.ndarray, pieces: np.ndarray) -> dict:
    """Measure what is odd about the structures."""
    left, right = np.array([index_pair(WHITE), index_pair(GRAY)]).T
    white, gray = np.abs(volumes.asymmetry(hard[left], hard[right]))
    found = hard[1:] > 0
    return {
        'lr_asymmetry_wm': white,
        'lr_asymmetry_gm': gray,
        'structures_absent': int(np.count_nonzero(~found)),
        'volumes_implausible': int(np.count_nonzero(np.abs(scores[1:]) > IMPLAUSIBLE_SD)),
        'volume_score_max': float(np.abs(scores[1:][found]).max()) if found.any() else float('nan'),
        'structures_fragmented': int(np.count_nonzero(pieces[1:] < SPLIT)),
        'largest_component_fraction_min': float(pieces[1:][found].min()) if found.any() else float('nan'),
    }


def of_scan(scan: np.ndarray, labels: np.ndarray) -> dict:
    """Measure the scan itself, as far as the segmentation says where to look."""
    signal = inspection.tissue_signal(scan, labels, white=index_pair(WHITE), gray=index_pair(GRAY))
    return {
        'fov_truncation': inspection.cut_share(labels),
        'cnr_wm_gm': signal.cnr,
        'contrast_wm_gm': signal.contrast,
        'snr_wm': signal.snr_white,
        'saturation_fraction': inspection.saturated_share(scan, labels),
    }


def slices(record) -> dict:
    """Take from the sidecar what tells whether slices are even and without gaps."""
    keys = {'SliceThickness': 'slice_thickness_mm', 'SpacingBetweenSlices': 'slice_spacing_mm'}
    found = {name: record.metadata.get(key) for key, name in keys.items()}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def seconds(samples: dict, registration: dict) -> dict:
    """Tell how long the stages took, as far as they say."""
    network = samples.get('seconds', {})
    told = {
        'registration': registration.get('seconds'),
        'network': network.get('total'),
        'network_load': network.get('load'),
        'network_first_pass': network.get('first_pass'),
        'network_pass': network.get('pass'),
    }
    return {stage: round(value, 3) for stage, value in told.items() if value is not None}


def index_pair(structure: str) -> tuple[int, int]:
    """Find the class indices of a structure, left and right.

    >>> index_pair('Cerebral-Cortex')
    (2, 4)
    """
    index = {label.name: label.index for label in label_table()}
    return index[f'Left-{structure}'], index[f'Right-{structure}']


def thresholds(model: dict) -> dict:
    """Complete the thresholds of quality by that of the CV, which has an option of its own."""
    cv = {
        'review_above': model['cv_threshold'],
        **{key: qc_numbers()['cv_mean'][key] for key in ('label', 'unit')},
    }
    return {**model['qc'], 'cv_mean': {**cv, **model['qc'].get('cv_mean', {})}}

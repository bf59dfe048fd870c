# SPDX-License-Identifier: Apache-2.0
"""From a segmentation to numbers: volumes, their spread, quality and a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, traits

from ..bids.derivatives import Provenance, morph_table, qc_document, write_json, write_tsv
from ..core import geometry, volumes
from ..core.quality import verdict
from ..data import label_table
from .images import read_array, read_matrix

UNITS = {
    'alignment': 'share of local structure that agrees, [0, 1]',
    'brain_inside_fov': "share of the reference's brain inside the field of view, [0, 1]",
    'cv_mean': '%',
    'entropy_mean': 'fraction of the largest entropy, mean inside the structures',
    'mutual_information_mean': 'fraction of log 28, mean over the network grid',
    'brain_mm3': 'mm^3',
    'ventricles_mm3': 'mm^3',
    'etiv_mm3': 'mm^3',
    'lr_asymmetry_wm': '|L - R| / mean, %',
    'lr_asymmetry_gm': '|L - R| / mean, %',
    'scale_min': 'smallest scale factor of the affine, reference to scan',
    'scale_max': 'largest scale factor of the affine, reference to scan',
    'structures_absent': 'count of 27',
}


class _MeasureInputSpec(BaseInterfaceInputSpec):
    dseg = File(exists=True, mandatory=True, desc="labels on the scan's own grid")
    uncertainty = File(exists=True, mandatory=True, desc="normalised entropy on the scan's own grid, [0, 1]")
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


class _MeasureOutputSpec(TraitedSpec):
    morph = File(desc='table of volumes')
    qc = File(desc='JSON with every QC number and the verdict')
    provenance = File(desc='JSON: how the outputs were made')


class Measure(SimpleInterface):
    """Measure a segmented scan."""

    input_spec = _MeasureInputSpec
    output_spec = _MeasureOutputSpec

    def _run_interface(self, runtime):
        inputs, model = self.inputs, self.inputs.model
        samples, registration, facts = (
            json.loads(Path(path).read_text()) for path in (inputs.samples, inputs.registration, inputs.facts)
        )
        table, numbers = measure(inputs, samples, registration, model)
        provenance = describe(model, samples, inputs.label_resampling)
        decision, reasons = verdict(numbers, thresholds(model))
        document = qc_document(
            inputs.record, verdict=decision, reasons=reasons, numbers=numbers, units=UNITS,
            header=facts['header'], provenance=provenance,
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
        Arguments of :func:`bids_brainseg.bids.derivatives.morph_table`.
    numbers : dict
        Every quality number; units in ``UNITS``.
    """
    image = nb.load(inputs.dseg)
    labels, entropy = np.asanyarray(image.dataobj), read_array(inputs.uncertainty)
    matrix = read_matrix(inputs.registration)
    # So much of the scan's space lies in one voxel of the network's grid.
    voxel = samples['voxel_mm3_grid'] * geometry.scaling_determinant(matrix)
    hard = volumes.label_volumes(labels, geometry.voxel_volume(image.affine))
    spread = volumes.mc_statistics(np.array(samples['counts'], float) * voxel)
    totals = volumes.brain_totals(hard)
    etiv = volumes.etiv(model['icv_mm3'], geometry.invert(matrix))
    white, grey = volumes.asymmetry(
        hard, [index_pair('Cerebral-White-Matter'), index_pair('Cerebral-Cortex')]
    )
    limit = model['cv_threshold']
    columns = {
        'volumes': hard,
        'soft_volumes': volumes.soft_volumes(np.load(inputs.posterior, mmap_mode='r'), voxel),
        'mc_mean': spread.mean,
        'mc_std': spread.std,
        'cv': spread.cv,
        'flags': {
            label.index: f'cv above {limit:g} %' if hard[label.index] else 'absent'
            for label in label_table()[1:]
            if not hard[label.index] or spread.cv[label.index] > limit
        },
        'totals': {'Brain': totals.brain, 'Ventricles': totals.ventricles, 'eTIV': etiv},
    }
    numbers = {
        'alignment': registration['similarity'],
        'brain_inside_fov': registration['coverage'],
        'cv_mean': volumes.mean_cv(spread.cv),
        'entropy_mean': float(entropy[labels > 0].mean()) if (labels > 0).any() else float('nan'),
        'mutual_information_mean': samples['mutual_information_mean'],
        'brain_mm3': totals.brain,
        'ventricles_mm3': totals.ventricles,
        'etiv_mm3': etiv,
        'lr_asymmetry_wm': abs(white),
        'lr_asymmetry_gm': abs(grey),
        'scale_min': registration['scales'][0],
        'scale_max': registration['scales'][-1],
        'structures_absent': sum(flag == 'absent' for flag in columns['flags'].values()),
    }
    return columns, numbers


def index_pair(structure: str) -> tuple[int, int]:
    """Find the class indices of a structure, left and right.

    >>> index_pair('Cerebral-Cortex')
    (2, 4)
    """
    index = {label.name: label.index for label in label_table()}
    return index[f'Left-{structure}'], index[f'Right-{structure}']


def thresholds(model: dict) -> dict:
    """Complete the thresholds of quality by that of the CV, which the user may have changed."""
    cv = {'look_above': model['cv_threshold'], 'label': 'mean CV over the Monte-Carlo passes', 'unit': '%'}
    return {**model['qc'], 'cv_mean': cv}

# SPDX-License-Identifier: Apache-2.0
"""The node that turns a segmentation into numbers: volumes, their spread, quality and a verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from ..bids.sidecars import morph_table, qc_document
from ..core.measures import Alignment, Norm, Passes, ScanMeasures, Structures, measure_scan
from ..core.quality import verdict, with_default
from ..core.volume_errors import VolumeErrors
from ..data import label_table, modalities, structure_pair, structure_pairs, ventricles
from ..data.quality import population, qc_numbers, reference_centers
from ..files import write_json, write_tsv
from ..records import ImageRecord, Provenance
from .images import read_array, read_matrix


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
    record = traits.Instance(ImageRecord, mandatory=True, desc='the scan')
    provenance = traits.Instance(Provenance, mandatory=True, desc='what the graph was built with')
    rules = traits.Dict(desc='thresholds of quality')
    volume_errors = traits.Dict(desc='how far volumes are from those of labels; empty if that is not known')


class _ComputeMeasuresOutputSpec(TraitedSpec):
    morph = File(desc='table of volumes')
    qc = File(desc='JSON with every QC number and the verdict')
    provenance = traits.Instance(Provenance, desc='the same, and what the network ran on')


class ComputeMeasures(SimpleInterface):
    """Measure a segmented scan."""

    input_spec = _ComputeMeasuresInputSpec
    output_spec = _ComputeMeasuresOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        samples, registration, facts = (
            json.loads(Path(path).read_text()) for path in (inputs.samples, inputs.registration, inputs.facts)
        )
        measures = self._measure(samples, registration)
        ran_on = {name: samples[name] for name in ('device', 'backend', 'versions')}
        provenance = replace(inputs.provenance, **ran_on)
        rules = with_default(
            inputs.rules, 'cv_mean', {'review_above': provenance.cv_threshold}, qc_numbers()['cv_mean']
        )
        decision, reasons = verdict(measures.numbers, rules, facts['doubts'])
        document = qc_document(
            inputs.record, verdict=decision, reasons=reasons, numbers=measures.numbers,
            dictionary=qc_numbers(), header=facts['header'], provenance=provenance,
            Rules=rules, Seconds=_seconds(samples, registration),
        )  # fmt: skip
        table = morph_table(measures.columns, flags=measures.flags, totals=measures.totals)
        document['warnings'] += [*facts['notes'], *registration['notes']]
        folder = Path(runtime.cwd)
        self._results['morph'] = str(write_tsv(table, folder / 'morph.tsv'))
        self._results['qc'] = str(write_json(document, folder / 'qc.json'))
        self._results['provenance'] = provenance
        return runtime

    def _measure(self, samples: dict, registration: dict) -> ScanMeasures:
        """Load what was segmented and measure it."""
        inputs, norm = self.inputs, population()
        errors = inputs.volume_errors if isdefined(inputs.volume_errors) else {}
        dseg = nb.load(inputs.dseg)
        return measure_scan(
            read_array(inputs.in_file),
            np.asanyarray(dseg.dataobj),
            read_array(inputs.uncertainty),
            np.load(inputs.posterior, mmap_mode='r'),
            dseg.affine,
            alignment=Alignment(
                read_matrix(inputs.registration),
                registration['similarity'],
                registration['coverage'],
                registration['scales'],
            ),
            passes=Passes(
                np.array(samples['counts']),
                samples['voxel_mm3_grid'],
                np.array(samples['mc_iou'], float),
                samples['mutual_information_mean'],
            ),
            structures=Structures(
                structure_pair('Cerebral-White-Matter'),
                structure_pair('Cerebral-Cortex'),
                ventricles(),
                structure_pairs(),
            ),
            norm=Norm(
                norm.log_mean, norm.log_sd, norm.asymmetry_mean, norm.asymmetry_sd, reference_centers()
            ),
            cv_threshold=inputs.provenance.cv_threshold,
            magnitude=not modalities()[inputs.record.modality].hounsfield,
            errors=VolumeErrors.from_mapping(errors, [x.name for x in label_table()]) if errors else None,
        )


def _seconds(samples: dict, registration: dict) -> dict[str, float]:
    """Collect how long the stages took, where it is known."""
    network = samples.get('seconds', {})
    stages = {
        'registration': registration.get('seconds'),
        'network': network.get('total'),
        'network_load': network.get('load'),
        'network_first_pass': network.get('first_pass'),
        'network_pass': network.get('pass'),
    }
    return {stage: round(value, 3) for stage, value in stages.items() if value is not None}

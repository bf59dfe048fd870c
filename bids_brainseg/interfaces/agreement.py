# SPDX-License-Identifier: Apache-2.0
"""Nodes that compare a segmentation with reference labels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, SimpleInterface, TraitedSpec, traits

from ..core.agreement import center_distance, compare
from ..core.resampling import resample_labels_nearest
from ..errors import InputError
from ..figures.comparison import comparison_figure
from ..files import write_json, write_tsv
from ..imaging import load_image, save_like
from ..records import ClassTable, ImageRecord, Provenance
from ..registration import label_agreement
from ..results.agreement import agreement_document, agreement_table
from .images import read_array
from .labels import classes_of


class _ResampleReferenceLabelsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan, whose grid is wanted')
    # Not `exists=True`: a missing file has to fail in its own node, not while the graph is built.
    labels = File(mandatory=True, desc='reference labels, on any grid of the same space')
    table = traits.Instance(ClassTable, mandatory=True, desc='what the numbers mean')


class _ResampleReferenceLabelsOutputSpec(TraitedSpec):
    out_file = File(desc='class indices on the grid of the scan, uint8')


class ResampleReferenceLabels(SimpleInterface):
    """Turn reference labels into classes and resample them to the grid of the scan by nearest neighbor."""

    input_spec = _ResampleReferenceLabelsInputSpec
    output_spec = _ResampleReferenceLabelsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, labels, table = (
            load_image(self.inputs.in_file),
            load_image(self.inputs.labels),
            self.inputs.table,
        )
        try:
            classes = classes_of(labels, table)
        except ValueError as error:
            raise InputError(
                f'reference labels cannot be used, {error}: {labels.path}; they were read as {table.name} '
                '(--label-table)'
            ) from error
        if classes.shape != scan.data.shape or not np.allclose(labels.affine, scan.affine, atol=1e-3):
            to_scan = labels.affine, scan.data.shape, scan.affine, np.eye(4)
            classes = resample_labels_nearest(classes, *to_scan)
        if not classes.any():
            raise InputError(
                f'reference labels lie outside the scan: {labels.path}; check that both are in the same space'
            )
        self._results['out_file'] = str(Path(runtime.cwd) / 'reference.nii.gz')
        save_like(classes, scan, self._results['out_file'], np.uint8)
        return runtime


class _CompareSegmentationsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    dseg = File(exists=True, mandatory=True, desc="labels on the scan's own grid")
    reference = File(exists=True, mandatory=True, desc='reference classes on the same grid')
    provenance = traits.Instance(Provenance, mandatory=True, desc='how the segmentation was made')
    record = traits.Instance(ImageRecord, mandatory=True, desc='the scan')
    source = traits.Str(mandatory=True, desc='the reference labels, as they are to be named')


class _CompareSegmentationsOutputSpec(TraitedSpec):
    table = File(desc='Dice, surface distance and volumes of each structure, .tsv')
    document = File(desc='JSON: what the columns mean, the averages, where the labels come from')


class CompareSegmentations(SimpleInterface):
    """Measure how a segmentation agrees with the reference."""

    input_spec = _CompareSegmentationsInputSpec
    output_spec = _CompareSegmentationsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image = nb.load(self.inputs.dseg)
        labels, reference = np.asanyarray(image.dataobj), read_array(self.inputs.reference)
        agreement = compare(labels, reference, image.affine)
        document = agreement_document(
            self.inputs.record,
            averages={
                'D_A': agreement.dice_average,
                'D_V': agreement.dice_volume_weighted,
                'ASSD_mm': agreement.assd_average,
                'structures_missed': agreement.missed,
                'label_distance_mm': center_distance(labels, reference, image.affine),
                'label_fit': label_agreement(read_array(self.inputs.in_file), reference, image.affine),
            },
            labels=self.inputs.source,
            provenance=self.inputs.provenance,
        )
        table = agreement_table(agreement.dice, agreement.assd, agreement.volume, agreement.reference_volume)
        self._results['table'] = str(write_tsv(table, Path(runtime.cwd) / 'agreement.tsv'))
        self._results['document'] = str(write_json(document, Path(runtime.cwd) / 'agreement.json'))
        return runtime


class _ComparisonFigureInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    dseg = File(exists=True, mandatory=True, desc="labels on the scan's own grid")
    reference = File(exists=True, mandatory=True, desc='reference classes on the same grid')


class _ComparisonFigureOutputSpec(TraitedSpec):
    out_file = File(desc='SVG')


class ComparisonFigure(SimpleInterface):
    """Outline the reference labels and the segmentation on the scan."""

    input_spec = _ComparisonFigureInputSpec
    output_spec = _ComparisonFigureOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan = load_image(self.inputs.in_file)
        labels, reference = read_array(self.inputs.dseg), read_array(self.inputs.reference)
        self._results['out_file'] = str(Path(runtime.cwd) / 'comparison.svg')
        comparison_figure(scan.data, labels, reference, scan.affine, self._results['out_file'])
        return runtime

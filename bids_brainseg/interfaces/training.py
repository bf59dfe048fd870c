# SPDX-License-Identifier: Apache-2.0
"""Nodes that resample labels to a scan on the network's grid, and write the pair."""

from __future__ import annotations

import json
from pathlib import Path

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

from ..bids.sidecars import bids_uri, output_rules
from ..bids.training_cases import pair_paths
from ..core.geometry import invert
from ..core.resampling import resample, resample_labels_majority
from ..errors import InputError
from ..files import copy_file, write_json
from ..imaging import image_on_grid, load_image, save_like
from ..records import ClassTable, ImageRecord
from ..registration import label_agreement, register_rigid
from .images import GRID_SHAPE, read_array, read_matrix
from .labels import classes_of
from .registration import RegisterInputSpec, register_options, write_registration


class _TrainingClassesInputSpec(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc='labels of the T1w')
    table = traits.Instance(ClassTable, mandatory=True, desc='what the numbers mean')


class _TrainingClassesOutputSpec(TraitedSpec):
    out_file = File(desc='class indices on the same grid')


class TrainingClasses(SimpleInterface):
    """Turn the labels to learn from into the 27 classes."""

    input_spec = _TrainingClassesInputSpec
    output_spec = _TrainingClassesOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image = load_image(self.inputs.in_file)
        try:
            classes = classes_of(image, self.inputs.table)
        except ValueError as error:
            raise InputError(
                f'labels cannot be used: {self.inputs.in_file}: {error}; they were read as '
                f'{self.inputs.table.name}; correct them, or exclude the participant'
            ) from error
        self._results['out_file'] = str(Path(runtime.cwd) / 'classes.nii.gz')
        save_like(classes, image, self._results['out_file'], np.uint8)
        return runtime


class _RegisterT1wInputSpec(RegisterInputSpec):
    t1w = File(exists=True, mandatory=True, desc='checked T1w of the same person')
    classes = File(exists=True, mandatory=True, desc='class indices in the scanner coordinates of the T1w')


class _RegisterT1wOutputSpec(TraitedSpec):
    rigid = File(desc='JSON: 4x4 RAS matrix from points of the T1w to points of the scan, similarity')


class RegisterT1w(SimpleInterface):
    """Estimate the rotation and shift between a T1w and another scan of the same person."""

    input_spec = _RegisterT1wInputSpec
    output_spec = _RegisterT1wOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, t1w, classes = (
            load_image(path) for path in (self.inputs.in_file, self.inputs.t1w, self.inputs.classes)
        )
        brain = (classes.data > 0).astype(np.float32)
        mask = resample(brain, classes.affine, t1w.data.shape, t1w.affine, np.eye(4), order=1) > 0.5
        registration = register_rigid(
            scan.data,
            scan.affine,
            t1w.data,
            t1w.affine,
            fixed_mask=mask,
            **register_options(self.inputs),
        )
        path = Path(runtime.cwd) / 'rigid.json'
        self._results['rigid'] = write_registration(registration, 't1w_to_scan', path)
        return runtime


class _ResampleTrainingLabelsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='class indices')
    registration = File(exists=True, mandatory=True, desc='JSON with the matrix, reference to scan')
    rigid = File(exists=True, desc='JSON with the matrix, T1w to scan; without it the scan is the T1w')
    grid_shape = GRID_SHAPE
    grid_affine = traits.List(traits.List(traits.Float), desc='voxels of the network grid to RAS mm (4 x 4)')


class _ResampleTrainingLabelsOutputSpec(TraitedSpec):
    out_file = File(desc='class indices on the network grid')


class ResampleTrainingLabels(SimpleInterface):
    """Resample labels from the T1w to the network's grid in one step."""

    input_spec = _ResampleTrainingLabelsInputSpec
    output_spec = _ResampleTrainingLabelsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        labels, grid = load_image(self.inputs.in_file), np.array(self.inputs.grid_affine)
        matrix = read_matrix(self.inputs.registration)
        if isdefined(self.inputs.rigid):
            matrix = invert(read_matrix(self.inputs.rigid, 't1w_to_scan')) @ matrix
        resampled = resample_labels_majority(
            labels.data.astype(np.uint8), labels.affine, self.inputs.grid_shape, grid, matrix
        )
        self._results['out_file'] = str(Path(runtime.cwd) / 'resampled.nii.gz')
        save_like(resampled, image_on_grid(resampled, grid), self._results['out_file'], np.uint8)
        return runtime


class _LabelAgreementInputSpec(BaseInterfaceInputSpec):
    preprocessed = File(exists=True, mandatory=True, desc='scan on the network grid, intensities in [0, 100]')
    labels = File(exists=True, mandatory=True, desc='class indices on the network grid')


class _LabelAgreementOutputSpec(TraitedSpec):
    agreement = traits.Float(desc='how well the labels fit the scan, [0, 1]')


class LabelAgreement(SimpleInterface):
    """Measure how well resampled labels fit the scan."""

    input_spec = _LabelAgreementInputSpec
    output_spec = _LabelAgreementOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan = load_image(self.inputs.preprocessed)
        self._results['agreement'] = label_agreement(scan.data, read_array(self.inputs.labels), scan.affine)
        return runtime


class _PairSinkInputSpec(BaseInterfaceInputSpec):
    image = File(exists=True, mandatory=True, desc='scan on the network grid, intensities in [0, 100]')
    labels = File(exists=True, mandatory=True, desc='class indices on the network grid')
    figure = File(exists=True, mandatory=True, desc='labels outlined on the scan')
    agreement = traits.Float(mandatory=True, desc='how well the labels fit the scan, [0, 1]')
    registration = File(exists=True, mandatory=True, desc='JSON with the matrix, reference to scan')
    rigid = File(exists=True, desc='JSON with the matrix, T1w to scan')
    record = traits.Instance(ImageRecord, mandatory=True, desc='the scan')
    output_dir = traits.Str(mandatory=True, desc='root of the derivatives')
    space = traits.Str(mandatory=True, desc='name of the reference')
    methods = traits.Str(mandatory=True, desc='how the pair is made, in words')
    origin = traits.Dict(desc='what the pair is made from: a later run compares it')


class _PairSinkOutputSpec(TraitedSpec):
    info = File(desc='JSON beside the pair; it is written last')


class PairSink(SimpleInterface):
    """Write a scan with its labels, their figure and what is known about them."""

    input_spec = _PairSinkInputSpec
    output_spec = _PairSinkOutputSpec
    _always_run = True  # the output folder is not this node's alone

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        paths = pair_paths(inputs.record, Path(inputs.output_dir), inputs.space)
        zipped = Path(runtime.cwd) / 'preprocessed.nii.gz'
        scan = load_image(inputs.image)
        save_like(scan.data, scan, zipped, np.float32)
        meanings = {'image': ('preprocessed', zipped), 'labels': ('training_labels', inputs.labels)}
        for name, (meaning, source) in meanings.items():
            copy_file(str(source), paths[name])
            about = {
                'Description': output_rules()['descriptions'][meaning],
                'Sources': [bids_uri(inputs.record)],
                'SpatialReference': inputs.space,
            }
            write_json(about, paths[name].with_name(paths[name].name.removesuffix('.nii.gz') + '.json'))
        copy_file(inputs.figure, paths['figure'])
        write_json(describe_pair(inputs), paths['info'])
        self._results['info'] = str(paths['info'])
        return runtime


def describe_pair(inputs: _PairSinkInputSpec) -> dict:
    """Gather what is known about a pair."""
    registration = json.loads(Path(inputs.registration).read_text())
    rigid = json.loads(Path(inputs.rigid).read_text()) if isdefined(inputs.rigid) else None
    return {
        'Description': output_rules()['descriptions']['training'],
        'Sources': [bids_uri(inputs.record)],
        'agreement': inputs.agreement,
        'registration': registration,
        'rigid': rigid or 'n/a: the labels lie on the scan by its own coordinates',
        'Units': {
            'agreement': 'squared local correlation, [0, 1]',
            'registration.reference_to_scan': 'RAS mm to RAS mm',
            'rigid.t1w_to_scan': 'RAS mm to RAS mm',
        },
        'Methods': inputs.methods,
        'origin': inputs.origin,
    }

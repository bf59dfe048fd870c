# SPDX-License-Identifier: Apache-2.0
"""Nodes that draw the figures of the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, SimpleInterface, TraitedSpec, traits

from ..core.resampling import resample
from ..figures.slices import alignment_figure, contours_figure, uncertainty_figure
from ..figures.thumbnail import thumbnail
from ..figures.viewer import viewer_figure
from ..imaging import load_grid, load_image
from .images import read_array


class _FigureOutputSpec(TraitedSpec):
    out_file = File(desc='SVG')


class _AlignmentFigureInputSpec(BaseInterfaceInputSpec):
    preprocessed = File(exists=True, mandatory=True, desc='scan on the network grid, intensities in [0, 100]')
    reference = File(mandatory=True, desc="the bundle's reference")
    reference_mask = File(mandatory=True, desc='brain mask on the grid of the reference')
    registration = File(exists=True, mandatory=True, desc='JSON with the similarity')


class AlignmentFigure(SimpleInterface):
    """Draw the aligned scan with the brain outline of the reference."""

    input_spec = _AlignmentFigureInputSpec
    output_spec = _FigureOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, reference = load_image(self.inputs.preprocessed), load_image(self.inputs.reference)
        shape, affine = reference.data.shape, reference.affine
        moved = resample(scan.data, scan.affine, shape, affine, np.eye(4), order=1)
        mask = load_image(self.inputs.reference_mask).data > 0.5
        quality = json.loads(Path(self.inputs.registration).read_text())['similarity']
        self._results['out_file'] = str(Path(runtime.cwd) / 'alignment.svg')
        alignment_figure(moved, reference.data, mask, affine, self._results['out_file'], quality=quality)
        return runtime


class _ContoursFigureInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    dseg = File(exists=True, mandatory=True, desc="labels on the scan's own grid")


class ContoursFigure(SimpleInterface):
    """Outline the structures on the scan."""

    input_spec = _ContoursFigureInputSpec
    output_spec = _FigureOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, labels = read_array(self.inputs.in_file), read_array(self.inputs.dseg)
        self._results['out_file'] = str(Path(runtime.cwd) / 'contours.svg')
        contours_figure(scan, labels, load_grid(self.inputs.in_file).affine, self._results['out_file'])
        return runtime


class _ThumbnailOutputSpec(TraitedSpec):
    out_file = File(desc='JPEG')


class Thumbnail(SimpleInterface):
    """Draw the small picture of the group page."""

    input_spec = _ContoursFigureInputSpec
    output_spec = _ThumbnailOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, labels = read_array(self.inputs.in_file), read_array(self.inputs.dseg)
        self._results['out_file'] = str(Path(runtime.cwd) / 'thumbnail.jpg')
        thumbnail(scan, labels, load_grid(self.inputs.in_file).affine, self._results['out_file'])
        return runtime


class _UncertaintyFigureInputSpec(_ContoursFigureInputSpec):
    uncertainty = File(exists=True, mandatory=True, desc="normalized entropy on the scan's own grid, [0, 1]")
    limits = traits.List(traits.Float, desc='entropy of each class that is still usual; none if not known')


class UncertaintyFigure(SimpleInterface):
    """Lay the uncertainty over the scan."""

    input_spec = _UncertaintyFigureInputSpec
    output_spec = _FigureOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, labels = read_array(self.inputs.in_file), read_array(self.inputs.dseg)
        entropy, affine = read_array(self.inputs.uncertainty), load_grid(self.inputs.in_file).affine
        self._results['out_file'] = str(Path(runtime.cwd) / 'uncertainty.svg')
        limits = self.inputs.limits or None
        uncertainty_figure(scan, entropy, labels, affine, self._results['out_file'], limits=limits)
        return runtime


class _ViewerFigureOutputSpec(TraitedSpec):
    out_file = File(desc='JSON with the mosaics of the viewer')


class ViewerFigure(SimpleInterface):
    """Lay out what the interactive viewer shows."""

    input_spec = _UncertaintyFigureInputSpec
    output_spec = _ViewerFigureOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        scan, labels = read_array(self.inputs.in_file), read_array(self.inputs.dseg)
        entropy, affine = read_array(self.inputs.uncertainty), load_grid(self.inputs.in_file).affine
        self._results['out_file'] = str(Path(runtime.cwd) / 'viewer.json')
        limits = self.inputs.limits or None
        viewer_figure(scan, labels, entropy, affine, self._results['out_file'], limits=limits)
        return runtime

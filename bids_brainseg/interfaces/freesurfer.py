# SPDX-License-Identifier: Apache-2.0
"""Nodes that say the same in the terms of other programs: FreeSurfer's numbers and statistics, a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, SimpleInterface, TraitedSpec, traits

from ..bids.aseg_stats import AsegRow, aseg_stats
from ..core.aseg import global_measures, label_intensities
from ..core.geometry import voxel_volume
from ..core.labels import brain_mask
from ..data import label_table
from ..files import as_float, read_rows, write_text
from ..imaging import Image, load_grid, save_like
from ..records import ImageRecord, Provenance
from .images import read_array


class _LabelImageInputSpec(BaseInterfaceInputSpec):
    dseg = File(exists=True, mandatory=True, desc="class indices on the scan's own grid")


class _LabelImageOutputSpec(TraitedSpec):
    out_file = File(desc="on the scan's own grid, uint8, compressed")


class _LabelImage(SimpleInterface):
    """Make another image of a label image."""

    input_spec = _LabelImageInputSpec
    output_spec = _LabelImageOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image = load_grid(self.inputs.dseg)
        made = self._image(read_array(self.inputs.dseg), image)
        self._results['out_file'] = str(Path(runtime.cwd) / f'{type(self).__name__.lower()}.nii.gz')
        save_like(made, image, self._results['out_file'], np.uint8)
        return runtime

    def _image(self, labels: np.ndarray, image: Image) -> np.ndarray:
        raise NotImplementedError


class FreeSurferLabels(_LabelImage):
    """Turn class indices into FreeSurfer's numbers."""

    def _image(self, labels: np.ndarray, image: Image) -> np.ndarray:
        return np.array([label.freesurfer for label in label_table()], np.uint8)[labels]


class BrainMask(_LabelImage):
    """Enclose the brain with its fluid."""

    def _image(self, labels: np.ndarray, image: Image) -> np.ndarray:
        return brain_mask(labels, image.affine)


class _AsegStatsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='checked scan')
    dseg = File(exists=True, mandatory=True, desc="class indices on the scan's own grid")
    morph = File(exists=True, mandatory=True, desc='table of volumes')
    record = traits.Instance(ImageRecord, mandatory=True, desc='the scan')
    provenance = traits.Instance(Provenance, mandatory=True, desc='how it was segmented')


class _AsegStatsOutputSpec(TraitedSpec):
    out_file = File(desc="statistics of the segmentation, in FreeSurfer's format")


class AsegStats(SimpleInterface):
    """Write the volumes, and the intensities in each structure, as FreeSurfer's ``aseg.stats``."""

    input_spec = _AsegStatsInputSpec
    output_spec = _AsegStatsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image = load_grid(self.inputs.in_file)
        labels = label_table()[1:]
        volumes = {row['name']: as_float(row['volume_mm3']) for row in read_rows(self.inputs.morph)}
        measured = label_intensities(
            read_array(self.inputs.in_file), read_array(self.inputs.dseg), len(label_table())
        )
        rows = [
            AsegRow(label, int(count), volumes[label.name], *map(float, intensities))
            for label, count, *intensities in zip(labels, *(values[1:] for values in measured), strict=True)
        ]
        text = aseg_stats(
            self.inputs.record,
            rows,
            global_measures({label.name: volumes[label.name] for label in labels}, volumes['eTIV']),
            voxel_mm3=voxel_volume(image.affine),
            provenance=self.inputs.provenance,
        )
        self._results['out_file'] = str(write_text(text, Path(runtime.cwd) / 'aseg.stats'))
        return runtime

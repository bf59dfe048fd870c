# SPDX-License-Identifier: Apache-2.0
"""Sinks: put one file under its final name, whole, with what describes it beside it.

They are not a subclass of niworkflows' ``DerivativesDataSink``: that one builds names by patterns that know
no CT and not every entity, copies onto the final name, and imports TemplateFlow. The names here come from
:mod:`bids_brainseg.bids.paths` and keep every entity of the scan; each file is written whole or not at all.
"""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from ..bids.paths import figure_path, output_path, xfm_path
from ..bids.sidecars import FREESURFER_SEG, freesurfer_keys, morph_dictionary, sidecar, xfm_sidecar
from ..files import copy_file, write_json
from ..records import ImageRecord, Provenance


class _SinkInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='what to write')
    record = traits.Instance(ImageRecord, mandatory=True, desc='the scan it comes from')
    output_dir = traits.Str(mandatory=True, desc='root of the derivatives')
    provenance = traits.Instance(Provenance, desc='how it was made; without it no sidecar is written')


class _SinkOutputSpec(TraitedSpec):
    out_file = File(desc='path of the derivative')


class _Sink(SimpleInterface):
    """What all sinks do; they always run, since others may change the output folder."""

    input_spec = _SinkInputSpec
    output_spec = _SinkOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Bunch) -> Bunch:
        target = copy_file(self.inputs.in_file, self._target())
        if isdefined(self.inputs.provenance):
            described = self._description(self.inputs.provenance)
            write_json(described, target.parent / f'{target.name.partition(".")[0]}.json')
        self._results['out_file'] = str(target)
        return runtime

    def _target(self) -> Path:
        raise NotImplementedError

    def _extension(self) -> str | None:
        return self.inputs.extension if isdefined(self.inputs.extension) else None

    def _description(self, provenance: Provenance) -> dict:
        raise NotImplementedError


class _DerivativeSinkInputSpec(_SinkInputSpec):
    suffix = traits.Enum(
        'dseg',
        'probseg',
        'uncertainty',
        'morph',
        'qc',
        'agreement',
        'mask',
        'aseg',
        mandatory=True,
        desc='kind of derivative',
    )
    extension = traits.Str(desc='of the file name; the usual one of the suffix if not given')
    entities = traits.Dict(desc='entities that are not the usual ones: of another space, of other numbers')
    spatial_reference = traits.Str(desc='what the space is that of')


class DerivativeSink(_Sink):
    """Write an image or a table of a scan."""

    input_spec = _DerivativeSinkInputSpec

    def _target(self):
        return output_path(
            self.inputs.record,
            Path(self.inputs.output_dir),
            suffix=self.inputs.suffix,
            extension=self._extension(),
            **self._entities(),
        )

    def _entities(self):
        return self.inputs.entities if isdefined(self.inputs.entities) else {}

    def _description(self, provenance: Provenance) -> dict:
        if self.inputs.suffix == 'morph':
            return morph_dictionary(self.inputs.record, provenance=provenance)
        changes = freesurfer_keys() if self._entities().get('seg') == FREESURFER_SEG else {}
        if isdefined(self.inputs.spatial_reference):
            changes['SpatialReference'] = self.inputs.spatial_reference
            changes['Description'] = f'Resampled from the network grid onto {self.inputs.spatial_reference}.'
            if 'res' in self._entities():  # which BIDS then requires
                changes['Resolution'] = f'The grid of {self.inputs.spatial_reference}.'
        return sidecar(self.inputs.record, suffix=self.inputs.suffix, provenance=provenance, **changes)


class _DocumentSinkInputSpec(_DerivativeSinkInputSpec):
    methods = traits.Str(mandatory=True, desc='how the scan was processed, in words')


class DocumentSink(DerivativeSink):
    """Write a JSON document of a scan, together with the methods text of the graph that made it."""

    input_spec = _DocumentSinkInputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        document = json.loads(Path(self.inputs.in_file).read_text())
        target = write_json({**document, 'Methods': self.inputs.methods}, self._target())
        self._results['out_file'] = str(target)
        return runtime


class _TransformSinkInputSpec(_SinkInputSpec):
    reference = traits.Str(mandatory=True, desc='name of the reference')
    inverse = traits.Bool(False, usedefault=True, desc='from the reference to the scan')
    extension = traits.Str(desc='of the file name; .txt if not given')


class TransformSink(_Sink):
    """Write one direction of the affine between a scan and the reference."""

    input_spec = _TransformSinkInputSpec

    def _ends(self):
        return {'reference': self.inputs.reference, 'inverse': self.inputs.inverse}

    def _target(self):
        folder, extension = Path(self.inputs.output_dir), self._extension()
        return xfm_path(self.inputs.record, folder, extension=extension, **self._ends())

    def _description(self, provenance: Provenance) -> dict:
        return xfm_sidecar(self.inputs.record, provenance=provenance, **self._ends())


class _FigureSinkInputSpec(_SinkInputSpec):
    kind = traits.Str(mandatory=True, desc='key of `figures` in outputs.json')


class FigureSink(_Sink):
    """Write a figure of the report."""

    input_spec = _FigureSinkInputSpec

    def _target(self):
        return figure_path(self.inputs.record, Path(self.inputs.output_dir), kind=self.inputs.kind)

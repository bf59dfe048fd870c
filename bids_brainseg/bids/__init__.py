# SPDX-License-Identifier: Apache-2.0
"""The BIDS side: which scans there are, and how the outputs are named and described.

``query`` and its helpers read a dataset; ``derivatives``, ``sidecars`` and ``files`` say what is written;
``outputs`` finds again what was written. Importing this loads neither pybids nor pandas.
"""

from __future__ import annotations

from .derivatives import bids_uri, figure_path, output_path, scan_label, write_dataset_files, xfm_path
from .files import write_json, write_text, write_tsv
from .filters import load_filters
from .layout import check_dataset
from .outputs import ScanOutputs, list_outputs
from .query import find_images
from .records import ImageRecord
from .sidecars import Provenance, morph_dictionary, morph_table, qc_document, sidecar, xfm_sidecar
from .validation import log_findings, validation_findings

__all__ = [
    'ImageRecord',
    'Provenance',
    'ScanOutputs',
    'bids_uri',
    'check_dataset',
    'figure_path',
    'find_images',
    'list_outputs',
    'load_filters',
    'log_findings',
    'morph_dictionary',
    'morph_table',
    'output_path',
    'qc_document',
    'scan_label',
    'sidecar',
    'validation_findings',
    'write_dataset_files',
    'write_json',
    'write_text',
    'write_tsv',
    'xfm_path',
    'xfm_sidecar',
]

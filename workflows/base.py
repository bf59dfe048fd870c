# SPDX-License-Identifier: Apache-2.0
"""The two top factories, the only ones that know the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from ..interfaces.agreement import ResampleReferenceLabels
from ..interfaces.images import CheckImage
from ..interfaces.training import TrainingClasses
from ..records import PRECISIONS, Bundle, ImageRecord, Template
from ..settings import Settings, graph_name
from .scan import init_scan_wf

#: GB that any step may take: Python, nipype and NumPy alone are a tenth, a table or a figure as much again.
SMALLEST_GB = 0.5
#: Interfaces that take files of the user.
READ_FROM_OUTSIDE = (CheckImage, ResampleReferenceLabels, TrainingClasses)


def init_brainseg_wf(
    *,
    settings: Settings,
    records: Sequence[ImageRecord],
    bundles: Mapping[str, Bundle],
    comparisons: Mapping[tuple[str, str], Mapping] | None = None,
    templates: Mapping[str, Sequence[Template]] | None = None,
    name: str = graph_name('brainseg'),
) -> Workflow:
    """Build the graph of a run: one workflow per subject.

    Parameters
    ----------
    settings : Settings
        Of the run.
    records : sequence of ImageRecord
        The scans, those of a subject one after the other.
    bundles : mapping
        From modality to Bundle.
    comparisons : mapping, optional
        From subject and key of a scan to what an evaluation does beside segmenting it: `labels` and `corrupt`
        of :func:`bids_brainseg.workflows.scan.init_scan_wf`.
    templates : mapping, optional
        From modality to the templates in whose spaces the segmentation is wanted as well.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> settings = Settings(Path('data'), Path('out'), Path('work'))
    >>> bundles = {'T1w': example_bundle()}
    >>> wf = init_brainseg_wf(settings=settings, records=[example_record()], bundles=bundles)
    >>> wf.list_node_names()[0]
    'sub_01_wf.T1w_wf.check_wf.check'
    """
    workflow = Workflow(name=name, base_dir=str(settings.work_dir))
    workflow.add_nodes(
        [
            init_subject_wf(
                settings=settings,
                records=list(own),
                bundles=bundles,
                comparisons=comparisons,
                templates=templates,
                name=subject_wf_name(subject),
            )
            for subject, own in groupby(records, key=lambda record: record.subject)
        ]
    )
    return workflow


def init_subject_wf(
    *,
    settings: Settings,
    records: Sequence[ImageRecord],
    bundles: Mapping[str, Bundle],
    comparisons: Mapping[tuple[str, str], Mapping] | None = None,
    templates: Mapping[str, Sequence[Template]] | None = None,
    name: str = 'subject_wf',
) -> Workflow:
    """Build the part of one subject: one workflow per scan, which do not depend on each other.

    Parameters
    ----------
    settings : Settings
        Of the run.
    records : sequence of ImageRecord
        The scans of the subject.
    bundles : mapping
        From modality to Bundle.
    comparisons : mapping, optional
        From subject and key of a scan to what an evaluation does beside segmenting it: `labels` and `corrupt`
        of :func:`bids_brainseg.workflows.scan.init_scan_wf`.
    templates : mapping, optional
        From modality to the templates in whose spaces the segmentation is wanted as well.

    Examples
    --------
    >>> from bids_brainseg.workflows.examples import example_bundle, example_record
    >>> settings = Settings(Path('data'), Path('out'), Path('work'))
    >>> wf = init_subject_wf(settings=settings, records=[example_record()], bundles={'T1w': example_bundle()})
    """
    workflow = Workflow(name=name)
    for record in records:
        scan_wf = init_scan_wf(
            record=record,
            bundle=bundles[record.modality],
            output_dir=settings.output_dir,
            random_seed=settings.random_seed,
            precision=settings.precision or PRECISIONS[0],
            label_resampling=settings.label_resampling,
            save_probseg=settings.save_probseg,
            templates=(templates or {}).get(record.modality, ()),
            device=settings.device,
            use_gpu=settings.device != 'cpu',
            threads=settings.omp_nthreads,
            heavy_gb=settings.mem_gb if settings.low_mem else None,
            **(comparisons or {}).get((record.subject, record.key), {}),
            name=scan_wf_name(record),
        )
        configure_nodes(scan_wf, settings.log_dir(record.subject, record.session))
        workflow.add_nodes([scan_wf])
    return workflow


def subject_wf_name(subject: str) -> str:
    """Name the workflow of a subject, and its part of the work folder.

    >>> subject_wf_name('01+a')
    'sub_01plusa_wf'
    """
    return 'sub_' + re.sub(r'\W', '_', subject.replace('+', 'plus'), flags=re.ASCII) + '_wf'


def scan_wf_name(record: ImageRecord) -> str:
    """Name the workflow of a scan within its subject."""
    return f'{record.key}_wf'


def configure_nodes(workflow: Workflow, folder: Path) -> None:
    """Say where crash files go, how inputs are compared with those of the last run, and the least memory.

    Nipype has both per node, or for the whole run, but not per workflow. Files of the
    user are compared by content, so a copied or touched scan counts as unchanged. Files of other nodes are
    compared by time and size: hashing their content for every node would cost seconds per scan.
    """
    for node in workflow._get_all_nodes():
        method = 'content' if isinstance(node.interface, READ_FROM_OUTSIDE) else 'timestamp'
        node.config = {'execution': {'crashdump_dir': str(folder), 'hash_method': method}}
        node._mem_gb = max(node.mem_gb, SMALLEST_GB)

# SPDX-License-Identifier: Apache-2.0
"""The methods text names what is in the graph, with its parameters, and nothing else."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from nipype import __version__ as nipype_version
from nipype.pipeline.engine.utils import generate_expanded_graph

from bids_brainseg import __version__
from bids_brainseg.pages.methods import references, write_citations
from bids_brainseg.workflows.examples import (
    example_bundle,
    example_case,
    example_labels,
    example_record,
    example_template,
)
from bids_brainseg.workflows.scan import init_scan_wf
from bids_brainseg.workflows.training import init_case_wf

CARD = {'training': {'data': 'label maps of the SynthSeg repository'}}


def text_of(*, record=None, bundle=None, **options) -> str:
    workflow = init_scan_wf(
        record=record or example_record(),
        bundle=bundle or example_bundle(),
        output_dir=Path('out'),
        **options,
    )
    graph = generate_expanded_graph(workflow._create_flat_graph())
    (sink,) = (node for node in graph.nodes() if node.name == 'ds_qc')
    assert sink.inputs.methods == workflow.visit_desc()
    return sink.inputs.methods


@pytest.mark.parametrize(
    ('modality', 'mc_samples', 'label_resampling', 'save_probseg'),
    product(('T1w', 'ct'), (0, 1, 7), ('posterior', 'nearest'), (False, True)),
)
def test_text_follows_the_parameters(modality, mc_samples, label_resampling, save_probseg):
    bundle = example_bundle(
        name='net',
        version='2.1.0',
        mc_samples=mc_samples,
        cv_threshold=9.5,
        sha256={'weights.safetensors': 'ab' * 32}
        | dict.fromkeys(('reference.nii.gz', 'mask.nii.gz'), '0' * 64),
    )
    text = text_of(
        record=example_record(modality=modality), bundle=bundle, random_seed=3,
        label_resampling=label_resampling, save_probseg=save_probseg,
    )  # fmt: skip
    shared, _, own = text.partition('\n')
    assert f'bids_brainseg {__version__}' in shared and f'nipype {nipype_version}' in shared
    assert own.startswith('Each scan was aligned to the reference BrainsegAdult')
    assert all(line.endswith('.') for line in own.splitlines())
    assert modality not in text.split()  # or modalities could not share sentences
    for phrase, there in {
        'model net 2.1.0 (SHA-256 abababababab)': True,
        '112 x 144 x 128 voxels of 1.4 x 1.4 x 1.4 mm': True,
        'percentiles 1 and 99 of the head': True,
        f'the mean of {mc_samples} passes with dropout active': mc_samples > 0,
        'seed 3; @gal2016], half of which saw the scan mirrored': mc_samples > 0,
        'in one pass without dropout': mc_samples == 0,
        'Coefficients above 9.5 % are marked.': mc_samples > 1,
        'interpolated linearly onto the grid of the scan, where each voxel': label_resampling == 'posterior',
        'by nearest neighbor': label_resampling == 'nearest',
        'The mean probability of each structure was interpolated': save_probseg,
        '@billot2023': False,
        'template': False,
        'reference labels': False,
        'averaged': False,
    }.items():
        assert (phrase in own) is there, phrase


@pytest.mark.parametrize(
    ('options', 'phrase'),
    [
        ({'templates': [example_template()]}, 'The template MNI152NLin2009cAsym was aligned'),
        ({'labels': example_labels()}, 'compared with reference labels'),
        ({'corrupt': {'kind': 'noise', 'severity': 0.5}}, 'corrupted on purpose'),
        ({'record': example_record(modality='dwi', volumes=(1, 2))}, 'volumes of each series were averaged'),
        (
            {'bundle': example_bundle(card=CARD)},
            'synthetic scans generated from label maps [after @billot2023]',
        ),
        (
            {'bundle': example_bundle(intensity={'type': 'window', 'low': 0, 'high': 80})},
            'the window from 0 to 80 was scaled',
        ),
        (
            {
                'bundle': example_bundle(
                    intensity={'type': 'percentile', 'low': 0.5, 'high': 98, 'region': 'cavity'}
                )
            },
            'percentile 0.5 of all voxels to percentile 98 of the brain',
        ),
    ],
)
def test_a_branch_adds_its_own_sentence(options, phrase):
    assert phrase in text_of(**options)
    assert phrase not in text_of()


def test_everything_cited_is_in_the_bibliography():
    text = text_of(
        bundle=example_bundle(card=CARD, volume_errors={'factor': 2.0}),
        save_probseg=True,
        labels=example_labels(),
        templates=[example_template()],
    )
    written = write_citations(text)  # raises for a key that is not known
    assert '@' not in written and '[' not in written.replace('[0, 100]', '')
    assert all(f'@{key}' in text for key in references())


def test_scans_that_are_processed_alike_share_their_text():
    assert text_of(record=example_record(subject='01')) == text_of(
        record=example_record(subject='02', session='b')
    )


@pytest.mark.parametrize(('t1w', 'there'), [(None, False), (Path('/data/sub-01_T1w.nii.gz'), True)])
def test_training_pairs_have_a_text_too(t1w, there):
    case = example_case(record=example_record('FLAIR'), t1w=t1w)
    workflow = init_case_wf(case=case, base=example_bundle(), output_dir=Path('out'), origin={})
    graph = generate_expanded_graph(workflow._create_flat_graph())
    (sink,) = (node for node in graph.nodes() if node.name == 'ds_pair')
    text = sink.inputs.methods
    assert text.startswith('Each scan was aligned to the reference BrainsegAdult')
    assert ('registered to the scan by a rigid transform' in text) is there
    assert 'The labels were resampled to the same grid' in text
    write_citations(text)

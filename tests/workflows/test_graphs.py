# SPDX-License-Identifier: Apache-2.0
"""Graphs are expanded, and the joints that matter are looked at."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from bids_brainseg.records import PackagedAlignment
from bids_brainseg.settings import Settings, graph_name
from bids_brainseg.workflows.base import init_brainseg_wf, subject_wf_name
from bids_brainseg.workflows.examples import (
    example_bundle,
    example_case,
    example_labels,
    example_record,
    example_template,
)
from bids_brainseg.workflows.training import init_training_wf

STEPS = {
    'check_wf.check', 'preprocessing_wf.coregister', 'preprocessing_wf.preprocess', 'segmentation_wf.segment',
    'segmentation_wf.resample_to_scan', 'measure',
    'derivatives_wf.ds_transforms_wf.transforms', 'derivatives_wf.ds_dseg', 'derivatives_wf.ds_uncertainty',
    'derivatives_wf.ds_morph', 'derivatives_wf.ds_qc',
    'derivatives_wf.ds_transforms_wf.ds_xfm', 'derivatives_wf.ds_transforms_wf.ds_xfm_inverse',
    'derivatives_wf.ds_transforms_wf.ds_xfm_lta',
    'ds_freesurfer_wf.numbers', 'ds_freesurfer_wf.brain_mask', 'ds_freesurfer_wf.statistics',
    'ds_freesurfer_wf.ds_aseg', 'ds_freesurfer_wf.ds_mask', 'ds_freesurfer_wf.ds_stats',
    'figures_wf.alignment', 'figures_wf.contours', 'figures_wf.viewer', 'figures_wf.uncertainty',
    'figures_wf.ds_alignment', 'figures_wf.ds_contours', 'figures_wf.ds_viewer', 'figures_wf.ds_uncertainty',
    'figures_wf.thumbnail', 'figures_wf.ds_thumbnail',
}  # fmt: skip
SCANS = {
    'T1w': {'modality': 'T1w'},
    'FLAIR': {'modality': 'FLAIR'},
    'dwi': {'modality': 'dwi', 'volumes': (1, 2, 3)},
    'ct': {'modality': 'ct'},
}
IDENTITY = tuple(tuple(map(float, row)) for row in np.eye(4))
WINDOW = {'type': 'window', 'low': 0.0, 'high': 80.0}
BUNDLES = {
    name: example_bundle(modality=name, **({'intensity': WINDOW} if name == 'ct' else {})) for name in SCANS
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv('NIPYPE_NO_ET', '1')
    return Settings(
        tmp_path / 'in', tmp_path / 'out', tmp_path / 'work', run_uuid='run', omp_nthreads=3, mem_gb=9.0
    )


def scan(name: str, subject: str = '01', session: str | None = None):
    return example_record(subject=subject, session=session, **SCANS[name])


def expanded(settings, records, **more) -> dict:
    """Nodes of the graph that would run, by name below the run's workflow, and the graph itself."""
    workflow = init_brainseg_wf(settings=settings, records=records, bundles=BUNDLES, **more)
    graph = generate_expanded_graph(workflow._create_flat_graph())
    nodes = {node.fullname.removeprefix(f"{graph_name('brainseg')}."): node for node in graph.nodes()}
    return nodes, graph


@pytest.mark.parametrize(
    ('name', 'sessions', 'device'), product(SCANS, ([None], ['1', '2', 'b']), ('cpu', 'gpu'))
)
def test_every_scan_has_every_step(settings, name, sessions, device):
    settings = replace(settings, device=device)
    nodes, graph = expanded(settings, [scan(name, session=session) for session in sessions])
    parts = [f'sub_01_wf.{f"ses_{session}_" if session else ""}{name}_wf' for session in sessions]
    assert set(nodes) == {f'{part}.{step}' for part in parts for step in STEPS}
    # One scan, one island: no scan waits for, or falls with, another one.
    assert nx.number_weakly_connected_components(graph) == len(sessions)
    for part in parts:
        segment = nodes[f'{part}.segmentation_wf.segment']
        assert segment.is_gpu_node() is (device == 'gpu')
        assert segment.n_procs == (1 if device == 'gpu' else 3)  # on a GPU these are GPU slots
        assert segment.inputs.device == device
        check = nodes[f'{part}.check_wf.check'].inputs
        assert check.modality == name
        assert check.volumes == ([1, 2, 3] if name == 'dwi' else [])


def wired(graph, nodes, source: str, target: str) -> list[tuple[str, str]]:
    data = graph.get_edge_data(nodes[source], nodes[target], default={'connect': []})
    return sorted((out if isinstance(out, str) else out[0], field) for out, field in data['connect'])


def test_both_directions_come_from_one_registration(settings):
    nodes, graph = expanded(settings, [scan('T1w')])
    part = 'sub_01_wf.T1w_wf.'
    coregister = f'{part}preprocessing_wf.coregister'
    for step in (
        'preprocessing_wf.preprocess',
        'segmentation_wf.resample_to_scan',
        'measure',
        'derivatives_wf.ds_transforms_wf.transforms',
        'figures_wf.alignment',
    ):
        assert wired(graph, nodes, coregister, part + step) == [('registration', 'registration')], step
    sinks = f'{part}derivatives_wf.ds_transforms_wf.'
    transforms = f'{sinks}transforms'
    assert wired(graph, nodes, transforms, f'{sinks}ds_xfm') == [('scan_to_reference', 'in_file')]
    assert wired(graph, nodes, transforms, f'{sinks}ds_xfm_inverse') == [('reference_to_scan', 'in_file')]
    assert nodes[f'{sinks}ds_xfm'].inputs.inverse is False
    assert nodes[f'{sinks}ds_xfm_inverse'].inputs.inverse is True


def test_what_was_segmented_is_what_is_measured_and_written(settings):
    nodes, graph = expanded(settings, [scan('T1w')])
    part = 'sub_01_wf.T1w_wf.'
    segment, resample = f'{part}segmentation_wf.segment', f'{part}segmentation_wf.resample_to_scan'
    for source, target, fields in (
        (f'{part}preprocessing_wf.preprocess', segment, [('out_file', 'in_file')]),
        (segment, resample, [('posterior', 'posterior'), ('uncertainty', 'uncertainty')]),
        (segment, f'{part}measure', [('posterior', 'posterior'), ('samples', 'samples')]),
        (resample, f'{part}measure', [('dseg', 'dseg'), ('uncertainty', 'uncertainty')]),
        (f'{part}check_wf.check', f'{part}measure', [('facts', 'facts'), ('out_file', 'in_file')]),
        (resample, f'{part}derivatives_wf.ds_dseg', [('dseg_gz', 'in_file')]),
        (resample, f'{part}derivatives_wf.ds_uncertainty', [('uncertainty_gz', 'in_file')]),
        (f'{part}measure', f'{part}derivatives_wf.ds_dseg', [('provenance', 'provenance')]),
        (f'{part}measure', f'{part}derivatives_wf.ds_qc', [('qc', 'in_file')]),
    ):
        assert wired(graph, nodes, source, target) == fields, (source, target)


def test_probabilities_only_on_request(settings):
    nodes, graph = expanded(replace(settings, save_probseg=True), [scan('T1w')])
    part = 'sub_01_wf.T1w_wf.'
    added = {f'{part}ds_probseg_wf.probabilities', f'{part}ds_probseg_wf.ds_probseg'}
    assert set(nodes) == {part + step for step in STEPS} | added
    assert wired(graph, nodes, f'{part}segmentation_wf.segment', f'{part}ds_probseg_wf.probabilities') == [
        ('posterior', 'posterior')
    ]


def test_a_template_gets_labels_and_no_uncertainty_that_nobody_writes(settings):
    nodes, graph = expanded(settings, [scan('T1w')], templates={'T1w': [example_template()]})
    part = 'sub_01_wf.T1w_wf.'
    added = {name.removeprefix(part) for name in nodes} - STEPS
    (own,) = {name.partition('.')[0] for name in added}
    assert {f'{own}.check', f'{own}.coregister', f'{own}.resample_to_scan', f'{own}.ds_dseg'} <= added
    segment, resample = f'{part}segmentation_wf.segment', f'{part}{own}.resample_to_scan'
    assert wired(graph, nodes, segment, resample) == [('posterior', 'posterior')]
    assert wired(graph, nodes, resample, f'{part}{own}.ds_dseg') == [('dseg_gz', 'in_file')]
    assert wired(graph, nodes, f'{part}check_wf.check', f'{part}{own}.ds_transforms_wf.transforms') == [
        ('out_file', 'in_file')
    ]


def test_a_packaged_template_is_not_registered(settings):
    plain = PackagedAlignment(IDENTITY, (2, 2, 2), IDENTITY)
    template = example_template(packaged=plain, path=Path('tpl-X_T1w.nii.gz'))
    nodes, graph = expanded(settings, [scan('T1w')], templates={'T1w': [template]})
    part = 'sub_01_wf.T1w_wf.'
    own = 'template_MNI152NLin2009cAsym_wf'
    added = {name.removeprefix(part) for name in nodes} - STEPS
    assert not {f'{own}.check', f'{own}.coregister'} & added
    packaged = f'{part}{own}.packaged'
    resample = f'{part}{own}.resample_to_scan'
    assert wired(graph, nodes, packaged, resample) == [('grid', 'in_file'), ('registration', 'registration')]
    assert wired(graph, nodes, packaged, f'{part}{own}.ds_transforms_wf.transforms') == [
        ('grid', 'reference'),
        ('registration', 'onward'),
    ]


def test_bundle_and_settings_reach_the_nodes(settings):
    settings = replace(settings, random_seed=7, label_resampling='nearest', precision='mixed_bfloat16')
    nodes, _ = expanded(settings, [scan('T1w'), scan('ct')])
    for name in ('T1w', 'ct'):
        part = f'sub_01_wf.{name}_wf.'
        assert nodes[f'{part}segmentation_wf.segment'].inputs.random_seed == 7
        assert nodes[f'{part}segmentation_wf.segment'].inputs.precision == 'mixed_bfloat16'
        assert nodes[f'{part}measure'].inputs.provenance.precision == 'mixed_bfloat16'
        assert nodes[f'{part}segmentation_wf.segment'].inputs.mc_samples == 15
        assert nodes[f'{part}preprocessing_wf.coregister'].inputs.random_seed == 7
        assert nodes[f'{part}segmentation_wf.resample_to_scan'].inputs.method == 'nearest'
    assert nodes['sub_01_wf.ct_wf.preprocessing_wf.preprocess'].inputs.intensity == WINDOW
    assert nodes['sub_01_wf.ct_wf.preprocessing_wf.coregister'].inputs.window == (0.0, 80.0)


def test_low_memory_leaves_one_heavy_step_at_a_time(settings):
    nodes, _ = expanded(replace(settings, low_mem=True), [scan('T1w')])
    heavy = {name.rpartition('.')[2] for name, node in nodes.items() if node.mem_gb == settings.mem_gb}
    assert {'check', 'coregister', 'preprocess', 'segment', 'resample_to_scan', 'contours'} <= heavy


def test_crash_files_lie_with_their_scan(settings):
    nodes, _ = expanded(settings, [scan('T1w', session='1'), scan('FLAIR', session='2')])
    for name, node in nodes.items():
        session = 'ses-1' if '.ses_1_' in name else 'ses-2'
        folder = settings.output_dir / 'sub-01' / session / 'log' / 'run'
        assert node.config['execution']['crashdump_dir'] == str(folder), name


def test_names_stay_apart():
    assert subject_wf_name('01') == 'sub_01_wf'
    assert subject_wf_name('a+b') != subject_wf_name('ab')


@pytest.mark.parametrize(
    ('step', 'field', 'value', 'same'),
    [
        ('segmentation_wf.segment', 'use_gpu', True, True),
        ('segmentation_wf.segment', 'device', 'gpu', True),
        ('segmentation_wf.segment', 'num_threads', 7, True),
        ('preprocessing_wf.preprocess', 'num_threads', 7, True),
        ('segmentation_wf.segment', 'bundle', '/elsewhere', True),
        ('segmentation_wf.segment', 'random_seed', 1, False),
        ('segmentation_wf.segment', 'mc_samples', 3, False),
        ('segmentation_wf.segment', 'precision', 'mixed_bfloat16', False),
        ('segmentation_wf.segment', 'mirrored', False, False),
        ('segmentation_wf.segment', 'weights_sha256', 'f' * 64, False),
        ('preprocessing_wf.coregister', 'random_seed', 1, False),
        ('preprocessing_wf.coregister', 'reference', '/elsewhere/reference.nii.gz', True),
        ('preprocessing_wf.coregister', 'reference_mask', '/elsewhere/mask.nii.gz', True),
        ('preprocessing_wf.coregister', 'reference_sha256', ('f' * 64, 'f' * 64), False),
        ('segmentation_wf.resample_to_scan', 'method', 'nearest', False),
    ],
)
def test_the_cache_knows_what_changes_the_result(settings, step, field, value, same):
    nodes, _ = expanded(settings, [scan('T1w')])
    node = nodes[f'sub_01_wf.T1w_wf.{step}']
    before = node.inputs.get_hashval()[1]
    setattr(node.inputs, field, value)
    assert (node.inputs.get_hashval()[1] == before) is same


def test_an_evaluation_adds_a_comparison_and_changes_nothing_before_it(settings):
    record = scan('T1w')
    workflows = [
        init_brainseg_wf(settings=settings, records=[record], bundles=BUNDLES, comparisons=comparisons)
        for comparisons in (None, {('01', 'T1w'): {'labels': example_labels()}})
    ]
    plain, evaluated = (
        {node.fullname: node for node in generate_expanded_graph(workflow._create_flat_graph()).nodes()}
        for workflow in workflows
    )
    added = {name.rpartition('T1w_wf.')[2] for name in evaluated.keys() - plain.keys()}
    assert added == {
        f'agreement_wf.{step}'
        for step in ('resample_labels', 'compare', 'figure', 'ds_agreement', 'ds_document', 'ds_figure')
    }
    folder = '/sub-01/log/run'
    for name, node in evaluated.items():
        assert node.config['execution']['crashdump_dir'].endswith(folder)
        if name.endswith('ds_qc'):  # a sink, which always runs: its text tells of the comparison
            assert 'reference labels' in node.inputs.methods
        elif name in plain:
            assert node.inputs.get_hashval()[1] == plain[name].inputs.get_hashval()[1]
            places = [one.output_dir().partition(graph_name('brainseg'))[2] for one in (node, plain[name])]
            assert places[0] == places[1]


def test_a_corrupted_scan_is_what_everything_after_the_check_sees(settings):
    corrupt = {'kind': 'noise', 'severity': 0.5, 'seed': 3, 'parameters': {'sigma': 60}}
    comparisons = {('01', 'T1w'): {'labels': example_labels(), 'corrupt': corrupt}}
    workflow = init_brainseg_wf(
        settings=settings, records=[scan('T1w')], bundles=BUNDLES, comparisons=comparisons
    )
    graph = generate_expanded_graph(workflow._create_flat_graph())
    nodes = {node.fullname.rpartition('T1w_wf.')[2]: node for node in graph.nodes()}
    images = {
        target.name
        for _, target, data in graph.out_edges(nodes['check_wf.check'], data=True)
        if any(source == 'out_file' for source, _ in data['connect'])
    }
    assert images == {'corrupt'}
    readers = {
        target.fullname.rpartition('T1w_wf.')[2] for target in graph.successors(nodes['check_wf.corrupt'])
    }
    assert readers >= {
        'preprocessing_wf.coregister', 'preprocessing_wf.preprocess', 'segmentation_wf.resample_to_scan',
        'agreement_wf.resample_labels', 'agreement_wf.figure', 'figures_wf.contours',
    }  # fmt: skip
    assert nodes['check_wf.corrupt'].inputs.severity == 0.5


# === Training ===

PAIR = {'check_wf.check', 'classes', 'preprocessing_wf.coregister', 'preprocessing_wf.preprocess',
        'resample_labels', 'agreement', 'figure', 'ds_pair'}  # fmt: skip


def training_graph(settings, cases):
    workflow = init_training_wf(
        settings=settings, cases=cases, origins={cases[0].record.path: {'scan': 'x'}}, base=BUNDLES['FLAIR']
    )
    graph = generate_expanded_graph(workflow._create_flat_graph())
    return {node.fullname.removeprefix(f"{graph_name('training')}."): node for node in graph.nodes()}, graph


def test_training_prepares_scans_as_inference_does(settings):
    record = scan('FLAIR')
    nodes, graph = training_graph(settings, [example_case(record=record)])
    part = 'sub_01_wf.FLAIR_wf.'
    assert set(nodes) == {part + step for step in PAIR}
    inferred, _ = expanded(settings, [record])
    for step in ('coregister', 'preprocess'):  # the same node: the same inputs
        name = f'{part}preprocessing_wf.{step}'
        assert nodes[name].inputs.get_hashval()[1] == inferred[name].inputs.get_hashval()[1]
    both = wired(graph, nodes, f'{part}resample_labels', f'{part}ds_pair')
    assert both == [('out_file', 'labels')]
    assert nodes[f'{part}ds_pair'].inputs.origin == {'scan': 'x'}


def test_labels_come_through_a_rigid_registration_where_the_scan_is_not_the_t1w(settings):
    case = example_case(record=scan('FLAIR'), t1w=Path('/data/sub-01/anat/sub-01_T1w.nii.gz'))
    nodes, graph = training_graph(settings, [case])
    part = 'sub_01_wf.FLAIR_wf.'
    assert set(nodes) == {part + step for step in PAIR | {'t1w_wf.check_t1w', 't1w_wf.register_t1w'}}
    assert wired(graph, nodes, f'{part}t1w_wf.register_t1w', f'{part}resample_labels') == [('rigid', 'rigid')]
    assert wired(graph, nodes, f'{part}t1w_wf.register_t1w', f'{part}ds_pair') == [('rigid', 'rigid')]
    assert wired(graph, nodes, f'{part}classes', f'{part}t1w_wf.register_t1w') == [('out_file', 'classes')]
    assert nodes[f'{part}t1w_wf.check_t1w'].inputs.in_file.endswith('sub-01_T1w.nii.gz')

# SPDX-License-Identifier: Apache-2.0
"""Outputs of others that are not fetched, cut short, or of another kind: no command ends because of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from damage import DAMAGE, link_to_nothing
from simulated import LABELS, describe, write_scan

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import figure_path, output_path
from bids_brainseg.cli.run import main
from bids_brainseg.levels import participant
from bids_brainseg.results.logs import read_cards, read_methods, read_validation
from bids_brainseg.results.outcomes import read_outcomes, read_unused
from bids_brainseg.results.scans import missing_figures, read_scans
from bids_brainseg.settings import Settings

VOLUMES = [1000.0 + label.index for label in LABELS]
METHODS = 'Scans were segmented [@zopes2021].\nSaid by another version [@nobody1999].'


@pytest.fixture
def dataset(make_bids):
    return make_bids({f'sub-0{n}/anat/sub-0{n}_T1w.nii.gz': None for n in (1, 2)})


@pytest.fixture
def out(tmp_path):
    """Outputs of two participants with logs, figures and an image."""
    out = tmp_path / 'out'
    describe(out)
    for subject in ('01', '02'):
        record = record_from_path(Path(f'/d/sub-{subject}/anat/sub-{subject}_T1w.nii.gz'), 'T1w')
        write_scan(out, subject, None, 'T1w', VOLUMES, 1.5e6, Methods=METHODS)
        output_path(record, out, suffix='dseg').write_bytes(b'image')
        for kind in ('alignment', 'viewer'):
            path = figure_path(record, out, kind=kind)
            path.parent.mkdir(exist_ok=True)
            path.write_text('{}' if kind == 'viewer' else '<svg></svg>')
        log = out / f'sub-{subject}' / 'log' / '2026-1'
        log.mkdir(parents=True)
        scans = {f'sub-{subject}/anat/sub-{subject}_T1w.nii.gz': {'status': 'done', 'reason': ''}}
        unused = {f'sub-{subject}/anat/sub-{subject}_PDw.nii.gz': 'there is no model for PDw'}
        (log / 'outcomes.json').write_text(json.dumps({'Scans': scans, 'Unused': unused}))
        (log / 'crash-1.txt').write_text(f'Node: brainseg_wf.sub_{subject}_wf.T1w_wf.check\nError: x\n')
    for name in ('logs/models/m.json', 'logs/methods/T1w-x.json', 'logs/bids_validation.json'):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text('{"modality": "T1w", "Methods": "x"}')
    return out


@pytest.mark.parametrize('how', DAMAGE)
def test_no_file_of_the_outputs_stops_their_reading(out, tmp_path, how):
    """Every file in turn, with everything else whole: all readers return, and other participants are read."""
    files = [path for path in out.rglob('*') if path.is_file() and out / 'sub-02' not in path.parents]
    assert len(files) == 11
    for path in sorted(files):
        copy = tmp_path / 'copy'
        shutil.copytree(out, copy, symlinks=True)
        DAMAGE[how](copy / path.relative_to(out))
        mine, other = (read_scans(copy, subject) for subject in ('01', '02'))
        assert [scan.status for scan in other] == ['done'], path
        for scan in mine:
            assert scan.status == 'done' or scan.reason, path
            missing_figures(scan)
        for read in (read_cards, read_methods, read_validation):
            read(copy)
        read_outcomes(copy, '01'), read_unused(copy, '01')
        shutil.rmtree(copy)


@pytest.mark.parametrize('how', ['a link to nothing', 'other keys'])
def test_pages_methods_and_summary_come_whatever_lies_there(out, dataset, tmp_path, capsys, how):
    for path in sorted(path for path in out.rglob('sub-02*/**/*') if path.is_file()):
        DAMAGE[how](path)
    for path in sorted(path for path in out.glob('logs/**/*') if path.is_file()):
        DAMAGE[how](path)
    words = [f'{dataset}', f'{out}', 'participant', '-w', f'{tmp_path}/work', '--reports-only']
    assert main(words) == 0
    printed = capsys.readouterr()
    assert '1 of 2 scans segmented' in printed.out and 'Traceback' not in printed.err
    (unread,) = [line for line in printed.out.splitlines() if line.startswith('  unread  sub-02_T1w: ')]
    assert '.json' in unread or '.tsv' in unread
    assert (out / 'sub-01.html').is_file() and (out / 'sub-02.html').is_file()
    named = ['logs/models/m.json', 'logs/bids_validation.json', 'sub-02/log/2026-1/outcomes.json']
    for name in named if how == 'a link to nothing' else ():
        assert f'  unread  {name} cannot be read and is left out: its link is broken; fetch' in printed.out
    assert 'Said by another version (nobody1999)' not in (out / 'logs' / 'CITATION.md').read_text()
    assert '[nobody1999]' in (out / 'logs' / 'CITATION.md').read_text()
    assert main([f'{dataset}', f'{out}', 'group']) == 1  # a scan is broken, and named
    assert 'broken   sub-02_T1w' in capsys.readouterr().out


def test_figures_that_are_not_fetched_are_named_in_summary_and_page(out, dataset, tmp_path, capsys):
    link_to_nothing(out / 'sub-01' / 'figures' / 'sub-01_desc-alignment_T1w.svg')
    words = f'{dataset} {out} participant -w {tmp_path}/work --reports-only --participant-label 01'
    assert main(words.split()) == 0
    told = 'figure sub-01_desc-alignment_T1w.svg is not shown: its link is broken; fetch its content'
    assert f'  unread  {told}' in capsys.readouterr().out
    assert told in (out / 'sub-01.html').read_text()


@pytest.mark.parametrize('how', ['cut short', 'a pointer of LFS'])
def test_a_damaged_description_of_our_own_outputs_is_written_anew(out, dataset, tmp_path, how):
    (out / 'desc-brainseg_dseg.tsv').write_text('index\tname\n')
    DAMAGE[how](out / 'dataset_description.json')
    words = f'{dataset} {out} participant -w {tmp_path}/work --reports-only'
    assert main(words.split()) == 0
    assert json.loads((out / 'dataset_description.json').read_text())['DatasetType'] == 'derivative'


def test_a_job_reads_the_outputs_of_its_own_participants_only(out, dataset, tmp_path, monkeypatch, capsys):
    """The files of others are not even opened, so that a job costs the same however many they are."""
    opened = []
    plain = Path.open
    monkeypatch.setattr(Path, 'open', lambda self, *a, **k: opened.append(self) or plain(self, *a, **k))
    words = f'{dataset} {out} participant -w {tmp_path}/work --reports-only --participant-label 01'
    assert main(words.split()) == 0
    inside = [path.relative_to(out).as_posix() for path in opened if path.is_relative_to(out)]
    assert any(path.startswith('sub-01/') for path in inside)
    assert not [path for path in inside if 'sub-02' in path]


def test_methods_of_all_jobs_are_in_one_text_and_old_ones_go(out, tmp_path):
    shutil.rmtree(out / 'logs')
    settings = Settings(tmp_path / 'in', out, tmp_path / 'work')

    def say(subject: str, how: str) -> None:
        write_scan(out, subject, None, 'T1w', VOLUMES, 1.5e6, Methods=f'Scans were segmented.\n{how}.')

    def text_after_job_for(*subjects: str) -> str:
        results = {subject: read_scans(out, subject) for subject in subjects or ('01', '02')}
        participant.collect_methods(results, replace(settings, participant_label=subjects))
        return (out / 'logs' / 'CITATION.md').read_text()

    say('01', 'In one way')
    say('02', 'In another way')
    assert 'another' not in text_after_job_for('01')
    text = text_after_job_for('02')
    assert 'In one or another (T1w) way' in text
    say('02', 'In one way')
    assert 'another' in text_after_job_for('02')
    assert 'another' not in text_after_job_for()

# SPDX-License-Identifier: Apache-2.0
"""Templates in a folder of TemplateFlow that a test makes; the network is never used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bids_brainseg.bids import templates
from bids_brainseg.bids.templates import find_templates, packaged_templates, template_home
from bids_brainseg.errors import BidsError
from bids_brainseg.workflows.examples import example_bundle

FILES = (
    'tpl-Plain/tpl-Plain_res-01_T1w.nii.gz',
    'tpl-Plain/tpl-Plain_res-02_T1w.nii.gz',
    'tpl-Plain/tpl-Plain_res-01_desc-brain_T1w.nii.gz',
    'tpl-Plain/tpl-Plain_res-01_T2w.nii.gz',
    'tpl-Single/tpl-Single_T1w.nii.gz',
    'tpl-Child/cohort-1/tpl-Child_cohort-1_res-1_T1w.nii.gz',
    'tpl-Child/cohort-2/tpl-Child_cohort-2_res-1_T1w.nii.gz',
    'tpl-Ball/tpl-Ball_hemi-L_den-10k_sphere.surf.gii',
)
HEAD = example_bundle()


@pytest.fixture
def flow(tmp_path, templateflow_home):
    """A folder with templates, one of them not fetched."""
    home = templateflow_home(tmp_path / 'flow')
    for name in FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b'some')
    (home / 'tpl-Stub').mkdir()
    (home / 'tpl-Stub' / 'tpl-Stub_res-01_T1w.nii.gz').touch()
    return home


@pytest.mark.parametrize(
    ('space', 'expected'),
    [
        ('Plain', [('Plain', {'space': 'Plain', 'res': '1'}, 'tpl-Plain_res-01_T1w')]),
        ('Plain:res-2', [('Plain', {'space': 'Plain', 'res': '2'}, 'tpl-Plain_res-02_T1w')]),
        (
            'Plain:res-2:res-01',
            [
                ('Plain', {'space': 'Plain', 'res': '2'}, 'tpl-Plain_res-02_T1w'),
                ('Plain', {'space': 'Plain', 'res': '01'}, 'tpl-Plain_res-01_T1w'),
            ],
        ),
        ('Single', [('Single', {'space': 'Single'}, 'tpl-Single_T1w')]),
        (
            'Child:cohort-2',
            [('Child+2', {'space': 'Child+2', 'res': '1'}, 'tpl-Child_cohort-2_res-1_T1w')],
        ),
        (
            'Child:cohort-1:cohort-2',
            [
                ('Child+1', {'space': 'Child+1', 'res': '1'}, 'tpl-Child_cohort-1_res-1_T1w'),
                ('Child+2', {'space': 'Child+2', 'res': '1'}, 'tpl-Child_cohort-2_res-1_T1w'),
            ],
        ),
    ],
)
def test_a_template_is_found_by_its_name(flow, space, expected):
    found = find_templates([space, space], HEAD)
    assert [(one.label, one.entities, one.path.name.partition('.')[0]) for one in found] == expected
    assert all(one.path.is_relative_to(flow) and one.aligned_to is HEAD for one in found)


@pytest.mark.parametrize(
    ('space', 'message'),
    [
        ('T1w', "T1w is no template but the scan's own space"),
        ('scanner', "scanner is no template but the scan's own space"),
        ('T1w:res-1', "T1w is no template but the scan's own space"),
        ('anat', "anat is no template but the scan's own space, in which the segmentation is always written"),
        ('MNI152NLin2009cAsym:cohort-1', 'MNI152NLin2009cAsym has no cohorts'),
        ('MNI152NLin2009cAsym:res-9', 'has no resolution 9; choose 1 or 2 or 3 or 4'),
        ('MNI152NLin2009cAsym:res-native', "a resolution of a template is a number, found 'native'"),
        (
            'Absent',
            r'the template Absent is not on this disk: no folder tpl-Absent in .*TEMPLATEFLOW_AUTOUPDATE=on',
        ),
        ('Stub', 'the template Stub is not on this disk: no T1w image of resolution 1 in .*tpl-Stub'),
        ('Plain:res-3', 'the template Plain:res-3 is not on this disk: no T1w image of resolution 3'),
        ('Plain:res-native', "a resolution of a template is a number, found 'native'"),
        ('Plain:desc-brain', 'expected NAME'),
        ('Plain:res', 'expected NAME'),
        ('Plain:cohort-1', 'does not accept a cohort'),
        ('Child', 'Set a valid cohort selector from: "cohort-1", "cohort-2"'),
        ('Child:cohort-7', 'does not contain any cohort named "7"'),
        ('Ball', 'a surface, not a volume'),
    ],
)
def test_refusals_say_what_is_wrong(flow, space, message):
    before = sorted(flow.rglob('*'))
    with pytest.raises(BidsError, match=message) as caught:
        find_templates([space], HEAD)
    assert caught.value.exit_code == 2
    assert sorted(flow.rglob('*')) == before


def test_where_there_is_no_folder_none_is_made(tmp_path, templateflow_home):
    templateflow_home(tmp_path / 'none')
    with pytest.raises(BidsError, match=f'there is no TemplateFlow folder {tmp_path}/none'):
        find_templates(['MNI152NLin6Asym'], HEAD)
    assert list(tmp_path.iterdir()) == []
    assert 'templateflow' not in sys.modules


def test_the_folder_is_where_templateflow_would_look(tmp_path, monkeypatch):
    monkeypatch.delenv('TEMPLATEFLOW_HOME', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert template_home() == tmp_path / 'templateflow'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/home/somebody')
    assert template_home() == Path('/home/somebody/.cache/templateflow')


def test_the_packaged_template_needs_no_folder(tmp_path, templateflow_home):
    templateflow_home(tmp_path / 'none')
    name = 'MNI152NLin2009cAsym'
    one, two = find_templates([name, f'{name}:res-1:res-2'], HEAD)
    assert (one.label, one.entities) == (name, {'space': name, 'res': '1'})
    assert one.packaged.shape == (193, 229, 193) and two.packaged.shape == (97, 115, 97)
    assert [row[3] for row in two.packaged.affine] == [-96.5, -132.5, -78.5, 1.0]
    assert two.path.name == 'tpl-MNI152NLin2009cAsym_res-02_T1w.nii.gz' and not two.path.exists()
    assert 'templateflow' not in sys.modules and list(tmp_path.iterdir()) == []
    with pytest.raises(BidsError, match='not on this disk'):  # nothing is known of another reference
        find_templates([name], example_bundle(reference_name='Other'))


def test_the_packaged_affine_makes_an_average_head_as_large_as_that_of_the_mni():
    """Both spaces have their origin near the anterior commissure and their axes along those of the head.

    The cranial cavity of the reference has 1.5 l; that of MNI152, a little more than its mask of 1.89 l, 2 l.
    """
    for entry in packaged_templates().values():
        matrix = np.array(entry['reference_to_template'])
        rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
        assert np.allclose(rotation, np.eye(3), atol=0.06)
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(2.0 / 1.5, abs=0.1)
        assert np.abs(matrix[:3, 3]).max() < 10 and np.array_equal(matrix[3], [0, 0, 0, 1])


@pytest.mark.integration
def test_the_network_is_used_only_when_asked_for(flow, monkeypatch, templateflow_home):
    def fetch(text, name, query):
        (flow / f'tpl-{name}' / f'tpl-{name}_res-01_T1w.nii.gz').write_bytes(b'fetched')

    monkeypatch.setattr(templates, '_fetch', fetch)
    with pytest.raises(BidsError, match='not on this disk'):
        find_templates(['Stub'], HEAD)
    templateflow_home(flow)
    monkeypatch.setenv('TEMPLATEFLOW_AUTOUPDATE', 'on')
    (found,) = find_templates(['Stub'], HEAD)
    assert found.path.read_bytes() == b'fetched'
    # what else could be fetched is known now, and still empty
    assert (
        flow / 'tpl-MNI152NLin2009cAsym' / 'tpl-MNI152NLin2009cAsym_res-02_T1w.nii.gz'
    ).stat().st_size == 0


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_folders_that_cannot_be_written_do(flow, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    (tmp_path / 'home').mkdir(mode=0o500)
    flow.chmod(0o500)
    try:
        assert find_templates(['Plain'], HEAD)
    finally:
        flow.chmod(0o700)


def test_nothing_of_templateflow_is_imported_without_the_option():
    code = (
        'import sys; import bids_brainseg.levels.bundles, bids_brainseg.workflows.base; '
        'print(*sorted(name for name in sys.modules if name.startswith("templateflow")))'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []

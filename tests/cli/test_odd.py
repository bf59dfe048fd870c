# SPDX-License-Identifier: Apache-2.0
"""Odd environments, names, headers and files: the command ends with a documented code and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CODES = {0, 1, 2, 16, 17, 18}
LEVELS = ('participant', 'group', 'train', 'evaluate')
#: Examples of the default run, and of `-m stress`.
FEW, MANY = 6, int(os.environ.get('BIDS_BRAINSEG_ROUNDS', '300'))

name = st.text(st.characters(exclude_characters='/\0', exclude_categories=('Cs',)), min_size=1, max_size=40)
content = st.one_of(
    st.binary(max_size=400),
    st.just(b'\xef\xbb\xbf{}'),
    st.builds(lambda value: json.dumps(value).encode(), st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    )),
)  # fmt: skip
scan_path = st.sampled_from(
    [
        'sub-01/anat/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_FLAIR.nii', 'sub-01/dwi/sub-01_dwi.nii.gz',
        'sub-01/dwi/sub-01_dwi.bval', 'sub-01/dwi/sub-01_dwi.json', 'sub-01/ct/sub-01_ct.nii.gz',
        'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz', 'sub-02/anat/sub-01_T1w.nii.gz', 'participants.tsv',
        'sub-01/anat/sub-01_acq-1_acq-2_T1w.nii.gz', 'sub-é/anat/sub-é_T1w.nii.gz', 'T1w.json', '.bidsignore',
        'sub-01/anat/sub-01_T1w.json', 'sub-01/sub-01_sessions.tsv', 'dataset_description.json',
    ]
)  # fmt: skip
environment = st.fixed_dictionaries(
    {},
    optional={
        'HOME': st.sampled_from(['', '/root', '/no/such', '/proc', '/etc/passwd']),
        'TMPDIR': st.sampled_from(['', '/no/such', '/proc', '/tmp/' + 'long/' * 30]),
        'LC_ALL': st.sampled_from(['C', 'POSIX', 'xx_YY.utf8']),
        'PYTHONIOENCODING': st.sampled_from(['ascii', 'latin-1', 'utf-16']),
        'COLUMNS': st.sampled_from(['0', '1', 'x']),
        'OMP_NUM_THREADS': st.sampled_from(['0', 'x', '']),
        'LOGNAME': st.sampled_from(['', 'x/y']),
        'NIPYPE_CONFIG_DIR': st.sampled_from(['/no/such', '/proc/1']),
        'PYBIDS_CONFIG': st.sampled_from(['/no/such', '/etc/passwd']),
        'TEMPLATEFLOW_HOME': st.sampled_from(['/no/such', '/etc/passwd']),
        'MPLCONFIGDIR': st.sampled_from(['/no/such', '/etc/passwd']),
        'PATH': st.sampled_from(['', '/no/such']),
    },
)
options = st.lists(
    st.sampled_from(
        [
            ('--participant-label', '01'), ('--participant-label', 'é', '..'), ('--session-label', ''),
            ('--modalities', 'T1w'), ('--bids-filter-file', 'a.json'), ('--nprocs', '0'), ('--mem', 'x'),
            ('--bids-database-dir', 'db'), ('--model', 'a.json'), ('--qc-thresholds', 'a.json'),
            ('--nonsense',),
            ('--use-plugin', 'a.json'), ('-d', 'labels=a.json'), ('--output-spaces', 'é:x'), ('-v',),
        ]
    ),
    max_size=3,
)  # fmt: skip


@st.composite
def images(draw) -> bytes:
    """A NIfTI file with any header, and sometimes cut."""
    header = nib.Nifti1Header()
    for field in ('pixdim', 'srow_x', 'srow_y', 'srow_z'):
        size = header[field].size
        header[field] = draw(st.lists(st.floats(width=32), min_size=size, max_size=size))
    for field, values in (
        ('qform_code', st.integers(-1, 9)), ('sform_code', st.integers(-1, 9)),
        ('scl_slope', st.floats(width=32)), ('vox_offset', st.floats(0, 1e6, width=32)),
        ('datatype', st.integers(0, 2304)), ('intent_code', st.integers(0, 3000)),
        ('xyzt_units', st.integers(0, 255)), ('magic', st.binary(max_size=4)),
    ):  # fmt: skip
        if draw(st.booleans()):
            header[field] = draw(values)
    header['dim'] = [draw(st.integers(-1, 7)), *draw(st.lists(st.integers(-1, 9), min_size=7, max_size=7))]
    whole = header.binaryblock + bytes(4) + np.arange(64, dtype=np.int16).tobytes()
    return whole[: draw(st.integers(0, len(whole)))]


def check(folder: Path, files: dict, words: list, level: str, environment: dict, closed: tuple) -> None:
    """Write the dataset, run the command, and look at how it ended."""
    root = folder / 'in'
    files = {'dataset_description.json': b'{"Name": "x", "BIDSVersion": "1.10.0"}'} | files
    for relative, data in files.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / 'a.json').write_bytes(files.get('T1w.json', b''))
    command = [sys.executable, '-m', 'bids_brainseg', 'in', 'out', level]
    command += ['--dry-run', '--skip-bids-validation']
    command += [word for option in words for word in option]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=300,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )
    printed = done.stdout.decode(errors='replace')
    assert done.returncode in CODES, printed
    assert 'error: unexpected' not in printed, printed
    if ('-v',) not in words:
        assert 'Traceback' not in printed, printed
    assert not (folder / 'out').exists(), 'a dry run wrote something'


arguments = {
    'files': st.dictionaries(scan_path, content | images(), max_size=5),
    'stray': st.dictionaries(name, content, max_size=1),
    'words': options,
    'level': st.sampled_from(LEVELS) | name.filter(lambda text: not text.startswith('-')),
    'environment': environment,
    'closed': st.sampled_from([(), (), (), (0,), (1,), (2,), (0, 1, 2)]),
}


def odd(tmp_path_factory, files, stray, words, level, environment, closed):
    folder = tmp_path_factory.mktemp('odd')
    usable = {path: data for path, data in stray.items() if path not in ('.', '..') and len(path) < 60}
    check(folder, {**usable, **files}, words, level, environment, closed)


common = {'deadline': None, 'suppress_health_check': list(HealthCheck), 'database': None}


@settings(max_examples=FEW, derandomize=True, **common)
@given(**arguments)
def test_a_few_odd_uses(tmp_path_factory, **drawn):
    odd(tmp_path_factory, **drawn)


@pytest.mark.stress
@settings(max_examples=MANY, **common)
@given(**arguments)
def test_many_odd_uses(tmp_path_factory, **drawn):
    odd(tmp_path_factory, **drawn)

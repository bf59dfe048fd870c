# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.paths import figure_path, output_path, scan_label, write_dataset_files, xfm_path
from bids_brainseg.bids.query import find_images
from bids_brainseg.bids.sidecars import (
    bids_uri,
    freesurfer_keys,
    morph_dictionary,
    morph_table,
    qc_document,
    sidecar,
    xfm_sidecar,
)
from bids_brainseg.data import label_table
from bids_brainseg.errors import BidsError
from bids_brainseg.files import write_json, write_text, write_tsv
from bids_brainseg.records import Provenance

ENTRY = {'unit': '%', 'range': [0, None], 'description': 'A number.'}
PROVENANCE = Provenance(
    model='t1w',
    model_sha256='0' * 64,
    reference='BrainsegAdult',
    mc_samples=15,
    mirrored=True,
    seed=7,
    label_resampling='posterior',
    cv_threshold=1.0,
    device='cpu',
    backend='tensorflow',
)
VALIDATOR = Path(sys.executable).with_name('bids-validator-deno')


def record(path: str, modality: str = 'T1w', **values):
    return record_from_path(Path('/data') / path, modality, **values)


@pytest.mark.parametrize(
    ('source', 'modality', 'dseg', 'xfm'),
    [
        ('sub-01/anat/sub-01_T1w.nii.gz', 'T1w',
         'sub-01/anat/sub-01_space-orig_seg-brainseg_desc-T1w_dseg.nii.gz',
         'sub-01/anat/sub-01_from-T1w_to-BrainsegAdult_mode-image_xfm.txt'),
        ('sub-01/ses-1/anat/sub-01_ses-1_acq-2D_rec-x_run-01_echo-1_part-mag_FLAIR.nii', 'FLAIR',
         'sub-01/ses-1/anat/'
         'sub-01_ses-1_acq-2D_rec-x_run-01_echo-1_part-mag_space-orig_seg-brainseg_desc-FLAIR_dseg.nii.gz',
         'sub-01/ses-1/anat/'
         'sub-01_ses-1_acq-2D_rec-x_run-01_echo-1_part-mag_from-FLAIR_to-BrainsegAdult_mode-image_xfm.txt'),
        ('sub-01/dwi/sub-01_chunk-1_dir-AP_dwi.nii.gz', 'dwi',
         'sub-01/dwi/sub-01_dir-AP_space-orig_chunk-1_seg-brainseg_desc-dwi_dseg.nii.gz',
         'sub-01/dwi/sub-01_dir-AP_chunk-1_from-dwi_to-BrainsegAdult_mode-image_xfm.txt'),
        ('sub-01/anat/sub-01_CT.nii.gz', 'ct',
         'sub-01/ct/sub-01_space-orig_seg-brainseg_desc-CT_dseg.nii.gz',
         'sub-01/ct/sub-01_from-CT_to-BrainsegAdult_mode-image_xfm.txt'),
        ('sub-01/dwi/sub-01_desc-trace_dwi.nii.gz', 'dwi',
         'sub-01/dwi/sub-01_space-orig_seg-brainseg_desc-traceDwi_dseg.nii.gz',
         'sub-01/dwi/sub-01_from-traceDwi_to-BrainsegAdult_mode-image_xfm.txt'),
    ],
)  # fmt: skip
def test_names(source, modality, dseg, xfm):
    scan = record(source, modality)
    assert output_path(scan, '/out', suffix='dseg', extension='.nii.gz') == Path('/out', dseg)
    assert xfm_path(scan, Path('/out'), reference='BrainsegAdult') == Path('/out', xfm)
    assert bids_uri(scan) == f'bids:raw:{source}'


def test_other_names():
    scan = record('sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz')
    folder = Path('/out/sub-01/ses-1/anat')
    assert output_path(scan, '/out', suffix='morph', extension='.tsv') == (
        folder / 'sub-01_ses-1_seg-brainseg_desc-T1w_morph.tsv'
    )
    assert (
        output_path(scan, '/out', suffix='qc', extension='.json') == folder / 'sub-01_ses-1_desc-T1w_qc.json'
    )
    assert xfm_path(scan, '/out', reference='R', inverse=True) == (
        folder / 'sub-01_ses-1_from-R_to-T1w_mode-image_xfm.txt'
    )
    assert figure_path(scan, '/out', kind='alignment') == Path(
        '/out/sub-01/figures/sub-01_ses-1_desc-alignment_T1w.svg'
    )
    assert output_path(
        scan, '/out', suffix='T1w', extension='.nii.gz', folder='x', ses=None, res='2'
    ) == Path('/out/sub-01/ses-1/x/sub-01_res-2_T1w.nii.gz')


def test_scans_of_one_session_keep_apart():
    """Every pair of sources that differ gives outputs that differ."""
    stems = ['T1w', 'desc-defaced_T1w', 'space-MNI_T1w', 'space-MNI_desc-defaced_T1w', 'acq-a_T1w', 'FLAIR']
    stems += ['run-1_T1w', 'run-01_T1w', 'rec-x_T1w']
    scans = [record(f'sub-1/anat/sub-1_{stem}.nii.gz') for stem in stems]
    for suffix in ('dseg', 'morph', 'qc', 'uncertainty'):
        assert len({output_path(scan, '/o', suffix=suffix, extension='.x') for scan in scans}) == len(scans)
    for inverse in (False, True):
        assert len({xfm_path(scan, '/o', reference='R', inverse=inverse) for scan in scans}) == len(scans)
    assert scan_label(scans[3]) == 'MNIDefacedT1w'


def test_json_and_tsv_hold_no_nan(tmp_path):
    np = pytest.importorskip('numpy')
    pd = pytest.importorskip('pandas')
    path = write_json(
        {'a': np.float32(0.5), 'b': [np.nan, math.inf], 'c': np.arange(2)}, tmp_path / 'x' / 'a.json'
    )
    assert json.loads(path.read_text()) == {'a': 0.5, 'b': ['n/a', 'n/a'], 'c': [0, 1]}
    table = pd.DataFrame({'index': ['1', 'n/a'], 'volume': [1234567.125, math.nan], 'note': [None, 'ü']})
    assert write_tsv(table, tmp_path / 'a.tsv').read_bytes() == (
        'index\tvolume\tnote\n1\t1234567.1\tn/a\nn/a\tn/a\tü\n'.encode()
    )


def test_a_file_is_whole_or_absent(tmp_path, monkeypatch):
    path = write_text('old', tmp_path / 'a.txt')

    def fail(*args):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        write_text('new', path)
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt']
    write_text('old', path)  # nothing to do, so nothing is moved


@pytest.fixture
def dataset(make_bids):
    return make_bids(
        {
            'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz': None,
            'sub-01/ses-1/anat/sub-01_ses-1_acq-2D_run-1_FLAIR.nii.gz': None,
            'sub-01/ses-2/dwi/sub-01_ses-2_dwi.nii.gz': (4, 4, 4, 2),
            'sub-01/ses-2/dwi/sub-01_ses-2_dwi.bval': '0 1000',
            'sub-02/ct/sub-02_ct.nii.gz': None,
            'sub-02/anat/sub-02_desc-defaced_T1w.nii.gz': None,
            'sub-02/anat/sub-02_T1w.nii.gz': None,
        }
    )


def write_image(path: Path, volumes: int = 1):
    """A small NIfTI that a validator accepts; this room has no nibabel."""
    import struct

    dim = (4, 2, 2, 2, volumes, 1, 1, 1) if volumes > 1 else (3, 2, 2, 2, 1, 1, 1, 1)
    head = bytearray(348)
    struct.pack_into('<i', head, 0, 348)
    struct.pack_into('<8h', head, 40, *dim)
    struct.pack_into('<hh', head, 70, 2, 8)
    struct.pack_into('<8f', head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into('<f', head, 108, 352)
    struct.pack_into('<fb', head, 112, 1, 0)
    head[123] = 10
    struct.pack_into('<hh', head, 252, 1, 1)
    struct.pack_into('<12f', head, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    struct.pack_into('<4s', head, 344, b'n+1\0')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(bytes(head) + bytes(4) + bytes(8 * volumes), mtime=0))


def write_everything(dataset: Path, out: Path):
    """Every output of INTERFACE, as a run leaves them."""
    write_dataset_files(out, dataset)
    n = len(label_table())
    for scan in find_images(dataset):
        numbers = {'extension': '.nii.gz', 'suffix': 'dseg', 'seg': 'aseg'}
        write_image(output_path(scan, out, **numbers))
        described = sidecar(scan, suffix='dseg', provenance=PROVENANCE, **freesurfer_keys())
        write_json(described, output_path(scan, out, **{**numbers, 'extension': '.json'}))
        write_text('# Title', output_path(scan, out, suffix='aseg'))
        for suffix, volumes in (('dseg', 1), ('probseg', n), ('uncertainty', 1), ('mask', 1)):
            write_image(output_path(scan, out, suffix=suffix, extension='.nii.gz'), volumes)
            described = sidecar(scan, suffix=suffix, provenance=PROVENANCE)
            write_json(described, output_path(scan, out, suffix=suffix, extension='.json'))
        table = morph_table({'volume_mm3': range(n), 'mc_std_mm3': [0.5] * n, 'cv_mc': [math.nan] * n})
        write_tsv(table, output_path(scan, out, suffix='morph', extension='.tsv'))
        dictionary = morph_dictionary(scan, provenance=PROVENANCE)
        write_json(dictionary, output_path(scan, out, suffix='morph', extension='.json'))
        document = qc_document(
            scan, verdict='pass', reasons=[], numbers={'x': 1}, dictionary={'x': ENTRY}, provenance=PROVENANCE
        )
        write_json(document, output_path(scan, out, suffix='qc', extension='.json'))
        for inverse in (False, True):
            path = write_text('#Insight\n', xfm_path(scan, out, reference='BrainsegAdult', inverse=inverse))
            described = xfm_sidecar(scan, reference='BrainsegAdult', inverse=inverse, provenance=PROVENANCE)
            write_json(described, path.with_suffix('.json'))
        write_text('<svg/>', figure_path(scan, out, kind='alignment'))
        write_text('page', out / f'sub-{scan.subject}.html')
        for folder in {f'sub-{scan.subject}/log/uuid', f'{scan.relative_path.parent.parent}/log/uuid'}:
            write_text('log', out / folder / 'crash-x.txt')
    for name in ('group_volumes.tsv', 'group_volumes.json', 'group_qc.tsv', 'group_qc.json', 'group.html'):
        write_text('{}', out / name)
    write_text('text', out / 'logs' / 'CITATION.md')


@pytest.mark.skipif(not VALIDATOR.exists(), reason='bids-validator-deno is not installed')
def test_the_validator_accepts_the_derivatives(dataset, tmp_path):
    out = tmp_path / 'out'
    write_everything(dataset, out)
    command = [VALIDATOR, '--no-color', '--ignoreWarnings', '--format', 'json', out]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    # and it does look: an unknown file is an error
    write_text('x', out / 'sub-01' / 'anat' / 'sub-01_nonsense.txt')
    assert subprocess.run(command, capture_output=True, check=False).returncode == 16


@pytest.mark.skipif(not VALIDATOR.exists(), reason='bids-validator-deno is not installed')
def test_validation_findings_count_and_never_refuse(dataset):
    from bids_brainseg.bids.validation import validation_findings

    shutil.copy(dataset / 'dataset_description.json', dataset / 'sub-01' / 'unexpected.json')
    findings = validation_findings(dataset)
    assert findings['errors'] >= 1
    assert findings['errors'] + findings['warnings'] == sum(findings['codes'].values())
    assert len(find_images(dataset)) == 6


def test_without_a_validator_there_are_no_findings(dataset, monkeypatch, caplog):
    from bids_brainseg.bids import validation
    from bids_brainseg.bids.validation import log_findings, validation_findings

    monkeypatch.setattr(validation.shutil, 'which', lambda *args, **kwargs: None)
    assert validation_findings(dataset) is None
    log_findings(None)


def test_dataset_files(dataset, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    monkeypatch.setenv('BIDS_BRAINSEG_CONTAINER', 'brainseg:1.0')
    written = {path.name: path.read_bytes() for path in write_dataset_files(out, dataset)}
    again = {path.name: path.read_bytes() for path in write_dataset_files(out, dataset)}
    assert written == again
    assert set(written) == {
        'dataset_description.json', '.bidsignore', 'desc-brainseg_dseg.tsv', 'desc-brainseg_dseg.json',
        'desc-brainseg_FreeSurferColorLUT.txt', 'desc-brainseg_ITKSNAPLabels.txt',
        'desc-brainseg_Slicer.ctbl', 'seg-aseg_dseg.tsv', 'seg-aseg_dseg.json',
    }  # fmt: skip
    description = json.loads(written['dataset_description.json'])
    assert description['DatasetType'] == 'derivative'
    assert description['GeneratedBy'][0]['Name'] == 'bids_brainseg'
    assert description['GeneratedBy'][0]['Container']['Tag'] == 'brainseg:1.0'
    assert description['DatasetLinks'] == {'raw': dataset.as_uri()}
    assert '**/ct' in written['.bidsignore'].decode().split('\n')
    lines = [line.split('\t') for line in written['desc-brainseg_dseg.tsv'].decode().splitlines()]
    assert lines[0] == ['index', 'name', 'abbreviation', 'mapping', 'color', 'hemisphere', 'freesurfer']
    assert [line[0] for line in lines[1:]] == [str(i) for i in range(28)]
    assert lines[1 + 15][1:] == ['Left-Hippocampus', 'L-Hi', '9', label_table()[15].color, 'L', '17']
    numbers = [line.split('\t') for line in written['seg-aseg_dseg.tsv'].decode().splitlines()]
    assert numbers[0] == ['index', 'name', 'abbreviation', 'mapping', 'color', 'hemisphere']
    assert numbers[1][:4] == ['0', 'Background', 'BG', '0'] and numbers[-1][0] == '60'
    for name in ('desc-brainseg_dseg', 'seg-aseg_dseg'):
        columns = written[f'{name}.tsv'].decode().partition('\n')[0].split('\t')
        assert list(json.loads(written[f'{name}.json']))[1:] == columns


def test_a_link_to_the_dataset_around_is_relative(dataset):
    out = dataset / 'derivatives' / 'brainseg'
    write_dataset_files(out, dataset, links={'other': dataset / 'derivatives' / 'x'})
    links = json.loads((out / 'dataset_description.json').read_text())['DatasetLinks']
    assert (out / links['raw']).resolve() == dataset.resolve()
    assert links['raw'] == '../..'
    assert links['other'].startswith('file:///')


@pytest.mark.parametrize(
    'content', ['{"GeneratedBy": [{"Name": "fMRIPrep"}]}', '{"Name": "raw"}', 'nonsense']
)
def test_another_dataset_is_not_overwritten(dataset, tmp_path, content):
    target = write_text(content, tmp_path / 'out' / 'dataset_description.json')
    with pytest.raises(BidsError, match='holds another dataset') as raised:
        write_dataset_files(target.parent, dataset)
    assert raised.value.exit_code == 2
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_sidecars():
    scan = record('sub-01/dwi/sub-01_dwi.nii.gz', 'dwi', volumes=(1, 3), b_value=1000.0)
    dseg = sidecar(scan, suffix='dseg', provenance=PROVENANCE, Extra=1)
    assert dseg['Sources'] == [dseg['SpatialReference']] == ['bids:raw:sub-01/dwi/sub-01_dwi.nii.gz']
    assert dseg['Model'] == {'Name': 't1w', 'SHA256': '0' * 64, 'Reference': 'BrainsegAdult'}
    assert (dseg['MonteCarloSamples'], dseg['RandomSeed'], dseg['Device']) == (15, 7, 'cpu')
    assert dseg['Precision'] == 'float32'
    assert (dseg['Thresholds'], dseg['VolumesAveraged'], dseg['BValue']) == (
        {'cv_percent': 1.0},
        [1, 3],
        1000,
    )
    assert (dseg['Extra'], dseg['Manual'], dseg['Units']) == (1, False, 'class index')
    probseg = sidecar(scan, suffix='probseg')
    assert probseg['LabelMap'][15] == 'Left-Hippocampus'
    assert len(probseg['LabelMap']) == 28
    forward = xfm_sidecar(scan, reference='R')
    backward = xfm_sidecar(scan, reference='R', inverse=True)
    assert (forward['From'], forward['To']) == (backward['To'], backward['From']) == ('sub-01_dwi', 'R')
    assert forward['Units'] == 'mm'
    json.dumps([dseg, probseg, forward, backward])


def test_qc_document_keeps_the_warnings_of_the_scan():
    told = {
        'Manufacturer': 'GE',
        'MagneticFieldStrength': 1.5,
        'DeviceSerialNumber': '7',
        'SliceThickness': 5,
    }
    scan = record('sub-01/anat/sub-01_T1w.nii.gz', warnings=('odd',), metadata=told)
    document = qc_document(
        scan,
        verdict='review',
        reasons=['cv'],
        numbers={'cv_mean': 3.0},
        dictionary={'cv_mean': ENTRY},
        header={'orientation': 'RAS'},
        provenance=PROVENANCE,
    )
    assert (document['verdict'], document['reasons'], document['warnings']) == ('review', ['cv'], ['odd'])
    assert (document['numbers'], document['Units']) == ({'cv_mean': 3.0}, {'cv_mean': '%'})
    assert document['Meaning']['cv_mean']['Range'] == [0, None]
    assert document['header'] == {'orientation': 'RAS', 'slice_thickness_mm': 5}
    assert document['Scanner'] == {'Manufacturer': 'GE', 'MagneticFieldStrength': 1.5}


def test_morph_table():
    values = [float(i) for i in range(28)]
    columns = {
        'volume_mm3': values,
        'volume_soft_mm3': [v + 0.5 for v in values],
        'cv_mc': [math.nan] * 27 + [2.0],
    }
    table = morph_table(columns, flags={15: 'cv'}, totals={'Brain': 1e6, 'eTIV': 1.5e6})
    assert (
        list(table.columns)
        == list(morph_dictionary(record('sub-1/anat/sub-1_T1w.nii')))[: len(table.columns)]
    )
    assert list(table['index']) == [str(i) for i in range(1, 28)] + ['n/a'] * 2
    assert list(table['volume_mm3']) == [*values[1:], 1e6, 1.5e6]
    hippocampus = table[table['name'] == 'Left-Hippocampus'].iloc[0]
    assert (hippocampus['index'], hippocampus['volume_soft_mm3'], hippocampus['flag']) == ('15', 15.5, 'cv')
    assert table.iloc[-1]['flag'] == 'n/a'
    assert math.isnan(table.iloc[0]['cv_mc'])
    with pytest.raises(ValueError, match='27 values; expected 28'):
        morph_table({'volume_mm3': values[1:]})


def test_every_column_has_a_unit():
    dictionary = morph_dictionary(record('sub-1/anat/sub-1_T1w.nii'))
    columns = [
        'index',
        'name',
        'hemisphere',
        'volume_mm3',
        'volume_soft_mm3',
        'mc_mean_mm3',
        'mc_std_mm3',
        'cv_mc',
        'flag',
    ]
    assert all(dictionary[column]['Description'] and dictionary[column]['Units'] for column in columns)


def test_importing_loads_neither_pybids_nor_pandas():
    code = 'import sys, bids_brainseg.bids; print(*{"bids", "pandas", "sqlalchemy"} & set(sys.modules))'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []

# SPDX-License-Identifier: Apache-2.0
"""Tables of an evaluation, of each scan and of the whole dataset, with what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..bids.sidecars import Provenance, output_rules, sidecar
from ..data import label_table
from ..errors import InputError
from ..files import write_json, write_tsv
from ..records import ImageRecord
from .scans import as_float, match_results

#: Quality numbers that may foretell D_A, and whether high values are bad.
PREDICTORS = {
    'cv_mean': True,
    'mc_iou_mean': False,
    'entropy_mean': True,
    'mutual_information_mean': True,
    'alignment': False,
}
SCAN_COLUMNS = {
    'scan': {'Description': 'Name of the scan.'},
    'participant_id': {'Description': 'Participant.'},
    'session_id': {'Description': 'Session; n/a if the dataset has none.'},
    'modality': {'Description': 'Kind of scan.'},
    'corrupted': {'Description': 'How the scan was corrupted on purpose; n/a for the scan as it is.'},
    'severity': {'Description': 'How much it was corrupted.', 'Units': 'from 0, not at all, to 1'},
}


#: Columns of the table of a study; what they share with the other tables is described there.
STUDY_COLUMNS = {
    'modality': SCAN_COLUMNS['modality'],
    'people': {'Description': 'People that the network was given, the one who validates included.'},
    'training_scans': {'Description': 'Scans and label maps that the network was trained on.'},
    'scan': {'Description': 'Name of the test scan.'},
}


def agreement_table(
    dice: Sequence[float], assd: Sequence[float], volume: Sequence[float], reference: Sequence[float]
):
    """Make the table of one scan.

    Parameters
    ----------
    dice, assd, volume, reference : sequence of 28 float
        By class index, background first (it is left out): Dice; surface distance, mm; volumes of the
        segmentation and of the reference labels, mm3.

    Returns
    -------
    pandas.DataFrame
        27 structures with the columns of ``agreement_columns`` in ``outputs.json``.
    """
    import pandas as pd

    rows = [
        (x.index, x.name, x.hemisphere, dice[x.index], assd[x.index], volume[x.index], reference[x.index])
        for x in label_table()[1:]
    ]
    return pd.DataFrame(rows, columns=list(output_rules()['agreement_columns']))


def agreement_document(
    record: ImageRecord, *, averages: Mapping[str, float], labels: str, provenance: Mapping
) -> dict:
    """Describe the table of one scan: its columns, its averages, and where both segmentations come from."""
    return {
        **output_rules()['agreement_columns'],
        **sidecar(record, suffix='agreement', provenance=Provenance(**provenance)),
        'Averages': dict(averages),
        'AverageDefinitions': output_rules()['agreement_averages'],
        'ReferenceLabels': labels,
    }


def gather(records: Sequence[ImageRecord], output_dir: Path, corrupted: Mapping | None = None) -> tuple:
    """Read what was measured on scans.

    Parameters
    ----------
    records : sequence of ImageRecord
        Those that were compared with labels.
    output_dir : Path
        Root of the derivatives that hold their tables.
    corrupted : mapping, optional
        Subject and key of a scan to ``kind`` and ``severity``.

    Returns
    -------
    structures, scans : pandas.DataFrame
        A row for each scan and structure; a row for each scan, with averages and quality numbers.
    units : dict of str
        Quality number to unit.
    """
    import pandas as pd

    tables, rows, units = [], [], {}
    for record, scan in match_results(records, output_dir):
        if scan is None or scan.broken or not scan.agreement:
            why = scan.reason if scan is not None and scan.broken else 'it was not compared with labels'
            raise InputError(f'{record.relative_path} has no agreement to read: {why}; run it again')
        table = pd.DataFrame(scan.agreement).replace('n/a', None).astype({'index': int})
        units |= scan.qc.get('Units', {})
        what = (corrupted or {}).get((record.subject, record.key), {})
        about = {
            'scan': record.bids_name,
            'participant_id': f'sub-{record.subject}',
            'session_id': f'ses-{record.session}' if record.session is not None else None,
            'modality': record.modality,
            'corrupted': what.get('kind'),
            'severity': what.get('severity'),
        }
        tables.append(table.assign(**about)[[*about, *table.columns]])
        rows.append(
            {
                **about,
                **scan.averages,
                **{name: as_float(value) for name, value in scan.qc['numbers'].items()},
            }
        )
    return pd.concat(tables, ignore_index=True), pd.DataFrame(rows), units


def stacked(first, second):
    """Put the rows of two tables below one another."""
    import pandas as pd

    return pd.concat([first, second], ignore_index=True)


def write_evaluation(structures, scans, units: Mapping[str, str], summary: Mapping, output_dir: Path) -> list:
    """Write the tables of the dataset with their dictionaries, and the summary.

    Parameters
    ----------
    structures, scans : pandas.DataFrame
        As :func:`gather` gives them.
    units : mapping of str
        Quality number to unit.
    summary : mapping
        For ``evaluation.json``.
    output_dir : Path
        Root of the derivatives.

    Returns
    -------
    list of Path
    """
    output_dir = Path(output_dir)
    quality = {name: {'Description': 'As in *_qc.json.', 'Units': unit} for name, unit in units.items()}
    known = {
        **SCAN_COLUMNS,
        **output_rules()['agreement_columns'],
        **output_rules()['agreement_averages'],
        **quality,
    }
    written = []
    for name, table in (('structures', structures), ('scans', scans)):
        path = output_dir / f'evaluation_{name}.tsv'
        columns = {column: known.get(column, {'Description': 'n/a'}) for column in table.columns}
        written += [write_tsv(table, path), write_json(columns, path.with_suffix('.json'))]
    return [*written, write_json(summary, output_dir / 'evaluation.json')]


def write_study_table(
    study: str, runs: Sequence[Mapping], failed: Sequence[Mapping], output_dir: Path
) -> list:
    """Write what the networks of a study score on each test scan, and over all of them.

    Parameters
    ----------
    study : str
        Its kind.
    runs, failed : sequence of mapping
        Of :func:`bids_brainseg.levels.study.study`.
    output_dir : Path
        Root of the derivatives.

    Returns
    -------
    list of Path
        ``evaluation_study.tsv``, a row for each network and test scan; its JSON holds the averages too.
    """
    import pandas as pd

    measures = ('D_A', 'D_V', 'ASSD_mm')
    rows = [
        {**{name: run[name] for name in ('modality', 'people', 'training_scans')}, **scan}
        for run in runs
        for scan in run['test_scans']
    ]
    table = pd.DataFrame(rows, columns=[*STUDY_COLUMNS, *measures])
    about = 'What networks trained on subsets score on the test scans; "runs" holds the averages.'
    content = {
        'Description': about,
        'study': study,
        'runs': list(runs),
        'failed': list(failed),
        **STUDY_COLUMNS,
        **{name: output_rules()['agreement_averages'][name] for name in measures},
    }
    path = Path(output_dir) / 'evaluation_study.tsv'
    return [write_tsv(table, path), write_json(content, path.with_suffix('.json'))]

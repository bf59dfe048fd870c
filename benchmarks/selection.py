# SPDX-License-Identifier: Apache-2.0
"""Seconds to find the scans of a large dataset, and at the end of a job beside many finished participants.

    python benchmarks/selection.py OUT_DIR [--people 10000]

Writes a dataset of empty files below OUT_DIR (T1w, FLAIR, PDw and dwi of one session, and two files of func,
with their sidecars), and the outputs of as many participants, drawn at random. Prints processor seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bids_brainseg.bids.layout import find_niftis, list_images
from bids_brainseg.bids.names import record_from_path
from bids_brainseg.bids.query import Selection
from bids_brainseg.levels.participant import report
from bids_brainseg.records import Outcome
from bids_brainseg.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / 'tests'))
from simulated import simulate  # noqa: E402

FILES = {
    'anat': ('T1w.nii.gz', 'T1w.json', 'FLAIR.nii.gz', 'FLAIR.json', 'PDw.nii.gz', 'PDw.json'),
    'dwi': ('dwi.nii.gz', 'dwi.bval', 'dwi.bvec', 'dwi.json'),
    'func': ('task-rest_bold.nii.gz', 'task-rest_bold.json'),
}


def make_dataset(root: Path, people: int) -> None:
    """Write a dataset of empty files."""
    for number in range(1, people + 1):
        subject = f'sub-{number:05d}'
        for folder, names in FILES.items():
            where = root / subject / 'ses-1' / folder
            where.mkdir(parents=True)
            for name in names:
                (where / f'{subject}_ses-1_{name}').touch()
    (root / 'dataset_description.json').write_text(json.dumps({'Name': 'empty', 'BIDSVersion': '1.10.0'}))


def measure(what: str, call: Callable[[], object]) -> None:
    """Print the processor seconds of a call."""
    began = time.process_time()
    call()
    print(f'{what}: {time.process_time() - began:.2f} s')


def measure_selection(root: Path, database: Path) -> None:
    """Measure the search for scans, up to their names, with and without an index."""

    def search(labels: Sequence[str] = (), folder: Path | None = None) -> list[Path]:
        return find_niftis(root, listed=list_images(root, labels), subjects=labels, database_dir=folder)

    search(['00001'])  # loads pybids
    measure('scans of one participant', lambda: search(['00001']))
    measure('list of all images alone', lambda: list_images(root))
    measure('scans of all, without an index', search)
    measure('scans of all, and the index is made', lambda: search((), database))
    measure('scans of all, with the index', lambda: search((), database))
    (root / 'sub-00001' / 'ses-1' / 'anat' / 'sub-00001_ses-1_run-2_T1w.nii.gz').touch()
    measure('scans of all, and the index is made anew', lambda: search((), database))


def measure_report(out: Path) -> None:
    """Measure page, methods and summary of one participant."""
    record = record_from_path(Path('/d/sub-0001/anat/sub-0001_T1w.nii.gz'), 'T1w')
    settings = Settings(Path('/d'), out, out / 'work', participant_label=('0001',))
    selection, outcomes = Selection([record], [], {}), [Outcome(record, 'done')]
    with contextlib.redirect_stdout(io.StringIO()):
        report(settings, selection, outcomes, time.monotonic())  # loads what is loaded once
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        report(settings, selection, outcomes, time.monotonic())
    finished = len(list(out.glob('sub-*.html')))
    print(f'end of a job beside {finished} finished participants: {time.process_time() - began:.3f} s')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path)
    parser.add_argument('--people', type=int, default=10_000)
    words = parser.parse_args()
    logging.getLogger('bids_brainseg').setLevel(logging.ERROR)
    top = words.out_dir.resolve() / f'selection-{words.people}'
    shutil.rmtree(top, ignore_errors=True)
    make_dataset(top / 'in', words.people)
    print(f'{words.people} participants')
    measure_selection(top / 'in', top / 'index')
    for people in (1, words.people // 10, words.people):
        simulate(top / f'out-{people}', people)
        measure_report(top / f'out-{people}')


if __name__ == '__main__':
    main()

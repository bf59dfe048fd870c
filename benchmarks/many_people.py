# SPDX-License-Identifier: Apache-2.0
"""What a run over many participants costs: by participant, early and late, and in the process of the command.

    python benchmarks/many_people.py OUT_DIR [--people 200] [--nprocs 2]

Tiny heads with noise of their own go through the whole graph with a network of a few hundred weights, so
what is measured is the program around the network. Processor seconds are those of the command and all
processes that it started, beside the number of participants that are done. A machine that others use is not
equally fast all the time, so what a fixed piece of work takes is noted as well, once a minute: loading
TensorFlow in a fresh process, which is half of what a participant costs here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / 'tests'))
from stress.runs import make_dataset, words  # noqa: E402

FIRST = 20  # participants before that pay for what is loaded once
FIXED_EVERY = 60  # seconds


def fixed_work() -> float:
    """Return the processor seconds of a process that loads TensorFlow and ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)  # the command has not ended, so it is not in there
    subprocess.run([sys.executable, '-c', 'import tensorflow'], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def processor_seconds(process: psutil.Process) -> float:
    """Processor time of a process, and of what it started that has ended."""
    with contextlib.suppress(psutil.Error):
        return sum(process.cpu_times()[:4])
    return 0.0


def watch(command: list[str], out: Path, table: Path) -> np.ndarray:
    """Run the command; rows of participants done, processor s of the command, of all, its GiB, fixed work."""
    rows = []
    with (
        table.open('w', buffering=1) as file,
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as running,
    ):
        file.write('done\town_s\tall_s\tGiB\tfixed_s\n')
        parent = psutil.Process(running.pid)
        fixed, looked = np.nan, -np.inf
        while running.poll() is None:
            if time.monotonic() - looked > FIXED_EVERY:
                fixed, looked = fixed_work(), time.monotonic()
            with contextlib.suppress(psutil.Error):
                family = parent.children(recursive=True)
                own = sum(parent.cpu_times()[:2])
                # the fork server has waited for the workers, they for the network
                whole = own + sum(processor_seconds(process) for process in family)
                done = len(list(out.glob('sub-*/anat/*_qc.json')))
                rows.append((done, own, whole, parent.memory_info().rss / 2**30, fixed))
                file.write('\t'.join(f'{value:.5g}' for value in rows[-1]) + '\n')
            time.sleep(5)
    if running.returncode:
        sys.exit(f'the command ended with code {running.returncode}')
    return np.array(rows)


def slope(rows: np.ndarray, column: int, first: int, last: int) -> float:
    """Increase of a column by participant, between two numbers of participants done."""
    _, when = np.unique(rows[:, 0], return_index=True)  # as soon as so many were done
    chosen = rows[when]
    chosen = chosen[(chosen[:, 0] >= first) & (chosen[:, 0] <= last)]
    return float(np.polyfit(chosen[:, 0], chosen[:, column], 1)[0])


def change(early: float, late: float) -> str:
    return f'{100 * (late / early - 1):+.1f} %'


def report(rows: np.ndarray, people: int, work: Path) -> None:
    """Print what a participant cost in the first and in the second half, and what the work folder holds."""
    middle = (FIRST + people) // 2
    for name, column in (('command', 1), ('all processes', 2)):
        early, late = slope(rows, column, FIRST, middle), slope(rows, column, middle, people)
        print(
            f'{name}: {early:.2f} processor seconds a participant from {FIRST} to {middle}, '
            f'{late:.2f} from there to {people} ({change(early, late)})'
        )
    halves = (rows[:, 0] >= FIRST) & (rows[:, 0] < middle), rows[:, 0] >= middle
    early, late = (np.mean(rows[half, 4]) for half in halves)
    print(f'fixed work: {early:.2f} and {late:.2f} s ({change(early, late)})')
    pages = rows[-1, 1] - rows[rows[:, 0] == people, 1][0]
    print(f'pages and summary at the end: {pages / people:.2f} processor seconds a participant')
    print(f'memory of the command: {rows[:, 3].max():.2f} GiB at most')
    files = [path for path in work.rglob('*') if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f'work folder: {len(files) / people:.0f} files and {size / people / 1e6:.1f} MB a scan')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path)
    parser.add_argument('--people', type=int, default=200)
    parser.add_argument('--nprocs', type=int, default=2)
    options = parser.parse_args()
    if options.people < 2 * FIRST:
        parser.error(f'--people must be {2 * FIRST} or more')
    folder = options.out_dir.resolve() / f'many-{options.people}'
    shutil.rmtree(folder, ignore_errors=True)
    make_dataset(folder, options.people)
    began = time.monotonic()
    command = words(folder, '--nprocs', str(options.nprocs), '--omp-nthreads', '1')  # so many scans at once
    rows = watch(command, folder / 'out', folder / 'rows.tsv')
    wall = time.monotonic() - began
    print(f'{options.people} participants, {len(os.sched_getaffinity(0))} cores, {wall:.0f} s')
    report(rows, options.people, folder / 'work')


if __name__ == '__main__':
    main()

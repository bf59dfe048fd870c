# SPDX-License-Identifier: Apache-2.0
"""What a run over many participants costs: by participant, early and late, and in the process of the command.

    python benchmarks/many_people.py OUT_DIR [--people 200] [--nprocs 2]

Tiny heads with noise of their own go through the whole graph with a network of a few hundred weights, so
what is measured is the program around the network. Processor seconds are those of the command and all
processes that it started; they are noted whenever another participant is done.
"""

from __future__ import annotations

import argparse
import contextlib
import os
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


def processor_seconds(process: psutil.Process) -> float:
    """Processor time of a process, and of what it started that has ended."""
    with contextlib.suppress(psutil.Error):
        return sum(process.cpu_times()[:4])
    return 0.0


def watch(command: list[str], out: Path) -> np.ndarray:
    """Run the command; rows of participants done, processor s of the command and of all, and its GiB."""
    rows = []
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        parent = psutil.Process(running.pid)
        while running.poll() is None:
            with contextlib.suppress(psutil.Error):
                family = parent.children(recursive=True)
                own = sum(parent.cpu_times()[:2])
                # the fork server has waited for the workers, they for the network
                whole = own + sum(processor_seconds(process) for process in family)
                done = len(list(out.glob('sub-*/anat/*_qc.json')))
                rows.append((done, own, whole, parent.memory_info().rss / 2**30))
            time.sleep(1)
    if running.returncode:
        sys.exit(f'the command ended with code {running.returncode}')
    return np.array(rows)


def slope(rows: np.ndarray, column: int, first: int, last: int) -> float:
    """Increase of a column by participant, between two numbers of participants done."""
    chosen = rows[(rows[:, 0] >= first) & (rows[:, 0] <= last)]
    return float(np.polyfit(chosen[:, 0], chosen[:, column], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path)
    parser.add_argument('--people', type=int, default=200)
    parser.add_argument('--nprocs', type=int, default=2)
    options = parser.parse_args()
    folder = options.out_dir.resolve() / f'many-{options.people}'
    shutil.rmtree(folder, ignore_errors=True)
    make_dataset(folder, options.people)
    began = time.monotonic()
    rows = watch(words(folder, '--nprocs', str(options.nprocs)), folder / 'out')
    np.savetxt(folder / 'rows.tsv', rows, delimiter='\t', header='done\town_s\tall_s\tGiB', comments='')
    wall = time.monotonic() - began
    print(f'{options.people} participants, {len(os.sched_getaffinity(0))} cores, {wall:.0f} s')
    middle = (FIRST + options.people) // 2
    for name, column in (('command', 1), ('all processes', 2)):
        early = slope(rows, column, FIRST, middle)
        late = slope(rows, column, middle, options.people)
        change = 100 * (late / early - 1)
        print(
            f'{name}: {early:.2f} processor seconds a participant from {FIRST} to {middle}, '
            f'{late:.2f} from there to {options.people} ({change:+.1f} %)'
        )
    print(f'memory of the command: {rows[:, 3].max():.2f} GiB at most')
    files = [path for path in (folder / 'work').rglob('*') if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    each = len(files) / options.people, size / options.people / 1e6
    print(f'work folder: {each[0]:.0f} files and {each[1]:.1f} MB a scan')


if __name__ == '__main__':
    main()

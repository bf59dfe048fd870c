# SPDX-License-Identifier: Apache-2.0
"""Seconds, cores and memory of every stage: runs the command on a BIDS dataset and tabulates what it cost.

    python benchmarks/pipeline.py BIDS_DIR OUT_DIR [options of bids_brainseg, e.g. --mc-samples 15 --nprocs 2]

The work folder is made afresh inside OUT_DIR. Seconds are those nipype records for each node. Memory is the
resident set of the processes that work in the node's folder, looked at ten times a second, so a stage shorter
than that has none. ``cores`` is the processor time of these processes by the seconds of the stage. What the
graph plans with, and what a SLURM job of the stage asks for, is ``claim_GiB`` and ``claim_cores``; the exit
code is 1 if a stage took more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import pandas as pd
from nipype.utils.filemanip import loadpkl

from bids_brainseg.settings import graph_name

GRAPH_SUBJECTS = 100
COLUMNS = ['subject', 'scan', 'stage', 'seconds', 'cores', 'claim_cores', 'GiB', 'claim_GiB']
TICKS = os.sysconf('SC_CLK_TCK')
#: Cores of shorter stages are not compared: a look every tenth of a second misses too much of them.
LEAST_SECONDS = 2.0
PAGE_KIB = os.sysconf('SC_PAGE_SIZE') / 1024


class Watch(threading.Thread):
    """Peak resident memory (GiB) per working folder below `root`, and of all that `pid` started together.

    And the processor seconds per folder.
    """

    def __init__(self, root: Path, pid: int):
        super().__init__(daemon=True)
        self.root, self.pid = str(root.resolve()), pid
        self.peaks: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)
        self.total = 0.0

    def run(self) -> None:
        before: dict[int, float] = {}
        while Path(f'/proc/{self.pid}').exists():
            now: dict[str, float] = defaultdict(float)
            family = descendants(self.pid)
            sizes = {pid: resident_gib(pid) for pid in family}
            used = {pid: processor_seconds(pid) for pid in family}
            for pid, size in sizes.items():
                folder = working_folder(pid)
                now[folder] += size
                self.processor[folder] += max(used[pid] - before.get(pid, 0.0), 0.0)
            before = used
            self.total = max(self.total, sum(sizes.values()))
            for folder, size in now.items():
                if folder.startswith(self.root):
                    self.peaks[folder] = max(self.peaks[folder], size)
            time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children = defaultdict(list)
    for entry in Path('/proc').glob('[0-9]*'):
        try:
            fields = (entry / 'stat').read_text().rpartition(')')[2].split()
        except OSError:  # ended meanwhile
            continue
        children[int(fields[1])].append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children[parent]
    return found


def resident_gib(pid: int) -> float:
    try:
        return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * PAGE_KIB / 2**20
    except (OSError, IndexError):
        return 0.0


def processor_seconds(pid: int) -> float:
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    except (OSError, IndexError):
        return 0.0


def working_folder(pid: int) -> str:
    try:
        return os.readlink(f'/proc/{pid}/cwd')
    except OSError:
        return ''


def run_command(words: list[str], work_dir: Path) -> tuple[float, Watch, int]:
    """Run the command line program; wall-clock seconds, memory, exit code."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, '-m', 'bids_brainseg', *words])
    watch = Watch(work_dir, process.pid)
    watch.start()
    code = process.wait()
    return time.monotonic() - began, watch, code


def stages(work_dir: Path, watch: Watch) -> pd.DataFrame:
    """One row for each node that ran: subject, scan, stage, seconds, cores and peak GiB, used and claimed."""
    rows = []
    for result in sorted(work_dir.rglob('result_*.pklz')):
        subject, scan, *stage = result.parent.relative_to(work_dir / graph_name('brainseg')).parts
        seconds, node = loadpkl(result).runtime.duration, loadpkl(result.parent / '_node.pklz')
        folder = str(result.parent.resolve())
        cores = watch.processor[folder] / seconds if seconds >= LEAST_SECONDS else float('nan')
        rows.append(
            {
                'subject': subject.removesuffix('_wf'),
                'scan': scan.removesuffix('_wf'),
                'stage': '/'.join(part.removesuffix('_wf') for part in stage),
                'seconds': seconds,
                'cores': cores,
                'claim_cores': node.n_procs,
                'GiB': watch.peaks.get(folder, float('nan')),
                'claim_GiB': node.mem_gb * 1e9 / 2**30,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def tables(costs: pd.DataFrame) -> str:
    """The stages as columns, and the totals, in reStructuredText's simple grid."""
    costs = costs.assign(scan=costs['subject'] + ' ' + costs['scan'])
    heavy = costs['stage'].str.contains('coregister|segment')
    costs['part'] = costs['stage'].where(heavy, 'the rest').str.rpartition('/')[2]
    seconds = costs.pivot_table('seconds', 'scan', 'part', 'sum').round(1)
    seconds['sum'] = seconds.sum(axis=1)
    by_stage = costs.groupby('stage', sort=False).agg(
        runs=('seconds', 'size'), mean_s=('seconds', 'mean'), max_s=('seconds', 'max'),
        cores=('cores', 'max'), claim_cores=('claim_cores', 'max'),
        max_GiB=('GiB', 'max'), claim_GiB=('claim_GiB', 'max'),
    )  # fmt: skip
    by_stage = by_stage[by_stage['max_s'] >= 0.05].round(2)
    return '\n\n'.join(
        rst_table(table)
        for table in (seconds.rename_axis(columns=None).reset_index(), by_stage.reset_index())
    )


def rst_table(table: pd.DataFrame) -> str:
    """A simple table.

    >>> print(rst_table(pd.DataFrame({'a': ['x'], 'bb': [1.5]})))
    =  ===
    a  bb
    =  ===
    x  1.5
    =  ===
    """
    cells = [[str(c) for c in table.columns], *([str(c) for c in row] for row in table.values.tolist())]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    rule = '  '.join('=' * width for width in widths)
    lines = ['  '.join(f'{c:<{w}}' for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return '\n'.join([rule, lines[0], rule, *lines[1:], rule])


def start_up() -> dict[str, float]:
    """Seconds until --version and --help have answered, the better of three."""

    def once(*words: str) -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, '-m', 'bids_brainseg', *words], check=True, capture_output=True)
        return time.monotonic() - began

    return {flag: min(once(flag) for _ in range(3)) for flag in ('--version', '--help')}


def build_graph(out_dir: Path, subjects: int) -> float:
    """Seconds to find the scans of many subjects and to build and expand their graph (importing included)."""
    began = time.monotonic()
    code = f"""
from pathlib import Path
from types import SimpleNamespace
from bids_brainseg.settings import Settings
from bids_brainseg.workflows.base import init_brainseg_wf
from bids_brainseg.workflows.examples import example_bundle, example_record
from nipype.pipeline.engine.utils import generate_expanded_graph
settings = Settings(Path('in'), Path({str(out_dir)!r}), Path({str(out_dir)!r}))
records = [example_record(subject=f'{{n:03d}}') for n in range({subjects})]
wf = init_brainseg_wf(settings=settings, records=records, bundles={{'T1w': example_bundle()}})
print(len(generate_expanded_graph(wf._create_flat_graph())))
"""
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    return time.monotonic() - began


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and leave the numbers in OUT_DIR."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('out_dir', type=Path)
    words, options = parser.parse_known_args(argv)
    work_dir, derivatives = words.out_dir / 'work', words.out_dir / 'derivatives'
    for folder in (work_dir, derivatives):
        shutil.rmtree(folder, ignore_errors=True)
    work_dir.mkdir(parents=True)

    command = [str(words.bids_dir), str(derivatives), 'participant', '--work-dir', str(work_dir), *options]
    first, watch, code = run_command(command, work_dir)
    costs = stages(work_dir, watch)
    second, _, _ = run_command(command, work_dir)
    costs.to_csv(words.out_dir / 'stages.tsv', sep='\t', index=False, na_rep='n/a')

    whole = {
        'cores': float(len(os.sched_getaffinity(0))),
        'whole run, s': first,
        'second run, s': second,
        'memory of all processes, GiB': watch.total,
        **{f'{flag}, s': seconds for flag, seconds in start_up().items()},
        f'graph of {GRAPH_SUBJECTS} subjects, s': build_graph(words.out_dir, GRAPH_SUBJECTS),
    }
    summary = rst_table(pd.DataFrame({'what': whole.keys(), 'value': [f'{v:.2f}' for v in whole.values()]}))
    report = f'{summary}\n\n{tables(costs) if len(costs) else "no stage ran"}\n'
    (words.out_dir / 'pipeline.rst').write_text(report)
    print(report)
    beyond = costs.query('GiB > claim_GiB or cores > 1.1 * claim_cores')
    if len(beyond):
        print(f'more than claimed:\n{beyond.to_string(index=False)}', file=sys.stderr)
    return code or int(len(beyond) > 0)


if __name__ == '__main__':
    sys.exit(main())

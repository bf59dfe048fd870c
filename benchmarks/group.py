# SPDX-License-Identifier: Apache-2.0
"""Seconds and peak memory of the group level over simulated outputs, and what its page costs a browser.

    python benchmarks/group.py OUT_DIR [--people 2000]

Writes the outputs of so many participants below OUT_DIR (every tenth has all four modalities), runs the
command on them, and opens the page in chromium, if it is there: the seconds until it has opened, drawn
and closed it, less those of an empty page.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'tests'))
from simulated import simulate  # noqa: E402


def run_group(out: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak memory (GiB) of the command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run([sys.executable, '-m', 'bids_brainseg', f'{out}/none', f'{out}', 'group'], check=True)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used, after.ru_maxrss / 2**20


def browse(program: str, page: Path) -> tuple[float, str]:
    """Wall seconds of a browser that opens a page, and the page as drawn."""
    with tempfile.TemporaryDirectory() as profile:
        command = [program, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={profile}']
        command += ['--window-size=1400,2600', '--virtual-time-budget=3000', '--dump-dom', page.as_uri()]
        began = time.monotonic()
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return time.monotonic() - began, run.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path)
    parser.add_argument('--people', type=int, default=2000)
    words = parser.parse_args()
    out = words.out_dir.resolve() / f'people-{words.people}'
    shutil.rmtree(out, ignore_errors=True)
    simulate(out, words.people, pictures=True)
    scans = len(list(out.rglob('*_qc.json')))
    wall, used, memory = run_group(out)
    print(f'{words.people} participants, {scans} scans, {len(os.sched_getaffinity(0))} cores')
    print(f'group level: {wall:.1f} s wall, {used:.1f} s of processor, {memory:.2f} GiB')
    for name in ('group.html', 'group_volumes.tsv'):
        print(f'{name}: {(out / name).stat().st_size / 1e6:.1f} MB')
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    if chromium is None:
        print('no chromium: the page was not opened')
        return
    empty = out / 'empty.html'
    empty.write_text('<!DOCTYPE html><title>empty</title>')
    idle, _ = browse(chromium, empty)
    seconds, page = browse(chromium, out / 'group.html')
    drawn = sum(map(int, re.findall(r'data-points="(\d+)"', page)))
    print(f'chromium: {seconds - idle:.1f} s, {drawn} points drawn at first')


if __name__ == '__main__':
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run each benchmark in full, one after the other.

    run-bench.py PROGRAM [ARGUMENT...] -- PROGRAM [ARGUMENT...] -- ...

Each prints its own table, with machine, commit and unit; stderr tells how far
it is. A benchmark that says 77 could not run here and says why. With
USVM_BENCH_JSON=FOLDER each writes FOLDER/NAME.json as well, and at the end it
is told which targets were met, and the drawings of bench-plot.py are put into
FOLDER. With USVM_BENCH_RUNS=N all is done N times, into FOLDER/run-1 and so on.
"""

import itertools
import os
import subprocess
import sys
import time

EXIT_SKIPPED = 77
SCRIPTS = os.path.dirname(os.path.abspath(__file__))
# What each takes, about, on the machine of docs/performance.md; only their relation counts.
SECONDS = {'growth': 60, 'saxpy': 8, 'oversubscribe': 12, 'gpu_fault': 12, 'queues': 6}
SECONDS_OTHER = 4


def name_of(command):
    return os.path.basename(command[-1]).removeprefix('bench-')


class Progress:
    """Says what is begun, and when the rest may be done: as much slower as so far."""

    def __init__(self, commands, runs):
        self.names = [name_of(command) for command in commands]
        self.runs = runs
        self.begun = 0
        self.start = time.monotonic()

    def expected(self, first, last):
        names = self.names * self.runs
        return sum(SECONDS.get(name, SECONDS_OTHER) for name in names[first:last])

    def begin(self):
        run, number = divmod(self.begun, len(self.names))
        left = self.expected(self.begun, None)
        if self.begun:
            left *= (time.monotonic() - self.start) / self.expected(0, self.begun)
        print(f'bench {number + 1} of {len(self.names)}, run {run + 1} of {self.runs}: '
              f'{self.names[number]}; about {left:.0f} s left', file=sys.stderr, flush=True)
        self.begun += 1


def run(commands, folder, progress):
    """All of them once. Return: what failed."""
    failed = []
    if folder:
        os.makedirs(folder, exist_ok=True)
    for command in commands:
        progress.begin()
        if folder:
            command = command + ['--json', os.path.join(folder, name_of(command) + '.json')]
        status = subprocess.run(command, check=False).returncode
        if status not in (0, EXIT_SKIPPED):
            failed.append(f'{" ".join(command)} (exit {status})')
    return failed


def main():
    folder = os.environ.get('USVM_BENCH_JSON')
    runs = int(os.environ.get('USVM_BENCH_RUNS') or 1)
    commands = [list(words) for is_end, words in
                itertools.groupby(sys.argv[1:], lambda word: word == '--') if not is_end]
    folders = [os.path.join(folder, f'run-{i + 1}') if runs > 1 else folder
               for i in range(runs)] if folder else [None] * runs
    progress = Progress(commands, runs)
    failed = []
    for each in folders:
        failed += run(commands, each, progress)
    if folder:
        subprocess.run([os.path.join(SCRIPTS, 'bench-table.py'), '--verdict'] + folders,
                       check=False)
        subprocess.run([os.path.join(SCRIPTS, 'bench-plot.py'), '--out', folder] + folders,
                       check=False)
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
